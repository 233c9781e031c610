"""T3 to T5: attempts of whoever owns the database, its backups or the settings."""

import hashlib
import json
import re
import subprocess
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from keyvault.bootstrap import build
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import canonical
from keyvault.domain.commands import (
    HoldPerson,
    ReinstatePerson,
)
from keyvault.operations import watch
from tools import narrated
from tools.attacker import (
    SucceededError,
    no,
)
from tools.attacks.common import REFUSED, wrong
from tools.narrated import Answer

if TYPE_CHECKING:
    from tools.drill import Drill


CUTS = (
    "UPDATE event SET actor = 'nobody'",
    "DELETE FROM event WHERE idx > 3",
    "UPDATE log_head SET size = 3",
)


def rows(drill: "Drill") -> None:
    """T3: the database's administrator edits authority.

    Each record is changed, deleted or added, and put back after the service has noticed.
    """
    sql = drill.sql
    drill.carry_out(drill.ask(HoldPerson("bob", 24, "for the drill"), by="carol"), "carol")
    records = sql.records()
    drill.attempt(
        "T3", "a record is updated with no more than the api's login",
        lambda: objected(sql.run("UPDATE authority_record SET document = '{}' WHERE number = 0")),
        instead="none: the database itself refuses",
    )  # fmt: skip
    for tried, number, document in edits(records):
        drill.attempt(
            "T3", f"{tried}, by the owner of the database",
            partial(edited, drill, number, document), EventType.AUTHORITY_REJECTED,
        )  # fmt: skip
    drill.attempt(
        "T3", f"each of {len(records)} records is changed and deleted in turn",
        partial(each_record, drill), EventType.AUTHORITY_REJECTED,
    )  # fmt: skip
    back = drill.ask(ReinstatePerson("bob", "the drill goes on"))
    drill.carry_out(back, "carol", "dave")


def edits(records: list[Answer]) -> list[tuple[str, int, Answer | None]]:
    """What somebody would want of authority: (in words, record, what to put there)."""
    newest, number = records[-1], len(records) - 1
    lower = json.loads(json.dumps(records[0]).replace('"approvals": 2', '"approvals": 1'))
    head = hashlib.sha256(canonical(newest)).hexdigest()
    unsigned = {**newest, "seq": number + 1, "prev": head}
    grants = records[1]["request"]["parameters"]["grants"]
    granted = replaced(records[1], "grants", [{**one, "role": "key-approver"} for one in grants])
    return [
        ("the quorum in the genesis record is lowered to one", 0, lower),
        ("the auditor is given the role of an approver", 1, granted),
        ("Bob's hold is deleted", number, None),
        ("Bob's hold is shortened", number, replaced(newest, "hours", 1)),
        ("a record that nobody signed is added", number + 1, unsigned),
    ]


def objected(said: str) -> str:
    """Say what the database objected. Raises `SucceededError` if that was nothing."""
    if not said:
        raise SucceededError("the database took it")
    return f"the database says: {said}"


def replaced(record: Answer, name: str, value: object) -> Answer:
    """A record with one parameter of its request changed."""
    request = record["request"]
    parameters = {**request["parameters"], name: value}
    return {**record, "request": {**request, "parameters": parameters}}


def edited(drill: "Drill", number: int, document: Answer | None) -> str:
    """Change a record, see that nobody believes it, and put it back."""
    start = drill.size()
    with drill.sql.record(number, document):
        said = unbelieved(drill)
        drill.written(EventType.AUTHORITY_REJECTED, start)
    return f"a process that starts says {said}"


def unbelieved(drill: "Drill") -> str:
    """What a process says that starts now and has verified nothing yet."""
    with closing(build(drill.settings)) as vault:
        return no(watch.check_records, vault)


def each_record(drill: "Drill") -> str:
    start, records = drill.size(), drill.sql.records()
    for number, record in enumerate(records):
        for document in ({**record, "at": "2026-01-01T00:00:00Z"}, None):
            with drill.sql.record(number, document):
                unbelieved(drill)
                if number == 0:
                    drill.written(EventType.AUTHORITY_REJECTED, start)
    return f"{2 * len(records)} of {2 * len(records)} are refused at a start"


def history(drill: "Drill") -> None:
    """T4: the log is rewritten, cut back or replaced by an old copy.

    A witness outside has cosigned what there was.
    """
    sealed = partial(drill.log_gate.call, "status")
    seal = drill.log_gate.call
    for tried, size in (("a shorter log", 3), ("another log of the same length", None)):
        drill.attempt(
            "T4", f"the log's own gate is asked to sign {tried}",
            lambda size=size: no(seal, "seal", size or sealed()["sealed"], bytes(32)),
            REFUSED, '"seal"',
        )  # fmt: skip
    for change in CUTS:
        drill.attempt(
            "T4", f"{change}, with the api's login", lambda c=change: objected(drill.sql.run(c)),
            instead="none: the database itself refuses",
        )  # fmt: skip
    drill.attempt(
        "T4", "a sealed event is changed, by the owner of the database",
        partial(altered, drill), instead="none: the verifier names the event",
    )  # fmt: skip
    if not drill.sql.postgresql:
        drill.attempt(
            "T4", "yesterday's copy of the whole database is put in its place",
            partial(rolled_back, drill), instead="none: no process starts over it",
        )  # fmt: skip


def altered(drill: "Drill") -> str:
    """Change an event, have the auditor export the evidence, and put the event back."""
    honest = drill.sql.read("SELECT leaf FROM event WHERE idx = 3")
    change = "UPDATE event SET leaf = :leaf WHERE idx = 3"
    drill.sql.force(change, leaf=honest.replace(b'"ac":"', b'"ac":"not-', 1))
    try:
        return wrong(drill, narrated.export(drill.story, "dora", "evidence-altered.zip"))
    finally:
        drill.sql.force(change, leaf=honest)


def rolled_back(drill: "Drill") -> str:
    """Start a sealer over the old copy: it asks the witness before it does anything."""
    old = f'database = "sqlite:///{drill.story.folder / "yesterday.db"}"'
    said = starts(drill, "old", re.sub(r"(?m)^database = .*$", old, drill.config.read_text()))
    return last_words(said, "rolled|witness w1 has seen")


def starts(drill: "Drill", name: str, config: str) -> subprocess.CompletedProcess[str]:
    """Start a sealer with other settings, and wait until it gives up."""
    place = drill.config.with_name(f"{name}.toml")
    place.write_text(config)
    line = [sys.executable, "-m", "keyvault.sealer", "--settings", str(place)]
    try:
        return subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=30, cwd=narrated.ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise SucceededError("it started and went on") from error


def last_words(said: subprocess.CompletedProcess[str], wanted: str) -> str:
    """What a process said that refused to start. Raises `SucceededError` if it did not."""
    lines = [line for line in said.stderr.splitlines() if re.search(wanted, line)]
    if not said.returncode or not lines:
        raise SucceededError(f"it ended with {said.returncode}: {said.stderr[-200:]}")
    return f"ends with {said.returncode}: {lines[-1]}"


def code(drill: "Drill") -> None:
    """T5: changed code or configuration is put in place.

    What there is: hashes for every dependency, and a genesis that all settings have to name.
    Not there yet: a digest of the running code. Who changes our own modules on the api's host is
    noticed by nobody; what they gain is what the other threats show an owner of the api to have.
    """
    other = re.sub(r'(?m)^genesis = ".', 'genesis = "0', drill.config.read_text())
    if other == drill.config.read_text():
        other = re.sub(r'(?m)^genesis = ".', 'genesis = "1', other)
    drill.attempt(
        "T5", "the settings name another genesis",
        lambda: last_words(starts(drill, "other", other), "genesis"),
        instead="none: it does not start",
    )  # fmt: skip
