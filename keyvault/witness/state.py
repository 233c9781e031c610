"""What a witness must not forget: whom it trusts, and the last checkpoint of each log.

One file of canonical JSON, replaced whole and flushed before any cosignature leaves. A log has
its entry from the moment it is trusted, so that a file that went missing is never taken for a
witness that has seen nothing: such a witness is retired, and another one is enrolled.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from keyvault import durable, signatures
from keyvault.domain.canonical import CanonicalError, canonical, parse
from keyvault.domain.errors import ConflictError, InvalidInputError, VaultError
from keyvault.domain.notes import (
    Checkpoint,
    Note,
    NoteError,
    SignatureType,
    VerifierKey,
    cosignature_parts,
)

LIMIT = 1 << 22  # bytes of the state file: some thousand logs
FILE, LOCK, REFUSED = "state.json", "lock", "refused"
KEPT = 256  # refused requests that are kept as evidence


class StateLostError(VaultError):
    """The witness no longer knows what it saw, so it must not sign any more."""

    code = "witness-state-lost"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"this witness does not know what it has seen: {reason}",
            next_step="retire it: make a new witness with a new key, and name it in the policy",
        )


@dataclass(frozen=True, slots=True)
class Watched:
    """A log: the keys that sign it, and the note cosigned last, or an empty text."""

    origin: str
    keys: tuple[VerifierKey, ...]
    note: str = ""

    @property
    def known(self) -> Checkpoint | None:
        return Checkpoint.parse(Note.parse(self.note.encode()).text) if self.note else None

    @property
    def cosigned_at(self) -> int:
        """When the note was cosigned last, in POSIX seconds; 0 for never."""
        if not self.note:
            return 0
        return cosignature_parts(Note.parse(self.note.encode()).signatures[-1].value)[0]


@dataclass(frozen=True, slots=True)
class Memory:
    """The whole state. `witness` is the one key that it belongs to."""

    witness: VerifierKey
    logs: tuple[Watched, ...] = ()

    def log(self, origin: str) -> Watched | None:
        return next((log for log in self.logs if log.origin == origin), None)

    def with_log(self, log: Watched) -> "Memory":
        others = tuple(known for known in self.logs if known.origin != log.origin)
        return replace(self, logs=(*others, log))

    def to_bytes(self) -> bytes:
        logs = [
            {"origin": log.origin, "keys": [key.vkey for key in log.keys], "note": log.note}
            for log in self.logs
        ]
        return canonical({"v": 1, "witness": self.witness.vkey, "logs": logs})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Memory":
        """Read what `to_bytes` wrote. Raises `StateLostError` where anything is not as it was."""
        try:
            document = parse(data, max_size=LIMIT)
            logs = tuple(
                Watched(log["origin"], tuple(map(VerifierKey.parse, log["keys"])), log["note"])
                for log in document["logs"]
            )
            memory = cls(VerifierKey.parse(document["witness"]), logs)
            for log in logs:
                if log.note:
                    Note.parse(log.note.encode()).check([memory.witness], signatures.verify_note)
        except (CanonicalError, NoteError, KeyError, TypeError, AttributeError) as error:
            raise StateLostError(f"its state file is damaged ({error})") from error
        if memory.to_bytes() != data:
            raise StateLostError("its state file is not as it was written")
        return memory


class State:
    """The folder of a witness."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, witness: VerifierKey) -> "State":
        """Begin in a folder that is there. Raises `InvalidInputError` if a witness lives in it."""
        state = cls(folder)
        try:
            durable.create(folder / FILE, Memory(witness).to_bytes())
        except FileExistsError as error:
            raise InvalidInputError(f"{folder} holds a witness already") from error
        (folder / REFUSED).mkdir(mode=0o700, exist_ok=True)
        return state

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other process away from the state until the block ends."""
        with (self.folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> Memory:
        """Raises `StateLostError` if there is no state, or a damaged one."""
        try:
            with (self.folder / FILE).open("rb") as file:
                return Memory.from_bytes(file.read(LIMIT + 1))
        except FileNotFoundError as error:
            raise StateLostError("its state file is gone") from error

    def write(self, memory: Memory) -> None:
        """Replace the state. When this returns it is on the disk."""
        durable.replace(self.folder / FILE, memory.to_bytes())

    def trust(self, key: VerifierKey) -> Memory:
        """Watch a log, named by one of its keys, from now on. Raises `ConflictError`."""
        if key.type not in (SignatureType.ED25519, SignatureType.ECDSA):
            raise InvalidInputError("a log signs with Ed25519 (type 1) or ECDSA P-256 (type 2)")
        with self.alone():
            memory = self.read()
            log = memory.log(key.name) or Watched(key.name, ())
            if key in log.keys:
                raise ConflictError(f"{key.name} is trusted with this key already")
            memory = memory.with_log(replace(log, keys=(*log.keys, key)))
            self.write(memory)
        return memory

    def keep(self, name: str, request: bytes) -> None:
        """Keep a request that shows a log contradicting itself, once, while there is room."""
        folder = self.folder / REFUSED
        if sum(1 for _ in folder.iterdir()) < KEPT and not (folder / name).exists():
            durable.create(folder / name, request)
