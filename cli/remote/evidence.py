"""Evidence: export it, hand it on, and verify it anywhere."""

import hashlib
import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.desk.signing import place_of
from cli.errors import EvidenceError
from cli.output import STYLE, answer, say
from cli.passphrases import PassphraseFd, Secrets
from cli.remote import log
from cli.remote.asking import ask
from cli.remote.audit import Actor, OutcomeIs, ScopeText, Since, Stream, Type, Until
from cli.remote.client import Server
from cli.remote.given import Reason, Yes
from cli.remote.receiving import chain_of
from cli.state import Session, SessionDir, open_session
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.commands import ErasePayload
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.evidence import HANDOVER, Question, View
from keyvault.domain.people import Role, thumbprint
from keyvault.evidence.built import verifier

app = group("Evidence that others check alone.")
NOT_PROVED = 3  # the verifier's exit status where a query is not proved

KeyIs = Annotated[UUID | None, typer.Option("--key", help="Only about this key.")]
TokenIs = Annotated[str | None, typer.Option("--token", help="Only about this token.")]
PersonIs = Annotated[str | None, typer.Option("--person", help="Only by or about this person.")]
RoleIs = Annotated[Role | None, typer.Option("--role", help="Only what this role allowed.")]
Asked = Annotated[Question | None, typer.Option("--query", help="Disclose what answers this.")]
Drawn = Annotated[int | None, typer.Option(min=1, help="Disclose so many, drawn.")]
Seed = Annotated[str, typer.Option(metavar="TEXT", help="What the sample is drawn by.")]
Views = Annotated[list[View] | None, typer.Option(help="Add a view; repeat it.")]
Before = Annotated[
    int | None, typer.Option(min=1, help="Size of the log in the bundle before this one.")
]
Changes = Annotated[
    Path | None, typer.Option("--state", metavar="FILE", help="Only what came since this memory.")
]
Genesis = Annotated[
    str | None, typer.Option(metavar="HEX", help="SHA-256 of the genesis record you trust.")
]
State = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Remembers the log between bundles.")
]
WitnessPolicy = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Your witness policy; its quorum is demanded.")
]
Chain = Annotated[Path | None, typer.Option(metavar="FILE", help="The hand-overs of this bundle.")]
Proved = Annotated[
    list[Question] | None, typer.Option("--query", help="Has to be proved; repeat it.")
]
Transcript = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where to write what was checked.")
]
Roots = Annotated[
    list[Path] | None,
    typer.Option("--tsa-ca", metavar="FILE", help="Roots of time stamps that you trust (PEM)."),
]
WhoHad = Annotated[
    str | None,
    typer.Option(
        "--who-had", metavar="TOKEN@TIME", help="Who had a token, at 2026-11-22T15:00:00Z."
    ),
]
Traces = Annotated[
    list[Path] | None,
    typer.Option("--trace", metavar="FILE", help="Of a session with a token: is it the log's."),
]
OutFile = Annotated[Path, typer.Option(metavar="FILE", help="Where to write the bundle.")]
Bundle = Annotated[Path, typer.Argument(metavar="FILE", help="An evidence bundle.")]


@command(
    app,
    "export",
    "keyvault audit export --out evidence.zip",
    "keyvault audit export --out q1.zip --role key-custodian --since 2026-01-01T00:00:00Z"
    " --until 2026-04-01T00:00:00Z --view csv --view pdf",
    "keyvault audit export --out since.zip --state auditor.json",
    "keyvault audit export --out sample.zip --sample 25 --seed 'audit 2026-11'",
)
def export(
    out: OutFile,
    kind: Type = None,
    key: KeyIs = None,
    token: TokenIs = None,
    person: PersonIs = None,
    role: RoleIs = None,
    stream: Stream = None,
    actor: Actor = None,
    scope: ScopeText = None,
    outcome: OutcomeIs = None,
    since: Since = None,
    until: Until = None,
    question: Asked = None,
    sample: Drawn = None,
    seed: Seed = "",
    view: Views = None,
    previous_size: Before = None,
    state: Changes = None,
    session: SessionDir = None,
) -> None:
    """Export evidence that anybody can check without us: a ZIP with its own verifier.

    Filters choose the events; what it takes to check them, and that none was left out, is added.
    """
    _fetch(open_session(session), out, dict(locals()))


def _fetch(here: Session, out: Path, given: Document) -> None:
    """Ask for a bundle, by the options of `export` under their names."""
    same = ("actor", "scope", "outcome", "since", "until", "role", "question", "previous_size")
    body: Document = {name: given[name] for name in same} | {"type": given["kind"]}
    body["stream"] = _one_stream(given["stream"], given["key"], given["token"])
    body["about"] = given["person"] and f"person:{given['person']}"
    body["views"] = given["view"] or None
    if given["sample"] is not None:
        body["sample"] = {"count": given["sample"], "seed": given["seed"]}
    if given["state"] is not None:
        body |= {"previous_size": _remembered(given["state"], here.origin), "changes": True}
    asked = {name: value for name, value in body.items() if value is not None}
    _take(here, "/v1/audit/exports", asked, out)


def _take(here: Session, path: str, asked: Document, out: Path) -> None:
    """Write the answer to a file, and say how it is checked."""
    part = out.with_name(f"{out.name}.part")  # a file of that name is whole, or not there
    try:
        with part.open("wb") as file:
            Server.of(here).post_to(path, asked, file)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    say(f"verify it anywhere: keyvault audit verify {out}, or python3 -I verify.py {out}")
    told: Document = {"file": str(out), "bytes": out.stat().st_size, "sha256": _digest(out)}
    answer(told, str(out))


@command(app, "pack", "keyvault audit pack --scope ACME/IS/90-B3 --out acme.zip")
def pack(
    scope: Annotated[str, typer.Option(metavar="P/R/U", help="All of this scope.")],
    out: OutFile,
    session: SessionDir = None,
) -> None:
    """Export every event of one scope, with its proof, and nothing of any other scope."""
    _take(open_session(session), "/v1/audit/packs", {"scope": scope}, out)


def _one_stream(stream: str | None, key: UUID | None, token: str | None) -> str | None:
    found = [stream, key and f"key:{key}", token and f"token:{token}"]
    named = [one for one in found if one]
    if len(named) > 1:
        raise InvalidInputError("name one stream, key or token")
    return named[0] if named else None


def _remembered(state: Path, origin: str) -> int:
    """The size of the log that an auditor's state file remembers."""
    try:
        return int(json.loads(state.read_bytes())[origin]["size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{state} remembers nothing of this log") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@command(app, "verify", "keyvault audit verify evidence.zip --genesis HEX")
def verify(
    file: Bundle,
    genesis: Genesis = None,
    state: State = None,
    policy: WitnessPolicy = None,
    custody: Chain = None,
    query: Proved = None,
    transcript: Transcript = None,
    tsa_ca: Roots = None,
    who_had: WhoHad = None,
    trace: Traces = None,
) -> None:
    """Check a bundle with the stand-alone verifier; no server and no session are needed."""
    once: dict[str, object] = {"genesis-sha256": genesis, "who-had": who_had, "state": state}
    once |= {"policy": policy, "custody": custody, "transcript": transcript}
    often = {"query": query, "tsa-ca": tsa_ca, "trace": trace}
    options = [f"--{name}={value}" for name, value in once.items() if value]
    options += [f"--{name}={one}" for name, values in often.items() for one in values or ()]
    options += ["--json"] if STYLE.json else []
    status = _run(options, file)
    if status == NOT_PROVED:
        raise EvidenceError("the evidence holds, and does not prove what was asked")
    if status == 1:
        raise EvidenceError("the evidence is wrong", next_step="keep it, and tell the auditor")
    if status:
        raise InvalidInputError("the evidence could not be checked")


def _run(options: list[str], bundle: Path) -> int:
    with TemporaryDirectory() as folder:
        program = Path(folder) / "verify.py"
        program.write_bytes(verifier())
        # -I: the verifier must not pick up modules from the folder it is called in.
        line = [sys.executable, "-I", str(program), *options, "--", str(bundle)]
        return subprocess.run(line, check=False).returncode  # noqa: S603  (our own verifier)


@command(app, "verifier", "keyvault audit verifier --out verify.py")
def hand_out(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the program.")],
) -> None:
    """Write the stand-alone verifier: one file that needs Python and openssl, and nothing else."""
    program = verifier()
    out.write_bytes(program)
    say("give it to auditors on another way than the bundles it is to check")
    answer({"file": str(out), "sha256": hashlib.sha256(program).hexdigest()}, str(out))


@command(
    app, "hand-over", "keyvault audit hand-over evidence.zip --to 'Ann Auditor' --place 'Leeds'"
)
def hand_over(
    file: Bundle,
    to: Annotated[str, typer.Option(metavar="TEXT", help="Who takes it.")],
    place: Annotated[str, typer.Option(metavar="TEXT", help="Where, or on which way.")],
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Sign that you gave a bundle to somebody. The line goes into FILE.custody and into the log."""
    here = open_session(session)
    server = Server.of(here)
    chain, begun = chain_of(file)
    entry = {"ctx": HANDOVER, **begun, "from": here.person, "to": to, "place": place}
    confirm("hand a bundle over", [(name, str(entry[name])) for name in entry], yes=yes)
    signature = _signed(here, server, entry, passphrase_fd)
    line = server.post("/v1/audit/hand-overs", {"entry": entry, "signature": signature})
    with chain.open("ab") as out:
        out.write(canonical(line) + b"\n")
    say(f"give {chain.name} along: python3 -I verify.py {file.name} --custody {chain.name}")
    answer(line, str(chain))


def _signed(here: Session, server: Server, entry: Document, passphrase_fd: int | None) -> str:
    """Name the credential in the entry, and sign it with that."""
    keys = log.deciding(log.look(server, here).authority, here.person)
    signer = place_of(here.credential).to_decide(Secrets(passphrase_fd), keys)
    entry["credential"] = thumbprint(signer.spki)
    return b64encode(signer.sign(canonical(entry))).decode()


@command(app, "erase", "keyvault audit erase --event 17 --ground 'GDPR art. 17' --reason 'case 5'")
def erase(
    event: Annotated[list[int], typer.Option("--event", min=0, help="Its number; repeat it.")],
    ground: Annotated[str, typer.Option(metavar="TEXT", help="The ground in law; is shown.")],
    reason: Reason,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask for what some events say to be erased. Their leaves, and every proof, stay."""
    ask(session, ErasePayload(tuple(event), ground, reason), yes=yes)
