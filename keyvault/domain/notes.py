"""Signed notes and checkpoints: c2sp.org/signed-note, /tlog-checkpoint and /tlog-proof.

How a key signs or verifies is the caller's business and comes in as a function.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Self

from keyvault.domain.tree import HASH_SIZE, MAX_SIZE

MAX_NOTE_SIZE = 65_536
MAX_SIGNATURES = 64
KEY_ID_SIZE = 4
ED25519_SIZE = 32
TIME_SIZE = 8  # of a cosignature: POSIX seconds, before the 64 bytes of Ed25519
PROOF_MAGIC = "c2sp.org/tlog-proof@v1"


class NoteError(ValueError):
    """Not a note, or one that no known key has signed."""


class SignatureType(IntEnum):
    """Identifier bytes of c2sp.org/signed-note; a cosignature is of c2sp.org/tlog-cosignature."""

    ED25519 = 0x01
    ECDSA = 0x02
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name. `public` is 32 raw bytes, or for ECDSA the SPKI in DER."""

    name: str
    type: int
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        raw = self.type in (SignatureType.ED25519, SignatureType.COSIGNATURE)
        if not self.public or (raw and len(self.public) != ED25519_SIZE):
            raise NoteError(f"key {self.name} has {len(self.public)} bytes of public key")

    @property
    def key_id(self) -> bytes:
        """4 bytes. Only ECDSA leaves the name and the type out: it is the hash of the SPKI."""
        named = self.name.encode() + b"\n" + bytes([self.type])
        prefix = b"" if self.type == SignatureType.ECDSA else named
        return sha256(prefix + self.public).digest()[:KEY_ID_SIZE]

    @property
    def vkey(self) -> str:
        """The key as one line of text, without a newline."""
        return f"{self.name}+{self.key_id.hex()}+{encode(bytes([self.type]) + self.public)}"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a vkey line. Raises `NoteError`, also when the key id is not the key's."""
        name, _, rest = line.partition("+")
        data = decode(rest.partition("+")[2])
        key = cls(name, data[0] if data else 0, data[1:])
        if key.vkey != line:
            raise NoteError(f"key id of {name} does not match its key")
        return key


Sign = Callable[[bytes], bytes]
Verify = Callable[[VerifierKey, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line. The signature of an unknown type is kept as it came."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        return f"\u2014 {self.name} {encode(self.key_id + self.value)}\n"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line without its newline. Raises `NoteError`."""
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":  # noqa: PLR2004 - dash, name, signature
            raise NoteError("a signature line is not of the form: em dash, name, base64")
        _check_name(parts[1])
        data = decode(parts[2])
        if len(data) <= KEY_ID_SIZE:
            raise NoteError("a signature line holds no signature")
        return cls(parts[1], data[:KEY_ID_SIZE], data[KEY_ID_SIZE:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a newline, and who signed it."""

    text: str
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        signers = {(signature.name, signature.key_id) for signature in self.signatures}
        if not 0 < len(self.signatures) <= MAX_SIGNATURES:
            raise NoteError(f"a note with {len(self.signatures)} signatures")
        if len(signers) != len(self.signatures):
            raise NoteError("a key signed the note twice")
        if not self.text.endswith("\n") or any(c < " " and c != "\n" for c in self.text):
            raise NoteError("the text does not end in a newline or holds control characters")

    def to_bytes(self) -> bytes:
        lines = "".join(signature.line for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a whole note, at most 64 KiB, and no byte more or less. Raises `NoteError`."""
        if len(data) > MAX_NOTE_SIZE:
            raise NoteError(f"a note of {len(data)} bytes is over the limit")
        text, separator, lines = _text(data).rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise NoteError("a note needs an empty line and signatures after its text")
        signatures = tuple(Signature.parse(line) for line in lines[:-1].split("\n"))
        return cls(text + "\n", signatures)

    def check(self, keys: Iterable[VerifierKey], verify: Verify) -> None:
        """Demand a good signature from a known key, and no bad one. Raises `NoteError`."""
        known = {(key.name, key.key_id): key for key in keys}
        good = 0
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is None:
                continue
            if not verify(key, self.text.encode(), signature.value):
                raise NoteError(f"the signature of {key.name} ({key.key_id.hex()}) is wrong")
            good += 1
        if not good:
            raise NoteError("no known key has signed the note")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head: who it is, how many leaves it has, and their root."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        _check_name(self.origin)
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_SIZE:
            raise NoteError(
                f"no checkpoint has size {self.size} and {len(self.root)} bytes of root"
            )

    @property
    def body(self) -> str:
        """What is signed. There are no extension lines: nobody could audit them."""
        return f"{self.origin}\n{self.size}\n{encode(self.root)}\n"

    @classmethod
    def parse(cls, body: str) -> Self:
        """Read a note's text. Raises `NoteError`, also on extension lines."""
        lines = body.split("\n")
        if len(lines) != 4 or not lines[1].isdecimal():  # noqa: PLR2004 - three lines, an end
            raise NoteError("a checkpoint is three lines: origin, size and root")
        checkpoint = cls(lines[0], int(lines[1][:20]), decode(lines[2]))
        if checkpoint.body != body:
            raise NoteError("the checkpoint is not written in the one right way")
        return checkpoint


def sign_checkpoint(checkpoint: Checkpoint, signers: Iterable[tuple[VerifierKey, Sign]]) -> Note:
    """Return the note that each key has signed, in this order."""
    body = checkpoint.body
    signatures = (Signature(key.name, key.key_id, sign(body.encode())) for key, sign in signers)
    return Note(body, tuple(signatures))


def open_checkpoint(data: bytes, keys: Iterable[VerifierKey], verify: Verify) -> Checkpoint:
    """Read a checkpoint that one of these keys has signed. Raises `NoteError`."""
    note = Note.parse(data)
    note.check(keys, verify)
    return Checkpoint.parse(note.text)


def cosigned_message(body: bytes, seconds: int) -> bytes:
    """What a witness signs at a time: cosignature/v1 of c2sp.org/tlog-cosignature."""
    return b"cosignature/v1\ntime %d\n%b" % (seconds, body)


def cosignature_parts(value: bytes) -> tuple[int, bytes]:
    """Split a cosignature into POSIX seconds and 64 bytes of Ed25519. Raises `NoteError`."""
    seconds = int.from_bytes(value[:TIME_SIZE])
    if len(value) != TIME_SIZE + 2 * ED25519_SIZE or seconds > MAX_SIZE:
        raise NoteError(f"a signature of {len(value)} bytes is no cosignature/v1")
    return seconds, value[TIME_SIZE:]


def cosign(key: VerifierKey, sign: Sign, body: str, seconds: int) -> Signature:
    """Return a witness's line for a checkpoint's body, dated in POSIX seconds."""
    signature = sign(cosigned_message(body.encode(), seconds))
    return Signature(key.name, key.key_id, seconds.to_bytes(TIME_SIZE) + signature)


def tlog_proof(index: int, path: Sequence[bytes], note: bytes) -> bytes:
    """Return a stand-alone proof, for a `.tlog-proof` file, that leaf `index` is in the log."""
    lines = [PROOF_MAGIC, f"index {index}", *map(encode, path)]
    return "\n".join(lines).encode() + b"\n\n" + note


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise NoteError(f"{name[:80]!r} is no name: empty, or with a space, plus or control")


def encode(data: bytes) -> str:
    """Return base64 with padding."""
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    """Read base64 that is spelled in the one right way. Raises `NoteError`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("not base64") from error
    if encode(data) != text:
        raise NoteError("not the one right base64 of its bytes")
    return data


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NoteError("a note is UTF-8") from error
