"""What carries out each command: a module for each family of them."""
