"""Packs of one scope: all its events, each with its own proof, and nothing of any other scope."""

import json
from base64 import b64decode
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from typing import IO

from keyvault import VERSION
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.chain import Record
from keyvault.domain.errors import NotFoundError
from keyvault.domain.notes import Checkpoint, Note
from keyvault.domain.people import thumbprint
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.domain.tree import HashReader, ReadHash, inclusion_proof
from keyvault.evidence.lone import Lone
from keyvault.evidence.pack import PackContents, write_pack
from keyvault.operations import heads
from keyvault.operations.audit import event_of, names_of
from keyvault.operations.evidence import Receipt, covering, leaf_of
from keyvault.operations.heads import SealedHeads
from keyvault.operations.vault import Vault, permit
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

LEAD = "person:"


def export(vault: Vault, who: Principal, scope: Scope, out: IO[bytes]) -> Receipt:
    """Write the pack of a scope to `out`, which has to seek. It is an event as every export is.

    Raises `NotFoundError` if the log has no event of the scope, `NotReadyError` as `evidence`.
    """
    permitted = permit(vault, who, Action.AUDIT_EXPORT)
    sealed = heads.seal(vault)  # by nobody: a pack names none who did not act on its scope
    note = covering(vault)
    with ExitStack() as snapshot:
        work = snapshot.enter_context(vault.database.reading())

        def sign(manifest: bytes) -> bytes:  # all is read by now: nothing waits for the device
            snapshot.close()
            return vault.gate.sign_manifest(manifest)

        contents = _contents(vault, work, Asked(scope, who.actor), sealed, note)
        manifest = write_pack(contents, out, sign)
    receipt = Receipt(sha256(manifest).hexdigest(), 0, sealed.size, contents.size)
    with vault.database.work() as work:
        told: Document = {"query": {"pack": str(scope)}, **asdict(receipt)}
        work.commit(event_of(EventType.AUDIT_EXPORTED, who, permitted.role, told))
    return receipt


@dataclass(frozen=True, slots=True)
class Asked:
    """The scope of a pack, and who wants it."""

    scope: Scope
    by: str


def _contents(
    vault: Vault, work: Reading, asked: Asked, sealed: SealedHeads, note: str
) -> PackContents:
    at = _place(sealed, asked.scope)
    size = Checkpoint.parse(Note.parse(note.encode()).text).size
    genesis, known = work.authority.records()[0], vault.cosigned.policy
    lone = partial(_lone, work.audit.hashes(), size)
    return PackContents(
        origin=vault.settings.origin,
        genesis=genesis.hash,
        scope=asked.scope,
        checkpoint=note.encode(),
        size=size,
        events=map(lone, work.audit.of_scope(asked.scope, sealed.size)),
        sealed=lone(work.audit.event(sealed.index)),
        head=sealed.heads[at],
        at=at,
        path=_path(sealed, at),
        people=_people(work, asked.scope, sealed.size),
        services={name: genesis.request["services"][name] for name in ("log_keys", "evidence")},
        requester=asked.by,
        created_at=text_of(vault.clock()),
        software=f"keyvault {VERSION}",
        policy=known.text if known else b"",
    )


def _lone(read: ReadHash, size: int, event: LoggedEvent) -> Lone:
    return Lone(event.index, leaf_of(event), inclusion_proof(read, event.index, size))


def _place(sealed: SealedHeads, scope: Scope) -> int:
    for at, head in enumerate(sealed.heads):
        if head.name == f"scope/{scope}":
            return at
    raise NotFoundError(f"the log has no event of {scope}")


def _path(sealed: SealedHeads, at: int) -> list[bytes]:
    return inclusion_proof(HashReader([head.leaf for head in sealed.heads]), at, len(sealed.heads))


def _people(work: Reading, scope: Scope, size: int) -> dict[str, Document]:
    """Who acted on the scope: their names, and the keys that they signed with."""
    acted, used = set[str](), set[str]()
    for event in work.audit.of_scope(scope, size):
        actor = str(event.header["ac"])
        acted |= {actor.removeprefix(LEAD)} if actor.startswith(LEAD) else set()
        whole = json.loads(event.payload) if event.payload else {}
        said = whole.get("record", whole)
        for one in _signed(said):
            acted.add(one["approver"])
            used.add(one["credential"])
        acted |= {said["request"]["requester"]} if "requester" in said.get("request", {}) else set()
    records = work.authority.records()
    names, keys = names_of(records), _keys(records)
    return {
        person: {
            "full_name": names.get(f"{LEAD}{person}", person),
            "keys": {name: spki for name, spki in keys.get(person, {}).items() if name in used},
        }
        for person in sorted(acted)
    }


def _signed(said: Document) -> list[Document]:
    """The approvals that an event holds."""
    one = said.get("approval")
    return [*said.get("approvals", ()), *([one] if isinstance(one, dict) else ())]


def _keys(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """Every key that was ever somebody's to decide with: thumbprints, and the keys in base64."""
    found: dict[str, dict[str, str]] = {}
    for record in records:
        asked = record.request.get("parameters", {})
        for new in (*record.request.get("officers", ()), asked):
            credential = new.get("credential")
            if isinstance(credential, dict) and not credential["login_only"]:
                name = thumbprint(b64decode(credential["spki"]))
                found.setdefault(new["person"], {})[name] = credential["spki"]
    return found
