"""A compromised key: its case, and the notices to those who have to know."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from cli.command import command, group
from cli.output import answer, answer_bytes, facts, say
from cli.remote.client import connect
from cli.remote.keys import KeyId, Out
from cli.state import SessionDir
from keyvault.domain.compromise import NAMES, Body
from keyvault.domain.times import text_of, time_of

app = group("Compromised keys.")

To = Annotated[Body, typer.Option("--to", help="Which body.")]


class Form(StrEnum):
    TEXT = "text"
    HTML = "html"


@command(app, "compromise-case", "keyvault keys compromise-case KEY")
def case(key: KeyId, session: SessionDir = None) -> None:
    """Show a compromised key's case: what it reaches, what replaces it, who is not told yet."""
    found = connect(session).get(f"/v1/keys/{key}/compromise")
    shown = {
        **found,
        "certificates": [f"{c['id']}: {c['state']}, {c['subject']}" for c in found["certificates"]],
        "sent": [f"{n['body']}: {n['sent_at']}, reference {n['reference']}" for n in found["sent"]],
        "owed": [NAMES[Body(body)] for body in found["owed"]],
    }
    answer(found, facts((name.replace("_", " "), value) for name, value in shown.items()))
    if found["owed"]:
        say(f"next: keyvault keys compromise-notice {key} --to {found['owed'][0]}")


@command(
    app,
    "compromise-notice",
    "keyvault keys compromise-notice KEY --to dcc",
    "keyvault keys compromise-notice KEY --to ssc --format html --out notice.html",
)
def compromise_notice(
    key: KeyId,
    to: To,
    form: Annotated[Form, typer.Option("--format", help="Plain text, or a page.")] = Form.TEXT,
    out: Out = None,
    session: SessionDir = None,
) -> None:
    """Draft the notice to one body, ready to be copied into its form."""
    path = f"/v1/keys/{key}/compromise/notices/{to}"
    data = connect(session).get_bytes(path, format=form)
    if out is None:
        answer_bytes(data)
    else:
        out.write_bytes(data)
        answer({"file": str(out)}, str(out))
    say(f"once it is sent: keyvault keys notice-sent {key} --to {to} --reference TEXT")


@command(app, "notice-sent", "keyvault keys notice-sent KEY --to dcc --reference INC-77")
def notice_sent(
    key: KeyId,
    to: To,
    reference: Annotated[str, typer.Option(metavar="TEXT", help="Its number, there or here.")],
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Such as 2026-11-22T15:00:00Z; else now.")
    ] = None,
    session: SessionDir = None,
) -> None:
    """Record that a body was told of a compromise."""
    sent_at = text_of(time_of(at) if at else datetime.now(UTC))
    body = {"body": to, "sent_at": sent_at, "reference": reference}
    done = connect(session).post(f"/v1/keys/{key}/compromise/notices", body)
    answer(done, facts(done.items()))
