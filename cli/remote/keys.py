"""Keys: order, see, and ask for every change of their state."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.output import answer, answer_bytes, facts, say, say_more, table
from cli.remote.asking import ask
from cli.remote.audit import events_table
from cli.remote.client import After, Limit, connect
from cli.remote.screens import about_key, fingerprint
from cli.state import SessionDir
from hsm.types import Algorithm, KeyUsage
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    ActivateKey,
    AllowUse,
    DeactivateKey,
    DestroyKey,
    ExportKey,
    GenerateKey,
    ImportKey,
    ResumeKey,
)
from keyvault.domain.commands.keys import MAX_HOURS, MAX_USES
from keyvault.domain.gbcs import CellUsage
from keyvault.domain.keys import KeyState
from keyvault.domain.scopes import Scope

app = group("Order keys, see them, change their state and use them.")

YEAR = 365  # days

KeyId = Annotated[UUID, typer.Argument(metavar="KEY", help="Id of the key.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is signed and recorded.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]
ScopeText = Annotated[str, typer.Option(metavar="P/R/U", help="Party/user role/user id.")]
Label = Annotated[str, typer.Option(metavar="TEXT", help="A name for people.")]
Class = Annotated[str, typer.Option("--class", metavar="NAME", help="Key class.")]
Days = Annotated[int, typer.Option(min=1, metavar="DAYS", help="How long it may protect.")]
ProcessDays = Annotated[
    int | None,
    typer.Option(min=1, metavar="DAYS", help="How long it may process. Default: as long."),
]
Kek = Annotated[UUID, typer.Option(metavar="KEY", help="Id of the wrapping key.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it here.")]


class PublicFormat(StrEnum):
    PEM = "pem"
    DER = "der"
    JWK = "jwk"


@command(
    app,
    "order",
    "keyvault keys order --scope acme/SUPPLIER/00-01 --label 'meter commands'"
    " --algorithm EC-P256 --usage sign --class critical",
)
def order(
    scope: ScopeText,
    label: Label,
    algorithm: Annotated[Algorithm, typer.Option(help="Kind of key.")],
    usage: Annotated[KeyUsage, typer.Option(help="Its one purpose.")],
    key_class: Class = "standard",
    protect_days: Days = YEAR,
    process_days: ProcessDays = None,
    need: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is needed for.")] = None,
    supersedes: Annotated[
        UUID | None, typer.Option(metavar="KEY", help="The key that it takes over from.")
    ] = None,
    cell_usage: Annotated[
        CellUsage | None, typer.Option(help="Which slots of devices, of a key to agree with.")
    ] = None,
    session: SessionDir = None,
) -> None:
    """Order a key. Nothing is made before enough people have signed."""
    days = (protect_days, process_days or protect_days)
    wanted = GenerateKey(label, algorithm, usage, key_class, *days, need, supersedes, cell_usage)
    ask(session, wanted, Scope.parse(scope))


@command(
    app,
    "import",
    "keyvault keys import --scope acme/SUPPLIER/00-01 --label 'from before'"
    " --algorithm AES-256 --usage encrypt --kek KEY --file wrapped.bin",
)
def import_(
    scope: ScopeText,
    label: Label,
    algorithm: Annotated[Algorithm, typer.Option(help="Kind of key.")],
    usage: Annotated[KeyUsage, typer.Option(help="Its one purpose.")],
    kek: Kek,
    file: Annotated[Path, typer.Option(metavar="FILE", help="The key, wrapped with AES-KWP.")],
    key_class: Class = "standard",
    protect_days: Days = YEAR,
    process_days: ProcessDays = None,
    session: SessionDir = None,
) -> None:
    """Ask to bring in a key that another party wrapped under one of ours."""
    days = (protect_days, process_days or protect_days)
    wanted = ImportKey(label, algorithm, usage, key_class, *days, kek, file.read_bytes())
    ask(session, wanted, Scope.parse(scope))


@command(app, "list", "keyvault keys list --scope acme/SUPPLIER/00-01 --state active")
def list_(
    scope: Annotated[str | None, typer.Option(metavar="P/R/U", help="Only of this scope.")] = None,
    state: Annotated[KeyState | None, typer.Option(help="Only in this state.")] = None,
    algorithm: Annotated[Algorithm | None, typer.Option(help="Only of this kind.")] = None,
    label: Annotated[str | None, typer.Option(help="Only with this label.")] = None,
    limit: Limit = 50,
    after: After = None,
    session: SessionDir = None,
) -> None:
    """List keys, newest first."""
    page = connect(session).get(
        "/v1/keys",
        scope=scope,
        state=state,
        algorithm=algorithm,
        label=label,
        limit=limit,
        after=after,
    )
    columns = ("key", "state", "label", "kind", "scope", "protects until")
    rows = [
        (k["id"], k["state"], k["label"], _kind(k), _scope(k), k["protect_until"])
        for k in page["items"]
    ]
    answer(page, table(columns, rows))
    say_more(page)


def _kind(key: Document) -> str:
    return f"{key['algorithm']} {key['usage']}"


def _scope(key: Document) -> str:
    return str(Scope(**key["scope"]))


@command(app, "show", "keyvault keys show KEY")
def show(key: KeyId, session: SessionDir = None) -> None:
    """Show a key's metadata and fingerprint. No key material ever leaves the HSM."""
    item = connect(session).get(f"/v1/keys/{key}")
    shown = {name: value for name, value in item.items() if name != "public_key"}
    answer(item, facts({**shown, "scope": _scope(item), "fingerprint": fingerprint(item)}.items()))


@command(app, "history", "keyvault keys history KEY")
def history(key: KeyId, limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """Show everything that happened to a key, oldest first."""
    page = connect(session).get(f"/v1/keys/{key}/history", limit=limit, after=after)
    answer(page, events_table(page["items"]))
    say_more(page)


@command(app, "public-key", "keyvault keys public-key KEY --out public-key.pem")
def public_key(
    key: KeyId,
    form: Annotated[PublicFormat, typer.Option("--format", help="How to write it.")] = (
        PublicFormat.PEM
    ),
    out: Out = None,
    session: SessionDir = None,
) -> None:
    """Write a key's public half."""
    data = connect(session).get_bytes(f"/v1/keys/{key}/public-key", format=form)
    if out is None:
        answer_bytes(data)
    else:
        out.write_bytes(data)
        answer({"file": str(out)}, str(out))


@command(app, "activate", "keyvault keys activate KEY --reason 'certificate accepted'")
def activate(key: KeyId, reason: Reason, session: SessionDir = None) -> None:
    """Ask to let a new key be used."""
    ask(session, ActivateKey(key, reason))


@command(app, "resume", "keyvault keys resume KEY --reason 'false alarm, ticket 12'")
def resume(key: KeyId, reason: Reason, session: SessionDir = None) -> None:
    """Ask to let a suspended key be used again."""
    ask(session, ResumeKey(key, reason))


@command(app, "deactivate", "keyvault keys deactivate KEY --reason 'superseded'")
def deactivate(key: KeyId, reason: Reason, yes: Yes = False, session: SessionDir = None) -> None:
    """Ask to end a key's use for new data; it still processes old data."""
    ask(session, DeactivateKey(key, reason), yes=yes)


@command(app, "destroy", "keyvault keys destroy KEY --reason 'retention is over'")
def destroy(key: KeyId, reason: Reason, yes: Yes = False, session: SessionDir = None) -> None:
    """Ask to destroy a key for ever."""
    ask(session, DestroyKey(key, reason), yes=yes)


@command(app, "export", "keyvault keys export KEY --kek KEY --reason 'hand-over'")
def export(
    key: KeyId, kek: Kek, reason: Reason, yes: Yes = False, session: SessionDir = None
) -> None:
    """Ask for a wrapped copy of a key whose class allows it; execute with --out writes it."""
    ask(session, ExportKey(key, kek, reason), yes=yes)


@command(app, "allow", "keyvault keys allow KEY --uses 100 --hours 8 --reason 'release 12'")
def allow(
    key: KeyId,
    uses: Annotated[int, typer.Option(min=1, max=MAX_USES, help="How often.")],
    hours: Annotated[int, typer.Option(min=1, max=MAX_HOURS, help="Within how many hours.")],
    reason: Reason,
    session: SessionDir = None,
) -> None:
    """Ask to let a key of a guarded class be used so often, for some hours."""
    ask(session, AllowUse(key, uses, hours, reason))


@command(app, "suspend", "keyvault keys suspend KEY --reason 'owner is away'")
def suspend(key: KeyId, reason: Reason, session: SessionDir = None) -> None:
    """Stop a key at once. One person may; only several together resume it."""
    changed = connect(session).post(f"/v1/keys/{key}/suspensions", {"reason": reason})
    say("suspended: it signs nothing from now on")
    answer(changed, facts(about_key(changed)))


@command(app, "compromise", "keyvault keys compromise KEY --reason 'seen elsewhere'")
def compromise(
    key: KeyId,
    reason: Reason,
    known_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Since when it is known; else now.")
    ] = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Declare a key compromised, at once and for ever. One person may."""
    server = connect(session)
    pairs = [
        ("this will", "declare the key compromised, at once"),
        ("can be undone", "NO: it stays marked as compromised for ever"),
        *about_key(server.get(f"/v1/keys/{key}")),
        ("still needed", "nobody else: you alone decide this"),
        ("reason", reason),
    ]
    confirm("declare a compromise", pairs, yes=yes)
    body = {"reason": reason, **({"known_at": known_at} if known_at else {})}
    changed = server.post(f"/v1/keys/{key}/compromises", body)
    say(f"the clock runs; what it reaches and who to tell: keyvault keys compromise-case {key}")
    answer(changed, facts(about_key(changed)))
