"""REST: wire models, problems and routes. A route translates, calls one operation, translates."""
