"""Emergencies: make a sealed code beforehand, and stop a key with it when the token is not there.

A code never gives more than its person may do at that moment, and of that only to stop one key.
"""

import hmac
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Permit, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.emergency import MAX_DAYS, EmergencyCode, Stop, fresh, id_of, verifier_of
from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError, NotFoundError
from keyvault.domain.keys import Key, KeyState
from keyvault.domain.times import text_of
from keyvault.domain.tokens import Step, Token
from keyvault.operations import compromise, keys, tokens
from keyvault.operations.vault import Vault, permit
from keyvault.store.unit_of_work import Work

_SECONDS = 60  # that whoever gave a code counts as a caller


def make(vault: Vault, who: Principal, days: int) -> tuple[EmergencyCode, str]:
    """Make a code for oneself. It is returned this once, to be sealed."""
    permitted = _may_seal(vault, who)
    if not 0 < days <= MAX_DAYS:
        raise InvalidInputError(f"a sealed code is good for 1 to {MAX_DAYS} days")
    code, now = fresh(), vault.clock()
    verifier = verifier_of(code)
    made = EmergencyCode(id_of(verifier), who.id, verifier, now, now + timedelta(days=days))
    with vault.database.work() as work:
        work.emergency.add(made)
        told: Document = {"code": str(made.id), "until": text_of(made.until)}
        work.commit(_event(EventType.EMERGENCY_CODE_MADE, who, permitted.role, told))
    return made, code


def mine(
    vault: Vault, who: Principal, after: str | None = None, limit: int = 50
) -> tuple[list[EmergencyCode], str | None]:
    """List one's own codes, the newest first, and the cursor of the next page."""
    _may_seal(vault, who)
    with vault.database.reading() as work:
        return work.emergency.of(who.id, after, limit)


def withdraw(vault: Vault, who: Principal, code: UUID) -> None:
    """End one's own code, whose envelope was opened or is lost. Raises `NotFoundError`."""
    permitted = _may_seal(vault, who)
    with vault.database.work() as work:
        found = work.emergency.find(code)
        if found is None or found.person != who.id:
            raise NotFoundError(f"you have no sealed code {code}")
        if work.emergency.end(code, vault.clock(), "withdrawn"):
            told: Document = {"code": str(code)}
            work.commit(_event(EventType.EMERGENCY_CODE_WITHDRAWN, who, permitted.role, told))


def stop(
    vault: Vault,
    code: str,
    key_id: UUID,
    how: Stop,
    reason: str,
    known_at: datetime | None = None,
) -> Key:
    """Stop a key as the person to whom the code belongs, and use the code up.

    Raises `NotAuthenticatedError` for a code that is unknown, used, withdrawn or over, and
    `NotPermittedError` where its person may not stop this key now.
    """
    sealed, who = _opened(vault, code)

    def used(work: Work, _: Key) -> Document:
        if not work.emergency.end(sealed.id, vault.clock(), f"{how} {key_id}"):
            raise _unknown()
        return {"emergency_code": str(sealed.id)}

    if how is Stop.COMPROMISE:
        return compromise.declare(vault, who, key_id, reason, known_at, note=used)
    return keys.stop(vault, who, key_id, keys.Stop(KeyState.SUSPENDED, reason, used))


def stop_token(
    vault: Vault, code: str, token_id: UUID, reason: str, missing_since: datetime | None = None
) -> Token:
    """Report a token as lost as the person to whom the code belongs, and use the code up.

    Raises what `stop` does.
    """
    sealed, who = _opened(vault, code)

    def used(work: Work) -> Document:
        if not work.emergency.end(sealed.id, vault.clock(), f"{Step.REPORT_LOST} {token_id}"):
            raise _unknown()
        return {"emergency_code": str(sealed.id)}

    why = tokens.Why(reason, missing_since, used)
    return tokens.stop(vault, who, token_id, Step.REPORT_LOST, why)


def _may_seal(vault: Vault, who: Principal) -> Permit:
    """Whoever holds a token may lose it; all others have to be able to stop a key."""
    with vault.database.reading() as work:
        holds = bool(work.tokens.of_holder(who.id))
    return permit(vault, who, Action.TOKEN_OWN if holds else Action.KEY_SUSPEND)


def _opened(vault: Vault, code: str) -> tuple[EmergencyCode, Principal]:
    """Whose code this is, as somebody who calls now."""
    verifier, now = verifier_of(code), vault.clock()
    with vault.database.reading() as work:
        authority = vault.authority(work)
        found = work.emergency.find(id_of(verifier))
    person = authority.people.get(found.person) if found else None
    if found is None or person is None or not hmac.compare_digest(found.verifier, verifier):
        raise _unknown()
    if found.used_at is not None or now >= found.until:
        raise _unknown()
    until = now + timedelta(seconds=_SECONDS)
    return found, Principal(person, until, "", authority.duties)


def _unknown() -> NotAuthenticatedError:
    return NotAuthenticatedError(
        "this is no sealed code that counts now",
        next_step="look for a slip of the pen; else call a colleague who can log in",
    )


def _event(kind: EventType, who: Principal, role: str, told: Document) -> AuditEvent:
    return AuditEvent(
        type=kind,
        outcome=Outcome.OK,
        operation=uuid4(),
        stream=who.actor,
        actor=who.actor,
        role=role,
        payload=told,
    )
