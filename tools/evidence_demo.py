"""A year of made-up life in the log, exported for one role and one quarter, and checked alone.

    make evidence-demo [ARGS="--events 100000"]

A million events take some ten minutes on two cores, 100,000 one. The product's own log writes
them, in batches, at made-up times. The log's and the evidence key are throw-away keys in software
here; everything else is what the service does.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import textwrap
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import time_machine
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from keyvault.domain.approvals import Seen
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.chain import Record
from keyvault.domain.commands import ActivateKey
from keyvault.domain.notes import Checkpoint, Note, sign_checkpoint
from keyvault.domain.times import text_of
from keyvault.domain.tree import range_proof
from keyvault.evidence.built import verifier
from keyvault.evidence.bundle import (
    MANIFEST_CONTEXT,
    BundleContents,
    write_bundle,
)
from keyvault.evidence.views.report import Report
from keyvault.evidence.views.rows import Shown
from keyvault.evidence.views.signing import signed_pdf
from keyvault.operations.audit import EventQuery, names_of
from keyvault.operations.evidence import leaf_of, span
from keyvault.store.log import Memory
from keyvault.store.unit_of_work import Database
from tests.evidence.people import SCOPE, START
from tests.evidence.world import (
    EDWARDS,
    EVIDENCE,
    LOG,
    LOG_KEYS,
    ORIGIN,
    World,
    rezip,
    unzip,
)
from tools.narrated import ROOT, Story, StoryError, made_anew, note, play, show

Figures = dict[str, Any]
YEAR = timedelta(days=360)
QUARTER = (datetime(2027, 4, 1, tzinfo=UTC), datetime(2027, 7, 1, tzinfo=UTC))
ROLE = "key-custodian"
A_NOTE, A_LOGIN = 0.004, 0.05  # of a day: a custodian at work, and somebody who comes in
BATCH = 256  # events in one commit
SEAL_EVERY = 16  # batches
KEYS = 24


class Year(World):
    """The small world of the tests, whose events go into a database instead of a list."""

    def __init__(self, database: Database) -> None:
        self.database, self.memory = database, Memory()
        self.waiting: list[AuditEvent] = []
        self.size, self.batches, self.sealed = 0, 0, (0, "")
        super().__init__()

    def event(self, kind, payload, **more):  # noqa: ANN001, ANN003, ANN201  (as in the world)
        outcome, role = more.get("outcome", Outcome.OK), more.get("role", "")
        actor, stream = more.get("actor", "person:alice"), more.get("stream", "log")
        operation = more.get("operation") or self.unique()
        scope = more.get("scope")
        self.waiting.append(
            AuditEvent(kind, outcome, operation, stream, actor, payload, role, scope)
        )
        if len(self.waiting) >= BATCH:
            self.flush()
        return self.size + len(self.waiting) - 1

    def add_record(self, record: Record, **more):  # noqa: ANN003, ANN201  (as in the world)
        self.flush()
        super().add_record(record, **more)
        self.flush(record)

    def flush(self, record: Record | None = None) -> None:
        """Commit what waits, at the world's time."""
        if not self.waiting:
            return
        with (
            time_machine.travel(self.now, tick=False),
            self.database.work(self.memory) as work,
        ):
            if record is not None:
                work.authority.add(record)
            work.commit(*self.waiting)
        self.size, self.waiting = self.size + len(self.waiting), []
        self.batches += 1
        if self.batches % SEAL_EVERY == 0:
            self.seal()

    def tree(self, size=None):  # noqa: ANN001, ANN201, ARG002  (as in the world)
        with self.database.reading() as work:
            return work.audit.head()

    def seen(self) -> Seen:
        tree = self.tree()
        return Seen(tree.size, tree.root.hex())

    def seal(self) -> str:
        """Sign a checkpoint over everything, and keep it."""
        tree, signers = self.tree(), [(LOG_KEYS[0], EDWARDS.sign), (LOG_KEYS[1], LOG.sign)]
        if tree.size > self.sealed[0]:
            checkpoint = Checkpoint(ORIGIN, tree.size, tree.root)
            note = sign_checkpoint(checkpoint, signers).to_bytes().decode()
            with self.database.sealing() as seals:
                seals.add_checkpoint(tree.size, note, self.now)
            self.sealed = tree.size, note
        return self.sealed[1]


def live(world: Year, events: int) -> None:
    """Fill a year: keys are made and activated, used, suspended and resumed; people log in."""
    dice, made = Random(4711), []  # noqa: S311  (a made-up life, the same each time)
    step = YEAR / events
    while world.size + len(world.waiting) < events:
        done = world.size + len(world.waiting)
        world.now = max(world.now, START + step * done)
        if len(made) < KEYS and done >= len(made) * events // KEYS:
            world.flush()  # an act is committed at the time it is of
            key = world.generate(f"key {len(made)}")
            world.flush()
            world.act(ActivateKey(key, "go"))
            world.flush()
            made.append(key)
        something(world, dice, made)
    world.flush()


def something(world: Year, dice: Random, made: list) -> None:  # type: ignore[type-arg]
    key, chance = dice.choice(made), dice.random()
    stream, own = f"key:{key}", {"role": ROLE, "scope": SCOPE, "actor": "person:dan"}
    if chance < A_NOTE:
        payload = {"key": str(key), "number": 1, "text": "shelf 4", "place": "Leeds"}
        world.event(EventType.KEY_LABELLED, payload, stream=stream, **own)
    elif chance < A_LOGIN:
        who = dice.choice(("alice", "bob", "carol", "dan", "fay"))
        payload = {"person": who, "credential": "of the day"}
        world.event(EventType.AUTH_OK, payload, actor=f"person:{who}", stream=f"person:{who}")
    else:
        world.now -= timedelta(seconds=1)
        world.use(key, payload={"action": "key:sign"})


def export(world: Year, note: str, out: Path, query: EventQuery) -> Figures:
    """Write the bundle that answers a query."""
    began = time.monotonic()
    checkpoint = Checkpoint.parse(Note.parse(note.encode()).text)
    with world.database.reading() as work, out.open("wb") as file:
        start, end, dates = span(work, query, checkpoint.size)
        contents = BundleContents(
            origin=ORIGIN,
            checkpoint=note.encode(),
            range=range_proof(work.audit.hashes(), start, end, checkpoint.size),
            leaves=(leaf_of(event) for event in work.audit.events(start, end)),
            authority=work.authority.records(),
            requester="person:erin",
            created_at=text_of(world.now),
            software="keyvault, made-up year",
            filter=query.filter(),
            dates=dates,
        )
        write_bundle(contents, file, lambda data: EVIDENCE.sign(MANIFEST_CONTEXT + data))
    figures = {"events": end - start, "of": checkpoint.size, "bytes": out.stat().st_size}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    figures |= {"seconds": round(time.monotonic() - began, 1), "peak_mib": peak}
    return figures


def report(world: Year, bundle: Path, folder: Path) -> None:
    """Write the report of what the bundle discloses, as a page and as a signed PDF."""
    root = world.tree().root.hex()
    with world.database.reading() as work:
        names = names_of(work.authority.records())
    dates = " to ".join(map(text_of, QUARTER))
    facts = [("log", ORIGIN), ("bundle", bundle.name), ("dates (UTC)", dates), ("role", ROLE)]
    made = Report([*facts, ("asked for by", "person:erin")], datetime.now(UTC), names)
    with zipfile.ZipFile(bundle) as archive, archive.open("events.ndjson") as rows:
        for line in rows:
            row = json.loads(line)
            if "p" in row:
                name = names.get(row["h"]["ac"], "")
                made.add(Shown(row["i"], b"", row["h"], row["p"], name))
            else:
                made.withheld += 1
    paper = made.paper(root)
    (folder / "report.html").write_text(paper.html(), encoding="utf-8")
    pdf = signed_pdf(paper.pdf(), certificate(), EVIDENCE.sign, "made-up year")
    (folder / "report.pdf").write_bytes(pdf)


def certificate() -> bytes:
    key = EVIDENCE._key  # noqa: SLF001  (the throw-away key of the world)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made-up evidence key")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=30)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


# A small process between: what a child took at most is otherwise what its parent had taken.
MEASURED = """
import json, resource, subprocess, sys, time
began = time.monotonic()
status = subprocess.run(sys.argv[1:]).returncode
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
taken = {"peak_mib": most, "seconds": round(time.monotonic() - began, 1)}
open("measured.json", "w").write(json.dumps(taken))
sys.exit(status)
"""


def verify(folder: Path, bundle: Path, genesis: str) -> Figures:
    """Run the one file under the system's Python, with nothing of ours within its reach."""
    (folder / "verify.py").write_bytes(verifier())
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    line = [python, "-I", "verify.py", bundle.name, "--genesis-sha256", genesis]
    line += ["--query", "no-export", "--transcript", "transcript.txt"]
    show("$", line)
    done = subprocess.run(
        [python, "-I", "-c", MEASURED, *line],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    print(textwrap.indent(done.stdout + done.stderr, "   "), flush=True)
    figures: Figures = {"exit": done.returncode, "python": python}
    return figures | json.loads((folder / "measured.json").read_text())


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=ROOT / "evidence-demo")
    parser.add_argument("--no-attacks", action="store_true", help="leave the witnesses alone")
    return parser.parse_args()


@dataclass
class Told:
    """The steps of the story, and what they leave for each other."""

    story: Story
    events: int
    world: Year = field(init=False)

    def write(self) -> None:
        """Write the year, and say how long it took."""
        words = "They go through the product's own log in batches, at made-up times, into SQLite."
        self.story.tell(f"A year of made-up life is written: {self.events:,} events.", words)
        began = time.monotonic()
        database = Database(f"sqlite:///{self.story.folder / 'year.db'}", "node-1")
        database.migrate()
        self.world = Year(database)
        live(self.world, self.events)
        seconds = time.monotonic() - began
        rate: Figures = {"events": self.world.size, "seconds": round(seconds, 1)}
        self._keep("written", rate | {"per_second": int(self.world.size / seconds)})

    def quarter(self) -> None:
        self.story.tell(
            "An assessor asks for one role and one quarter, and checks the answer alone.",
            f"Acts of a {ROLE} from {text_of(QUARTER[0])} to {text_of(QUARTER[1])}. Every other",
            "event of these months is there without what it says, so that none can be left out.",
        )
        query = EventQuery(since=QUARTER[0], until=QUARTER[1], role=ROLE)
        self._answer("evidence.zip", query)

    def whole(self) -> None:
        self.story.tell("Then for the whole year, with all that was said in it.")
        self._answer("whole-year.zip", EventQuery())

    def _answer(self, name: str, query: EventQuery) -> None:
        bundle = self.story.folder / name
        self._keep(f"export {name}", export(self.world, self.world.seal(), bundle, query))
        verified = verify(self.story.folder, bundle, self.world.genesis)
        self._keep(f"verify {name}", verified)
        if verified["exit"]:
            raise StoryError(f"{name} does not verify")

    def doctor(self) -> None:
        words = "They make the ZIP fit again. The program says which event it is."
        self.story.tell("Somebody changes one letter of what happened.", words)
        files = unzip((self.story.folder / "evidence.zip").read_bytes())
        before = b'"text":"shelf 4"'
        files["events.ndjson"] = files["events.ndjson"].replace(before, b'"text":"shelf 5"', 1)
        doctored = self.story.folder / "doctored.zip"
        doctored.write_bytes(rezip(files))
        if verify(self.story.folder, doctored, self.world.genesis)["exit"] != 1:
            raise StoryError("a doctored bundle was not caught")

    def read(self) -> None:
        self.story.tell("The report for readers: a page, and a PDF that is signed.")
        folder = self.story.folder
        report(self.world, folder / "evidence.zip", folder)
        for name in ("report.html", "report.pdf", "transcript.txt", "summary.json"):
            note(str(folder / name))

    def attack(self) -> None:
        """Play the attacks on witnesses, ours and an independent one."""
        self.story.tell(
            "Who owns the log's own key rewrites it, in six ways.",
            "Two witnesses, ours and one by others, see each attempt and must refuse it.",
        )
        line = [sys.executable, "-m", "pytest", "-q", "-n0", "-rA", "tests/witness/test_attacks.py"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        found = re.findall(r"^PASSED .*::test_(\w+)\[(\w+)\]", done.stdout, re.MULTILINE)
        makes: defaultdict[str, list[str]] = defaultdict(list)
        for name, make in found:
            makes[name.replace("_", " ")].append(make)
        for name, seen in sorted(makes.items()):
            note(f"{name}: {' and '.join(sorted(seen, reverse=True))}")
        if done.returncode:
            raise StoryError(done.stdout)

    def _keep(self, name: str, figures: Figures) -> None:
        self.story.summary[name] = figures
        note(json.dumps({name: figures}))
        text = json.dumps(self.story.summary, indent=1)
        (self.story.folder / "summary.json").write_text(text)


def main() -> int:
    options = asked()
    story = Story("evidence-demo", options.folder.resolve(), 0)
    told = Told(story, options.events)
    steps: list[Callable[[], object]] = [partial(made_anew, story), told.write, told.quarter]
    steps += [told.whole, told.doctor, told.read]
    if not options.no_attacks:
        steps.append(told.attack)
    return play(story, steps)


if __name__ == "__main__":
    sys.exit(main())
