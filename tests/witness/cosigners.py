"""Witnesses with keys in memory, and policies that name them."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.domain.notes import Note, SignatureType, VerifierKey, cosign

NOW = 1_795_000_000


class Cosigner:
    def __init__(self, name):
        self.name = name
        self._private = Ed25519PrivateKey.generate()
        public = self._private.public_key().public_bytes_raw()
        self.key = VerifierKey(f"witness.example/{name}", SignatureType.COSIGNATURE, public)

    def line(self, note, seconds=NOW):
        return cosign(self.key, self._private.sign, Note.parse(note).text, seconds).line.encode()

    def policy(self, url=""):
        return f"witness {self.name} {self.key.vkey} {url}".strip()


def policy_of(*lines):
    return "".join(f"{line}\n" for line in lines).encode()


def two_of(*cosigners, quorum="group any-two 2"):
    names = " ".join(cosigner.name for cosigner in cosigners)
    named = [cosigner.policy() for cosigner in cosigners]
    return policy_of(*named, f"{quorum} {names}", f"quorum {quorum.split()[1]}")
