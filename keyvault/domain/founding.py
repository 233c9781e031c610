"""The genesis document: what every officer reads and signs, and the authority it founds."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from keyvault.domain.approvals import NONCE_SIZE, Approval, Decision, Verify
from keyvault.domain.authority import Authority, Services
from keyvault.domain.canonical import Document, equal
from keyvault.domain.changes import check_reviewed, person_from
from keyvault.domain.commands import RegisterPerson
from keyvault.domain.documents import document_of, read
from keyvault.domain.errors import AuthorityError, InvalidInputError, RuleError
from keyvault.domain.keys import KeyClass
from keyvault.domain.linting import lint
from keyvault.domain.people import Duty
from keyvault.domain.quorum import MIN_ELIGIBLE
from keyvault.domain.rules import Rule, Standard
from keyvault.domain.times import time_of

GENESIS_CONTEXT = "keyvault-genesis-v1"
NO_RECORD = "0" * 64


@dataclass(frozen=True, slots=True)
class Genesis:
    """Everything that holds from the first second on. Its officers acknowledge every duty in it."""

    origin: str
    site: str
    created_at: str
    nonce: str  # 16 random bytes, hex
    officers: tuple[RegisterPerson, ...]
    rules: tuple[Rule, ...]
    key_classes: tuple[KeyClass, ...]
    duties: tuple[Duty, ...]
    standards: tuple[Standard, ...]
    services: Services

    def __post_init__(self) -> None:
        time_of(self.created_at)
        if len(bytes.fromhex(self.nonce)) != NONCE_SIZE:
            raise InvalidInputError(f"a nonce has {NONCE_SIZE} bytes")

    def document(self) -> Document:
        """What every officer signs at the ceremony."""
        return {"ctx": GENESIS_CONTEXT, **document_of(self)}

    @classmethod
    def read(cls, document: Document) -> "Genesis":
        """Read what `document` wrote, strictly. Raises `AuthorityError`."""
        try:
            own = {key: value for key, value in document.items() if key != "ctx"}
            genesis = read(cls, own, "genesis")
        except (AttributeError, ValueError, InvalidInputError) as error:
            raise AuthorityError(f"the genesis record cannot be read: {error}") from error
        if not equal(genesis.document(), document):
            raise AuthorityError("genesis has fields that nobody knows")
        return genesis


def founded(
    document: Document,
    approvals: Iterable[Approval],
    at: datetime,
    head: str,
    verify: Verify,
) -> Authority:
    """The authority that genesis founds: sound, and signed by every officer. `AuthorityError`."""
    authority = sound(Genesis.read(document), at, head)
    given = list(approvals)
    signed = {one.approver for one in given if _signs(authority, document, one, verify)}
    missing = sorted(set(authority.people) - signed)
    if missing or len(given) != len(authority.people):
        raise AuthorityError(f"genesis lacks the signature of: {', '.join(missing) or 'nobody'}")
    return authority


def sound(genesis: Genesis, at: datetime, head: str = NO_RECORD) -> Authority:
    """The authority of a genesis that can be signed. Raises `AuthorityError` if nobody should."""
    _check_names(genesis)
    for officer in genesis.officers:
        check_reviewed(officer.screening, at)
    authority = _authority(genesis, at, head)
    if len(authority.people) < MIN_ELIGIBLE or not authority.rules:
        raise RuleError(f"genesis needs rules, and at least {MIN_ELIGIBLE} officers")
    lint(authority)
    return authority


def _authority(genesis: Genesis, at: datetime, head: str) -> Authority:
    known = tuple((duty.name, duty.version) for duty in genesis.duties)
    officers = [replace(person_from(one), acknowledged=known) for one in genesis.officers]
    return Authority(
        origin=genesis.origin,
        site=genesis.site,
        services=genesis.services,
        people={officer.id: officer for officer in officers},
        systems={},
        rules=genesis.rules,
        key_classes={key_class.name: key_class for key_class in genesis.key_classes},
        duties=genesis.duties,
        standards=genesis.standards,
        size=1,
        head=head,
        at=at,
    )


def _check_names(genesis: Genesis) -> None:
    named = {
        "officers": [officer.person for officer in genesis.officers],
        "keys of officers": [
            one.thumbprint for officer in genesis.officers for one in officer.credentials
        ],
        "rules": [rule.id for rule in genesis.rules],
        "key classes": [key_class.name for key_class in genesis.key_classes],
        "duties": [duty.name for duty in genesis.duties],
    }
    for kind, names in named.items():
        if len(set(names)) != len(names):
            raise AuthorityError(f"two {kind} in genesis are the same")


def _signs(authority: Authority, document: Document, approval: Approval, verify: Verify) -> bool:
    person = authority.people.get(approval.approver)
    credential = person.credential(approval.credential) if person else None
    return (
        credential is not None
        and not credential.login_only
        and approval.decision is Decision.APPROVE
        and verify(credential.spki, approval.signature, approval.message(document))
    )
