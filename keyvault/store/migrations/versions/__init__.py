"""Steps from one set of tables to the next, forward and back."""
