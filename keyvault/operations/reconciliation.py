"""Reconciling register and tokens: report what differs, and have people sign that they saw it.

What a crash left half done is settled by `keyvault.operations.reconcile`, on the service's host;
here nothing is settled. Both find what differs by `differences`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from hsm.errors import HsmError
from hsm.types import ObjectRecord
from keyvault import signatures, wire
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import CanonicalError, Document, canonical, parse
from keyvault.domain.errors import ApprovalInvalidError, ConflictError
from keyvault.domain.keys import MAX_KEKS, kek_name, service_key_id
from keyvault.domain.people import Person
from keyvault.domain.reconciliation import (
    LISTED,
    Drift,
    Finding,
    Reconciliation,
    Signed,
    Token,
    by_id,
    document_of,
    judge,
    statement_of,
    strangers,
)
from keyvault.domain.standing import Reach
from keyvault.domain.times import text_of, time_of
from keyvault.gate.client import objects_at
from keyvault.operations.vault import Once, Vault, permit, recall, remember
from keyvault.settings import ModuleSettings

SPARE = "spare"  # the own key of the second token's gate
SERVICE_KEYS = {  # of each token, with the number of objects of each
    "keys": {
        "session-ca": 2,
        "evidence": 2,
        "mac": 1,
        SPARE: 2,
        **{kek_name(number): 1 for number in range(1, MAX_KEKS + 1)},
    },
    "log": {"log": 2, "log-ed25519": 2},
    "spare": {SPARE: 2},
}
# Not every module can make the first, and the second is there if the token was the second one
# before; of wrapping keys, those are there that are in use.
OPTIONAL = frozenset({"log-ed25519", SPARE, *map(kek_name, range(1, MAX_KEKS + 1))})
PATIENCE = 60.0  # seconds for all objects of a token
SKEW = timedelta(minutes=5)  # that the clock of a desk may differ from ours
STATEMENT_LIMIT = 4_096  # bytes

Found = dict[bytes, list[ObjectRecord]]


@dataclass
class Counted:
    """What was held against what."""

    keys: int = 0  # of the register
    wrapped: int = 0  # of these, those that rest outside the tokens
    objects: dict[str, int] = field(default_factory=dict)  # by module
    foreign: list[Document] = field(default_factory=list)


def modules(vault: Vault) -> dict[str, ModuleSettings]:
    """The tokens that the settings name, by the name that they have there."""
    known = {"keys": vault.settings.keys, "log": vault.settings.log}
    return known | ({"spare": vault.settings.spare} if vault.settings.spare else {})


def tokens(vault: Vault) -> list[Token]:
    """Ask every gate what its token is. One that does not answer is listed all the same."""
    return [_token(name, one) for name, one in modules(vault).items()]


def _token(name: str, one: ModuleSettings) -> Token:
    declared = Token(name, one.uri, one.level, one.location, one.owner, reachable=False)
    try:
        info = _info(one)
    except (OSError, HsmError, KeyError):
        return declared
    told = ("serial", "label", "manufacturer", "model", "firmware", "library")
    known = {each: str(info[each]) for each in told}
    library = str(info["module_sha256"])
    return replace(declared, reachable=True, library_sha256=library, **known)  # type: ignore[arg-type]  # all texts


def _info(one: ModuleSettings) -> Document:
    client = wire.Client(one.socket)
    try:
        return dict(client.call("status", timeout=PATIENCE)["info"])
    finally:
        client.close()


def differences(vault: Vault, counted: Counted | None = None) -> list[Finding]:
    """Report what differs twice: what is made or destroyed meanwhile differs once.

    Raises `DeviceUnavailableError` where a gate is away.
    """
    counted = counted or Counted()
    found = _compared(vault, counted)
    if found:
        again = set(_compared(vault, Counted()))
        found = [one for one in found if one in again]
    return found


def _compared(vault: Vault, counted: Counted) -> list[Finding]:
    found = {name: by_id(objects_at(one.socket, PATIENCE)) for name, one in modules(vault).items()}
    counted.objects = {name: _size(objects) for name, objects in found.items()}
    findings = [*_register(vault, found["keys"], counted), *_keks(found["keys"])]
    findings += _second(vault, found.get("spare", {}))
    for name, objects in found.items():
        declared = frozenset(map(bytes.fromhex, modules(vault)[name].foreign))
        findings += _services(name, objects)
        known = frozenset(_known(vault, name, objects))
        findings += strangers(name, objects, known, declared)
        counted.foreign += _foreign(name, objects, declared - known)
    return findings


def _size(found: Found) -> int:
    return sum(map(len, found.values()))


def _known(vault: Vault, name: str, found: Found) -> Iterator[bytes]:
    """Of what is on a token, the ids that may be there: the second one has what was restored."""
    yield from map(service_key_id, SERVICE_KEYS["log" if name == "log" else "keys"])
    if name == "log":
        return
    for chunk in _ids(found):
        with vault.database.reading() as work:
            yield from (UUID(one).bytes for one in work.keys.versions([*map(str, chunk)]))
    with vault.database.reading() as work:
        yield from (asked.request.id.bytes for asked in work.requests.executing())
        yield from (key.id.bytes for key in work.backups.all_keys())


def _ids(found: Found) -> Iterator[list[UUID]]:
    """The UUIDs among the CKA_IDs of a token, some at a time."""
    ids = [UUID(bytes=key_id) for key_id in found if len(key_id) == 16]  # noqa: PLR2004  (a UUID's)
    for start in range(0, len(ids), 500):
        yield ids[start : start + 500]


def _register(vault: Vault, found: Found, counted: Counted) -> Iterator[Finding]:
    after: str | None = None
    while True:
        with vault.database.reading() as work:
            keys, after = work.keys.page(after=after, limit=500)
        for key in keys:
            counted.keys += 1
            counted.wrapped += key.residence != "resident"
            yield from judge("keys", key, found.get(key.id.bytes, []))
        if after is None:
            return


def _second(vault: Vault, found: Found) -> Iterator[Finding]:
    """What was restored into the second token is as registered, and nothing destroyed is there."""
    for chunk in _ids(found):
        with vault.database.reading() as work:
            keys = work.keys.some(chunk)
        for key_id, (key, _) in keys.items():
            yield from judge("spare", key, found[key_id.bytes])


def _services(module: str, found: Found) -> Iterator[Finding]:
    """The service's own keys have to be there, too, and whole."""
    for name, wanted in SERVICE_KEYS.get(module, {}).items():
        there = len(found.get(service_key_id(name), []))
        if there == wanted or (not there and name in OPTIONAL):
            continue
        drift = Drift.MISSING if not there else Drift.CHANGED
        detail = f"{there} of {wanted} objects of this service key are there"
        yield Finding(drift, module, service_key_id(name).hex(), f"keyvault {name}", detail)


def _keks(found: Found) -> Iterator[Finding]:
    if not any(service_key_id(kek_name(number)) in found for number in range(1, MAX_KEKS + 1)):
        told = service_key_id("kek").hex(), "keyvault kek", "no wrapping key is there"
        yield Finding(Drift.MISSING, "keys", *told)


def _foreign(module: str, found: Found, declared: frozenset[bytes]) -> Iterator[Document]:
    for key_id in sorted(declared & set(found)):
        for one in found[key_id]:
            yield {"module": module, "key": key_id.hex(), "class": one.object_class}


# The report --------------------------------------------------------------------------------------


def take(vault: Vault, who: Principal, once: Once | None = None) -> Reconciliation:
    """Hold the register against every token and keep the report. What differs is an alarm.

    It names every scope's keys, so it takes a grant for all of them.
    """
    permitted = permit(vault, who, Action.KEY_RECONCILE, where=Reach.ALL)
    with vault.database.reading() as work:
        if earlier := recall(work, who, once):
            return work.reconciliations.get(UUID(earlier["reconciliation"]))
    counted = Counted()
    findings = differences(vault, counted)
    made = _made(vault, who, findings, counted)
    with vault.database.work() as work:
        work.reconciliations.add(made)
        remember(work, who, once, {"reconciliation": str(made.id)})
        work.commit(_taken(who, permitted.role, made, findings))
    return made


def _made(
    vault: Vault, who: Principal, findings: list[Finding], counted: Counted
) -> Reconciliation:
    now, report_id = vault.clock(), uuid4()  # whole: the newest of one second is the newest
    report = canonical(
        {
            "v": 1,
            "id": str(report_id),
            "origin": vault.settings.origin,
            "taken_at": text_of(now),
            "taken_by": who.actor,
            "tokens": [asdict(one) for one in tokens(vault)],
            "objects": counted.objects,
            "keys": counted.keys,
            "wrapped": counted.wrapped,
            "findings": [document_of(one) for one in findings[:LISTED]],
            "finding_count": len(findings),
            "foreign": counted.foreign[:LISTED],
            "foreign_count": len(counted.foreign),
        }
    )
    digest = sha256(report).hexdigest()
    return Reconciliation(report_id, now, who.actor, digest, len(findings), report)


def _taken(who: Principal, role: str, made: Reconciliation, findings: list[Finding]) -> AuditEvent:
    drifts = [one.drift for one in findings]
    told: Document = {
        "sha256": made.sha256,
        "findings": made.findings,
        "drift": {str(drift): drifts.count(drift) for drift in Drift if drift in drifts},
    }
    outcome = Outcome.FAIL if findings else Outcome.OK
    return _event(EventType.RECONCILIATION_TAKEN, who, role, made.id, told, outcome)


def sign(
    vault: Vault,
    who: Principal,
    report: UUID,
    statement: bytes,
    signature: bytes,
    once: Once | None = None,
) -> Reconciliation:
    """Keep a person's signature under a report: who was shown what, and when.

    Raises `ApprovalInvalidError` unless the statement names this report, its digest and this
    person, and a key of theirs that decides signed it. `ConflictError` if they signed before.
    """
    permitted = permit(vault, who, Action.KEY_RECONCILE, where=Reach.ALL)
    with vault.database.work() as work:
        made = work.reconciliations.get(report)
        if recall(work, who, once):
            return made
        signed = _checked(vault, who, made, statement, signature)
        if not work.reconciliations.sign(report, signed):
            raise ConflictError("you have signed this report already")
        remember(work, who, once, {"reconciliation": str(report)})
        told: Document = {"sha256": made.sha256, "findings": made.findings}
        told |= {"statement": statement.decode(), "signature": signature.hex()}
        event = _event(EventType.RECONCILIATION_SIGNED, who, permitted.role, report, told)
        work.commit(event)
    return _kept(vault, report)


def _kept(vault: Vault, report: UUID) -> Reconciliation:
    with vault.database.reading() as work:
        return work.reconciliations.get(report)


def _checked(
    vault: Vault, who: Principal, made: Reconciliation, statement: bytes, signature: bytes
) -> Signed:
    try:
        told = parse(statement, max_size=STATEMENT_LIMIT)
        at = time_of(str(told.get("at", "")))
    except (CanonicalError, ValueError) as error:
        raise _not_this(made) from error
    if told != statement_of(made, vault.settings.origin, who.id, at):
        raise _not_this(made)
    if abs(vault.clock() - at) > SKEW:
        raise ApprovalInvalidError(
            "the signature is not of now", next_step="set this desk's clock, then sign again"
        )
    keys = who.subject.deciding if isinstance(who.subject, Person) else ()
    if not any(signatures.verify(one.spki, signature, statement) for one in keys):
        raise ApprovalInvalidError("no key of yours that decides made this signature")
    return Signed(who.id, at, statement, signature)


def _not_this(made: Reconciliation) -> ApprovalInvalidError:
    return ApprovalInvalidError(
        "what was signed is not this report",
        next_step=f"read it again: keyvault reconciliations show {made.id}",
    )


def get(vault: Vault, who: Principal, report: UUID) -> Reconciliation:
    """Raises `NotFoundError`."""
    permit(vault, who, Action.KEY_READ, where=Reach.ALL)
    return _kept(vault, report)


def page(
    vault: Vault, who: Principal, after: str | None = None, limit: int = 50
) -> tuple[list[Reconciliation], str | None]:
    """List reports, the newest first, and the cursor of the next page."""
    permit(vault, who, Action.KEY_READ, where=Reach.ALL)
    with vault.database.reading() as work:
        return work.reconciliations.page(after, limit)


def _event(
    kind: EventType,
    who: Principal,
    role: str,
    report: UUID,
    told: Document,
    outcome: Outcome = Outcome.OK,
) -> AuditEvent:
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=report,
        stream=f"reconciliation:{report}",
        actor=who.actor,
        role=role,
        payload={"reconciliation": str(report), **told},
    )


# The watch ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class State:
    """Figures for an alarm. `since` is when the newest report was taken, or the service founded."""

    findings: int
    signed: bool
    since: datetime
    overdue: bool


def state(vault: Vault) -> State:
    """Say how long ago somebody looked, and what they found."""
    with vault.database.reading() as work:
        newest = work.reconciliations.newest()
        since = newest.taken_at if newest else work.audit.event(0).time
    limit = timedelta(days=vault.settings.reconcile_within)
    late = vault.clock() - since > limit
    return State(newest.findings if newest else 0, bool(newest and newest.signed), since, late)


def remark(vault: Vault) -> str:
    """What health says. It is never a reason not to sign."""
    found = state(vault)
    said = []
    if found.findings:
        said.append(f"{found.findings} findings in the newest reconciliation")
    if found.overdue:
        said.append(f"nobody has reconciled since {text_of(found.since)}")
    return "; ".join([*said, "see runbook drift"]) if said else ""
