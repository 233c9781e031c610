"""Reconciling register and tokens: take a report, read it, sign it, print it."""

from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given, place_of
from cli.errors import LogForkError
from cli.output import answer, facts, grouped, say, say_more, table
from cli.passphrases import PassphraseFd, Secrets
from cli.remote import log
from cli.remote.client import After, Limit, Server, connect
from cli.remote.given import Yes
from cli.state import SessionDir, open_session
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.reconciliation import Reconciliation, statement_of
from keyvault.domain.times import time_of

app = group("Hold the register of keys against the tokens, and sign what was found.")

Report = Annotated[UUID, typer.Argument(metavar="REPORT", help="Id of the reconciliation.")]
_PATH = "/v1/reconciliations"


@command(app, "take", "keyvault reconciliations take")
def take(session: SessionDir = None) -> None:
    """Compare the register with what is really on each token, now, and keep the report."""
    made = connect(session).post(_PATH)
    _show(made)
    say(f"next: keyvault reconciliations sign {made['id']}")


@command(app, "list", "keyvault reconciliations list")
def list_(limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """List reports, the newest first."""
    page = connect(session).get(_PATH, limit=limit, after=after)
    rows = [
        (one["id"], one["taken_at"], one["taken_by"], one["findings"], _signers(one) or "nobody")
        for one in page["items"]
    ]
    answer(page, table(("report", "taken", "by", "findings", "signed by"), rows))
    say_more(page)


@command(app, "show", "keyvault reconciliations show REPORT")
def show(report: Report, session: SessionDir = None) -> None:
    """Show a report: the tokens, what differs, and who signed it."""
    _show(connect(session).get(f"{_PATH}/{report}"))


@command(app, "sign", "keyvault reconciliations sign REPORT")
def sign(
    report: Report,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Read a report and sign, with the date, that you were shown it."""
    here = open_session(session)
    server = Server.of(here)
    found = server.get(f"{_PATH}/{report}")
    made = _checked(found)
    statement = canonical(statement_of(made, here.origin, here.person, datetime.now(UTC)))
    confirm(f"sign reconciliation {report}", _pairs(found), yes=yes)
    keys = log.deciding(log.look(server, here).authority, here.person)
    place = given(credential, card, reader) or place_of(here.credential)
    signature = place.to_decide(Secrets(passphrase_fd), keys).sign(statement)
    told = {"statement": statement, "signature": signature}
    body = {name: b64encode(value).decode() for name, value in told.items()}
    done = server.post(f"{_PATH}/{report}/signatures", body)
    answer(done, facts(_pairs(done)))


@command(app, "print", "keyvault reconciliations print REPORT --out reconciliation.pdf")
def print_(
    report: Report,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .pdf or .html file.")],
    session: SessionDir = None,
) -> None:
    """Write a report with its signatures as PDF, or as a page."""
    form = "pdf" if out.suffix == ".pdf" else "html"
    out.write_bytes(connect(session).get_bytes(f"{_PATH}/{report}/paper", format=form))
    answer({"file": str(out)}, str(out))


def _checked(found: Document) -> Reconciliation:
    """What is signed is the digest of what was shown: it is computed here, from what came."""
    told = canonical(found["report"])
    if sha256(told).hexdigest() != found["sha256"]:
        raise LogForkError(
            "the report is not the one that its digest names",
            next_step="sign nothing, and call your incident lead",
        )
    count = int(found["report"]["finding_count"])
    taken = time_of(found["taken_at"])
    return Reconciliation(UUID(found["id"]), taken, found["taken_by"], found["sha256"], count, told)


def _signers(found: Document) -> str:
    return ", ".join(one["person"] for one in found["signed"])


def _pairs(found: Document) -> list[tuple[str, object]]:
    report = found["report"]
    return [
        ("reconciliation", found["id"]),
        ("taken", f"{found['taken_at']} by {found['taken_by']}"),
        ("keys in the register", f"{report['keys']}, of which {report['wrapped']} rest wrapped"),
        ("tokens", [_token(one) for one in report["tokens"]]),
        ("differs", [_line(one) for one in report["findings"]] or "nothing"),
        ("declared foreign", report["foreign_count"]),
        ("SHA-256", grouped(found["sha256"])),
        ("signed", [f"{one['person']} at {one['at']}" for one in found["signed"]] or "by nobody"),
    ]


def _token(one: Document) -> str:
    if not one["reachable"]:
        return f"{one['name']}: its gate does not answer"
    return f"{one['name']}: {one['label']}, serial {one['serial']}, {one['library']}"


def _line(one: Document) -> str:
    return f"{one['drift']}: {one['key']} ({one['label'] or 'no label'}), {one['detail']}"


def _show(found: Document) -> None:
    answer(found, facts(_pairs(found)))
    if found["findings"]:
        say("something differs: see runbook drift")
