"""What every operation works with: the parts, put together by bootstrap, and the clock."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from threading import Lock
from uuid import UUID, uuid4

from hsm.errors import DeviceUnavailableError
from hsm.types import WrappedKey
from keyvault import VERSION, signatures, wire
from keyvault.domain.access import Action, Deny, Permit, Principal, decide
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.chain import Record, load
from keyvault.domain.errors import (
    AuthorityError,
    ConflictError,
    NotFoundError,
    NotPermittedError,
    OutcomeUnknownError,
)
from keyvault.domain.keys import Key
from keyvault.domain.notes import VerifierKey
from keyvault.domain.people import System
from keyvault.domain.standing import Where
from keyvault.gate.client import Gate
from keyvault.gate.hot import GateClient
from keyvault.operations.relays import Relays
from keyvault.settings import Settings
from keyvault.store.cosigned import Cosigned
from keyvault.store.keys import no_key
from keyvault.store.recorder_client import RecorderClient
from keyvault.store.unit_of_work import Database, Reading, Work
from keyvault.witness import anchors


@dataclass(frozen=True, slots=True)
class Once:
    """An Idempotency-Key and the SHA-256 of the call it came with."""

    key: str
    fingerprint: bytes


@dataclass
class Vault:
    """The parts. State is in the database and the HSM only; what is kept here is a cache."""

    settings: Settings
    database: Database
    gate: Gate
    hot: GateClient
    recorder: RecorderClient
    recorder_status: wire.Client
    clock: Callable[[], datetime]
    cosigned: Cosigned
    keys: "KeyCache"
    spare: Gate | None = None  # of the second token, where there is one
    relays: Relays = field(init=False)
    _authority: Authority | None = None
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.relays = Relays(self.settings.recorder.parent / "desks")

    async def start(self) -> None:
        """Verify the authority chain and write down that the service runs. Raises `VaultError`."""
        await asyncio.to_thread(self._announce)

    def _announce(self) -> None:
        self.check_authority()
        self.check_anchors()
        with self.database.work() as work:
            authority = self.authority(work)
            payload: Document = {"version": VERSION, "authority": authority.size}
            work.commit(
                AuditEvent(
                    type=EventType.SERVICE_STARTED,
                    outcome=Outcome.OK,
                    operation=uuid4(),
                    stream=f"node:{self.settings.node}",
                    actor="service:api",
                    payload=payload,
                )
            )

    async def stop(self) -> None:
        """Hang up on every part."""
        await self.hot.close()
        await self.recorder.close()
        self.close()

    def close(self) -> None:
        """Hang up, where no event loop was used."""
        self.relays.close()
        self.gate.close()
        if self.spare is not None:
            self.spare.close()
        self.recorder_status.close()
        self.database.close()

    def check_authority(self) -> None:
        """Raise `AuthorityError` if the chain is broken, or shorter than the gate has seen it.

        A gate that is away cannot tell; it refuses by itself what needs the whole chain. The
        newest record has to be the one that the log tells of: its time is signed by nobody.
        """
        seen = 0
        with suppress(DeviceUnavailableError):
            seen = self.gate.status()["authority"]["seen"]
        with self.database.reading() as work:
            held, newest = self.authority(work), work.audit.newest_of("authority")
        if held.size < seen:
            raise AuthorityError(
                f"the database holds {held.size} authority records, and the gate has seen {seen}",
                next_step="restore the records that are gone, and call your officers",
            )
        if newest and newest.payload and json.loads(newest.payload)["hash"] != held.head:
            raise AuthorityError("the newest authority record is not the one that the log tells of")

    def check_anchors(self) -> None:
        """Raise `RolledBackError` if anybody outside has seen more of the log, or another."""
        with self.database.reading() as work:
            lines = self.authority(work).services.log_keys
            newest = work.audit.checkpoint()
        keys = [VerifierKey.parse(line) for line in lines]
        seen = anchors.gathered(self.settings, keys, newest.note if newest else "")
        with self.database.reading() as work:  # a new snapshot: the log grew while they were asked
            anchors.demand(seen, work.audit.head().size, work.audit.hashes())

    def authority(self, work: Reading) -> Authority:
        """Return who may do what, verified from genesis. Raises `AuthorityError`.

        Records are verified once; later calls verify what was added since, and that the last
        record seen still stands where it stood. In a snapshot, ask for it first: one that is
        older than what another thread has seen would look as if records were gone.
        """
        with self._lock:
            self._authority = _caught_up(work, self.settings.genesis, self._authority)
            return self._authority


class KeyCache:
    """Keys as last read, for the hot path. The recorder refuses a version that is not current.

    A wrapped key's record was read with it, and is there until the key's next use takes it.
    """

    LIMIT = 10_000
    RECORDS = 1_000  # of keys that nobody has used since they were read

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[UUID, Key] = {}
        self._records: dict[bytes, WrappedKey] = {}

    def get(self, key_id: UUID) -> Key | None:
        return self._keys.get(key_id)

    def load(self, key_id: UUID) -> Key:
        """Read a key from the database and keep it. Raises `NotFoundError`."""
        key, record = self._database.key(key_id)
        if len(self._keys) >= self.LIMIT:
            self._keys.pop(next(iter(self._keys)), None)
        self._keys[key_id] = key
        if record is not None:
            if len(self._records) >= self.RECORDS:
                self._records.pop(next(iter(self._records)), None)
            self._records[key_id.bytes] = record
        return key

    def take(self, key_id: bytes) -> WrappedKey | None:
        """Give the record that was read with a key, once, to send it with the key's first use."""
        return self._records.pop(key_id, None)

    def forget(self, key_id: UUID) -> None:
        self._keys.pop(key_id, None)


def _caught_up(work: Reading, genesis: str, known: Authority | None) -> Authority:
    if known is None:
        return _verified(_from_genesis(work, genesis))
    head, added = work.authority.after(known.size - 1)
    if not head:
        raise _gone()
    if head != known.head:
        raise AuthorityError(f"authority record {known.size - 1} was changed after it was verified")
    return _verified(added, known)


def _from_genesis(work: Reading, genesis: str) -> list[Record]:
    records = work.authority.records()
    if not records:
        raise _gone()
    if records[0].hash != genesis:
        raise AuthorityError(
            "the genesis record is not the one that this service trusts",
            next_step="somebody exchanged the database or the settings: call your officers",
        )
    return records


def _verified(records: list[Record], known: Authority | None = None) -> Authority:
    return load(records, signatures.verify, signatures.spki_of_certificate, known)


def _gone() -> AuthorityError:
    return AuthorityError("the authority chain is gone", next_step="run: keyvault doctor")


def permit(
    vault: Vault,
    who: Principal,
    action: Action,
    key: Key | None = None,
    where: Where | None = None,
    *,
    review: bool = False,
) -> Permit:
    """Decide once. A no is an event too, and raises `NotPermittedError`.

    A system that asks for a key outside its scope learns no more than that there is none.
    """
    verdict = decide(who, action, vault.clock(), key=key, where=where, review=review)
    if isinstance(verdict, Permit):
        return verdict
    with vault.database.work() as work:
        work.commit(denial(who, action, verdict, key))
    raise refusal(who, verdict, key)


def denial(who: Principal, action: Action, verdict: Deny, key: Key | None) -> AuditEvent:
    """Write down a refused call."""
    return AuditEvent(
        type=EventType.KEY_USE_DENIED if key else EventType.ACCESS_DENIED,
        outcome=Outcome.REFUSED,
        operation=uuid4(),
        stream=key_stream(key.id) if key else who.actor,
        actor=who.actor,
        scope=key.scope if key else None,
        payload={"action": str(action), "reason": verdict.reason},
    )


def refusal(who: Principal, verdict: Deny, key: Key | None) -> NotPermittedError | NotFoundError:
    """Make the error for a refused call: ids are no capabilities, so other scopes stay unseen."""
    if key is not None and isinstance(who.subject, System) and key.scope != who.subject.scope:
        return no_key(key.id)
    return NotPermittedError(verdict.reason, next_step=verdict.next_step)


def key_event(
    kind: EventType,
    actor: str,
    role: str,
    key: Key,
    payload: Document,
    outcome: Outcome = Outcome.OK,
    operation: UUID | None = None,
) -> AuditEvent:
    """Write down what somebody did about a key, in the key's own stream, under its id."""
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=operation or uuid4(),
        stream=key_stream(key.id),
        actor=actor,
        role=role,
        scope=key.scope,
        payload={"key": str(key.id), **payload},
    )


@lru_cache(maxsize=4_096)
def text_of(key_id: UUID) -> str:
    """Write an id as the log and the wire have it; a use of a key does so several times."""
    return str(key_id)


def key_stream(key_id: UUID) -> str:
    return f"key:{text_of(key_id)}"


def request_stream(request_id: UUID) -> str:
    return f"request:{request_id}"


def recall(work: Reading, who: Principal, once: Once | None) -> Document | None:
    """Return the recorded outcome of an earlier call with this Idempotency-Key, or None.

    Raises `ConflictError` if that was another call, `OutcomeUnknownError` if it was cut off.
    """
    if once is None:
        return None
    recorded = work.idempotency.find(who.actor, once.key)
    if recorded is None:
        return None
    if recorded.request_hash != once.fingerprint:
        raise ConflictError(
            "this Idempotency-Key was used for another call", next_step="use a fresh key"
        )
    if recorded.outcome is None:
        raise OutcomeUnknownError(
            "the first call with this Idempotency-Key has not ended",
            next_step="try again later; reconciling settles what was cut off",
        )
    return recorded.outcome


def remember(work: Work, who: Principal, once: Once | None, outcome: Document | None) -> None:
    """Record a call's outcome, or with None that it began, in the transaction of its event."""
    if once is None:
        return
    if work.idempotency.find(who.actor, once.key) is None:
        work.idempotency.begin(who.actor, once.key, once.fingerprint)
    if outcome is not None:
        work.idempotency.finish(who.actor, once.key, outcome)
