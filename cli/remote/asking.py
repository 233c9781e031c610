"""Asking for an act that several people have to sign."""

from pathlib import Path

from cli.confirm import confirm
from cli.output import answer, facts, say
from cli.remote import log
from cli.remote.client import Server
from cli.remote.requests import rebuilt
from cli.remote.screens import (
    IRREVERSIBLE,
    about_command,
    about_key,
    about_quorum,
    about_request,
    about_scope,
    key_of,
)
from cli.state import Session, open_session
from keyvault.domain.canonical import Document
from keyvault.domain.commands import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.scopes import Scope


def ask(
    session: Path | None,
    path: str,
    command: Command,
    scope: Scope | None = None,
    *,
    body: Document | None = None,
    yes: bool = False,
) -> None:
    """Send an order, check that the request says exactly what was meant, and show it.

    `body` is what the API wants where it is more than the command's parameters and scope.
    """
    here = open_session(session)
    server = Server.of(here)
    if isinstance(command, IRREVERSIBLE):
        _warn(server, here, command, yes=yes)
    item = server.post(path, body or _body(command, scope))
    asked = rebuilt(item)
    if asked.request.command != command or asked.request.requester != here.person:
        raise InvalidInputError(
            "the server wrote another request than the one that was sent",
            next_step=f"cancel it: keyvault approvals cancel {asked.request.id}",
        )
    say(f"asked for; now others sign it: keyvault approvals approve {asked.request.id}")
    answer(item, facts(about_request(asked.request, asked, None)))


def _body(command: Command, scope: Scope | None) -> Document:
    parameters = command.parameters()
    parameters.pop("key", None)  # stands in the path
    return parameters if scope is None else {**parameters, "scope": scope.document()}


def _warn(server: Server, here: Session, command: Command, *, yes: bool) -> None:
    key, authority = key_of(server, command) or {}, log.look(server, here).authority
    rule = authority.rule_for(command.name, str(key.get("key_class", "")))
    pairs = [
        *about_command(command),
        *about_key(key),
        *about_scope(Scope(**key["scope"]) if key else None),
        *about_quorum(rule, here.person, None, authority),
    ]
    confirm("ask for something that cannot be undone", pairs, yes=yes)
