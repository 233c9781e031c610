#!/usr/bin/env python3
"""An attacker with the api's own means tries threats T1 to T12, and fails: `make authority-drill`.

Everything lies under ./drill, or the folder that is given, and is made afresh: a service founded
with the real command, a witness outside, four officers and an auditor. Who attacks has the
database login of the api's user and speaks to the sockets that the running api speaks to. Every
attempt has to fail, and an event that the auditor reads in the log has to tell of it wherever one
is due. Both are shown in report.md and report.json. The exit status is 0 only if that is so.

    tools/drill.py [FOLDER] [--database URL] [--no-cards]

With a URL of PostgreSQL the service keeps its log there, and the attacker has the role
keyvault_app. --no-cards leaves out what the tests of cards show on a virtual reader.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from keyvault import wire  # noqa: E402  (the path comes first)
from keyvault.domain.audit import EventType  # noqa: E402  (the path comes first)
from keyvault.domain.commands import Command  # noqa: E402  (the path comes first)
from keyvault.domain.times import text_of  # noqa: E402  (the path comes first)
from keyvault.sealer import log_keys  # noqa: E402  (the path comes first)
from keyvault.settings import Settings  # noqa: E402  (the path comes first)
from keyvault.store import Database  # noqa: E402  (the path comes first)
from tools import attacks, narrated  # noqa: E402  (the path comes first)
from tools.attacker import Person, Sql, SucceededError, client_of, done  # noqa: E402  (as above)
from tools.narrated import Answer, Story, StoryError, note  # noqa: E402  (as above)

OFFICERS = {
    "alice": "Alice Ash,organisation=Acme Energy",
    "bob": "Bob Birch,organisation=Acme Energy",
    "carol": "Carol Cole,organisation=Grid Partners",
    "dave": "Dave Dale,organisation=Grid Partners",
}
AUDITOR = ("dora", "Dora Day")
PATIENCE = 60.0  # seconds until an event that is due has to be there, on a busy machine
POLL = 0.3  # seconds
HANDS_ON = '[notices]\ninterval = 0.5\n\n[witnesses]\npolicy = "witnesses.policy"\n'
WAITING = 'interval = 0.2\nwait_for = ["export-key", "destroy-key"]\n'


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Attempt:
    """One row of the report."""

    threat: str
    tried: str
    refused: str = ""
    event: str = ""  # its type and index, or why none is due
    index: int | None = None
    held: bool = False


@dataclass
class Drill:
    """The service, the people in it, what the attacker has, and what came of it so far."""

    story: Story
    database: str
    cards: bool
    attempts: list[Attempt] = field(default_factory=list)
    people: dict[str, Person] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    due: list[tuple[Attempt, EventType, Callable[[], int | None]]] = field(default_factory=list)
    witness: subprocess.Popen[str] | None = None

    def open(self) -> None:
        """Take what an attacker has who owns the api: its settings, its login, its sockets."""
        self.config = Path(self.story.summary["config"])
        self.settings = Settings.load(self.config)
        self.sql = Sql(self.settings.database)
        self.gate = wire.Client(self.settings.keys.socket)
        self.log_gate = wire.Client(self.settings.log.socket)
        self.recorder = wire.Client(self.settings.recorder)
        self.people = {name: Person(self.story, name) for name in (*OFFICERS, AUDITOR[0])}
        self.door = client_of(self.story)

    # What people do by the rules

    def ask(self, command: Command, scope: Answer | None = None, by: str = "alice") -> Answer:
        body = {"command": command.name, "parameters": command.parameters(), "scope": scope}
        return done(self.people[by].client.post("/v1/requests", json=body))

    def carry_out(self, request: Answer, *by: str) -> Answer:
        """Approve as these two, or as bob and carol, and execute."""
        for name in by or ("bob", "carol"):
            done(self.people[name].approve(request))
        return done(self.execute(request))

    def execute(self, request: Answer, by: str = "alice") -> httpx.Response:
        return self.people[by].client.post(f"/v1/requests/{request['id']}/executions")

    def on_key(self, key: str, what: str, by: str = "alice", **more: str) -> Answer:
        """Ask for an act on a key, such as "activations"."""
        body = {"reason": "for the drill", **more}
        return done(self.people[by].client.post(f"/v1/keys/{key}/{what}", json=body))

    def order(self, **terms: object) -> Answer:
        body = {
            "scope": attacks.SCOPE, "label": "a key of the drill", "algorithm": "EC-P256",
            "usage": "sign", "key_class": "critical", "protect_days": 30, "process_days": 60,
        }  # fmt: skip
        return done(self.people["alice"].client.post("/v1/keys", json={**body, **terms}))

    def signed(self, request: Answer, *by: str) -> list[Answer]:
        """Honest approvals of a request, as the database holds them."""
        return [self.people[name].approval(request["document"]) for name in by]

    # What the attacker tries

    def attempt(
        self,
        threat: str,
        tried: str,
        attack: Callable[[], str],
        tells: EventType | None = None,
        about: str = "",
        instead: str = "",
    ) -> None:
        """Let an attack be tried; it says how it was refused.

        An event of the type `tells` that holds the text `about` is due, or none, and `instead`
        says why. It is looked for when the threat is `settled`: some are counted and told later.
        """
        row = Attempt(threat, tried, event=instead)
        self.attempts.append(row)
        due = partial(self.told, tells, about, self.size(), now() - timedelta(seconds=2))
        print(f"   {threat} {tried}", flush=True)
        try:
            row.refused = attack()
            row.held = True
        except SucceededError as error:
            row.refused = f"NOT REFUSED: {error}"
        note(row.refused[:160])
        if tells is not None:
            self.due.append((row, tells, due))

    def settled(self) -> None:
        """Look for the events that are due."""
        for row, tells, due in self.due:
            row.index = due()
            row.held &= row.index is not None
            row.event = f"{tells} [{row.index}]" if row.index is not None else f"NO {tells}"
            print(f"   the log: {row.event:30} {row.tried}", flush=True)
        self.due.clear()

    def told(self, tells: EventType | None, about: str, start: int, since: datetime) -> int | None:
        """The index of the event that tells of it, as the auditor finds it in the log."""
        until = time.monotonic() + PATIENCE
        query = {"type": str(tells), "since": text_of(since), "limit": 200}
        while time.monotonic() < until:
            page = done(self.people[AUDITOR[0]].client.get("/v1/audit/events", params=query))
            for event in page["items"]:
                if event["index"] >= start and about in json.dumps(event):
                    return int(event["index"])
            time.sleep(POLL)
        return None

    def written(self, tells: EventType, start: int) -> None:
        """Wait until such an event is in the table: while authority is refused nobody can ask."""
        until = time.monotonic() + PATIENCE
        query = "SELECT count(*) FROM event WHERE type = :type AND idx >= :start"
        while time.monotonic() < until:
            if self.sql.read(query, type=str(tells), start=start):
                return
            time.sleep(POLL)

    def size(self) -> int:
        return int(self.sql.read("SELECT size FROM log_head"))

    def close(self) -> None:
        if self.witness is not None:
            self.witness.terminate()
            self.witness.wait()


# The steps ------------------------------------------------------------------------------------


def founding(drill: Drill) -> None:
    story = drill.story
    story.tell(
        "A service is founded with the real command",
        "Four officers of two organisations sign its genesis. A witness stands outside.",
    )
    narrated.credentials(story, *OFFICERS, AUDITOR[0])
    narrated.found(story, *(("--database", drill.database) if drill.database else ()))


def witnessing(drill: Drill) -> None:
    story, folder = drill.story, drill.story.folder / "witness"
    config = Path(story.summary["config"])
    settings = Settings.load(config)
    with closing(Database(settings.database)) as database:
        log = next(key for key in log_keys(database, settings.genesis) if key.type == 1)
    words = ("witness", "init", "witness.drill/w1", "--plain", "--log", log.vkey)
    vkey = story.keyvault(*words, "--folder", str(folder))["vkey"]
    serve = ["witness", "serve", "--folder", str(folder), "--listen", "127.0.0.1:0"]
    narrated.show("witness$ keyvault", serve)
    with (story.folder / "witness.log").open("w") as said:
        drill.witness = subprocess.Popen(
            [sys.executable, "-m", "cli", *serve],
            stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT,
        )  # fmt: skip
    ready = (drill.witness.stdout.readline() if drill.witness.stdout else "").split()
    if ready[:1] != ["ready"]:
        raise StoryError("the witness did not start")
    story.summary["witness"] = ready[1]
    policy = f"log {log.vkey}\nwitness w1 {vkey} {ready[1]}\nquorum w1\n"
    (config.parent / "witnesses.policy").write_text(policy)
    config.write_text(f"{config.read_text()}\n{HANDS_ON}{WAITING}")


def opening(drill: Drill) -> None:
    story = drill.story
    story.tell("The service starts, the officers log in, and Dora joins as auditor")
    narrated.serve(story)
    for name in OFFICERS:
        narrated.log_in(story, name)
    narrated.join(story, *AUDITOR)
    drill.open()
    story.tell(
        "Keys are ordered by the rules",
        "One signs critical commands, one may be exported, one wraps others.",
    )
    aes = {"algorithm": "AES-256"}
    wanted: dict[str, Answer] = {
        "signing": {},
        "exchange": {**aes, "usage": "encrypt", "key_class": "exchange"},
        "kek": {**aes, "usage": "wrap", "key_class": "standard"},
    }
    for name, terms in wanted.items():
        drill.keys[name] = drill.carry_out(drill.order(**terms))["outcome"]["key"]
        note(f"{name}: {drill.keys[name]}")
    drill.carry_out(drill.on_key(drill.keys["kek"], "activations"))
    if not drill.sql.postgresql:
        yesterday(drill)


def yesterday(drill: Drill) -> None:
    """Somebody keeps a copy of the database as it is now."""
    source = drill.settings.database.removeprefix("sqlite:///")
    with (
        closing(sqlite3.connect(source)) as now,
        closing(sqlite3.connect(drill.story.folder / "yesterday.db")) as copy,
    ):
        now.backup(copy)


def attacked(drill: Drill) -> None:
    for attack in attacks.ATTACKS:
        title, *lines = (attack.__doc__ or "").splitlines()
        drill.story.tell(title.rstrip("."), *filter(None, (line.strip() for line in lines)))
        attack(drill)
        drill.settled()


def examined(drill: Drill) -> None:
    story = drill.story
    story.tell("Dora exports the evidence, and a stand-alone program checks all of it")
    bundle = narrated.export(story, AUDITOR[0])
    said = narrated.verify(story, bundle, holds=True)
    story.summary.update(evidence=str(bundle), verdict=said.strip().splitlines()[-1])


def spoiled(drill: Drill) -> None:
    drill.story.tell(
        "The attacker gives up hiding",
        "What follows cannot be undone, so it comes last: lies are written into the log itself.",
    )
    for attack in attacks.LAST:
        attack(drill)
        drill.settled()


def reported(drill: Drill) -> None:
    story = drill.story
    story.tell("The report")
    held = all(row.held for row in drill.attempts)
    rows = [asdict(row) for row in drill.attempts]
    report = {
        **story.summary,
        "attacker": f"the sockets of the api, and {drill.sql.login}",
        "held": held,
        "attempts": rows,
        "seconds": round(time.monotonic() - story.started, 1),
    }
    (story.folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (story.folder / "report.md").write_text(page(report))
    note(f"{sum(row.held for row in drill.attempts)} of {len(rows)} attempts came to nothing")
    note("drill/report.md and drill/report.json")
    if not held:
        raise StoryError("an attack went through, or left no event: see report.md")


def page(report: Answer) -> str:
    """The report as a page."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Answer) -> Iterator[str]:
    yield "# Authority drill"
    yield f"The attacker has {report['attacker']}. Genesis `{report['genesis']}`."
    yield f"Evidence of the whole run: {report['verdict']}. It took {report['seconds']} s."
    yield ""
    yield "| threat | what was tried | how it was refused | the event that tells of it | |"
    yield "|---|---|---|---|---|"
    for row in report["attempts"]:
        cells = (row["threat"], row["tried"], row["refused"][:240], row["event"])
        verdict = "held" if row["held"] else "**FAILED**"
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} | {verdict} |"


STEPS = (founding, witnessing, opening, attacked, examined, spoiled, reported)


def main() -> int:
    """Exit with 0 only if every attack failed, and was told of where that is due."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "drill")
    parser.add_argument("--database", default="", metavar="URL")
    parser.add_argument("--no-cards", action="store_true")
    options = parser.parse_args()
    name, folder = "authority-drill", options.folder.resolve()
    story = Story(name, folder, narrated.free_port(), officers=OFFICERS)
    drill = Drill(story, options.database, not options.no_cards)
    anew = partial(narrated.made_anew, story, "system")
    steps: list[Callable[[], Any]] = [anew, *(partial(step, drill) for step in STEPS)]
    try:
        return narrated.play(story, steps, httpx.HTTPError)
    finally:
        with suppress(OSError):
            drill.close()


if __name__ == "__main__":
    sys.exit(main())
