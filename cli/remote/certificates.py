"""Certificates of our keys: ask for them, take in what comes, see what ends."""

from base64 import b64decode
from collections.abc import Iterator
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.errors import CertificateRefusedError
from cli.output import answer, answer_bytes, facts, grouped, say, say_more, table
from cli.remote.client import After, Limit, Server, connect
from cli.remote.keys import Reason, Yes
from cli.state import SessionDir
from keyvault.domain import pem
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import CertificateState, Kind
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.profiles import Interface, ProfileName
from keyvault.domain.scopes import Scope

app = group("Ask for certificates, accept or reject them, see what ends when.")

PATH = "/v1/certificates"
CHUNK = 200  # certificates in one call

CertificateId = Annotated[UUID, typer.Argument(metavar="CERTIFICATE", help="Its id.")]
Profile = Annotated[ProfileName, typer.Option(help="What kind of certificate.")]
OfScope = Annotated[str | None, typer.Option("--scope", metavar="P/R/U", help="Only of this.")]
Batch = Annotated[UUID | None, typer.Option(metavar="BATCH", help="All of a batch.")]
Ids = Annotated[list[UUID] | None, typer.Argument(metavar="CERTIFICATE...", help="Their ids.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it here.")]


class Form(StrEnum):
    PEM = "pem"
    BASE64 = "base64"  # PEM without its header
    DER = "der"


class Columns(StrEnum):
    RFC_7468 = "64"
    MIME = "76"


AsForm = Annotated[Form, typer.Option("--format", help="PEM, base64 without a header, or DER.")]
OfInterface = Annotated[
    Interface | None, typer.Option("--interface", help="What an IKI client certificate opens.")
]
InColumns = Annotated[Columns, typer.Option("--columns", help="Characters in a line.")]


def written(der: bytes, label: str, form: Form, columns: Columns) -> bytes:
    """Write DER in the form that was asked for."""
    if form is Form.DER:
        return der
    return pem.armour(der, label, columns=int(columns), header=form is Form.PEM)


@command(
    app,
    "csr",
    "keyvault certificates csr KEY --out request.csr",
    "keyvault certificates csr KEY --profile iki-client --interface ad-hoc-device-csr"
    " --system head-end-1 --format base64 --columns 76",
)
def csr(
    key: Annotated[UUID, typer.Argument(metavar="KEY", help="Id of the key.")],
    profile: Profile = ProfileName.SMKI_ORGANISATION,
    interface: OfInterface = None,
    system: Annotated[str | None, typer.Option(metavar="NAME", help="The system's name.")] = None,
    form: AsForm = Form.PEM,
    columns: InColumns = Columns.RFC_7468,
    out: Out = None,
    session: SessionDir = None,
) -> None:
    """Let a key sign a certification request. What it says follows from the key's record."""
    item = {"key": str(key), "interface": interface, "system": system}
    wanted = {name: value for name, value in item.items() if value is not None}
    body: Document = {"profile": profile, "items": [wanted]}
    [built] = connect(session).post(f"{PATH}/requests", body)["items"]
    if built["status"] != "success":
        raise CertificateRefusedError(
            f"there is no request ({built['status']}): {built['detail']}",
            next_step=f"code {built['code']}: see docs/errors.md and docs/certificates.md",
        )
    made = built["certificate"]
    data = written(b64decode(made["csr"]), pem.REQUEST, form, columns)
    say(f"request for {made['subject']}")
    say(f"once it is sent: keyvault certificates submit {made['id']} --reference TEXT")
    _given(data, out, made)


def _given(data: bytes, out: Path | None, value: Document) -> None:
    if out is None:
        answer_bytes(data)
        return
    out.write_bytes(data)
    answer({"file": str(out), **value}, str(out))


@command(
    app,
    "save",
    "keyvault certificates save CERTIFICATE --out supplier.pem",
    "keyvault certificates save CERTIFICATE --request --format der --out again.csr",
)
def save(
    certificate: CertificateId,
    request: Annotated[bool, typer.Option("--request", help="The request, not the answer.")] = (
        False
    ),
    form: AsForm = Form.PEM,
    columns: InColumns = Columns.RFC_7468,
    out: Out = None,
    session: SessionDir = None,
) -> None:
    """Write a certificate, or its request, to a file."""
    item = connect(session).get(f"{PATH}/{certificate}")
    body = item["csr" if request else "certificate"]
    if body is None:
        raise InvalidInputError(f"there is none yet: it is {item['state']}")
    label = pem.REQUEST if request else pem.CERTIFICATE
    _given(written(b64decode(body), label, form, columns), out, item)


@command(app, "list", "keyvault certificates list --state issued")
def list_(
    scope: OfScope = None,
    state: Annotated[CertificateState | None, typer.Option(help="Only in this state.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Ours, or others' that are watched.")] = None,
    key: Annotated[UUID | None, typer.Option(metavar="KEY", help="Only of this key.")] = None,
    batch: Batch = None,
    limit: Limit = 50,
    after: After = None,
    session: SessionDir = None,
) -> None:
    """List certificates and requests, newest first."""
    which = {"scope": scope, "state": state, "kind": kind, "key": key, "batch": batch}
    page = connect(session).get(PATH, **which, limit=limit, after=after)
    columns = ("certificate", "state", "subject", "key", "ends", "decide until")
    rows = [
        (c["id"], c["state"], c["subject"], c["key"], c["not_after"], _clock(c))
        for c in page["items"]
    ]
    answer(page, table(columns, rows))
    say_more(page)


def _clock(item: Document) -> str:
    if item["overdue"]:
        return f"OVERDUE since {item['decide_until']}"
    return item["decide_until"] or ""


@command(app, "ending", "keyvault certificates ending --within 90", "keyvault certificates ending")
def ending(
    within: Annotated[int, typer.Option(min=0, max=36_525, metavar="DAYS")] = 180,
    scope: OfScope = None,
    limit: Limit = 50,
    after: After = None,
    session: SessionDir = None,
) -> None:
    """Forecast what ends, ours and others', the first to end first; 180, 90 and 30 days warn."""
    page = connect(session).get(
        f"{PATH}/ending", within=within, scope=scope, limit=limit, after=after
    )
    columns = ("warning", "days left", "ends", "whose", "subject", "certificate", "key")
    rows = [
        (_warning(c), c["days_left"], c["not_after"], c["kind"], c["subject"], c["id"], c["key"])
        for c in page["items"]
    ]
    answer(page, table(columns, rows))
    say_more(page)


def _warning(item: Document) -> str:
    return "EXPIRED" if item["warning"] == "expired" else f"{item['warning'] or '-'} days"


@command(app, "show", "keyvault certificates show CERTIFICATE")
def show(certificate: CertificateId, session: SessionDir = None) -> None:
    """Show everything known of a certificate, with its fingerprints."""
    item = connect(session).get(f"{PATH}/{certificate}")
    answer(item, facts(about(item)))


def about(item: Document) -> Iterator[tuple[str, object]]:
    """What a person compares and decides by."""
    hidden = {"csr", "certificate", "spki_sha256"}
    for name, value in item.items():
        if name not in hidden and value not in ("", None):
            yield name.replace("_", " "), Scope(**value) if name == "scope" else value
    yield "fingerprint of the key", grouped(item["spki_sha256"])
    if item.get("certificate"):
        whole = sha256(b64decode(item["certificate"])).hexdigest()
        yield "fingerprint of the certificate", grouped(whole)


@command(
    app,
    "submit",
    "keyvault certificates submit CERTIFICATE --reference SD-4711",
    "keyvault certificates submit --batch BATCH --reference SD-4711",
)
def submit(
    certificates: Ids = None,
    batch: Batch = None,
    reference: Annotated[
        str, typer.Option(metavar="TEXT", help="The authority's own number for it.")
    ] = "none given",
    session: SessionDir = None,
) -> None:
    """Record that requests go to the authority, for the first time or again. Then send them.

    What the authority would not take now, by its rules on pace, is refused: do not send it.
    """
    server = connect(session)
    moved, pace = moving(server, "submissions", certificates, batch, {"reference": reference})
    for one in pace:
        say(_paced(one))
    say("the clock runs once they come back: keyvault certificates response FILE")
    answer({"submitted": moved, "pace": pace}, f"{moved} submitted")


def _paced(one: Document) -> str:
    left = f"{one['party']} may send {one['alone_left']} more requests alone today"
    if one["batch"] is None:
        return left
    return f"{left}; batch {one['batch']} is on its way until {one['busy_until']}"


@command(
    app,
    "accept",
    "keyvault certificates accept CERTIFICATE --reason 'as requested'",
    "keyvault certificates accept --batch BATCH --reason 'sample of ten compared'",
)
def accept(
    reason: Reason,
    certificates: Ids = None,
    batch: Batch = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Accept certificates that fit their requests, so that their keys can be activated."""
    server = connect(session)
    confirm("accept certificates", _about_acceptance(server, certificates, batch), yes=yes)
    moved, _ = moving(server, "acceptances", certificates, batch, {"reason": reason})
    answer({"accepted": moved}, f"{moved} accepted")


def _about_acceptance(
    server: Server, ids: list[UUID] | None, batch: UUID | None
) -> list[tuple[str, object]]:
    undone = ("can be undone", "NO: an accepted certificate can only be revoked by the authority")
    checked = ("compared already", "key, subject, role, EUI-64, usage, issuer's signature, period")
    if batch is not None:
        states = server.get(f"{PATH}/batches/{batch}")["states"]
        return [("batch", batch), ("now issued", states.get("issued", 0)), checked, undone]
    found = [server.get(f"{PATH}/{each}") for each in ids or []]
    shown = [pair for item in found for pair in about(item)]
    return [*shown, checked, undone]


def moving(
    server: Server, step: str, ids: list[UUID] | None, batch: UUID | None, body: Document
) -> tuple[int, list[Document]]:
    """Take a step with certificates, or with a batch until none of it is left.

    Return how many there were, and the pace of their parties as the last answer says it.
    """
    if bool(ids) == (batch is not None):
        raise InvalidInputError(
            "name certificates, or a batch, and not both", next_step="keyvault certificates list"
        )
    moved, names = 0, list(map(str, ids or []))
    pace: list[Document] = []
    for at in range(0, len(names), CHUNK):
        part = {**body, "certificates": names[at : at + CHUNK]}
        done = server.post(f"{PATH}/{step}", part)
        moved, pace = moved + len(done["items"]), done["pace"]
    while batch is not None:
        done = server.post(f"{PATH}/{step}", {**body, "batch": str(batch)})
        moved, pace = moved + len(done["items"]), done["pace"] or pace
        if not done["left"] or not done["items"]:
            break
    return moved, pace


@command(app, "reject", "keyvault certificates reject CERTIFICATE --reason 'wrong organisation'")
def reject(
    certificate: CertificateId, reason: Reason, yes: Yes = False, session: SessionDir = None
) -> None:
    """Reject a certificate that came. Tell the Service Desk at once: that is not done here."""
    server = connect(session)
    pairs = [
        *about(server.get(f"{PATH}/{certificate}")),
        ("this will", "reject the certificate; its request may be sent again"),
        ("reason", reason),
    ]
    confirm("reject a certificate", pairs, yes=yes)
    _step(server, certificate, "rejections", reason)
    say("now tell the Service Desk: without a prompt rejection it counts as accepted there")


@command(app, "withdraw", "keyvault certificates withdraw CERTIFICATE --reason 'not needed'")
def withdraw(certificate: CertificateId, reason: Reason, session: SessionDir = None) -> None:
    """Give a request up, so that its key can be activated without, or ask again."""
    _step(connect(session), certificate, "withdrawals", reason)


@command(app, "revoke", "keyvault certificates revoke CERTIFICATE --reason 'SD-4712, key lost'")
def revoke(
    certificate: CertificateId, reason: Reason, yes: Yes = False, session: SessionDir = None
) -> None:
    """Record that a certificate is revoked, or that another's is no longer believed."""
    server = connect(session)
    pairs = [
        *about(server.get(f"{PATH}/{certificate}")),
        ("this will", "record the revocation; the authority itself is not told by this"),
        ("can be undone", "NO"),
        ("reason", reason),
    ]
    confirm("record a revocation", pairs, yes=yes)
    _step(server, certificate, "revocations", reason)


def _step(server: Server, certificate: UUID, step: str, reason: str) -> None:
    [item] = server.post(f"{PATH}/{certificate}/{step}", {"reason": reason})["items"]
    answer(item, facts(about(item)))
