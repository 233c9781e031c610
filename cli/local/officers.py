"""The officers of a genesis: who they are, what they read, and their signatures."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cli.confirm import confirm
from cli.desk.credentials import enrolled
from cli.desk.signing import KeyCard, KeyFile, Place
from cli.output import grouped, say
from cli.passphrases import Secrets
from keyvault.domain.approvals import Approval, check_words
from keyvault.domain.authority import Services
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.commands import RegisterPerson
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import (
    EVERYWHERE,
    Assurance,
    Credential,
    Grant,
    Role,
    Screening,
    Vetting,
    thumbprint,
)
from keyvault.domain.times import day_of, day_text, text_of
from keyvault.operations.genesis import DUTY, OFFICER_LIFE, officer_roles, sign

_PLACES = {"credential", "card"}
_NEEDED = {"id", "name", "reviewed", "reference"}
_TEXTS = {"organisation", "site", "manager", "standard", "vetting", "due", "until"}
_FIELDS = {*_NEEDED, *_PLACES, *_TEXTS, "public", "login", "roles"}
_LIKE = (
    "write it like: id=alice,name=Alice Ash,reviewed=2026-01-31,reference=HR-17,"
    "credential=alice.key, or with card=READER"
)
_STANDARD = "BS 7858:2019"
_YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Officer:
    """A person at the genesis and what signs for them."""

    person: RegisterPerson
    place: Place


def officer(text: str, number: int, site: str, now: datetime) -> Officer:
    """Read one --officer, the first being number 0. Raises `InvalidInputError`.

    `reviewed` is the day of the last screening, `reference` where it is filed. `public` is the
    public key, by default beside the credential, or that of the card, which then has to be in its
    reader now; `login` is that of a key which only logs in, by default that of the card's slot 9A,
    if the card is read. `roles` are joined by +.
    """
    given = dict(part.strip().partition("=")[::2] for part in text.split(","))
    whole = all(given.values()) and len(_PLACES & set(given)) == 1
    if set(given) - _FIELDS or _NEEDED - set(given) or not whole:
        raise InvalidInputError(
            "an officer has an id, a name, a screening and a credential", next_step=_LIKE
        )
    card = "card" in given
    place = KeyCard(given["card"]) if card else KeyFile(Path(given["credential"]))
    assurance = Assurance.CARD if card else Assurance.SOFTWARE
    spki, logs_in = enrolled(place, given.get("public"), given.get("login"))
    grants = _grants(given, officer_roles(number), now)
    person = RegisterPerson(
        given["id"],
        given["name"],
        given.get("organisation", site),
        given.get("site", site),
        given.get("manager"),
        Credential(spki, assurance),
        grants,
        _screening(given),
        Credential(logs_in, assurance, login_only=True) if logs_in else None,
    )
    return Officer(person, place)


def _screening(given: dict[str, str]) -> Screening:
    reviewed = given["reviewed"]
    due = given.get("due") or day_text(day_of(reviewed) + _YEAR)
    try:
        vetting = Vetting(given.get("vetting", Vetting.BASELINE))
    except ValueError as error:
        raise InvalidInputError(f"{error}: {' or '.join(Vetting)} was expected") from error
    standard = given.get("standard", _STANDARD)
    return Screening(standard, vetting, given["reference"], reviewed, due)


def _grants(given: dict[str, str], default: frozenset[Role], now: datetime) -> tuple[Grant, ...]:
    roles = _roles(given["roles"]) if "roles" in given else default
    until = given.get("until") or day_text(now + OFFICER_LIFE)
    return tuple(Grant(role, EVERYWHERE, text_of(day_of(until))) for role in sorted(roles))


def _roles(text: str) -> frozenset[Role]:
    try:
        return frozenset(map(Role, text.split("+")))
    except ValueError as error:
        names = ", ".join(sorted(Role))
        raise InvalidInputError(f"{error}", next_step=f"roles are joined by +: {names}") from error


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
        confirm(f"genesis, for {one.person.full_name}", screen(document, services), yes=yes)
        credential = one.place.to_decide(secrets, [one.person.credential.spki])
        approvals.append(sign(document, one.person.person, credential, datetime.now(UTC)))
        say(f"{one.person.person} has signed the genesis")
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
        ("duties", [f"{item['name']}, version {item['version']}" for item in document["duties"]]),
        ("you acknowledge", DUTY.splitlines()),
        ("log keys", list(services.log_keys)),
        ("session key", grouped(thumbprint(services.session_ca))),
        ("evidence key", grouped(thumbprint(services.evidence))),
        ("still needed", f"the signatures of all {len(document['officers'])} officers"),
        ("check words", check_words(hashlib.sha256(canonical(document)).digest())),
    ]


def _officer_line(item: Document) -> str:
    roles = ", ".join(grant["role"] for grant in item["grants"])
    screened = f"screened {item['screening']['reviewed_on']}, due {item['screening']['due']}"
    return f"{item['full_name']} ({item['person']}), {screened}: {roles}"


def _rule_line(item: Document) -> str:
    commands, roles = ", ".join(item["commands"]), " or ".join(item["roles"])
    return f"{item['id']}: {item['approvals']} of role {roles} for {commands}"


def _class_line(item: Document) -> str:
    leaves = "may leave wrapped" if item["extractable"] else "never leaves"
    return f"{item['name']}: {item['residence']}, {leaves}, signatures checked {item['verify']}"


def persons(officers: Iterable[Officer]) -> list[RegisterPerson]:
    return [one.person for one in officers]
