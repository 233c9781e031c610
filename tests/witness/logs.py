"""Logs to be witnessed, honest or not, with keys in memory."""

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from keyvault import signatures
from keyvault.domain.notes import Checkpoint, SignatureType, VerifierKey, sign_checkpoint
from keyvault.domain.tree import HashReader, consistency_proof, leaf_hash, tree_at
from keyvault.domain.witnessing import AddCheckpoint

ORIGIN = "vault.example/site-1/2026-1"


class Log:
    """One log that signs as the log gate does. Its leaves may be changed by the test."""

    def __init__(self, leaves=8, origin=ORIGIN):
        self.origin = origin
        self.leaves = [b"event %d" % number for number in range(leaves)]
        self._edwards = ed25519.Ed25519PrivateKey.generate()
        self._p256 = ec.generate_private_key(ec.SECP256R1())
        raw = self._edwards.public_key().public_bytes_raw()
        self.ed25519 = VerifierKey(origin, SignatureType.ED25519, raw)
        spki = signatures.spki_der(self._p256.public_key())
        self.ecdsa = VerifierKey(origin, SignatureType.ECDSA, spki)
        self.keys = (self.ecdsa, self.ed25519)

    def grow(self, count=1):
        start = len(self.leaves)
        self.leaves += [b"event %d" % number for number in range(start, start + count)]
        return self

    def read(self):
        return HashReader([leaf_hash(leaf) for leaf in self.leaves])

    def checkpoint(self, size=None):
        size = len(self.leaves) if size is None else size
        return Checkpoint(self.origin, size, tree_at(self.read(), size).root)

    def note(self, size=None):
        return self.signed(self.checkpoint(size))

    def signed(self, checkpoint):
        signers = [
            (self.ecdsa, lambda message: self._p256.sign(message, signatures.ALGORITHM)),
            (self.ed25519, self._edwards.sign),
        ]
        return sign_checkpoint(checkpoint, signers).to_bytes()

    def request(self, old, size=None):
        """An honest request from `old` leaves to `size`, by default all."""
        size = len(self.leaves) if size is None else size
        proof = consistency_proof(self.read(), old, size) if old <= size else []
        return AddCheckpoint(old, tuple(proof), self.note(size))


def digest(data):
    return sha256(data).hexdigest()
