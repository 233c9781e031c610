"""Evidence for people outside: a bundle that proves itself, and the program that checks it."""
