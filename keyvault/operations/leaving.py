"""Who leaves, and what that hurts: quorums, keys, requests and sessions."""

from dataclasses import dataclass
from uuid import UUID

from keyvault import signatures
from keyvault.domain.access import Action, Principal
from keyvault.domain.approvals import RequestState
from keyvault.domain.authority import Authority
from keyvault.domain.backups import ALIVE, Share
from keyvault.domain.changes import applied
from keyvault.domain.commands import RemovePerson
from keyvault.domain.errors import AuthorityError
from keyvault.domain.leaving import Hurt, hurt, orphaned, reports
from keyvault.domain.linting import lint
from keyvault.domain.people import Grant, Person
from keyvault.domain.standing import Reach
from keyvault.operations.vault import Vault, permit
from keyvault.store.unit_of_work import Reading

SHOWN = 100  # of each list at most; the counts say how many there are
_OPEN = (RequestState.REQUESTED, RequestState.APPROVED, RequestState.EXECUTING)


@dataclass(frozen=True, slots=True)
class Leaving:
    """What would be lost with a person, were they removed now."""

    person: Person
    refused: str  # why nobody could remove them now; empty if it can be done
    quorums: tuple[Hurt, ...]
    orphaned: tuple[Grant, ...]
    reports: tuple[str, ...]
    sessions: int
    asked: list[UUID]  # open requests that die with the requester
    signed: list[UUID]  # open requests that lose this signature
    keys: list[UUID]  # that they ordered and that are not destroyed
    keys_count: int
    shares: list[Share]  # of backup keys: somebody else has to get one, of a new key


def report(vault: Vault, who: Principal, person: str) -> Leaving:
    """Say what is hurt if this person leaves now. Raises `NotFoundError`."""
    permit(vault, who, Action.PEOPLE_READ, where=Reach.ALL)
    with vault.database.reading() as work:
        authority, now = vault.authority(work), vault.clock()
        ordered, count = work.keys.ordered_by(person, SHOWN)
        return Leaving(
            person=authority.person(person),
            refused=_refused(vault, authority, person),
            quorums=hurt(authority, person, now),
            orphaned=orphaned(authority, person, now),
            reports=reports(authority, person),
            sessions=work.sessions.count(person, now),
            asked=_asked(work, person),
            signed=work.requests.signed_by(person, _OPEN, SHOWN),
            keys=ordered,
            keys_count=count,
            shares=[one for one in work.backups.shares(holder=person) if one.state in ALIVE],
        )


def _asked(work: Reading, person: str) -> list[UUID]:
    pages = (work.requests.page(state=s, requester=person, limit=SHOWN)[0] for s in _OPEN)
    return [asked.request.id for page in pages for asked in page]


def _refused(vault: Vault, authority: Authority, person: str) -> str:
    leaver = RemovePerson(person, "leaving")
    try:
        spki_of = signatures.spki_of_certificate
        lint(applied(authority, leaver, None, vault.clock(), spki_of), leaver, before=authority)
    except AuthorityError as error:
        return f"{error}; {error.next_step}"
    return ""
