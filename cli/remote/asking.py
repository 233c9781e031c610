"""Asking for an act that several people have to sign."""

from pathlib import Path

from cli.confirm import confirm
from cli.output import answer, facts, say
from cli.remote import log
from cli.remote.client import Server
from cli.remote.deciding import Wish, decide_here
from cli.remote.requests import rebuilt
from cli.remote.screens import (
    IRREVERSIBLE,
    WORDS,
    Pairs,
    about_command,
    about_key,
    about_quorum,
    about_request,
    about_rule,
    about_scope,
    key_of,
)
from cli.state import Session, open_session
from keyvault.domain.approvals import ApprovalRequest, Request, RequestState
from keyvault.domain.canonical import Document
from keyvault.domain.commands import Command
from keyvault.domain.errors import InvalidInputError, RequestStateError
from keyvault.domain.scopes import Scope


def ask(
    session: Path | None,
    command: Command,
    scope: Scope | None = None,
    *,
    break_glass: bool = False,
    yes: bool = False,
) -> None:
    """Ask for an act, check that the request says exactly what was meant, and show it."""
    here = open_session(session)
    server = Server.of(here)
    if isinstance(command, IRREVERSIBLE):
        _warn(server, here, command, yes=yes)
    item = asked_for(here, server, command, scope, break_glass=break_glass)
    asked = rebuilt(item)
    say(f"asked for; now others sign it: keyvault approvals approve {asked.request.id}")
    answer(item, facts(about_request(asked.request, asked, None)))


def asked_for(
    here: Session,
    server: Server,
    command: Command,
    scope: Scope | None = None,
    *,
    break_glass: bool = False,
) -> Document:
    """The request as the server wrote it. Raises `InvalidInputError` if it is another one."""
    body = {
        "command": command.name,
        "parameters": command.parameters(),
        "scope": scope.document() if scope else None,
        "break_glass": break_glass,
    }
    item = server.post("/v1/requests", body)
    request = rebuilt(item).request
    if request.command != command or request.requester != here.person:
        raise InvalidInputError(
            "the server wrote another request than the one that was sent",
            next_step=f"cancel it: keyvault approvals cancel {request.id}",
        )
    return item


def alone(session: Path | None, command: Command, signing: Wish) -> None:
    """Ask, sign and carry out what one person may decide for all, or for themselves."""
    here = open_session(session)
    server = Server.of(here)
    item = asked_for(here, server, command)
    decide_here(here, rebuilt(item).request.id, signing)
    done = server.post(f"/v1/requests/{item['id']}/executions")
    say(f"done: {WORDS[type(command)][0]}")
    answer(done, facts(about_command(command)))


def again_in_emergency(here: Session, waiting: ApprovalRequest, *, yes: bool) -> None:
    """Ask for the very same under the rule that breaks the glass, after a screen that says so.

    Raises `RequestStateError` where nothing waits, `RuleError` where no rule is for emergencies.
    """
    old, server = waiting.request, Server.of(here)
    if waiting.state not in (RequestState.REQUESTED, RequestState.APPROVED):
        raise RequestStateError(f"the request is {waiting.state}", next_step="nothing waits here")
    confirm("break the glass", _emergency(server, here, old), yes=yes)
    item = asked_for(here, server, old.command, old.scope, break_glass=True)
    asked = rebuilt(item)
    say(f"the glass is broken; now others sign it: keyvault approvals approve {asked.request.id}")
    answer(item, facts(about_request(asked.request, asked, None)))


def _emergency(server: Server, here: Session, old: Request) -> Pairs:
    key, authority = key_of(server, old.command) or {}, log.look(server, here).authority
    key_class = getattr(old.command, "key_class", None) or key.get("key_class", "")
    rule = authority.rule_in_force(old.command, str(key_class), break_glass=True)
    return [
        ("IN AN EMERGENCY", "this goes round the rule that holds on every other day"),
        ("it is recorded", "the request, its rule and who signed it stay in the log for ever"),
        *about_command(old.command),
        *about_key(key),
        *about_scope(old.scope),
        ("instead of", about_rule(old.rule)),
        *about_quorum(rule, here.person, None, authority),
        ("in time", f"it has to be carried out within {rule.expires_after // 60} minutes"),
    ]


def _warn(server: Server, here: Session, command: Command, *, yes: bool) -> None:
    key, authority = key_of(server, command) or {}, log.look(server, here).authority
    rule = authority.rule_in_force(command, str(key.get("key_class", "")))
    pairs = [
        *about_command(command),
        *about_key(key),
        *about_scope(Scope(**key["scope"]) if key else None),
        *about_quorum(rule, here.person, None, authority),
    ]
    confirm("ask for something that cannot be undone", pairs, yes=yes)
