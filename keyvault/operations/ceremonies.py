"""The register of ceremonies: which were begun, by which script, and what became of them."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID, uuid4

from keyvault import signatures
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.ceremonies import Ceremony, Script
from keyvault.domain.errors import CeremonyError, ConflictError
from keyvault.domain.journals import (
    Journal,
    Mode,
    Participant,
    Transcript,
    check,
    outcome_of,
    participants,
)
from keyvault.operations.vault import Once, Vault, permit, recall, remember
from keyvault.scripts import read_script
from keyvault.store.unit_of_work import Work


def start(
    vault: Vault, who: Principal, ceremony: UUID, text: bytes, once: Once | None = None
) -> Ceremony:
    """Write down that a ceremony begins by this script, whose id is chosen by who holds it.

    Said twice of the same, it is begun once. Raises `CeremonyError` for a script that does not
    hold, `ConflictError` where the id is that of another ceremony.
    """
    permitted = permit(vault, who, Action.CEREMONY_HOLD)
    script = read_script(text)
    with vault.database.work() as work:
        if recall(work, who, once):
            return work.ceremonies.get(ceremony)
        found = work.ceremonies.find(ceremony)
        if found and found.script_sha256 == script.sha256:
            return found
        if found:
            raise ConflictError(f"ceremony {ceremony} was begun by another script")
        made = Ceremony(ceremony, script.title, script.sha256, vault.clock(), who.actor)
        work.ceremonies.start(made, text)
        remember(work, who, once, {"ceremony": str(ceremony)})
        work.commit(_event(EventType.CEREMONY_STARTED, who, permitted.role, made, _named(script)))
        return made


def close(
    vault: Vault, who: Principal, ceremony: UUID, data: bytes, once: Once | None = None
) -> Ceremony:
    """Keep the transcript of a ceremony and put it into the log.

    Every signature in it is checked, and that each is by a key by which its person decides.
    Raises `CeremonyError` if something in it does not hold, `ConflictError` if there is another.
    """
    permitted = permit(vault, who, Action.CEREMONY_HOLD)
    transcript = Transcript.read(data)
    script = read_script(transcript.script.encode())
    _demand_whole(ceremony, transcript, script)
    with vault.database.work() as work:
        authority = vault.authority(work)
        found = work.ceremonies.get(ceremony)
        if recall(work, who, once) or found.sha256 == transcript.sha256:
            return found
        if found.sha256 or found.script_sha256 != script.sha256:
            raise ConflictError(f"ceremony {ceremony} has another transcript or script")
        _demand_known(participants(transcript.journal.opening), authority)
        closed = _closed(found, transcript, vault, who)
        _keep(work, closed, data)
        remember(work, who, once, {"ceremony": str(ceremony)})
        told = {**_outcome(closed), "transcript": transcript.document()}
        work.commit(_event(EventType.CEREMONY_CLOSED, who, permitted.role, closed, told))
        return closed


def _demand_whole(ceremony: UUID, transcript: Transcript, script: Script) -> None:
    check(transcript.journal, script, signatures.verify)
    if transcript.ceremony != ceremony:
        raise CeremonyError("the transcript is that of another ceremony")
    if transcript.mode is not Mode.RUN:
        raise CeremonyError(
            "the transcript is that of a rehearsal", next_step="rehearsals leave no trace here"
        )
    if not transcript.journal.ended:
        raise CeremonyError("the ceremony has not ended", next_step="keyvault ceremony resume")


def _demand_known(people: list[Participant], authority: Authority) -> None:
    for one in people:
        known = authority.people.get(one.person)
        if known is None or one.spki not in [key.spki for key in known.deciding]:
            raise CeremonyError(
                f"{one.person} is not registered with the key that signed",
                next_step="everybody who signs is registered first: keyvault people register",
            )


def _closed(found: Ceremony, transcript: Transcript, vault: Vault, who: Principal) -> Ceremony:
    journal: Journal = transcript.journal
    return replace(
        found,
        outcome=outcome_of(journal),
        sha256=transcript.sha256,
        deviations=journal.deviations(),
        closed_at=vault.clock(),
        closed_by=who.actor,
    )


def _keep(work: Work, closed: Ceremony, data: bytes) -> None:
    if not work.ceremonies.close(closed, data):
        raise ConflictError(f"ceremony {closed.id} was closed in the meantime")


def _named(script: Script) -> Document:
    return {"name": script.name, "version": script.version}


def _outcome(closed: Ceremony) -> Document:
    own = {"sha256": closed.sha256, "outcome": closed.outcome}
    return {**own, "deviations": closed.deviations}


def _event(
    kind: EventType, who: Principal, role: str, ceremony: Ceremony, told: Mapping[str, object]
) -> AuditEvent:
    own = {"ceremony": str(ceremony.id), "title": ceremony.title}
    return AuditEvent(
        type=kind,
        outcome=Outcome.OK,
        operation=uuid4(),
        stream=f"ceremony:{ceremony.id}",
        actor=who.actor,
        role=role,
        payload={**own, "script_sha256": ceremony.script_sha256, **told},
    )


def get(vault: Vault, who: Principal, ceremony: UUID) -> Ceremony:
    """Return one ceremony. Raises `NotFoundError`."""
    permit(vault, who, Action.CEREMONY_READ)
    with vault.database.reading() as work:
        return work.ceremonies.get(ceremony)


def transcript(vault: Vault, who: Principal, ceremony: UUID) -> bytes:
    """Return a transcript, byte for byte as it was handed in. Raises `NotFoundError`."""
    permit(vault, who, Action.CEREMONY_READ)
    with vault.database.reading() as work:
        return work.ceremonies.transcript(work.ceremonies.get(ceremony).id)


def page(
    vault: Vault, who: Principal, after: str | None = None, limit: int = 50
) -> tuple[list[Ceremony], str | None]:
    """List ceremonies, newest first, and the cursor of the next page."""
    permit(vault, who, Action.CEREMONY_READ)
    with vault.database.reading() as work:
        return work.ceremonies.page(after, limit)
