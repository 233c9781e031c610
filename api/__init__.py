"""The front door: REST over mutual TLS. It says who calls; what may be done is decided below."""
