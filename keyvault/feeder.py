"""Asks outside witnesses for their cosignatures."""
