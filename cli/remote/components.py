"""Keys that come and go by components: each custodian types, or prints, their own."""

from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from cli.command import command, group
from cli.confirm import confirm
from cli.desk.components import form, styles, typed
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given
from cli.output import answer, facts, say, say_more, table
from cli.passphrases import PassphraseFd, Secrets
from cli.remote.asking import ask
from cli.remote.client import After, Limit, Server, connect
from cli.remote.delivering import Checked, Desk, at_desk, hand_over
from cli.remote.given import Reason
from cli.remote.keys import YEAR, Class, Days, KeyId, Label, ProcessDays, ScopeText, Yes
from cli.remote.papers import write_signed
from cli.state import Session, SessionDir, open_session, write_private
from hsm.types import Algorithm, CheckValues, KeyUsage
from keyvault import components, sealed
from keyvault.domain.canonical import Document
from keyvault.domain.commands import ExportComponents, ImportComponents
from keyvault.domain.errors import InvalidInputError, NotFoundError
from keyvault.domain.handovers import TRANSCRIPT_CONTEXT, digest
from keyvault.domain.scopes import Scope
from keyvault.signatures import spki_der

app = group("Keys that people carry in and out.")
inner = group("Keys by components, one custodian each.")
app.add_typer(inner, name="components")
HOUR = 60  # minutes

RequestId = Annotated[UUID, typer.Argument(metavar="REQUEST", help="Id of the request.")]
Custodians = Annotated[
    list[str],
    typer.Option("--custodian", metavar="PERSON", help="Once for each component, in order."),
]
Minutes = Annotated[int, typer.Option(min=1, help="How long they have, from the opening on.")]
CheckValue = Annotated[
    str | None, typer.Option(metavar="STYLE:HEX", help="As cmac:1a2b3c or ecb:1a2b3c.")
]
Number = Annotated[int, typer.Option(min=1, max=3, help="Which component.")]
BagNumber = Annotated[str, typer.Option(metavar="TEXT", help="Number of the bag.")]
ComponentFd = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Read it from descriptor N, line by line.")
]


@command(
    inner,
    "import",
    "keyvault keys components import --scope acme/SUPPLIER/00-01 --label 'zone master'"
    " --algorithm AES-256 --usage wrap --custodian erin --custodian frank --check-value ecb:1a2b3c",
)
def import_(
    scope: ScopeText,
    label: Label,
    algorithm: Annotated[Algorithm, typer.Option(help="AES-128, AES-192 or AES-256.")],
    usage: Annotated[KeyUsage, typer.Option(help="Its one purpose.")],
    custodian: Custodians,
    check_value: CheckValue = None,
    minutes: Minutes = HOUR,
    key_class: Class = "standard",
    protect_days: Days = YEAR,
    process_days: ProcessDays = None,
    session: SessionDir = None,
) -> None:
    """Ask to make a key of components that these people bring."""
    days = (protect_days, process_days or protect_days)
    terms = (label, algorithm, usage, key_class, *days)
    wanted = ImportComponents(*terms, tuple(custodian), check_value, minutes)
    ask(session, wanted, Scope.parse(scope))


@command(
    inner,
    "export",
    "keyvault keys components export KEY --custodian erin --custodian frank --reason 'to Leeds'",
)
def export(
    key: KeyId,
    custodian: Custodians,
    reason: Reason,
    minutes: Minutes = HOUR,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask to hand out a key, whose class allows it, as components to these people."""
    ask(session, ExportComponents(key, tuple(custodian), minutes, reason), yes=yes)


@command(inner, "list", "keyvault keys components list")
def list_(limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """List handovers of keys, by components and in envelopes, newest first."""
    page = connect(session).get("/v1/handovers", limit=limit, after=after)
    names = ("id", "command", "state", "opened_at", "until")
    answer(page, table(names, [[one[name] for name in names] for one in page["items"]]))
    say_more(page)


@command(inner, "show", "keyvault keys components show REQUEST")
def show(request: RequestId, session: SessionDir = None) -> None:
    """Show a handover: who has handed over what, by check values alone."""
    tell(connect(session).get(f"/v1/handovers/{request}"))


def tell(item: Document) -> None:
    """Show a handover as it is now."""
    parts = [f"{one['number']}: {one['person']}, {_check(one)}{_bag(one)}" for one in item["parts"]]
    pairs = [
        *((name.replace("_", " "), item[name]) for name in ("id", "command", "state", "until")),
        ("parts", parts or ["none yet"]),
    ]
    answer(item, facts(pairs))


def _check(part: Document) -> str:
    return styles(CheckValues(**part["check_values"]))


def _bag(part: Document) -> str:
    if part["bag"] is None:
        return ""
    back = f", back {part['returned_at']}" if part["returned_at"] else ""
    return f", bag {part['bag']}{back}"


@command(
    inner,
    "enter",
    "keyvault keys components enter REQUEST --credential erin.key",
    "keyvault keys components enter REQUEST --card --check-value cmac:1a2b3c",
)
def enter(
    request: RequestId,
    check_value: CheckValue = None,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    component_fd: ComponentFd = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Type your own component: twice, or once with its check value. It is not shown."""
    desk = at_desk(session, request, given(credential, card, reader), passphrase_fd)
    found, here = desk.found, desk.here
    what = f"component {found.number_of(here.person)} of {found.count}"
    if not isinstance(found.request.command, ImportComponents):
        raise InvalidInputError("nobody enters a component here", next_step="see: components show")
    confirm(f"bring {what}", _about(found, here), yes=yes)
    component = typed(Secrets(component_fd), what, found.algorithm, check_value)
    done = _brought(desk, component)
    say(_still(done["missing"]))
    tell(done["handover"])


def _brought(desk: Desk, component: bytearray) -> Document:
    """Seal a component for the gate and hand it in; it is overwritten here."""
    check = components.check_values(component)
    context = desk.found.context(desk.here.person)
    content = sealed.seal(desk.found.public_key, bytes(component), context)
    components.wipe(component)
    say(f"check values of your component: {styles(check)}")
    return hand_over(desk, content, check)


def _still(missing: int) -> str:
    if missing:
        return f"taken; {missing} more to come"
    return "taken; it was the last one: the key is made"


def _about(found: Checked, here: Session) -> list[tuple[str, object]]:
    return [
        ("request", found.request.id),
        ("this will", found.request.command.name),
        ("you are", here.person),
        ("custodians", list(found.said["custodians"])),
        ("until", found.until),
        ("gate", "its key for this is signed by the evidence key of the genesis"),
    ]


@command(
    inner,
    "collect",
    "keyvault keys components collect REQUEST --credential erin.key --out component.pdf",
    "keyvault keys components collect REQUEST --card --show",
)
def collect(
    request: RequestId,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the form for the bag (PDF).")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show it on this terminal.")] = False,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Take out your own component: it is sealed for this terminal, and for this call."""
    if out is None and not show:
        raise InvalidInputError("say where it goes", next_step="add --out FILE, or --show")
    desk = at_desk(session, request, given(credential, card, reader), passphrase_fd)
    component, handover = _collected(desk)
    try:
        _give(component, desk.found, desk.here, out, show=show)
    finally:
        components.wipe(component)
    say(f"put it into a bag, and record it: keyvault keys components bag {request}")
    tell(handover)


def _collected(desk: Desk) -> tuple[bytearray, Document]:
    """One's own component, sealed to a key that is made for this call, and the handover."""
    key = ec.generate_private_key(ec.SECP256R1())
    done = hand_over(desk, spki_der(key.public_key()))
    context = desk.found.context(desk.here.person)
    return bytearray(sealed.opened(key, b64decode(done["sealed"]), context)), done["handover"]


def _give(
    component: bytearray, found: Checked, here: Session, out: Path | None, *, show: bool
) -> None:
    number = found.number_of(here.person)
    if show:
        say(f"component {number} of {found.count}: {components.written(component)}")
    if out is not None:
        about: list[tuple[str, object]] = [
            ("key", getattr(found.request.command, "key", "")),
            ("handover", found.request.id),
            ("component", f"{number} of {found.count}"),
            ("custodian", here.person),
            ("check values of the whole key", styles(CheckValues(**found.said["check_values"]))),
        ]
        write_private(out, form(component, about, datetime.now(UTC)))
        say(f"print {out} and destroy the file")


@command(inner, "bag", "keyvault keys components bag REQUEST --number 1 --bag TE-4711")
def bag(request: RequestId, number: Number, bag: BagNumber, session: SessionDir = None) -> None:
    """Record the bag that you have put your component into."""
    _record_bag(session, request, number, bag, "sealed")


@command(inner, "returned", "keyvault keys components returned REQUEST --number 1 --bag TE-4711")
def returned(
    request: RequestId, number: Number, bag: BagNumber, session: SessionDir = None
) -> None:
    """Record that a bag came back. Another number than the one recorded is an alarm."""
    _record_bag(session, request, number, bag, "returned")


def _record_bag(session: Path | None, request: UUID, number: int, bag: str, step: str) -> None:
    body = {"number": number, "bag": bag, "step": step}
    tell(connect(session).post(f"/v1/handovers/{request}/bags", body))


@command(inner, "abort", "keyvault keys components abort REQUEST --reason 'a stranger was here'")
def abort(request: RequestId, reason: Reason, session: SessionDir = None) -> None:
    """End a handover at once, by components or in an envelope. Nothing is made."""
    tell(connect(session).post(f"/v1/handovers/{request}/aborts", {"reason": reason}))


@command(inner, "transcript", "keyvault keys components transcript REQUEST --out handover.json")
def transcript(
    request: RequestId,
    out: Annotated[Path, typer.Option(metavar="FILE", help="What the gate signed.")],
    session: SessionDir = None,
) -> None:
    """Write the signed transcript of a handover, its signature and the key for it."""
    here = open_session(session)
    server = Server.of(here)
    item = server.get(f"/v1/handovers/{request}")
    if item["transcript"] is None:
        raise NotFoundError(
            f"this handover is {item['state']}, and the gate signed no transcript of it",
            next_step=f"see its events: keyvault audit events --stream key:{request}",
        )
    statement = TRANSCRIPT_CONTEXT + b64decode(item["transcript"])
    write_signed(here, server, out, statement, b64decode(item["transcript_signature"]))
    answer({"file": str(out), "sha256": digest(statement)}, str(out))
