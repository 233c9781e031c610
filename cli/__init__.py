"""The side door: `keyvault` on a terminal. Answers go to stdout, words for people to stderr."""
