"""Who may do what: a chain of signed records from the genesis ceremony, folded into one value.

Each record is approved under the rules of the one before it. Nobody can add power by editing
a database: a record that is not signed, not next or not allowed is refused by whoever loads it.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hsm.types import VerifyPolicy
from keyvault.domain.approvals import (
    MIN_APPROVALS,
    MIN_ELIGIBLE,
    Approval,
    Decision,
    Request,
    Rule,
    Verify,
    clear,
)
from keyvault.domain.canonical import Document, canonical, equal
from keyvault.domain.commands import (
    EnrolSystem,
    RegisterPerson,
    RemovePerson,
    RevokeSystem,
)
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    InvalidInputError,
    NotFoundError,
    RuleError,
    VaultError,
)
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import Person, Role, System, check_id, thumbprint
from keyvault.domain.times import text_of, time_of

GENESIS_CONTEXT = "keyvault-genesis-v1"
MAX_EXPIRY = 31 * 86_400  # seconds: who signed a month ago has to be asked again
NO_RECORD = "0" * 64
T = TypeVar("T")

SpkiOf = Callable[[bytes], bytes]
"""A certificate in DER → its SubjectPublicKeyInfo. Given by whoever knows X.509."""


@dataclass(frozen=True, slots=True)
class Services:
    """Public keys of the service's own HSM keys, signed by every officer at genesis."""

    log_keys: tuple[str, ...]  # C2SP verifier keys
    session_ca: bytes  # SPKI
    evidence: bytes  # SPKI

    def document(self) -> Document:
        return {
            "log_keys": list(self.log_keys),
            "session_ca": base64.b64encode(self.session_ca).decode(),
            "evidence": base64.b64encode(self.evidence).decode(),
        }


@dataclass(frozen=True, slots=True)
class Record:
    """One link: a request for a change of authority, with the signatures that allow it."""

    number: int
    previous: str  # hash of the record before, hex
    request: Document
    approvals: tuple[Approval, ...]

    def document(self) -> Document:
        return {
            "v": 1,
            "seq": self.number,
            "prev": self.previous,
            "request": self.request,
            "approvals": [approval.document() for approval in self.approvals],
        }

    @property
    def hash(self) -> str:
        return hashlib.sha256(canonical(self.document())).hexdigest()

    @classmethod
    def read(cls, document: Document) -> "Record":
        """Read what `document` wrote, strictly. Raises `AuthorityError`."""
        try:
            record = cls(
                number=int(document["seq"]),
                previous=str(document["prev"]),
                request=dict(document["request"]),
                approvals=tuple(map(Approval.read, document["approvals"])),
            )
        except (KeyError, TypeError, ValueError, ApprovalInvalidError) as error:
            raise AuthorityError("not an authority record") from error
        if not equal(record.document(), document):
            raise AuthorityError("an authority record with fields that nobody knows")
        return record


@dataclass(frozen=True, slots=True)
class Authority:
    """The state of the chain after its last record. A value: `extend` returns the next one."""

    origin: str
    site: str
    services: Services
    people: dict[str, Person]
    systems: dict[str, System]
    rules: tuple[Rule, ...]
    key_classes: dict[str, KeyClass]
    size: int
    head: str
    used: frozenset[str] = field(default_factory=frozenset)

    def rule_for(self, command: str, key_class: str = "") -> Rule:
        """The strictest rule that covers the command. Raises `RuleError`: default is no."""
        covering = [rule for rule in self.rules if rule.covers(command, key_class)]
        if not covering:
            raise RuleError(f"no rule allows {command} for class {key_class or 'none'}")
        return max(covering, key=lambda rule: rule.approvals)

    def key_class(self, name: str) -> KeyClass:
        if name not in self.key_classes:
            raise NotFoundError(
                f"no key class is called {name[:40]!r}",
                next_step=f"use one of: {', '.join(sorted(self.key_classes))}",
            )
        return self.key_classes[name]

    def eligible(self, rule: Rule) -> int:
        return sum(rule.role in person.roles for person in self.people.values())

    def person_of(self, spki_sha256: str) -> Person | None:
        return next((p for p in self.people.values() if thumbprint(p.spki) == spki_sha256), None)

    def system_of(self, spki_sha256: str) -> System | None:
        return next((s for s in self.systems.values() if s.spki_sha256 == spki_sha256), None)

    def extend(self, record: Record, verify: Verify, spki_of: SpkiOf) -> "Authority":
        """Check one record against the chain so far and apply it.

        Raises `AuthorityError` where it does not fit, and what `Request.read` and `clear` raise.
        """
        if record.number != self.size or record.previous != self.head:
            raise AuthorityError(f"record {record.number} does not follow record {self.size - 1}")
        request = Request.read(record.request)
        if request.origin != self.origin:
            raise AuthorityError(f"record {record.number} belongs to another log")
        if str(request.id) in self.used:
            raise AuthorityError(f"record {record.number} uses a request a second time")
        clear(self.people, self.rule_for(request.command.name), request, record.approvals, verify)
        changed = self._apply(request, spki_of)
        for rule in changed.rules:
            changed.lint(rule)
        return replace(
            changed,
            size=self.size + 1,
            head=record.hash,
            used=self.used | {str(request.id)},
        )

    def lint(self, rule: Rule) -> None:
        """Refuse a rule that is too weak or cannot be met. Raises `RuleError`."""
        eligible = self.eligible(rule)
        if rule.approvals < MIN_APPROVALS:
            raise RuleError(f"rule {rule.id} asks for {rule.approvals} approvals, fewer than 2")
        if eligible < max(MIN_ELIGIBLE, rule.approvals + 1):
            raise RuleError(
                f"rule {rule.id} asks for {rule.approvals} of {eligible} holders of {rule.role}",
                next_step="at least three, and one more than must sign, have to hold the role",
            )
        if not rule.commands or not rule.key_classes:
            raise RuleError(f"rule {rule.id} covers nothing")
        if not 0 < rule.expires_after <= MAX_EXPIRY:
            raise RuleError(f"rule {rule.id} expires after {rule.expires_after} seconds")

    def _apply(self, request: Request, spki_of: SpkiOf) -> "Authority":
        match request.command:
            case RegisterPerson() as new:
                return self._with_person(
                    Person(new.person, new.full_name, frozenset(new.roles), new.spki)
                )
            case RemovePerson(person=person):
                return replace(self, people=_without(self.people, person))
            case EnrolSystem() as new:
                return self._with_system(new, request, spki_of)
            case RevokeSystem(system=system):
                return replace(self, systems=_without(self.systems, system))
            case _:
                raise AuthorityError(f"{request.command.name} does not change authority")

    def _with_person(self, person: Person) -> "Authority":
        if person.id in self.people or self._knows(thumbprint(person.spki)):
            raise AuthorityError(f"{person.id} or their key is registered already")
        return replace(self, people={**self.people, person.id: person})

    def _with_system(self, new: EnrolSystem, request: Request, spki_of: SpkiOf) -> "Authority":
        if request.scope is None:
            raise AuthorityError("a system is enrolled for one scope")
        spki_sha256 = thumbprint(spki_of(new.certificate))
        if self._knows(spki_sha256):
            raise AuthorityError("this key is enrolled already")
        system = System(
            check_id(new.system),
            new.full_name,
            request.scope,
            new.certificate,
            spki_sha256,
            frozenset(new.actions),
            frozenset(new.keys),
        )
        return replace(self, systems={**self.systems, system.id: system})

    def _knows(self, spki_sha256: str) -> bool:
        return bool(self.person_of(spki_sha256) or self.system_of(spki_sha256))


def genesis_document(  # noqa: PLR0913  (every field is signed, so every field is named)
    *,
    origin: str,
    site: str,
    officers: Iterable[Person],
    rules: Iterable[Rule],
    key_classes: Iterable[KeyClass],
    services: Services,
    created_at: str,
    nonce: bytes,
) -> Document:
    """Write the document that every officer signs at the genesis ceremony."""
    return {
        "ctx": GENESIS_CONTEXT,
        "origin": origin,
        "site": site,
        "created_at": created_at,
        "nonce": nonce.hex(),
        "officers": [_officer_document(person) for person in officers],
        "rules": [rule.document() for rule in rules],
        "key_classes": [key_class.document() for key_class in key_classes],
        "services": services.document(),
    }


def found(record: Record, verify: Verify) -> Authority:
    """Read the genesis record: complete, linted, signed by every officer. `AuthorityError` else."""
    document = record.request
    if record.number != 0 or record.previous != NO_RECORD:
        raise AuthorityError("the chain does not begin with a genesis record")
    authority = _read_genesis(document, record.hash)
    if len(authority.people) < MIN_ELIGIBLE or not authority.rules:
        raise RuleError(f"genesis needs rules, and at least {MIN_ELIGIBLE} officers")
    for rule in authority.rules:
        authority.lint(rule)
    signed = {a.approver for a in record.approvals if _signs(authority, document, a, verify)}
    missing = sorted(set(authority.people) - signed)
    if missing or len(record.approvals) != len(authority.people):
        raise AuthorityError(f"genesis lacks the signature of: {', '.join(missing) or 'nobody'}")
    return authority


def load(
    records: Iterable[Record],
    verify: Verify,
    spki_of: SpkiOf,
    known: Authority | None = None,
) -> Authority:
    """Fold a chain, genesis first or on from what is `known`.

    Raises `AuthorityError` naming the record that fails.
    """
    authority = known
    for record in records:
        try:
            authority = (
                found(record, verify)
                if authority is None
                else authority.extend(record, verify, spki_of)
            )
        except VaultError as error:
            raise AuthorityError(
                f"authority record {record.number} is not valid: {error}", next_step=error.next_step
            ) from error
    if authority is None:
        raise AuthorityError("there is no genesis record", next_step="run: keyvault init")
    return authority


def _signs(authority: Authority, document: Document, approval: Approval, verify: Verify) -> bool:
    person = authority.people.get(approval.approver)
    return (
        person is not None
        and approval.decision is Decision.APPROVE
        and approval.credential == thumbprint(person.spki)
        and verify(person.spki, approval.signature, approval.message(document))
    )


def _read_genesis(document: Document, head: str) -> Authority:
    try:
        officers = [_officer(item) for item in document["officers"]]
        authority = Authority(
            origin=str(document["origin"]),
            site=str(document["site"]),
            services=_services(document["services"]),
            people={person.id: person for person in officers},
            systems={},
            rules=tuple(map(Rule.read, document["rules"])),
            key_classes={c.name: c for c in map(_key_class, document["key_classes"])},
            size=1,
            head=head,
        )
        rebuilt = _rebuilt(authority, document)
    except (KeyError, TypeError, ValueError, InvalidInputError) as error:
        raise AuthorityError("the genesis record cannot be read") from error
    if not equal(rebuilt, document):
        raise AuthorityError("genesis has fields nobody knows, or a name stands in it twice")
    if len({thumbprint(person.spki) for person in officers}) != len(officers):
        raise AuthorityError("two officers hold the same key")
    if len({rule.id for rule in authority.rules}) != len(authority.rules):
        raise AuthorityError("two rules have the same id")
    return authority


def _rebuilt(authority: Authority, document: Document) -> Document:
    """Write the document anew from what was understood: whatever else it says shows up."""
    return genesis_document(
        origin=authority.origin,
        site=authority.site,
        officers=authority.people.values(),
        rules=authority.rules,
        key_classes=authority.key_classes.values(),
        services=authority.services,
        created_at=text_of(time_of(document["created_at"])),
        nonce=bytes.fromhex(document["nonce"]),
    )


def _services(item: Document) -> Services:
    return Services(
        tuple(map(str, item["log_keys"])),
        base64.b64decode(item["session_ca"], validate=True),
        base64.b64decode(item["evidence"], validate=True),
    )


def _officer_document(person: Person) -> Document:
    return {
        "id": person.id,
        "name": person.name,
        "roles": [str(role) for role in sorted(person.roles)],
        "spki": base64.b64encode(person.spki).decode(),
    }


def _officer(item: Document) -> Person:
    return Person(
        str(item["id"]),
        str(item["name"]),
        frozenset(map(Role, item["roles"])),
        base64.b64decode(item["spki"], validate=True),
    )


def _key_class(item: Document) -> KeyClass:
    return KeyClass(
        str(item["name"]),
        Residence(item["residence"]),
        VerifyPolicy(item["verify"]),
        bool(item["extractable"]),
    )


def _without(items: dict[str, T], name: str) -> dict[str, T]:
    if name not in items:
        raise AuthorityError(f"{name} is not registered")
    return {key: value for key, value in items.items() if key != name}
