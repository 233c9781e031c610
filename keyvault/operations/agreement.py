"""Keys for messages: derive and MAC, derive and encrypt, and the reverse of both.

Who → may they, is the key for this → the gate, which alone sees the shared secret → may this
counter be used → the log → the answer. A message of ours takes a counter that was reserved, and
takes it once: what repeats a call word for word gets the first answer again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid4

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm.errors import DataInvalidError, DeviceUnavailableError, HsmError
from hsm.types import Algorithm, KeyUsage
from keyvault.domain.access import Action, Deny, Principal, decide
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.counters import Series
from keyvault.domain.errors import (
    AuthorityChangedError,
    CellUsageError,
    ConflictError,
    CounterNotIssuedError,
    CounterRegressionError,
    CounterUsedError,
    InvalidInputError,
    KeyStateError,
    VaultError,
)
from keyvault.domain.gbcs import MESSAGE_TAG, CellUsage, MessageKind, Transaction, eui64
from keyvault.domain.keys import Key, Purpose, mechanism_for
from keyvault.operations.counters import caught_up, text
from keyvault.operations.use import DATA_LIMIT, Used, still
from keyvault.operations.vault import Vault, denial, key_stream, refusal


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of ours: to whom, under which reserved counter, for which slot of the device."""

    peer: bytes  # SPKI, DER
    recipient: str  # EUI-64
    counter: int
    cell_usage: CellUsage = CellUsage.MANAGEMENT


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of a device's: from whom, and under which counter."""

    peer: bytes
    originator: str
    counter: int
    kind: MessageKind = MessageKind.RESPONSE


async def mac(vault: Vault, who: Principal, key_id: UUID, to: Outgoing, data: bytes) -> Used:
    """MAC a command: 12 bytes, for top-ups all 16. `data` is all that GBCS has authenticated."""
    call = _Call("mac", MessageKind.COMMAND, Purpose.PROTECT, b"", data)
    return await _sealed(vault, who, key_id, to, call)


async def encrypt(
    vault: Vault, who: Principal, key_id: UUID, to: Outgoing, plaintext: bytes, aad: bytes
) -> Used:
    """Encrypt an attribute: ciphertext || tag of 12 bytes."""
    call = _Call("encrypt", MessageKind.ENCRYPTION, Purpose.PROTECT, plaintext, aad)
    if to.cell_usage is CellUsage.TOP_UP:
        raise CellUsageError("a top-up is a MAC; nothing is encrypted for it")
    return await _sealed(vault, who, key_id, to, call)


async def decrypt(
    vault: Vault, who: Principal, key_id: UUID, by: Incoming, sealed: bytes, aad: bytes
) -> Used:
    """Open an attribute that a device encrypted. Raises `DataInvalidError` if it was altered."""
    call = _Call("decrypt", MessageKind.ENCRYPTION, Purpose.PROCESS, sealed, aad)
    return await _opened(vault, who, key_id, by, call)


async def check_mac(
    vault: Vault, who: Principal, key_id: UUID, by: Incoming, data: bytes, tag: bytes
) -> bool:
    """Say whether the MAC of a device's response or alert is good."""
    if len(tag) != MESSAGE_TAG:
        raise InvalidInputError(f"the MAC of a message has {MESSAGE_TAG} bytes")
    call = _Call("check-mac", by.kind, Purpose.PROCESS, tag, data)
    try:
        await _opened(vault, who, key_id, by, call)
    except DataInvalidError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Call:
    """One use: its name, the kind that goes into the key, and the data."""

    name: str
    kind: MessageKind
    purpose: Purpose
    data: bytes
    aad: bytes


@dataclass(frozen=True, slots=True)
class _Terms:
    """A key and its holder's rights, with the transaction that the call is about."""

    who: Principal
    role: str
    key: Key
    call: _Call
    transaction: Transaction
    peer: bytes
    cell_usage: CellUsage = CellUsage.MANAGEMENT
    series: str = ""

    def document(self) -> Document:
        """What the gate is told."""
        return {
            "peer": self.peer,
            "kind": int(self.transaction.kind),
            "originator": self.transaction.originator,
            "counter": self.transaction.counter,
            "recipient": self.transaction.recipient,
            "cell_usage": str(self.cell_usage),
        }

    def said(self, **more: object) -> Document:
        """What the log is told: who, to whom, under which number, and hashes."""
        number = text(self.transaction.counter)
        return {
            "key": str(self.key.id),
            "action": str(Action.KEY_DERIVE),
            "mechanism": "ECDH",
            "use": self.call.name,
            "kind": self.transaction.kind.name.lower(),
            "cell_usage": str(self.cell_usage),
            "originator": self.transaction.originator,
            "recipient": self.transaction.recipient,
            "counter": {"first": number, "last": number},
            "series": self.series,
            "peer_sha256": sha256(self.peer).hexdigest(),
            "digest": sha256(self.call.aad + self.call.data).hexdigest(),
            **more,
        }

    def event(self, outcome: Outcome, **more: object) -> AuditEvent:
        kind = EventType.KEY_USED
        return _event(self.who, self.role, self.key, kind, outcome, self.said(**more))

    def once(self) -> tuple[str, str, bytes]:
        """A counter is spent like an Idempotency-Key, but belongs to nobody."""
        fingerprint = canonical(
            [self.call.name, str(self.key.id), self.transaction.recipient, self.peer.hex()]
        )
        digest = sha256(fingerprint + self._hashed()).digest()
        number = f"{text(self.transaction.counter)}:{self.transaction.kind.name.lower()}"
        return f"counter:{self.series}", number, digest

    def _hashed(self) -> bytes:
        return sha256(self.call.aad).digest() + sha256(self.call.data).digest()


async def _sealed(vault: Vault, who: Principal, key_id: UUID, to: Outgoing, call: _Call) -> Used:
    _check_sizes(to.peer, call)

    async def seal(who: Principal, key: Key, role: str) -> Used:
        own, series = eui64(key.scope.user_id), _series(key, to)
        transaction = Transaction(call.kind, own, to.counter, eui64(to.recipient))
        terms = _Terms(who, role, key, call, transaction, to.peer, to.cell_usage, str(series))
        earlier = await asyncio.to_thread(_spent, vault, terms)
        if earlier is not None:
            return earlier
        made = await _device(vault, terms, lambda: _seal(vault, terms))
        await asyncio.to_thread(_check_counter, vault, terms, series, made["highest"])
        return await _released(vault, terms, made)

    return await _with_key(vault, who, key_id, call, seal)


async def _opened(vault: Vault, who: Principal, key_id: UUID, by: Incoming, call: _Call) -> Used:
    _check_sizes(by.peer, call)

    async def open_(who: Principal, key: Key, role: str) -> Used:
        own = eui64(key.scope.user_id)
        transaction = Transaction(call.kind, eui64(by.originator), by.counter, own)
        terms = _Terms(who, role, key, call, transaction, by.peer)
        opened = await _device(vault, terms, lambda: _open(vault, terms))
        event = terms.event(Outcome.OK, z=_where(opened))
        expect = {str(key.id): key.version}
        receipt = await vault.recorder.append(event, expect=expect, authority=who.authority)
        return Used([opened["data"]], receipt.index, receipt.leaf_hash)

    return await _with_key(vault, who, key_id, call, open_)


async def _with_key(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    call: _Call,
    act: Callable[[Principal, Key, str], Awaitable[Used]],
) -> Used:
    """Find the key and ask whether; it or the caller may have changed, so look again once."""
    for last in (False, True):
        key = await _key(vault, key_id)
        role = await _decided(vault, who, key)
        try:
            _check_kind(key)
            key.check_use(call.purpose, vault.clock())
            return await act(who, key, role)
        except AuthorityChangedError:
            if last:
                raise
            who = await still(vault, who, Action.KEY_DERIVE, key)
        except KeyStateError as error:
            vault.keys.forget(key_id)
            if last:
                await vault.recorder.append(_denied(who, role, key, error))
                raise
    raise AssertionError("the second time either answers or raises")


def _denied(who: Principal, role: str, key: Key, error: VaultError) -> AuditEvent:
    said: Document = {"action": str(Action.KEY_DERIVE), "reason": str(error)}
    return _event(who, role, key, EventType.KEY_USE_DENIED, Outcome.REFUSED, said)


async def _key(vault: Vault, key_id: UUID) -> Key:
    known = vault.keys.get(key_id)
    return known if known is not None else await asyncio.to_thread(vault.keys.load, key_id)


async def _decided(vault: Vault, who: Principal, key: Key) -> str:
    verdict = decide(who, Action.KEY_DERIVE, vault.clock(), key=key)
    if isinstance(verdict, Deny):
        await vault.recorder.append(denial(who, Action.KEY_DERIVE, verdict, key))
        raise refusal(who, verdict, key)
    return verdict.role


async def _device(vault: Vault, terms: _Terms, ask: Callable[[], Awaitable[Document]]) -> Document:
    """Ask the gate. What it refuses is an event too; an outage is one for everybody."""
    try:
        return await ask()
    except DeviceUnavailableError:
        raise
    except CellUsageError as error:
        await vault.recorder.append(_denied(terms.who, terms.role, terms.key, error))
        raise
    except HsmError as error:
        event = terms.event(Outcome.FAIL, code=error.code, reason=str(error))
        await vault.recorder.append(event)
        raise


async def _seal(vault: Vault, terms: _Terms) -> Document:
    key_id, call = terms.key.id.bytes, terms.call
    return await vault.hot.seal_agreed(key_id, terms.document(), terms.series, call.data, call.aad)


async def _open(vault: Vault, terms: _Terms) -> Document:
    call = terms.call
    return await vault.hot.open_agreed(terms.key.id.bytes, terms.document(), call.data, call.aad)


async def _released(vault: Vault, terms: _Terms, made: Document) -> Used:
    result: bytes = made["data"]
    event = terms.event(Outcome.OK, z=_where(made), result_sha256=sha256(result).hexdigest())
    expect = {str(terms.key.id): terms.key.version}
    try:
        receipt = await vault.recorder.append(
            event,
            expect=expect,
            once=(*terms.once(), [result]),
            authority=terms.who.authority,
        )
    except ConflictError:  # somebody was faster with this counter
        earlier = await asyncio.to_thread(_spent, vault, terms)
        if earlier is None:
            raise
        return earlier
    return Used([result], receipt.index, receipt.leaf_hash)


def _spent(vault: Vault, terms: _Terms) -> Used | None:
    owner, number, fingerprint = terms.once()
    with vault.database.reading() as reading:
        recorded = reading.idempotency.find(owner, number)
    if recorded is None or recorded.outcome is None:
        return None
    if recorded.request_hash != fingerprint:
        raise CounterUsedError(
            f"the counter {number} protects another message",
            next_step="reserve a counter for each message",
        )
    found = recorded.outcome
    results = [bytes.fromhex(item) for item in found["results"]]
    return Used(results, found["index"], bytes.fromhex(found["leaf_hash"]))


def _check_counter(vault: Vault, terms: _Terms, series: Series, highest: int) -> None:
    """Ask the database after the gate: it knows all that the gate knew, unless it is an old one."""
    with vault.database.reading() as reading:
        counter = reading.counters.get(series)
    if counter.behind(highest):
        caught_up(vault, _blocked(terms), series, highest)
        raise CounterRegressionError(
            f"the database is older than the gate; counters up to {text(highest)} are void",
            next_step="reserve new counters; see the runbook counter-regression",
        )
    if not counter.usable(terms.transaction.counter):
        raise CounterNotIssuedError(
            f"the counter {text(terms.transaction.counter)} was not given, or is void",
            next_step="reserve counters and use those",
        )


def _blocked(terms: _Terms) -> Callable[[EventType, Outcome, Document], AuditEvent]:
    def event(kind: EventType, outcome: Outcome, payload: Document) -> AuditEvent:
        said = {"series": terms.series, **payload}
        stream = f"counter:{terms.series}"
        return _event(terms.who, terms.role, terms.key, kind, outcome, said, stream)

    return event


def _series(key: Key, to: Outgoing) -> Series:
    top_up = to.cell_usage is CellUsage.TOP_UP
    return Series.of(key.scope, to.cell_usage, to.recipient if top_up else "")


def _check_kind(key: Key) -> None:
    mechanism_for(key, KeyUsage.AGREE)
    if key.algorithm is not Algorithm.EC_P256:
        raise InvalidInputError("GBCS agrees with P-256 keys alone")


def _check_sizes(peer: bytes, call: _Call) -> None:
    if len(call.data) + len(call.aad) > DATA_LIMIT:
        raise InvalidInputError(f"at most {DATA_LIMIT} bytes at once")
    try:
        key = load_der_public_key(peer)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInputError("the peer's key is no SubjectPublicKeyInfo in DER") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError("the peer's key is no P-256 key")


def _where(made: Document) -> str:
    """Where the shared secret was for the length of the call."""
    return "in-module" if made["in_module"] else "in-gate-overwritten"


def _event(
    who: Principal,
    role: str,
    key: Key,
    kind: EventType,
    outcome: Outcome,
    payload: Document,
    stream: str = "",
) -> AuditEvent:
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=uuid4(),
        stream=stream or key_stream(key.id),
        actor=who.actor,
        role=role,
        scope=key.scope,
        payload=payload,
    )
