"""What a witness is asked and how it decides: c2sp.org/tlog-witness, without a network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Self

from keyvault.domain.errors import VaultError
from keyvault.domain.notes import (
    MAX_NOTE_SIZE,
    Checkpoint,
    Note,
    NoteError,
    VerifierKey,
    Verify,
    decode,
    encode,
)
from keyvault.domain.tree import (
    EMPTY_ROOT,
    HASH_SIZE,
    MAX_SIZE,
    ProofError,
    verify_consistency,
)

MAX_PROOF = 63  # lines
MAX_REQUEST_SIZE = MAX_NOTE_SIZE + 64 * 48  # bytes: a note, and lines of 44 characters
_SIZE = re.compile("0|[1-9][0-9]{0,18}")


class Level(StrEnum):
    """What stands behind an event: the database, the log's own signature, outside witnesses."""

    COMMITTED = "committed"
    SEALED = "sealed"
    WITNESSED = "witnessed"


@dataclass(frozen=True, slots=True)
class Levels:
    """How many events of the log each level covers."""

    sealed: int
    witnessed: int

    def of(self, index: int) -> Level:
        """Return the level of an event."""
        if index < self.witnessed:
            return Level.WITNESSED
        return Level.SEALED if index < self.sealed else Level.COMMITTED


class WitnessError(VaultError):
    """The witness does not cosign. `status` is the one of c2sp.org/tlog-witness.

    `size` is what the witness has seen, where the status is 409.
    """

    code = "witness-refused"

    def __init__(self, status: HTTPStatus, message: str, *, size: int | None = None) -> None:
        super().__init__(message, next_step=_NEXT.get(status, ""))
        self.status = status
        self.size = size


_NEXT = {
    HTTPStatus.BAD_REQUEST: "make the request anew: keyvault witness request",
    HTTPStatus.FORBIDDEN: "compare the log's verifier keys with those that the witness trusts",
    HTTPStatus.NOT_FOUND: "have the witness trust this log: keyvault witness trust",
    HTTPStatus.CONFLICT: "make the request anew, from the size that the witness has seen",
    HTTPStatus.UNPROCESSABLE_ENTITY: "stop: keep everything, and see runbook witness-refuses",
    HTTPStatus.SERVICE_UNAVAILABLE: "set the witness's clock right, then try again",
}


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A checkpoint for a witness that has seen `old` leaves, and the proof from there.

    The bytes of the HTTP body, and of the file that is carried to a witness without a network.
    """

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        lines = [f"old {self.old}", *map(encode, self.proof)]
        return "\n".join(lines).encode() + b"\n\n" + self.note

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a request, at most 68 KB. Raises `WitnessError` 400."""
        head, _, note = data[:MAX_REQUEST_SIZE].partition(b"\n\n")
        first, *lines = head.decode("ascii", "replace").split("\n")
        word, _, size = first.partition(" ")
        if len(data) > MAX_REQUEST_SIZE or word != "old" or not _SIZE.fullmatch(size):
            raise WitnessError(HTTPStatus.BAD_REQUEST, "the request does not begin with: old SIZE")
        try:
            proof = tuple(map(decode, lines))
        except NoteError as error:
            raise WitnessError(HTTPStatus.BAD_REQUEST, "a proof line is not base64") from error
        if len(proof) > MAX_PROOF or any(len(node) != HASH_SIZE for node in proof):
            raise WitnessError(HTTPStatus.BAD_REQUEST, "the proof is not up to 63 hashes")
        return cls(_checked_size(int(size)), proof, note)

    def opened(self) -> tuple[Note, Checkpoint]:
        """Read the note. Raises `WitnessError` 400, also where it is smaller than `old`."""
        try:
            note = Note.parse(self.note)
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise WitnessError(HTTPStatus.BAD_REQUEST, f"no checkpoint: {error}") from error
        if self.old > checkpoint.size:
            raise WitnessError(
                HTTPStatus.BAD_REQUEST, f"{self.old} leaves do not grow to {checkpoint.size}"
            )
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
            raise WitnessError(HTTPStatus.BAD_REQUEST, "an empty tree has another root")
        return note, checkpoint


def _checked_size(size: int) -> int:
    if size > MAX_SIZE:
        raise WitnessError(HTTPStatus.BAD_REQUEST, "the old size is beyond all trees")
    return size


def check_signed(note: Note, keys: Sequence[VerifierKey], verify: Verify) -> Note:
    """Demand the log's own signature, and return the note without lines of others.

    Raises `WitnessError` 403.
    """
    try:
        note.check(keys, verify)
    except NoteError as error:
        raise WitnessError(HTTPStatus.FORBIDDEN, f"the log did not sign this: {error}") from error
    known = {(key.name, key.key_id) for key in keys}
    return Note(note.text, tuple(s for s in note.signatures if (s.name, s.key_id) in known))


def check_follows(request: AddCheckpoint, new: Checkpoint, known: Checkpoint | None) -> None:
    """Demand that `new` continues what the witness cosigned last; None is the empty tree.

    Raises `WitnessError` 409 where the request starts elsewhere, 422 where history is another.
    """
    size, root = (known.size, known.root) if known else (0, EMPTY_ROOT)
    if request.old != size:
        raise WitnessError(
            HTTPStatus.CONFLICT,
            f"this witness has seen {size} leaves, not {request.old}",
            size=size,
        )
    try:
        verify_consistency(size, new.size, request.proof, root, new.root)
    except ProofError as error:
        raise WitnessError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the checkpoint of {new.size} leaves does not continue the {size} seen: {error}",
        ) from error


def contradicts(new: Checkpoint, known: Checkpoint | None) -> bool:
    """Whether two signed checkpoints cannot both be of one log, whatever any proof says."""
    return known is not None and new.size == known.size and new.root != known.root
