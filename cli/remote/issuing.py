"""Issuing jobs: order, look, abandon, print the PIN."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Group

from cli.command import command, group
from cli.output import answer, facts, say, say_more, table
from cli.remote.client import After, Limit, connect
from cli.remote.keys import Reason
from cli.state import SessionDir
from keyvault.domain import pem
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.issuing import Issuer, PinRoute, Standing

if TYPE_CHECKING:
    from keyvault.paper import Paper

app = group("Personalise tokens: orders, their progress, and the PIN's paper.")
JobId = Annotated[UUID, typer.Argument(metavar="JOB", help="Issuing job.")]
_SHOWN = (
    "id",
    "token",
    "step",
    "standing",
    "station",
    "interruptions",
    "tries",
    "cause",
    "guidance",
)


@command(app, "order", "keyvault issuing order TOKEN TOKEN --route mailer")
def order(
    tokens: Annotated[list[UUID], typer.Argument(metavar="TOKEN...", help="Allocated tokens.")],
    route: Annotated[
        PinRoute, typer.Option(help="How the holder comes to a PIN.")
    ] = PinRoute.MAILER,
    slot: Annotated[
        list[str] | None,
        typer.Option(metavar="SLOT=ALGORITHM", help="Such as 9A=EC-P256; default: 9A and 9C."),
    ] = None,
    issuer: Annotated[
        Issuer, typer.Option(help="Who certifies: another authority answers requests.")
    ] = Issuer.OWN,
    session: SessionDir = None,
) -> None:
    """Order the personalising of allocated tokens. Several make one batch.

    With another authority a token comes to a desk twice: for its requests, and when their
    certificates are here.
    """
    body: Document = {"tokens": [str(token) for token in tokens], "pin_route": str(route)}
    body["issuer"] = str(issuer)
    if slot:
        body["plan"] = dict(_pair(each) for each in slot)
    jobs = connect(session).post("/v1/issuing/jobs", body)["jobs"]
    rows = [[job["id"], job["token"], job["standing"]] for job in jobs]
    answer({"jobs": jobs}, table(["job", "token", "standing"], rows))
    say(f"at a desk with a reader: {_next(jobs)} --station NAME")


def _next(jobs: list[Document]) -> str:
    if len(jobs) > 1:
        return f"keyvault desk batch {jobs[0]['batch']}"
    return f"keyvault desk issue {jobs[0]['id']}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, algorithm = text.partition("=")
    if not equals:
        raise InvalidInputError(f"{text!r} is not of the form 9A=EC-P256")
    return name, algorithm


@command(app, "list", "keyvault issuing list --standing interrupted")
def list_(
    standing: Annotated[Standing | None, typer.Option(help="Only those that stand so.")] = None,
    batch: Annotated[UUID | None, typer.Option(metavar="BATCH", help="Only these.")] = None,
    limit: Limit = 50,
    after: After = None,
    session: SessionDir = None,
) -> None:
    """List issuing jobs, newest first."""
    query = {"standing": standing, "batch": batch, "limit": limit, "after": after}
    page = connect(session).get("/v1/issuing/jobs", **query)
    rows = [[j["id"], j["token"], j["step"], j["standing"], j["station"]] for j in page["items"]]
    answer(page, table(["job", "token", "step", "standing", "station"], rows))
    say_more(page)


@command(app, "show", "keyvault issuing show JOB")
def show(job: JobId, session: SessionDir = None) -> None:
    """Say how far a job is and what to do next."""
    found = connect(session).get(f"/v1/issuing/jobs/{job}")
    answer(found, facts((name, found[name]) for name in _SHOWN))


@command(app, "batch", "keyvault issuing batch BATCH")
def batch(
    batch_id: Annotated[UUID, typer.Argument(metavar="BATCH", help="Batch of jobs.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PDF to write, for two people to sign.")
    ] = None,
    session: SessionDir = None,
) -> None:
    """Reconcile a batch: in, out, spoiled, not done, and which."""
    found = connect(session).get(f"/v1/issuing/batches/{batch_id}")
    if out is not None:
        out.write_bytes(_paper(found).pdf())
        say(f"the reconciliation is in {out}")
    answer(found, reconciled(found))
    say(on_the_table(found))


_HEADS = ("serial", "holder", "standing", "job", "why")


def reconciled(batch: Document) -> Group:
    """A batch's figures, and under them what became of each token."""
    return Group(facts(_figures(batch)), "", table(_HEADS, _rows(batch)))


def on_the_table(batch: Document) -> str:
    """What has to lie there now, for who counts it."""
    return (
        f"count what is on the table: {batch['out']} to dispatch, {batch['spoiled']} to be"
        f" destroyed, {batch['open']} not done; if it differs, tell a registrar"
    )


def _figures(batch: Document) -> list[tuple[str, object]]:
    names = {"tokens": "in", "out": "out", "spoiled": "spoiled", "open": "not done"}
    return [("batch", batch["batch"]), *((told, batch[name]) for name, told in names.items())]


def _rows(batch: Document) -> list[list[str]]:
    names = ("serial", "holder", "standing", "job", "cause")
    return [[str(one[name]) for name in names] for one in batch["items"]]


def _paper(batch: Document) -> "Paper":
    from keyvault.paper import Paper  # noqa: PLC0415  (few commands print)

    paper = Paper("Reconciliation of a batch", datetime.now(UTC), reference=batch["batch"])
    paper.facts(_figures(batch)).text(on_the_table(batch).capitalize() + ".")
    paper.table(_HEADS, _rows(batch), (3, 2, 2, 6, 4))
    return paper.blank("counted by, and when").blank("seen by, and when")


@command(app, "stations", "keyvault issuing stations")
def stations(session: SessionDir = None) -> None:
    """Say of every station whether its reader is there, and what is unfinished there."""
    found = connect(session).get("/v1/issuing/stations")
    columns = ("name", "state", "since", "reader", "person", "jobs", "alarm")
    rows = [[_cell(one[name]) for name in columns] for one in found["items"]]
    answer(found, table(("station", *columns[1:]), rows))
    for one in found["items"]:
        if one["alarm"]:
            say(f"{one['name']} keeps a job waiting: see the runbook station-lost")


def _cell(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value or "")


@command(app, "requests", "keyvault issuing requests JOB --out requests/")
def requests(
    job: JobId,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where they go, JOB-SLOT.csr each.")],
    session: SessionDir = None,
) -> None:
    """Write the requests (PKCS#10, PEM) that a token's keys signed, for another authority."""
    found = connect(session).get(f"/v1/issuing/jobs/{job}/requests")["requests"]
    out.mkdir(parents=True, exist_ok=True)
    paths = {slot: out / f"{job}-{slot}.csr" for slot in found}
    for slot, path in paths.items():
        path.write_bytes(pem.armour(b64decode(found[slot]), pem.REQUEST))
    answer({slot: str(path) for slot, path in paths.items()}, facts(paths.items()))
    say(f"what comes back: keyvault issuing take {job} FILE...")


@command(app, "take", "keyvault issuing take JOB 9a.pem 9c.pem")
def take(
    job: JobId,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="PEM or DER.")],
    session: SessionDir = None,
) -> None:
    """Take another authority's certificates for a token, each held against its request."""
    found = [b64encode(_certificate(path)).decode() for path in files]
    taken = connect(session).post(f"/v1/issuing/jobs/{job}/certificates", {"certificates": found})
    answer(taken, facts((name, taken[name]) for name in (*_SHOWN, "awaited")))


def _certificate(path: Path) -> bytes:
    with path.open("rb") as file:
        return pem.der_of(file.read(pem.TEXT_LIMIT + 1), pem.CERTIFICATE)


@command(app, "abandon", "keyvault issuing abandon JOB --reason 'the reader broke it'")
def abandon(job: JobId, reason: Reason, session: SessionDir = None) -> None:
    """End a job for good; the certificates that it led to are revoked."""
    ended = connect(session).post(f"/v1/issuing/jobs/{job}/abandonment", {"reason": reason})
    answer(ended, facts((name, ended[name]) for name in _SHOWN))


@command(app, "mailer", "keyvault issuing mailer JOB --out pin.pdf")
def mailer(
    job: JobId,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the PDF goes.")],
    session: SessionDir = None,
) -> None:
    """Print a token's PIN, once. Whoever made the token does not print it."""
    if out.exists():
        raise InvalidInputError(f"{out} exists already and is left alone")
    out.touch(mode=0o600)
    out.write_bytes(connect(session).post_for_bytes(f"/v1/issuing/jobs/{job}/mailer", {}))
    say(f"print {out} into an envelope and delete it; the token goes another way")
    answer({"written": str(out)}, facts([("written", str(out))]))
