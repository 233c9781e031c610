"""What happens at a person's own desk, without any server: credentials."""
