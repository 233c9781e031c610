"""Persons: who is registered, and asking for changes that several people sign."""

from base64 import b64encode
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import serialization

from cli.command import command, group
from cli.output import answer, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.state import SessionDir
from keyvault.domain.commands import RegisterPerson, RemovePerson
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Role

app = group("See who is registered, and ask for changes.")

PersonId = Annotated[str, typer.Argument(metavar="PERSON", help="Id, such as dora.")]


@command(app, "list", "keyvault people list")
def list_(session: SessionDir = None) -> None:
    """List persons with their roles and the fingerprint of their key."""
    page = connect(session).get("/v1/people")
    rows = [(p["id"], p["name"], ", ".join(p["roles"]), p["credential"]) for p in page["items"]]
    answer(page, table(("person", "name", "roles", "key"), rows))


@command(
    app,
    "register",
    "keyvault people register dora --name 'Dora Day' --role auditor --public-key dora.pub.pem",
)
def register(
    person: PersonId,
    name: Annotated[str, typer.Option(help="Full name.")],
    role: Annotated[list[Role], typer.Option(help="A role; repeat for more.")],
    public_key: Annotated[Path, typer.Option(metavar="FILE", help="Their public key (PEM).")],
    session: SessionDir = None,
) -> None:
    """Ask to register a person and the key that signs for them."""
    spki = _spki(public_key)
    body = {
        "person": person,
        "full_name": name,
        "roles": [str(one) for one in role],
        "public_key": b64encode(spki).decode(),
    }
    ask(session, "/v1/people", RegisterPerson(person, name, tuple(role), spki), body=body)


@command(app, "remove", "keyvault people remove dora --reason 'has left'")
def remove(
    person: PersonId,
    reason: Annotated[str, typer.Option(help="Why; it is signed and recorded.")],
    session: SessionDir = None,
) -> None:
    """Ask to take every role from a person."""
    path = f"/v1/people/{person}/removals"
    ask(session, path, RemovePerson(person, reason), body={"reason": reason})


def _spki(path: Path) -> bytes:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise InvalidInputError(f"{path} holds no public key in PEM") from error
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
