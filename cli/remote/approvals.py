"""Approvals: see a request as it will be signed, sign it or refuse it, carry it out."""

import json
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given
from cli.output import answer, facts, say, say_more, table
from cli.passphrases import PassphraseFd
from cli.remote import log
from cli.remote.asking import again_in_emergency
from cli.remote.client import After, Limit, Server, connect
from cli.remote.deciding import Wish, decide_here, decide_offline
from cli.remote.queue import row
from cli.remote.requests import read_file, rebuilt
from cli.remote.screens import IRREVERSIBLE, about_key, about_request, key_of
from cli.state import Session, SessionDir, open_session, write_private
from keyvault.domain.approvals import ApprovalRequest, Decision, RequestState
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.keys import KeyState

app = group("See requests, sign or refuse them, and carry them out.")

RequestId = Annotated[UUID, typer.Argument(metavar="REQUEST", help="Id of the request.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]
OutFile = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write it.")]


@command(app, "list", "keyvault approvals list --state requested")
def list_(
    state: Annotated[RequestState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = 50,
    after: After = None,
    session: SessionDir = None,
) -> None:
    """List requests, newest first: what each would do, whether it can be undone, how old it is."""
    page = connect(session).get("/v1/requests", state=state, limit=limit, after=after)
    now, names = datetime.now(UTC), ("request", "state", "will", "can be undone", "asked by", "age")
    rows = [(*row(item, now), _signed(item)) for item in page["items"]]
    answer(page, table((*names, "expires", "signed"), rows))
    say_more(page)


def _signed(item: Document) -> str:
    return f"{len(item['approvals'])} of {item['rule']['approvals']}"


@command(app, "show", "keyvault approvals show REQUEST", "keyvault approvals show REQUEST --json")
def show(request: RequestId, session: SessionDir = None) -> None:
    """Show a request as its approvers read it. With --json: a file that can be signed offline."""
    here = open_session(session)
    server = Server.of(here)
    item = server.get(f"/v1/requests/{request}")
    answer(item, facts([("state", item["state"]), *_screen(server, here, rebuilt(item))]))


def _screen(server: Server, here: Session, asked: ApprovalRequest) -> list[tuple[str, object]]:
    authority = log.look(server, here).authority
    key = key_of(server, asked.request.command)
    return [*about_request(asked.request, asked, authority), *about_key(key)]


@command(
    app,
    "approve",
    "keyvault approvals approve REQUEST",
    "keyvault approvals approve --file request.json --out approval.json",
)
def approve(
    request: Annotated[UUID | None, typer.Argument(metavar="[REQUEST]")] = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="Sign offline.")] = None,
    out: OutFile = None,
    reason: Annotated[str, typer.Option(help="Why; it is signed too.")] = "",
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    yes: Yes = False,
    session: SessionDir = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Sign a request, after reading it, as one of those who must agree."""
    wish = Wish(Decision.APPROVE, reason, given(credential, card, reader), passphrase_fd, yes)
    here = open_session(session)
    if request is not None and file is None:
        _answer(decide_here(here, request, wish))
    elif request is None and file is not None and out is not None:
        signed = decide_offline(here, read_file(file), wish)
        write_private(out, json.dumps(signed, indent=2).encode())
        say(f"signed into {out}; hand it in with: keyvault approvals submit {out}")
        answer(signed, str(out))
    else:
        raise InvalidInputError(
            "give either a request's id, or --file and --out", next_step="keyvault approvals list"
        )


@command(app, "refuse", "keyvault approvals refuse REQUEST --reason 'wrong scope'")
def refuse(
    request: RequestId,
    reason: Annotated[str, typer.Option(help="Why; it is signed and recorded.")],
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    yes: Yes = False,
    session: SessionDir = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Sign a no. One is enough to end the request."""
    wish = Wish(Decision.REFUSE, reason, given(credential, card, reader), passphrase_fd, yes)
    _answer(decide_here(open_session(session), request, wish))


@command(app, "submit", "keyvault approvals submit approval.json")
def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What approve --out wrote.")],
    session: SessionDir = None,
) -> None:
    """Hand in a decision that was signed offline."""
    signed = read_file(file)
    if set(signed) != {"request", "approval"}:
        raise InvalidInputError(f"{file} was not written by: keyvault approvals approve --out")
    request = UUID(str(signed["request"]))
    _answer(connect(session).post(f"/v1/requests/{request}/approvals", signed["approval"]))


@command(app, "execute", "keyvault approvals execute REQUEST")
def execute(
    request: RequestId,
    out: OutFile = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Carry out a request that enough people have signed. An exported key goes to --out."""
    here = open_session(session)
    server = Server.of(here)
    asked = rebuilt(server.get(f"/v1/requests/{request}"))
    if isinstance(asked.request.command, IRREVERSIBLE):
        confirm("carry out a request", _screen(server, here, asked), yes=yes)
    done = server.post(f"/v1/requests/{request}/executions")
    outcome = done["outcome"]
    if out is not None and "blob" in outcome:
        write_private(out, b64decode(outcome["blob"]))
        say(f"the wrapped key is in {out}")
    if outcome.get("state") == KeyState.PRE_ACTIVE:
        say(f"it cannot be used yet: keyvault keys activate {outcome['key']} --reason WHY")
    state = done["request"]["state"]
    answer(done, facts([("request", request), ("request state", state), *_plain(outcome)]))


def _plain(outcome: Document) -> list[tuple[str, object]]:
    """What came of a request, in words and numbers. Whole documents are for programs: --json."""
    return [
        (name.replace("_", " "), value)
        for name, value in outcome.items()
        if value not in ("", None) and not isinstance(value, dict)
    ]


@command(app, "cancel", "keyvault approvals cancel REQUEST --reason 'ordered twice'")
def cancel(
    request: RequestId,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    session: SessionDir = None,
) -> None:
    """Withdraw a request that is not under way yet."""
    _answer(connect(session).post(f"/v1/requests/{request}/cancellations", {"reason": reason}))


@command(app, "break-glass", "keyvault approvals break-glass REQUEST")
def break_glass(request: RequestId, yes: Yes = False, session: SessionDir = None) -> None:
    """Ask for a waiting request again under the rule for emergencies: more people, no waiting."""
    here = open_session(session)
    again_in_emergency(here, rebuilt(Server.of(here).get(f"/v1/requests/{request}")), yes=yes)


def _answer(item: Document) -> None:
    say(f"the request is {item['state']}, signed by {_signed(item)}")
    answer(item, facts([("request", item["id"]), ("state", item["state"])]))
