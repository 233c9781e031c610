"""Officers with real keys, what they sign, and the chain that they founded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID, uuid5

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hsm.types import Algorithm, KeyUsage, VerifyPolicy
from keyvault.domain.approvals import Approval, Decision, Request, Rule, Seen, new_request
from keyvault.domain.authority import NO_RECORD, Authority, Record, Services, found
from keyvault.domain.authority import genesis_document as write_genesis
from keyvault.domain.commands import Command, GenerateKey
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import Person, Role, thumbprint
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.signatures import SoftwareCredential, verify

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ORIGIN = "example.test/keys/2026-1"
SCOPE = Scope("1f-example", "supplier", "90-b3-d5-1f-30-01-00-00")
SEEN = Seen(7, "ab" * 32)
RULE = Rule("everything", ("*",), ("*",), Role.KEY_APPROVER, 2, 86_400)
ORDER = GenerateKey("meter signing", Algorithm.EC_P256, KeyUsage.SIGN, "standard", 365, 730)
CLASSES = (
    KeyClass("standard", Residence.RESIDENT, VerifyPolicy.ALWAYS),
    KeyClass("bulk", Residence.WRAPPED, VerifyPolicy.SAMPLED, extractable=True),
)
SERVICES = Services(("example.test/keys/2026-1+00000000+AAAA",), b"session-ca", b"evidence")
_NUMBERS = UUID("00000000-0000-4000-8000-000000000000")


@dataclass(frozen=True)
class Officer:
    """A person together with the key that only they hold."""

    person: Person
    credential: SoftwareCredential

    @property
    def id(self) -> str:
        return self.person.id

    def decides(self, document: dict[str, Any], **changes: Any) -> Approval:
        """Sign yes, or what `changes` make of it, at `NOW`."""
        unsigned = Approval(
            approver=self.id,
            credential=thumbprint(self.person.spki),
            decision=Decision.APPROVE,
            reason="checked against the order form",
            at=text_of(NOW),
            seen=SEEN,
        )
        unsigned = replace(unsigned, **changes)
        return replace(unsigned, signature=self.credential.sign(unsigned.message(document)))


@cache
def officer(name: str, *roles: Role) -> Officer:
    """The same name and roles are the same officer, and the same key, all through a run."""
    credential = SoftwareCredential(ec.generate_private_key(ec.SECP256R1()))
    held = frozenset(roles or {Role.KEY_APPROVER, Role.KEY_OWNER, Role.REGISTRAR})
    return Officer(Person(name, name.title(), held, credential.spki), credential)


ALICE, BOB, CAROL, DAVE = (officer(name) for name in ("alice", "bob", "carol", "dave"))
OFFICERS = (ALICE, BOB, CAROL, DAVE)


def people_of(officers: Iterable[Officer]) -> dict[str, Person]:
    return {item.id: item.person for item in officers}


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


def genesis_document(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "origin": ORIGIN,
        "site": "example",
        "officers": [item.person for item in OFFICERS],
        "rules": [RULE],
        "key_classes": CLASSES,
        "services": SERVICES,
        "created_at": text_of(NOW),
        "nonce": bytes(16),
    }
    return write_genesis(**{**given, **changes})


def genesis(officers: Iterable[Officer] = OFFICERS, **changes: Any) -> Record:
    officers = tuple(officers)
    document = genesis_document(officers=[item.person for item in officers], **changes)
    return Record(0, NO_RECORD, document, tuple(item.decides(document) for item in officers))


def founded(**changes: Any) -> Authority:
    return found(genesis(**changes), verify)


def next_record(
    authority: Authority, command: Command, approvers: Iterable[Officer] = (BOB, CAROL), **more: Any
) -> Record:
    document = request_for(command, number=authority.size, **more).document
    approvals = tuple(item.decides(document) for item in approvers)
    return Record(authority.size, authority.head, document, approvals)


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
