"""The officers of a genesis: who they are, what they read, and their signatures."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from cli.confirm import confirm
from cli.desk.credentials import public_file
from cli.desk.signing import KeyCard, KeyFile, Place
from cli.output import grouped, say
from cli.passphrases import Secrets
from keyvault.domain.approvals import Approval, check_words
from keyvault.domain.authority import Services
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Person, Role, thumbprint
from keyvault.operations.genesis import OFFICER_ROLES, sign

_PLACES = {"credential", "card"}
_NEEDED = {"id", "name"}
_FIELDS = {*_NEEDED, *_PLACES, "public", "roles"}
_LIKE = "write it like: id=alice,name=Alice Ash,credential=alice.key, or with card=READER"


@dataclass(frozen=True, slots=True)
class Officer:
    """A person at the genesis and what signs for them."""

    person: Person
    place: Place


def officer(text: str) -> Officer:
    """Read one --officer. Raises `InvalidInputError`.

    `public` is the public key, by default beside the credential, or that of the card, which then
    has to be in its reader now; `roles` are joined by +, by default all that officers hold.
    """
    fields = dict(part.strip().partition("=")[::2] for part in text.split(","))
    whole = all(fields.values()) and len(_PLACES & set(fields)) == 1
    if set(fields) - _FIELDS or _NEEDED - set(fields) or not whole:
        raise InvalidInputError("an officer has an id, a name and a credential", next_step=_LIKE)
    place = KeyCard(fields["card"]) if "card" in fields else KeyFile(Path(fields["credential"]))
    spki = _enrolled(place, fields.get("public"))
    return Officer(Person(fields["id"], fields["name"], _roles(fields.get("roles")), spki), place)


def _enrolled(place: Place, public: str | None) -> bytes:
    if public is not None:
        return _spki(Path(public))
    if isinstance(place, KeyFile):
        return _spki(public_file(place.path))
    return place.open(Secrets(None)).spki  # nothing is signed, so no PIN is asked for


def _roles(text: str | None) -> frozenset[Role]:
    if text is None:
        return OFFICER_ROLES
    try:
        return frozenset(map(Role, text.split("+")))
    except ValueError as error:
        names = ", ".join(sorted(Role))
        raise InvalidInputError(f"{error}", next_step=f"roles are joined by +: {names}") from error


def _spki(path: Path) -> bytes:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"cannot read {path} as a public key in PEM",
            next_step="it is made by: keyvault credential create",
        ) from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign_in_turn(
    document: Document,
    services: Services,
    officers: Sequence[Officer],
    secrets: Secrets,
    *,
    yes: bool,
) -> list[Approval]:
    """Let each officer read the document and sign it with their own passphrase or card."""
    approvals = []
    for one in officers:
        confirm(f"genesis, for {one.person.name}", screen(document, services), yes=yes)
        credential = one.place.open(secrets, one.person.spki)
        approvals.append(sign(document, one.person.id, credential, datetime.now(UTC)))
        say(f"{one.person.id} has signed the genesis")
    return approvals


def screen(document: Document, services: Services) -> list[tuple[str, object]]:
    """What an officer reads before signing: everything that will be trusted from then on."""
    return [
        ("this will", "found the authority that every gate and auditor trusts"),
        ("can be undone", "NO: another genesis is another service"),
        ("site", document["site"]),
        ("log", document["origin"]),
        ("officers", [_officer_line(item) for item in document["officers"]]),
        ("rules", [_rule_line(item) for item in document["rules"]]),
        ("key classes", [_class_line(item) for item in document["key_classes"]]),
        ("log keys", list(services.log_keys)),
        ("session key", grouped(thumbprint(services.session_ca))),
        ("evidence key", grouped(thumbprint(services.evidence))),
        ("still needed", f"the signatures of all {len(document['officers'])} officers"),
        ("check words", check_words(hashlib.sha256(canonical(document)).digest())),
    ]


def _officer_line(item: Document) -> str:
    return f"{item['name']} ({item['id']}): {', '.join(item['roles'])}"


def _rule_line(item: Document) -> str:
    commands = ", ".join(item["commands"])
    return f"{item['id']}: {item['approvals']} of role {item['role']} for {commands}"


def _class_line(item: Document) -> str:
    leaves = "may leave wrapped" if item["extractable"] else "never leaves"
    return f"{item['name']}: {item['residence']}, {leaves}, signatures checked {item['verify']}"


def persons(officers: Iterable[Officer]) -> list[Person]:
    return [one.person for one in officers]
