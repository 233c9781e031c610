"""After a crash: what is on the token, held against what the register says. Run twice, same end.

A private key that nobody accounts for is reported and left alone: destroying one always needs
approvals. Each verdict is an event.
"""

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID, uuid4

from hsm.errors import HsmError, KeyUnusableError
from hsm.types import ObjectRecord
from keyvault.domain.approvals import ApprovalRequest
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    ActivateKey,
    AllowUse,
    CertifyAuthority,
    CertifySigner,
    DeactivateKey,
    DestroyKey,
    NewKey,
    ResumeKey,
    RetireKek,
    RotateKek,
)
from keyvault.domain.errors import (
    KeyStateError,
    LogUnavailableError,
    OutcomeUnknownError,
    VaultError,
)
from keyvault.domain.keys import Key, KeyState
from keyvault.domain.reconciliation import Drift, by_id
from keyvault.operations import executors, restoring
from keyvault.operations.acts.base import Acting
from keyvault.operations.reconciliation import differences
from keyvault.operations.vault import Vault, key_stream

ACTOR = "service:reconcile"
FINISHABLE = (
    *(ActivateKey, ResumeKey, DeactivateKey, DestroyKey, AllowUse),
    *(CertifyAuthority, CertifySigner, RotateKek, RetireKek),
)


class Finding(StrEnum):
    ADOPTED = "adopted"  # made before the crash, found whole, now in the register
    VOIDED = "voided"  # nothing was made, or only a public half, which is gone now
    COMPLETED = "completed"  # it had happened, or was done now
    QUARANTINED = "quarantined"  # something is there that nobody may use: people have to decide
    LOST = "lost"  # in the register, but not on the token
    UNKNOWN = "unknown"  # on the token, but not in the register
    CHANGED = "changed"  # on the token, but not as it was made


ALARMS = frozenset({Finding.QUARANTINED, Finding.LOST, Finding.UNKNOWN, Finding.CHANGED})


@dataclass(frozen=True, slots=True)
class Verdict:
    finding: Finding
    key: str  # key id, or the CKA_ID in hex of an object that is not ours
    detail: str


def reconcile(vault: Vault) -> list[Verdict]:
    """Settle every request that was cut off, then compare register and token both ways.

    It may run beside the service: what is being made at this moment is withdrawn at the gate
    first, so that nothing can appear after it was looked for. What the gate can do twice goes on.
    Raises `DeviceUnavailableError` if the gate is down.
    """
    pending = _cut_off(vault)
    for asked in pending:
        if not isinstance(asked.request.command, FINISHABLE):
            vault.gate.withdraw(asked.request.id.bytes)
    found = by_id(vault.gate.inventory())
    verdicts = [_settle(vault, asked, found) for asked in pending]
    return [*verdicts, *_restorations(vault), *_drift(vault)]


def _restorations(vault: Vault) -> list[Verdict]:
    """What a restoration had put on the second token, its gate has destroyed at its start."""
    ended = restoring.cut_off(vault, ACTOR)
    return [Verdict(Finding.VOIDED, str(one.id), "the restoration was cut off") for one in ended]


def _cut_off(vault: Vault) -> list[ApprovalRequest]:
    """Requests under way, without the handovers that people are busy with.

    One that the gate opened and nobody wrote down is ended there first.
    """
    with vault.database.reading() as work:
        executing = work.requests.executing()
        known = {asked.request.id for asked in executing if work.handovers.find(asked.request.id)}
    busy = {UUID(name) for name in vault.gate.handovers()}
    for stray in busy - known:
        vault.gate.end_handover(stray.bytes, "lost", "nobody wrote down that it was opened")
    return [asked for asked in executing if asked.request.id not in busy & known]


def _settle(
    vault: Vault, asked: ApprovalRequest, found: dict[bytes, list[ObjectRecord]]
) -> Verdict:
    acting = Acting(vault, ACTOR, "", asked)
    command, key_id = asked.request.command, asked.request.id
    if isinstance(command, FINISHABLE):
        return _finished(acting, getattr(command, "key", key_id))
    objects = found.get(key_id.bytes, [])
    if not isinstance(command, NewKey):  # a blob, which leaves no trace
        return _void(acting, "whether a blob was made is not known; none left", Outcome.UNKNOWN)
    if not objects:
        return _void(acting, "nothing was made")
    classes = {record.object_class for record in objects}
    if classes == {"PUBLIC_KEY"}:
        vault.gate.discard_public_half(key_id.bytes)
        return _void(acting, "only a public half was there; it is gone")
    return _adopt(acting, command)


def _finished(acting: Acting, key_id: UUID) -> Verdict:
    try:
        _finish(acting, executors.act(acting))
    except (LogUnavailableError, OutcomeUnknownError):
        raise
    except (HsmError, VaultError) as error:
        return Verdict(Finding.VOIDED, str(key_id), f"it could not be finished: {error}")
    return Verdict(Finding.COMPLETED, str(key_id), f"{acting.command.name} is finished")


def _void(acting: Acting, detail: str, outcome: Outcome = Outcome.FAIL) -> Verdict:
    with acting.vault.database.work() as work:
        executors.void(acting, work, "cut-off", detail, outcome)
    return Verdict(Finding.VOIDED, str(acting.asked.request.id), detail)


def _adopt(acting: Acting, command: NewKey) -> Verdict:
    key_id = acting.asked.request.id
    try:
        made = acting.vault.gate.inspect(key_id.bytes, _spec(acting, command))
        _finish(acting, made)
    except (HsmError, VaultError) as error:
        detail = f"what is on the token is not what was asked for: {error}"
        _report(acting.vault, Finding.QUARANTINED, key_id, detail)
        return Verdict(Finding.QUARANTINED, str(key_id), detail)
    return Verdict(Finding.ADOPTED, str(key_id), "made before the crash; attributes and use tested")


def _spec(acting: Acting, command: NewKey) -> Document:
    with acting.vault.database.reading() as work:
        key_class = acting.vault.authority(work).key_class(command.key_class)
    return {
        "label": command.label,
        "algorithm": str(command.algorithm),
        "usage": str(command.usage),
        "extractable": key_class.extractable,
    }


def _finish(acting: Acting, made: Document) -> None:
    with acting.vault.database.work() as work:
        outcome = executors.settle(acting, work, made)
        work.commit(*executors.done(acting, {**outcome, "reconciled": True}))
    executors.follow(acting)


def _drift(vault: Vault) -> list[Verdict]:
    """Report what differs between register and tokens, as a reconciliation finds it."""
    _remind_gate(vault)
    verdicts = [
        Verdict(_FINDINGS[one.drift], one.key, f"{_DETAILS[one.drift]}: {one.detail}")
        for one in differences(vault)
    ]
    for verdict in verdicts:
        _report(vault, verdict.finding, verdict.key, verdict.detail)
    return verdicts


_FINDINGS = {
    Drift.MISSING: Finding.LOST,
    Drift.LEFT_BEHIND: Finding.QUARANTINED,
    Drift.UNKNOWN: Finding.UNKNOWN,
    Drift.CHANGED: Finding.CHANGED,
    Drift.HALF_PAIR: Finding.CHANGED,
}
_DETAILS = {
    Drift.MISSING: "in the register, but its object is not on the token",
    Drift.LEFT_BEHIND: "destroyed by the register, but its object is still on the token",
    Drift.UNKNOWN: "on the token, but not in the register",
    Drift.CHANGED: "on the token, but not as it was made",
    Drift.HALF_PAIR: "on the token, but only half of the pair",
}


def _remind_gate(vault: Vault) -> None:
    for state in (KeyState.SUSPENDED, KeyState.COMPROMISED):
        after: str | None = None
        while True:
            with vault.database.reading() as work:
                keys, after = work.keys.page(state=state, after=after, limit=500)
            for key in keys:
                _tell_gate(vault, key)
            if after is None:
                break


def _tell_gate(vault: Vault, key: Key) -> None:
    """A gate that was away when the key was stopped may not know of it."""
    with suppress(KeyStateError, KeyUnusableError):  # or it knows of more than that
        vault.gate.stop(key.id.bytes, str(key.state))


def _report(vault: Vault, finding: Finding, key_id: UUID | str, detail: str) -> None:
    with vault.database.work() as work:
        work.commit(
            AuditEvent(
                type=EventType.KEY_RECONCILED,
                outcome=Outcome.FAIL if finding in ALARMS else Outcome.OK,
                operation=uuid4(),
                stream=key_stream(key_id) if isinstance(key_id, UUID) else f"key:{key_id}",
                actor=ACTOR,
                payload={"finding": str(finding), "key": str(key_id), "detail": detail},
            )
        )
