"""Wire models, one module a room. They forbid unknown fields and know no rule of the house."""
