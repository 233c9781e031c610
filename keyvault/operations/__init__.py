"""One function per use case. Each decides access once, at its top, and commits with its event."""
