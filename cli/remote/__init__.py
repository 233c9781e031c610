"""What asks a server over mutual TLS."""
