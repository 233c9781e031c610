"""Custody of keys: record what was done with them, hold them, see what depends on them."""

from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.output import answer, facts, say, say_more, table
from cli.remote.asking import ask
from cli.remote.client import After, Limit, connect
from cli.remote.keys import KeyId, Reason
from cli.state import SessionDir
from keyvault.domain.canonical import Document
from keyvault.domain.commands import LiftHold
from keyvault.domain.custody import HoldKind, Step

app = group("Custody of keys.")

Reference = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Number of a paper, a bag, a ticket.")
]
Target = Annotated[str, typer.Option("--to", metavar="TEXT", help="Device, system or site.")]


def _record(session: SessionDir, key: UUID, step: Step, **told: object) -> None:
    given = {name: str(value) for name, value in told.items() if value is not None}
    done = connect(session).post(f"/v1/keys/{key}/steps", {"step": step, **given})
    answer(done, facts({**done, "details": _told(done["details"])}.items()))


def _told(details: Document) -> list[str]:
    return [f"{name.replace('_', ' ')}: {value}" for name, value in details.items()]


@command(app, "label", "keyvault keys label KEY --text 'ACME-17 5f2e 88a1' --place 'safe 2, Leeds'")
def label(
    key: KeyId,
    text: Annotated[str, typer.Option(metavar="TEXT", help="What the label says.")],
    place: Annotated[str | None, typer.Option(metavar="TEXT", help="Where it was put.")] = None,
    reference: Reference = None,
    session: SessionDir = None,
) -> None:
    """Record that a key was labelled."""
    _record(session, key, Step.LABELLED, text=text, place=place, reference=reference)


@command(app, "distributed", "keyvault keys distributed KEY --to head-end-1 --channel courier")
def distributed(
    key: KeyId,
    to: Target,
    channel: Annotated[str, typer.Option(metavar="TEXT", help="By which way.")],
    reference: Reference = None,
    session: SessionDir = None,
) -> None:
    """Record that a key, or what stands for it, was sent somewhere."""
    _record(session, key, Step.DISTRIBUTED, target=to, channel=channel, reference=reference)


@command(app, "installed", "keyvault keys installed KEY --to head-end-1 --reference CHG-88")
def installed(
    key: KeyId, to: Target, reference: Reference = None, session: SessionDir = None
) -> None:
    """Record that a key is installed where it was sent."""
    _record(session, key, Step.INSTALLED, target=to, reference=reference)


@command(app, "renewed", "keyvault keys renewed KEY --certificate CERTIFICATE --reason 'yearly'")
def renewed(
    key: KeyId,
    certificate: Annotated[UUID, typer.Option(metavar="CERTIFICATE", help="The new one.")],
    reason: Reason,
    session: SessionDir = None,
) -> None:
    """Record that a certificate renews the same key, while its cryptoperiod lasts."""
    _record(session, key, Step.RENEWED, certificate=certificate, reason=reason)


@command(app, "steps", "keyvault keys steps KEY")
def steps(key: KeyId, limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """List what people recorded of a key, oldest first."""
    page = connect(session).get(f"/v1/keys/{key}/steps", limit=limit, after=after)
    rows = [
        (one["number"], one["at"], one["step"], one["actor"], "; ".join(_told(one["details"])))
        for one in page["items"]
    ]
    answer(page, table(("number", "at", "step", "by", "details"), rows))
    say_more(page)


@command(app, "hold", "keyvault keys hold KEY --kind legal --reason 'court order 12/26'")
def hold(
    key: KeyId,
    kind: Annotated[HoldKind, typer.Option(help="What it is for.")],
    reason: Reason,
    session: SessionDir = None,
) -> None:
    """Keep a key from being destroyed. One person may; only several together lift it."""
    done = connect(session).post(f"/v1/keys/{key}/holds", {"kind": kind, "reason": reason})
    say(f"held; to lift it: keyvault keys lift-hold {key} --hold {done['id']} --reason TEXT")
    answer(done, facts(done.items()))


@command(app, "lift-hold", "keyvault keys lift-hold KEY --hold HOLD --reason 'case closed'")
def lift_hold(
    key: KeyId,
    hold: Annotated[UUID, typer.Option(metavar="HOLD", help="Id of the hold.")],
    reason: Reason,
    session: SessionDir = None,
) -> None:
    """Ask to end a hold."""
    ask(session, LiftHold(key, hold, reason))


@command(app, "dependants", "keyvault keys dependants KEY")
def dependants(key: KeyId, session: SessionDir = None) -> None:
    """List what depends on a key, and what forbids to destroy it."""
    found = connect(session).get(f"/v1/keys/{key}/dependants")
    rows = [
        *(
            ("hold", h["id"], f"{h['kind']}, by {h['set_by']}: {h['reason']}")
            for h in found["holds"]
        ),
        *(("certificate", c["id"], f"{c['state']}, {c['subject']}") for c in found["certificates"]),
        *(("wrapped key", one, "rests under it") for one in found["wrapped"]),
        *(("system", name, "is enrolled for it by name") for name in found["systems"]),
    ]
    if found["successor"]:
        rows.append(("successor", found["successor"], "is not active yet"))
    answer(found, table(("what", "which", "how"), rows))
    if found["wrapped_count"] > len(found["wrapped"]):
        say(f"{found['wrapped_count']} keys rest under it, of which these are the first")
    if not found["reasons"]:
        say("nothing depends on it: it may be destroyed")
