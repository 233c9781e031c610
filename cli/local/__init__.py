"""What runs on the service's own host: genesis, tokens, processes, the database, preflight."""
