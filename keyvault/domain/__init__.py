"""Rules without input or output. Only the standard library, and the words of hsm.types."""
