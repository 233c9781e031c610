"""The log as an outsider sees it: signed by the keys of the genesis, and only ever growing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cli.errors import LogForkError, ProblemError
from cli.remote.client import Server
from cli.state import LogMemory, Session, remember, remembered
from keyvault import signatures
from keyvault.domain.approvals import Seen
from keyvault.domain.authority import Authority
from keyvault.domain.chain import Record, load
from keyvault.domain.notes import (
    Checkpoint,
    NoteError,
    SignatureType,
    VerifierKey,
    open_checkpoint,
)
from keyvault.domain.tree import ProofError, verify_consistency

_CHECKPOINT = "/v1/audit/checkpoint"
_MOMENTS = 20  # seconds
_ALARM = "stop: sign nothing, keep this folder as evidence, and call your officers and the auditor"


@dataclass(frozen=True, slots=True)
class View:
    """Authority, verified from its genesis, and the newest signed state of the log."""

    authority: Authority
    genesis: str
    checkpoint: Checkpoint
    note: str

    @property
    def seen(self) -> Seen:
        return Seen(self.checkpoint.size, self.checkpoint.root.hex())


def look(server: Server, session: Session, genesis: str = "") -> View:
    """Fetch authority and checkpoint, and hold them against what this folder saw before.

    `genesis` pins the SHA-256 of the genesis record; without it and without a memory the first
    one seen is trusted. Raises `LogForkError` if the log went back, was rewritten or is not
    signed; nothing is remembered then.
    """
    before = remembered(session.folder, session.origin)
    records = [Record.read(item) for item in server.get("/v1/authority")["items"]]
    authority = load(records, signatures.verify, signatures.spki_of_certificate)
    pinned = genesis or (before.genesis if before else records[0].hash)
    if records[0].hash != pinned or authority.origin != session.origin:
        raise LogForkError("the genesis record is not the one that is trusted", next_step=_ALARM)
    note = _newest(server)
    view = View(authority, pinned, _opened(note, authority), note.decode())
    if before:
        follows(server, Seen(before.size, before.root), view.seen)
    return view


def _newest(server: Server) -> bytes:
    """Return the newest checkpoint. A log that has just begun gets its first one in a moment."""
    for _ in range(_MOMENTS):
        try:
            return server.get_bytes(_CHECKPOINT)
        except ProblemError as error:
            if error.code != "not-found":
                raise
        time.sleep(1.0)
    return server.get_bytes(_CHECKPOINT)


def keep(session: Session, view: View) -> None:
    """Remember the tree that was just verified: the next call must not fall behind it."""
    tree = view.seen
    remember(
        session.folder,
        LogMemory(view.checkpoint.origin, view.genesis, tree.size, tree.root, view.note),
    )


def deciding(authority: Authority, person: str) -> list[bytes]:
    """The keys (SPKI) by which this person decides; none of somebody unknown."""
    known = authority.people.get(person)
    return [one.spki for one in known.deciding] if known else []


def follows(server: Server, old: Seen, new: Seen) -> None:
    """Demand a proof that the log of `new` contains that of `old`. Raises `LogForkError`."""
    if new.size < old.size:
        raise LogForkError(
            f"the log went back: {old.size} events were seen before, now it shows {new.size}",
            next_step=_ALARM,
        )
    try:
        proof = _proof(server, old, new)
        old_root, new_root = bytes.fromhex(old.root), bytes.fromhex(new.root)
        verify_consistency(old.size, new.size, proof, old_root, new_root)
    except (ProofError, ValueError) as error:
        raise LogForkError(f"the log was rewritten: {error}", next_step=_ALARM) from error


def in_order(server: Server, one: Seen, other: Seen) -> None:
    """Demand that two trees, in whichever order, are one log. Raises `LogForkError`."""
    old, new = sorted((one, other), key=lambda seen: seen.size)
    follows(server, old, new)


def _proof(server: Server, old: Seen, new: Seen) -> Sequence[bytes]:
    if old.size in (0, new.size):
        return []
    answer = server.get("/v1/audit/proofs/consistency", old=old.size, new=new.size)
    return [bytes.fromhex(item) for item in answer["hashes"]]


def _opened(note: bytes, authority: Authority) -> Checkpoint:
    try:
        keys = [VerifierKey.parse(line) for line in authority.services.log_keys]
        checkpoint = open_checkpoint(note, keys, _verify)
    except NoteError as error:
        raise LogForkError(f"the checkpoint does not hold: {error}", next_step=_ALARM) from error
    if checkpoint.origin != authority.origin:
        raise LogForkError("the checkpoint belongs to another log", next_step=_ALARM)
    return checkpoint


def _verify(key: VerifierKey, text: bytes, signature: bytes) -> bool:
    if key.type == SignatureType.ECDSA:
        return signatures.verify(key.public, signature, text)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text)
    except InvalidSignature:
        return False
    return key.type == SignatureType.ED25519
