"""Officers with real keys, what they sign, and the chain that they founded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hsm.types import Algorithm, KeyUsage, VerifyPolicy
from keyvault.domain.approvals import Approval, Decision, Request, Seen, new_request
from keyvault.domain.authority import Authority, Services
from keyvault.domain.chain import Record, extend, found
from keyvault.domain.changes import person_from
from keyvault.domain.commands import (
    COMMANDS,
    PERSONAL_COMMANDS,
    PROTECTIVE_COMMANDS,
    Command,
    GenerateKey,
    RegisterPerson,
)
from keyvault.domain.founding import NO_RECORD, Genesis
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import (
    EVERYWHERE,
    Assurance,
    Credential,
    Duty,
    Grant,
    Person,
    Role,
    Screening,
    Vetting,
)
from keyvault.domain.rules import Rule, Standard
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import Electorate
from keyvault.domain.times import day_text, text_of
from keyvault.signatures import SoftwareCredential, spki_of_certificate, verify

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ORIGIN = "example.test/keys/2026-1"
SCOPE = Scope("1f-example", "supplier", "90-b3-d5-1f-30-01-00-00")
SEEN = Seen(7, "ab" * 32)
RULE = Rule("everything", ("*",), ("*",), (Role.KEY_APPROVER,), 2, 86_400)
# Beside each other: one person alone may stop somebody, and two decide on everything else.
PROTECTION = replace(
    RULE, id="protection", commands=tuple(c.name for c in PROTECTIVE_COMMANDS), approvals=1
)
THE_REST = replace(
    RULE,
    commands=tuple(
        sorted(COMMANDS.keys() - {c.name for c in (*PROTECTIVE_COMMANDS, *PERSONAL_COMMANDS)})
    ),
)
ORDER = GenerateKey("meter signing", Algorithm.EC_P256, KeyUsage.SIGN, "standard", 365, 730)
CLASSES = (
    KeyClass("standard", Residence.RESIDENT, VerifyPolicy.ALWAYS),
    KeyClass("bulk", Residence.WRAPPED, VerifyPolicy.SAMPLED, extractable=True),
)
DUTY = Duty("keeping-keys", 1, "5a" * 32, (Role.KEY_APPROVER, Role.KEY_OWNER), day_text(NOW))
STANDARD = Standard("BS 7858", "2019", None, None, "to be confirmed")
SERVICES = Services(("example.test/keys/2026-1+00000000+AAAA",), b"session-ca", b"evidence")
ROLES = (Role.KEY_APPROVER, Role.KEY_OWNER, Role.REGISTRAR)
DECADE = timedelta(days=3_652)
_NUMBERS = UUID("00000000-0000-4000-8000-000000000000")


def screening(at: datetime = NOW, **changes: Any) -> Screening:
    """A review on the day of `at`, due after the longest time there is."""
    day = timedelta(days=366)
    given = Screening(
        "BS 7858:2019", Vetting.BASELINE, "HR-2026-17", day_text(at), day_text(at + day)
    )
    return replace(given, **changes)


def grants(*roles: Role, scope: Scope | str = EVERYWHERE, at: datetime = NOW) -> tuple[Grant, ...]:
    """These roles for ten years."""
    return tuple(Grant(role, str(scope), text_of(at + DECADE)) for role in roles)


@dataclass(frozen=True)
class Officer:
    """A person together with the key that only they hold."""

    joining: RegisterPerson
    credential: SoftwareCredential

    @property
    def id(self) -> str:
        return self.joining.person

    @property
    def thumbprint(self) -> str:
        return self.joining.credential.thumbprint

    @property
    def person(self) -> Person:
        """As authority knows them after genesis, where they acknowledged their duty."""
        return person_from(self.joining).acknowledges(DUTY.name, DUTY.version)

    def like(self, **changes: Any) -> "Officer":
        """The same human being with the same key, described otherwise."""
        return replace(self, joining=replace(self.joining, **changes))

    def decides(self, document: dict[str, Any], **changes: Any) -> Approval:
        """Sign yes, or what `changes` make of it, at `NOW`."""
        unsigned = Approval(
            approver=self.id,
            credential=self.thumbprint,
            decision=Decision.APPROVE,
            reason="checked against the order form",
            at=text_of(NOW),
            seen=SEEN,
        )
        unsigned = replace(unsigned, **changes)
        return replace(unsigned, signature=self.credential.sign(unsigned.message(document)))


class Repeatable(SoftwareCredential):
    """Signs one message in one way (RFC 6979), with a key that follows from a name."""

    def __init__(self, name: str) -> None:
        number = int.from_bytes(sha256(name.encode()).digest()) >> 1  # below the curve's order
        super().__init__(ec.derive_private_key(number, ec.SECP256R1()))

    def sign(self, message: bytes) -> bytes:
        return self._private_key.sign(
            message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        )


@cache
def officer(name: str, *roles: Role, assurance: Assurance = Assurance.SOFTWARE) -> Officer:
    """The same name and roles are the same officer, and the same key, in every run."""
    credential = Repeatable(" ".join((name, *roles, assurance)))
    joining = RegisterPerson(
        person=name,
        full_name=name.title(),
        organisation="Example Energy",
        site="leeds",
        manager=None,
        credential=Credential(credential.spki, assurance),
        grants=grants(*(roles or ROLES)),
        screening=screening(),
    )
    return Officer(joining, credential)


BOB_TO_LOG_IN = officer("bob", Role.WITNESS)  # another key of Bob's, which only logs in
ALICE, BOB, CAROL, DAVE = (officer(name) for name in ("alice", "bob", "carol", "dave"))
OFFICERS = (ALICE, BOB, CAROL, DAVE)


def people_of(officers: Iterable[Officer]) -> dict[str, Person]:
    return {item.id: item.person for item in officers}


def electorate(officers: Iterable[Officer] = OFFICERS, duties: tuple[Duty, ...] = ()) -> Electorate:
    return Electorate(people_of(officers), duties)


def request_for(
    command: Command = ORDER, requester: str = "alice", number: int = 0, **changes: Any
) -> Request:
    given: dict[str, Any] = {
        "request_id": uuid5(_NUMBERS, str(number)),
        "origin": ORIGIN,
        "command": command,
        "scope": SCOPE,
        "rule": RULE,
        "requester": requester,
        "now": NOW,
        "nonce": bytes(16),
        "seen": SEEN,
    }
    return new_request(**{**given, **changes})


def genesis_document(
    officers: Iterable[Officer] = OFFICERS, at: datetime = NOW, **changes: Any
) -> dict[str, Any]:
    """Genesis at `at`, when every officer is newly screened unless they say otherwise."""
    given: dict[str, Any] = {
        "origin": ORIGIN,
        "site": "example",
        "officers": tuple(_screened(item.joining, at) for item in officers),
        "rules": (RULE,),
        "key_classes": CLASSES,
        "duties": (DUTY,),
        "standards": (STANDARD,),
        "services": SERVICES,
        "created_at": text_of(at),
        "nonce": bytes(16).hex(),
    }
    return Genesis(**{**given, **changes}).document()


def _screened(joining: RegisterPerson, at: datetime) -> RegisterPerson:
    return replace(joining, screening=screening(at)) if at != NOW else joining


def genesis(officers: Iterable[Officer] = OFFICERS, at: datetime = NOW, **changes: Any) -> Record:
    officers = tuple(officers)
    document = genesis_document(officers, at, **changes)
    approvals = tuple(item.decides(document, at=text_of(at)) for item in officers)
    return Record(0, NO_RECORD, document, approvals, text_of(at))


def founded(officers: Iterable[Officer] = OFFICERS, **changes: Any) -> Authority:
    return found(genesis(officers, **changes), verify)


def next_record(
    authority: Authority,
    command: Command,
    approvers: Iterable[Officer] = (BOB, CAROL),
    at: datetime = NOW,
    **more: Any,
) -> Record:
    """A change asked for, approved and carried out at `at`, under the rule in force."""
    rule = authority.rule_in_force(command)
    given = {"number": authority.size, "scope": None, "rule": rule, "now": at, **more}
    document = request_for(command, **given).document
    approvals = tuple(item.decides(document, at=text_of(at)) for item in approvers)
    return Record(authority.size, authority.head, document, approvals, text_of(at))


def after(
    authority: Authority, command: Command, approvers: Iterable[Officer] = (BOB, CAROL), **more: Any
) -> Authority:
    """Authority with that record."""
    record = next_record(authority, command, approvers, **more)
    return extend(authority, record, verify, spki_of_certificate)


@cache
def certificate(name: str) -> bytes:
    """A system's self-signed client certificate, in DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document that holds a text, a number, a truth or nothing."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from places(item, (*path, at))
    else:
        yield path


def changed(document: Any, path: tuple[Any, ...], change: Any) -> Any:
    """Return the document with `change(value)` at one place."""
    if not path:
        return change(document)
    key, rest = path[0], path[1:]
    if isinstance(document, dict):
        return {k: changed(v, rest, change) if k == key else v for k, v in document.items()}
    return [changed(v, rest, change) if at == key else v for at, v in enumerate(document)]
