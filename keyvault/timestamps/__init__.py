"""Time stamps of RFC 3161: asked for, checked twice, and given out on closed sites."""
