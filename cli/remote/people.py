"""Persons: who is registered, and asking for what joiners, movers and leavers need."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import serialization

from cli.command import command, group
from cli.confirm import screen
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given
from cli.output import answer, facts, grouped, table
from cli.passphrases import PassphraseFd
from cli.remote.asking import alone, ask
from cli.remote.client import connect
from cli.remote.deciding import Wish
from cli.remote.standing import about_grants, about_leaving
from cli.state import SessionDir
from keyvault.domain.approvals import Decision
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    ChangePerson,
    EnrolCredential,
    HoldPerson,
    RegisterPerson,
    ReinstatePerson,
    RemovePerson,
    ReviewScreening,
    RevokeCredential,
    SuspendPerson,
)
from keyvault.domain.commands.people import MAX_HOLD_HOURS
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import (
    EVERYWHERE,
    Assurance,
    Credential,
    Grant,
    Role,
    Screening,
    Vetting,
)
from keyvault.domain.times import day_of, day_text, text_of

app = group("See who is registered, and ask for changes.")

YEAR = timedelta(days=365)

PersonId = Annotated[str, typer.Argument(metavar="PERSON", help="Id, such as dora.")]
Name = Annotated[str, typer.Option(help="Full name.")]
Organisation = Annotated[str, typer.Option(help="Who employs them.")]
Site = Annotated[str, typer.Option(help="Where they work.")]
Manager = Annotated[str | None, typer.Option(metavar="PERSON", help="Id of who they report to.")]
Roles = Annotated[
    list[str],
    typer.Option("--role", metavar="ROLE[@P/R/U]", help="A role, for one scope or all; repeat."),
]
Until = Annotated[
    str | None, typer.Option(metavar="DAY", help="Roles end then. Default: in a year.")
]
PublicKey = Annotated[Path, typer.Option(metavar="FILE", help="Their public key (PEM).")]
LoginKey = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A second one (PEM), which only logs in.")
]
Kept = Annotated[Assurance, typer.Option(help="How its private half is kept.")]
Reviewed = Annotated[str, typer.Option(metavar="DAY", help="Day of the last screening.")]
Reference = Annotated[str, typer.Option(help="Where the screening is filed.")]
Standard = Annotated[str, typer.Option(help="What they were screened against.")]
Depth = Annotated[Vetting, typer.Option(help="How deeply.")]
Due = Annotated[
    str | None, typer.Option(metavar="DAY", help="Next review. Default: a year after the last.")
]
Reason = Annotated[str, typer.Option(help="Why; it is signed and recorded.")]
BS_7858 = "BS 7858:2019"


@command(app, "list", "keyvault people list")
def list_(session: SessionDir = None) -> None:
    """List persons with the roles that count now and when their screening is due."""
    page = connect(session).get("/v1/people")
    rows = [
        (p["id"], p["name"], ", ".join(p["roles"]) or "none", p["screening"]["due"], _state(p))
        for p in page["items"]
    ]
    answer(page, table(("person", "name", "roles that count now", "screening due", "but"), rows))


@command(app, "show", "keyvault people show dora")
def show(person: PersonId, session: SessionDir = None) -> None:
    """Show a person: what they were granted, what counts now, and why the rest does not."""
    item = connect(session).get(f"/v1/people/{person}")
    lines = about_grants(item["grants"])
    keys = [(_kind(one), grouped(one["thumbprint"])) for one in item["credentials"]]
    plain = ("id", "name", "organisation", "site", "manager", "on_hold")
    shown = [(name.replace("_", " "), item[name]) for name in plain]
    answer(item, facts([*shown, *item["screening"].items(), *lines, *keys]))


@command(
    app,
    "register",
    "keyvault people register dora --name 'Dora Day' --role auditor --public-key dora.pub.pem"
    " --organisation 'Acme Energy' --site Leeds --reviewed 2026-01-31 --reference HR-18",
    "keyvault people register … --assurance card --public-key dora.pub.pem"
    " --login-key dora.login.pub.pem",
)
def register(
    person: PersonId,
    name: Name,
    role: Roles,
    public_key: PublicKey,
    organisation: Organisation,
    site: Site,
    reviewed: Reviewed,
    reference: Reference,
    login_key: LoginKey = None,
    manager: Manager = None,
    until: Until = None,
    assurance: Kept = Assurance.SOFTWARE,
    standard: Standard = BS_7858,
    vetting: Depth = Vetting.BASELINE,
    due: Due = None,
    session: SessionDir = None,
) -> None:
    """A joiner: ask to register a person, the keys that sign for them and what they may do.

    Both keys of a card come from: keyvault credential show --card --out dora.pub.pem
    """
    credential = Credential(_spki(public_key), assurance)
    login = Credential(_spki(login_key), assurance, login_only=True) if login_key else None
    screening = _screening(standard, vetting, reference, reviewed, due)
    where, grants = (organisation, site, manager), _grants(role, until)
    ask(session, RegisterPerson(person, name, *where, credential, grants, screening, login))


@command(
    app,
    "change",
    "keyvault people change dora --role key-owner@acme/SUPPLIER/00-01 --reason 'moved'"
    " --organisation 'Acme Energy' --site York",
)
def change(
    person: PersonId,
    role: Roles,
    organisation: Organisation,
    site: Site,
    reason: Reason,
    manager: Manager = None,
    until: Until = None,
    session: SessionDir = None,
) -> None:
    """A mover: ask to give a person exactly these roles, and no other that they had."""
    grants = _grants(role, until)
    ask(session, ChangePerson(person, organisation, site, manager, grants, reason))


@command(app, "leaving", "keyvault people leaving dora")
def leaving(person: PersonId, session: SessionDir = None) -> None:
    """Say what is hurt if a person leaves: quorums, keys, open requests, sessions."""
    item = connect(session).get(f"/v1/people/{person}/leaving")
    answer(item, facts(about_leaving(item)))


@command(app, "remove", "keyvault people remove dora --reason 'has left'")
def remove(person: PersonId, reason: Reason, session: SessionDir = None) -> None:
    """A leaver: ask to take every role, key and session from a person. What it hurts is shown."""
    item = connect(session).get(f"/v1/people/{person}/leaving")
    screen(f"if {item['name']} leaves", about_leaving(item))
    ask(session, RemovePerson(person, reason))


@command(
    app,
    "review",
    "keyvault people review dora --reviewed 2027-01-29 --reference HR-31",
)
def review(
    person: PersonId,
    reviewed: Reviewed,
    reference: Reference,
    standard: Standard = BS_7858,
    vetting: Depth = Vetting.BASELINE,
    due: Due = None,
    session: SessionDir = None,
) -> None:
    """Ask to record a person's yearly review. Nothing else brings back what lapsed with it."""
    screening = _screening(standard, vetting, reference, reviewed, due)
    ask(session, ReviewScreening(person, screening))


@command(app, "hold", "keyvault people hold dora --reason 'card stolen'")
def hold(
    person: PersonId,
    reason: Reason,
    hours: Annotated[
        int, typer.Option(min=1, max=MAX_HOLD_HOURS, help="How long.")
    ] = MAX_HOLD_HOURS,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
    session: SessionDir = None,
) -> None:
    """Stop a person's rights at once. You alone decide this, and sign for it."""
    place = given(credential, card, reader)
    signing = Wish(Decision.APPROVE, reason, place, passphrase_fd, yes)
    alone(session, HoldPerson(person, hours, reason), signing)


@command(app, "suspend", "keyvault people suspend dora --reason 'under investigation'")
def suspend(person: PersonId, reason: Reason, session: SessionDir = None) -> None:
    """Ask to stop a person's rights until they are reinstated."""
    ask(session, SuspendPerson(person, reason))


@command(app, "reinstate", "keyvault people reinstate dora --reason 'back from leave'")
def reinstate(person: PersonId, reason: Reason, session: SessionDir = None) -> None:
    """Ask to let a person's rights count again."""
    ask(session, ReinstatePerson(person, reason))


@command(
    app,
    "add-key",
    "keyvault people add-key dora --public-key card.pub.pem --assurance card",
    "keyvault people add-key dora --public-key card.login.pub.pem --assurance card --login-only",
)
def add_key(
    person: PersonId,
    public_key: PublicKey,
    assurance: Kept = Assurance.SOFTWARE,
    login_only: Annotated[
        bool, typer.Option("--login-only", help="It opens sessions, and decides nothing.")
    ] = False,
    session: SessionDir = None,
) -> None:
    """Ask to accept one more key of a person, such as their next card's."""
    ask(session, EnrolCredential(person, Credential(_spki(public_key), assurance, login_only)))


@command(app, "revoke-key", "keyvault people revoke-key dora FINGERPRINT --reason 'lost'")
def revoke_key(
    person: PersonId,
    fingerprint: Annotated[str, typer.Argument(help="SHA-256 of the key, as `show` has it.")],
    reason: Reason,
    session: SessionDir = None,
) -> None:
    """Ask to accept a person's key no longer. Until others have signed: keyvault people hold."""
    ask(session, RevokeCredential(person, fingerprint.replace(" ", "").lower(), reason))


def _kind(credential: Document) -> str:
    return f"{credential['assurance']} key{', only to log in' * credential['login_only']}"


def _grants(roles: list[str], until: str | None) -> tuple[Grant, ...]:
    end = text_of(day_of(until) if until else datetime.now(UTC) + YEAR)
    return tuple(_one(text, end) for text in roles)


def _one(text: str, until: str) -> Grant:
    name, _, scope = text.partition("@")
    try:
        return Grant(Role(name), scope or EVERYWHERE, until)
    except ValueError as error:
        names = ", ".join(sorted(Role))
        raise InvalidInputError(f"there is no role {name[:40]}", next_step=names) from error


def _screening(
    standard: str, vetting: Vetting, reference: str, reviewed: str, due: str | None
) -> Screening:
    next_review = due or day_text(day_of(reviewed) + YEAR)
    return Screening(standard, vetting, reference, reviewed, next_review)


def _state(person: Document) -> str:
    found = [lapse["text"] for grant in person["grants"] for lapse in grant["lapses"]]
    return "; ".join(dict.fromkeys(found))


def _spki(path: Path) -> bytes:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise InvalidInputError(f"{path} holds no public key in PEM") from error
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
