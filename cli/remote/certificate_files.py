"""Files: batches for the authority, its answers, others' certificates, and the linter."""

import csv
import re
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.command import command, group
from cli.confirm import confirm
from cli.errors import BatchTooManyError, CertificateRefusedError
from cli.output import STYLE, answer, facts, grouped, say, table
from cli.remote import batches
from cli.remote.certificates import (
    CHUNK,
    PATH,
    AsForm,
    Columns,
    Form,
    InColumns,
    about,
    written,
)
from cli.remote.client import Server, connect
from cli.remote.keys import ScopeText, Yes
from cli.state import SessionDir
from hsm.types import KeyUsage
from keyvault import signatures
from keyvault.domain import pem, x509
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import BATCH_LIMIT, Kind
from keyvault.domain.csr import Report
from keyvault.domain.csr import lint as judged
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import thumbprint
from keyvault.domain.profiles import PROFILES, ProfileName

app = group("Batches and files of certificates.")

SHOWN = 20  # of what went wrong; the log and `list` have all of it
BODY_ROOM = 600_000  # characters of one call, of the megabyte that the service takes
RESULTS = "results.csv"
ENDINGS = (".cer", ".crt", ".pem", ".der", RESULTS)


def _progress() -> Progress:
    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    hidden = STYLE.json or not console.is_terminal
    return Progress(*parts, TimeRemainingColumn(), console=console, disable=hidden)


@command(
    app,
    "batch",
    "keyvault certificates batch --scope acme/IS/90-B3-D5-1F-30-01-00-00 --usage sign"
    " --out batch.zip",
    "keyvault certificates batch --scope acme/IS/90-B3-D5-1F-30-01-00-00 --resume BATCH"
    " --out batch.zip",
)
def batch(
    scope: ScopeText,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The archive to write.")],
    usage: Annotated[KeyUsage | None, typer.Option(help="Only keys of this purpose.")] = None,
    resume: Annotated[
        UUID | None, typer.Option(metavar="BATCH", help="Write this batch again; build nothing.")
    ] = None,
    form: AsForm = Form.PEM,
    columns: InColumns = Columns.RFC_7468,
    session: SessionDir = None,
) -> None:
    """Build requests for every new key of a scope that has none: a ZIP of up to 50,000.

    The profile is that of SMKI Organisation certificates.
    """
    server, name = connect(session), resume or uuid4()
    counts: Counter[str] = Counter()
    troubles: list[Document] = []
    for built in () if resume else _built(server, scope, usage, name):
        counts[built["status"]] += 1
        if built["status"] != "success" and len(troubles) < SHOWN:
            troubles.append({each: built[each] for each in ("key", "code", "detail")})
    size = _archived(server, name, out, form, columns)
    _show(counts, troubles)
    say(f"once it is sent: keyvault certificates submit --batch {name} --reference TEXT")
    told = {"batch": str(name), "file": str(out), "requests": size}
    value: Document = {**told, "built": dict(counts), "troubles": troubles}
    answer(value, f"{size} requests of batch {name} in {out}")


def _show(counts: Counter[str], troubles: list[Document]) -> None:
    if troubles:
        say(f"{sum(counts.values()) - counts['success']} keys have no request; the first are:")
        rows = [tuple(each.values()) for each in troubles]
        Console(stderr=True).print(table(("key", "code", "why not"), rows))


def _built(server: Server, scope: str, usage: KeyUsage | None, name: UUID) -> Iterator[Document]:
    made = 0
    with _progress() as progress:
        task = progress.add_task("build", total=None)
        for keys in _keys(server, scope, usage):
            part = keys[: BATCH_LIMIT - made]
            body: Document = {
                "profile": ProfileName.SMKI_ORGANISATION,
                "batch": str(name),
                "items": [{"key": key} for key in part],
            }
            for built in server.post(f"{PATH}/requests", body)["items"]:
                made += built["status"] == "success"
                yield built
            progress.update(task, advance=len(part))
            if made >= BATCH_LIMIT:
                say(f"the batch is full, with {BATCH_LIMIT} requests; make another for other keys")
                return


def _keys(server: Server, scope: str, usage: KeyUsage | None) -> Iterator[list[str]]:
    """New keys of the profile's kind, a call's worth at a time."""
    profile = PROFILES[ProfileName.SMKI_ORGANISATION]
    query = {"scope": scope, "state": "pre-active", "algorithm": profile.algorithm}
    wanted = {str(each) for each in ([usage] if usage else profile.usages)}
    after = None
    while True:
        page = server.get("/v1/keys", **query, limit=CHUNK, after=after)
        chosen = [key["id"] for key in page["items"] if key["usage"] in wanted]
        if chosen:
            yield chosen
        after = page["next"]
        if after is None:
            return


def _archived(server: Server, name: UUID, out: Path, form: Form, columns: Columns) -> int:
    states = server.get(f"{PATH}/batches/{name}")["states"]
    total, size, after = sum(states.values()), 0, None
    if total > BATCH_LIMIT:
        raise BatchTooManyError(f"the batch has {total} requests, and {BATCH_LIMIT} are allowed")
    with _progress() as progress, batches.written(out) as add:
        task = progress.add_task("write", total=total)
        while True:
            page = server.get(f"{PATH}/batches/{name}/requests", limit=500, after=after)
            for item in page["items"]:
                request = written(b64decode(item["csr"]), pem.REQUEST, form, columns)
                add(f"{item['id']}.csr", request)
            size += len(page["items"])
            progress.update(task, completed=size)
            after = page["next"]
            if after is None:
                return size


# Answers -------------------------------------------------------------------------------------


@command(
    app,
    "response",
    "keyvault certificates response answers.zip",
    "keyvault certificates response supplier.pem --json",
)
def response(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Archives, certificates.")],
    session: SessionDir = None,
) -> None:
    """Take in what the authority answered, and reject at once what differs from its request.

    An archive holds certificates, and perhaps results.csv (file,status,detail) for the others.
    """
    server, counts = connect(session), Counter[str]()
    wrong: list[Document] = []
    with _progress() as progress:
        task = progress.add_task("compare", total=None)
        for items in _calls(files):
            for taken in server.post(f"{PATH}/answers", {"items": items})["items"]:
                counts[taken["result"]] += 1
                if taken["result"] not in ("issued", "repeated"):
                    wrong.append(taken)
            progress.update(task, advance=len(items))
    answer(
        {"results": dict(counts), "wrong": wrong[:BATCH_LIMIT]},
        table(("result", "answers"), sorted(counts.items())),
    )
    if wrong:
        _complain(wrong)
    say("now accept them: keyvault certificates accept --batch BATCH --reason TEXT")


def _complain(wrong: list[Document]) -> None:
    columns = ("file", "result", "certificate", "what")
    rows = [(w["name"], w["result"], (w["certificate"] or {}).get("id"), _what(w)) for w in wrong]
    Console(stderr=True).print(table(columns, rows[:SHOWN]))
    raise CertificateRefusedError(
        f"{len(wrong)} answers are not certificates that fit; nothing of the others was lost",
        next_step="tell the Service Desk at once what was rejected; docs/certificates.md says"
        " what each result means",
    )


def _what(taken: Document) -> str:
    differ = [f"{m['field']}: {m['found']} instead of {m['wanted']}" for m in taken["mismatches"]]
    return "; ".join(differ) or str(taken["detail"])


def _calls(files: list[Path]) -> Iterator[list[Document]]:
    """Answers by the call's worth: at most so many, and at most so large."""
    items: list[Document] = []
    room = BODY_ROOM
    for name, data in _files(files):
        for item in _items(name, data):
            size = 200 + len(item.get("certificate", ""))
            if len(items) == CHUNK or size > room:
                yield items
                items, room = [], BODY_ROOM
            items.append(item)
            room -= size
    if items:
        yield items


def _files(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in files:
        if path.suffix.lower() == ".zip":
            yield from batches.members(path, ENDINGS)
        elif path.stat().st_size > batches.MEMBER_LIMIT:
            raise InvalidInputError(f"{path} is larger than a certificate can be")
        else:
            yield _plain(path.name), path.read_bytes()


def _plain(name: str) -> str:
    """A file's name as the service takes it."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:128].lstrip("._-") or "file"


def _items(name: str, data: bytes) -> Iterator[Document]:
    if name.lower().endswith(RESULTS):
        yield from _words(name, data)
        return
    try:
        der = pem.der_of(data, pem.CERTIFICATE)
    except InvalidInputError:
        der = data[: x509.CERTIFICATE_LIMIT] or b"\0"  # the service says what it is not
    yield {"name": name, "certificate": b64encode(der).decode()}


def _words(name: str, data: bytes) -> Iterator[Document]:
    """Read what the authority says of requests for which it issued nothing."""
    try:
        rows = list(csv.reader(StringIO(data.decode()), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{name} is no CSV in UTF-8") from error
    if not rows or rows[0] != ["file", "status", "detail"]:
        raise InvalidInputError(f"the first line of {name} is: file,status,detail")
    for row in rows[1:]:
        if len(row) != 3 or row[1] not in ("success", "error", "anomaly", "ineligible"):  # noqa: PLR2004  (the columns above)
            raise InvalidInputError(f"{name}: {row[:3]} is no answer")
        if row[1] != "success":
            yield {"name": row[0], "status": row[1], "detail": row[2][:200]}


# Others' certificates, and the linter --------------------------------------------------------


@command(
    app,
    "watch",
    "keyvault certificates watch root.pem --kind root",
    "keyvault certificates watch issuing.pem --kind issuing",
)
def watch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate: PEM, DER.")],
    kind: Annotated[Kind, typer.Option(help="root, issuing or other.")] = Kind.OTHER,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Import another's certificate, to be told when it ends; root and issuing, to believe others.

    The authority's answers are taken in only under issuing certificates that were imported.
    """
    [(name, data)] = _files([file])
    der = pem.der_of(data, pem.CERTIFICATE)
    found = x509.read_certificate(der)
    pairs = [
        ("file", name),
        ("subject", x509.name_text(found.subject)),
        ("issuer", x509.name_text(found.issuer)),
        ("ends", f"{found.not_after:%Y-%m-%d}"),
        ("fingerprint of the key", grouped(thumbprint(found.spki))),
        ("this will", "be watched" if kind is Kind.OTHER else "make what it signs be believed"),
    ]
    confirm(f"import a certificate as {kind}", pairs, yes=yes)
    body = {"certificate": b64encode(der).decode(), "kind": kind}
    item = connect(session).post(f"{PATH}/watched", body)
    answer(item, facts(about(item)))


@command(
    app,
    "lint",
    "keyvault certificates lint request.csr",
    "keyvault certificates lint batch.zip --profile smki-organisation --json",
)
def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Requests, archives.")],
    profile: Annotated[
        ProfileName | None, typer.Option(help="Judge by this one. Default: by the key's kind.")
    ] = None,
) -> None:
    """Judge certification requests, anybody's, by the rules of their profile. Needs no server."""
    count, wrong = 0, list[tuple[str, Report]]()
    for name, data in _requests(files):
        report = _report(data, profile)
        count += 1
        if report.violations:
            wrong.append((name, report))
    _tell(count, wrong)
    if wrong:
        raise CertificateRefusedError(
            f"{len(wrong)} of {count} requests are not as they have to be",
            next_step="docs/certificates.md explains each code",
        )


def _tell(count: int, wrong: list[tuple[str, Report]]) -> None:
    found = [
        {"file": name, "profile": report.profile.name, "code": code, "detail": detail}
        for name, report in wrong
        for code, detail in report.violations
    ]
    rows = [tuple(each.values()) for each in found]
    value: Document = {"requests": count, "good": count - len(wrong), "violations": list(found)}
    shown = table(("file", "profile", "code", "what"), rows)
    answer(value, shown if rows else f"{count} requests are as they have to be")


def _requests(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in files:
        if path.suffix.lower() == ".zip":
            yield from batches.members(path, (".csr",))
        elif path.stat().st_size > batches.MEMBER_LIMIT:
            raise InvalidInputError(f"{path} is larger than a request can be")
        else:
            yield path.name, path.read_bytes()


def _report(data: bytes, profile: ProfileName | None) -> Report:
    chosen = None if profile is None else PROFILES[profile]
    try:
        der = pem.der_of(data, pem.REQUEST)
    except InvalidInputError:
        der = data  # which is no DER either, and is told so
    return judged(der, signatures.verify_x509, chosen)
