"""kill -9 at any moment, over and over: nothing acknowledged is lost, nothing unknown is left."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from hsm.errors import DeviceUnavailableError
from keyvault.bootstrap import build
from keyvault.domain.keys import KeyState
from keyvault.domain.tree import leaf_hash, root_of
from keyvault.operations.reconcile import ALARMS, reconcile
from tests.assessor import assert_evidence_holds
from tests.stack import ROOT, SYSTEM_ACTIONS, Stack

ORDER = [KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.SUSPENDED, KeyState.DESTROYED]
VICTIMS = ("actor", "actor", "actor", "gate", "recorder")
LONGEST, SOAKED = 0.6, 2.0  # seconds that a life may go on, where there is time for many
# How a life may end when a gate or recorder dies under it. Anything else is a bug of ours.
ENDS = {
    "DeviceUnavailableError",
    "DeviceTimeoutError",
    "LogUnavailableError",
    "OutcomeUnknownError",
}


@dataclass
class Acknowledged:
    """What callers were told: it has to be true for ever."""

    events: dict[int, str] = field(default_factory=dict)
    states: dict[str, KeyState] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)

    def note(self, line: dict[str, object]) -> None:
        if "index" in line:
            self.events[int(str(line["index"]))] = str(line["leaf_hash"])
        elif "state" in line:
            self.states[str(line["key"])] = KeyState(str(line["state"]))
        elif "ended" in line:
            self.ends[str(line["ended"]).partition(":")[0]] += 1


class Campaign:
    """Lives and deaths on one stack."""

    def __init__(self, stack: Stack, seed: int, longest: float) -> None:
        self.stack, self.longest = stack, longest
        self.chance = random.Random(seed)  # noqa: S311  (a plan that can be repeated)
        self.told = Acknowledged()
        self.killed: Counter[str] = Counter()
        self.vault = build(stack.settings)
        line = [sys.executable, "-m", "tests.campaigns.actor", stack.config, stack.folder]
        pipe = subprocess.PIPE
        self.actor = subprocess.Popen(line, stdin=pipe, stdout=pipe, cwd=ROOT, text=True)

    def round(self, number: int) -> None:
        """Let a life begin, kill somebody in the middle of it, and reconcile.

        On a slow machine lives grow longer, until one has lasted to its first answer.
        """
        self._tell(f"{number * 100}\n")
        pid = int(self._hear()["pid"])
        victim = self.chance.choice(VICTIMS)
        patience = self.longest if self.told.events else self.longest * (1 + number / 2)
        timer = threading.Timer(self.chance.uniform(0, patience), self._kill, (victim, pid))
        timer.start()
        while "over" not in (line := self._hear()):
            self.told.note(line)
        timer.join()
        if victim == "recorder":
            self.stack.start("recorder")
        verdicts = self._reconciled()
        assert not [verdict for verdict in verdicts if verdict.finding in ALARMS], verdicts

    def _kill(self, victim: str, pid: int) -> None:
        with suppress(ProcessLookupError, DeviceUnavailableError):
            if victim == "recorder":
                self.stack.kill("recorder")
            elif victim == "gate":
                os.kill(self.vault.gate.status()["pid"], signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
            self.killed[victim] += 1
        if victim != "actor":  # whoever lived on through it is ended, so that the round ends
            time.sleep(0.2)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _reconciled(self) -> list:
        """Reconcile as soon as the gate is back."""
        until = time.monotonic() + 20
        while True:
            try:
                return reconcile(self.vault)
            except Exception:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def _tell(self, line: str) -> None:
        self.actor.stdin.write(line)
        self.actor.stdin.flush()

    def _hear(self) -> dict:
        line = self.actor.stdout.readline()
        assert line, "the actor's parent has ended"
        return json.loads(line)

    def close(self) -> None:
        self.actor.stdin.close()
        self.actor.wait(10)
        self.actor.stdout.close()
        self.vault.close()


def check(campaign: Campaign) -> None:
    """Hold all that was acknowledged against the log, the register and the token."""
    vault, told = campaign.vault, campaign.told
    with vault.database.reading() as work:
        head = work.audit.head()
        events = list(work.audit.events(0, head.size))
        keys = {key: work.keys.get(UUID(key)) for key in told.states}
    assert [event.index for event in events] == list(range(head.size))
    assert root_of([leaf_hash(event.leaf) for event in events]) == head.root
    lost = {i: h for i, h in told.events.items() if events[i].leaf_hash.hex() != h}
    assert lost == {}
    assert told.events
    assert set(told.ends) <= ENDS
    for key, state in told.states.items():
        assert ORDER.index(keys[key].state) >= ORDER.index(state)
    assert reconcile(vault) == []
    assert_evidence_holds(campaign.stack)


def run(database: str, kills: int, longest: float = LONGEST) -> Campaign:
    with Stack.make(database) as stack:
        stack.start()
        stack.system("dcc-1", *SYSTEM_ACTIONS)
        seed = int(hashlib.sha256(database[:6].encode()).hexdigest(), 16)
        campaign = Campaign(stack, seed, longest)
        try:
            number = 0
            # A life may end before its killer comes, and a killer before anything was answered.
            while campaign.killed.total() < kills or not campaign.told.events:
                assert number < 3 * kills + 9
                campaign.round(number)
                number += 1
            check(campaign)
        finally:
            campaign.close()
        print(  # noqa: T201  (the counts that the campaign is for)
            f"{database.partition(':')[0]}: {dict(campaign.killed)} killed, "
            f"{len(campaign.told.events)} signatures and {len(campaign.told.states)} keys "
            f"acknowledged, none lost; lives that saw the fault: {dict(campaign.told.ends)}"
        )
        return campaign


def test_nothing_acknowledged_is_lost_and_nothing_unknown_is_left(tmp_path):
    assert run(f"sqlite:///{tmp_path}/keyvault.db", kills=4).killed.total() >= 4


@pytest.mark.soak
def test_the_same_holds_for_two_hundred_and_fifty_kills(empty_database_url):
    assert run(empty_database_url, 250, SOAKED).killed.total() >= 250  # five hundred on both
