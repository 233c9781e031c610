"""The gate: the only place where key bytes, PINs and HSM sessions live.

A *keeper* holds the socket and the PIN and never loads a PKCS#11 module. Its *worker* does, makes
one call at a time under a kernel deadline, and is replaced when it hangs, crashes or is worn out.
"""
