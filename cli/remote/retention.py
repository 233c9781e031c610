"""How long events keep what they say: holds, purges by class and age, and their certificates."""

from base64 import b64decode
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.output import answer, facts, say, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.remote.given import Reason, Yes
from cli.state import SessionDir
from keyvault.domain.commands import LiftLogHold, PurgePayloads
from keyvault.domain.custody import HoldKind
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.retention import Retention

app = group("How long events keep what they say.")


@command(app, "hold", "keyvault audit hold key:ID --kind legal --reason 'court order 12/26'")
def hold(
    about: Annotated[str, typer.Argument(help="key:ID, token:ID, person:NAME or *.")],
    kind: Annotated[HoldKind, typer.Option(help="What it is for.")],
    reason: Reason,
    session: SessionDir = None,
) -> None:
    """Keep what events say from being purged. One person may; only several together lift it."""
    body = {"about": about, "kind": kind, "reason": reason}
    done = connect(session).post("/v1/audit/holds", body)
    say(f"held; to lift it: keyvault audit lift-hold {done['id']} --reason TEXT")
    answer(done, facts(done.items()))


@command(app, "holds", "keyvault audit holds")
def holds(session: SessionDir = None) -> None:
    """List the holds on events that stand."""
    found = connect(session).get("/v1/audit/holds")
    names = ("id", "about", "kind", "reason", "set_at", "set_by")
    answer(found, table(names, [[one[name] for name in names] for one in found["items"]]))


@command(app, "lift-hold", "keyvault audit lift-hold HOLD --reason 'case closed'")
def lift_hold(
    hold: Annotated[UUID, typer.Argument(metavar="HOLD", help="Its id.")],
    reason: Reason,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask to end a hold on events."""
    ask(session, LiftLogHold(hold, reason), yes=yes)


@command(
    app,
    "purge",
    "keyvault audit purge use --before 2025-10-01T00:00:00Z --reason 'thirteen months are over'",
)
def purge(
    retention: Annotated[Retention, typer.Argument(help="The class of events.")],
    before: Annotated[str, typer.Option(metavar="TIME", help="Only what is older.")],
    reason: Reason,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask for what old events say to be removed. Their leaves, and every proof, stay."""
    ask(session, PurgePayloads(retention, before, reason), yes=yes)


@command(app, "purge-certificate", "keyvault audit purge-certificate REQUEST --out purge.json")
def certificate(
    request: Annotated[UUID, typer.Argument(metavar="REQUEST", help="Of the purge.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to; its .sig beside it.")],
    session: SessionDir = None,
) -> None:
    """Write the signed certificate of a purge: what went, by which class, and who decided it."""
    if out.exists():
        raise InvalidInputError(f"{out} exists already and is left alone")
    made = connect(session).get(f"/v1/audit/purges/{request}")
    signature = out.with_name(f"{out.name}.sig")
    out.write_bytes(b64decode(made["statement"]))
    signature.write_bytes(b64decode(made["signature"]))
    answer({"file": str(out), "signature": str(signature)}, str(out))
