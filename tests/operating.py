"""An operator at a terminal with readers: reads the screen of a batch, and does what it says."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cards.bench import NAMES, Bench
from tests.cards.personalising import Halted, Puller
from tests.cards.simulator.card import Card
from tests.cards.simulator.vpcd import CardSide, Pulled, VirtualCard

ROOT = Path(__file__).parents[1]
PATIENCE = 90.0  # seconds without anything to do, on a machine with much else to do
STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def heeding() -> None:
    """Tests that run in the background heed no ^C, and their children would not either."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A pseudo terminal of 100 columns with one command in it."""

    def __init__(self, *words: str) -> None:
        ours, theirs = os.openpty()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
            preexec_fn=heeding,  # noqa: PLW1509  (only a system call)
        )  # fmt: skip
        os.close(theirs)
        self._ours, self._raw = ours, b""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 65_536)
            except OSError:  # the other side is closed
                return
            self._raw += piece

    @property
    def text(self) -> str:
        """Everything that was written, without what steers the cursor."""
        return STEERING.sub("", self._raw.decode(errors="replace"))

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def screen(self, stations: Mapping[str, int]) -> dict[str, str]:
        """What stands at each station in the newest picture that is whole."""
        told: dict[str, str] = {}
        at = ""
        whole = self.text.rpartition("└")[0]
        for line in whole.rpartition("what to do")[2].splitlines():
            cells = [cell.strip() for cell in line.split("│")]
            at = next((name for name in stations if name in cells), at)
            if at:
                told[at] = " ".join([told.get(at, ""), *filter(None, cells)])
        return told

    def interrupt(self) -> None:
        """What ^C does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def close(self) -> int:
        """Wait for its end and return its exit status."""
        status = self._process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        os.close(self._ours)
        return status


class Blackout(Puller):
    """At its n-th APDU pcscd is killed. It is started again when `noticed` returns."""

    def __init__(self, card: Card, at: int, noticed: Callable[[], None]) -> None:
        super().__init__(card, at, executed=True)
        self._noticed = noticed
        self.bench: Bench | None = None
        self.over = threading.Event()

    def process(self, apdu: bytes) -> bytes:
        try:
            return super().process(apdu)
        except Pulled:
            assert self.bench is not None
            self.bench.kill_pcscd()
            self._noticed()
            self.bench.start_pcscd()
            self.over.set()
            raise


@dataclass
class Operator:
    """Has a pile of cards by serial number; what lies first for a number is put in first."""

    bench: Bench
    stations: Mapping[str, int]  # and the slot of the reader at each
    pile: Mapping[str, list[CardSide]]
    inside: dict[str, VirtualCard] = field(default_factory=dict)
    heeded: dict[str, str] = field(default_factory=dict)

    def work(self, terminal: Terminal, leave: str, left: Callable[[], None]) -> None:
        """Do what the screen says until the command ends.

        ^C when it first says `leave`, and then `left`.
        """
        deadline = time.monotonic() + PATIENCE
        while not terminal.ended:
            for station, told in terminal.screen(self.stations).items():
                if self.heeded.get(station) != told:
                    self.heeded[station] = told
                    self._heed(station, told)
                    if leave and leave in told:
                        terminal.interrupt()
                        left()
                        leave = ""
                    deadline = time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                raise TimeoutError(terminal.text)
            time.sleep(0.05)

    def _heed(self, station: str, told: str) -> None:
        slot = self.stations[station]
        if any(words in told for words in ("TAKE IT OUT", "PUT THE SAME")):
            taken = self.inside.pop(station)
            taken.remove()
            if isinstance(taken.card, Blackout):
                assert taken.card.over.wait(PATIENCE)
            self.bench.until_removed(slot)
        if any(words in told for words in ("PUT IT IN", "PUT THE SAME", "Put in the right")):
            serial = next(each for each in self.pile if each in told)
            card = self.pile[serial].pop(0)
            if isinstance(card, Blackout):
                card.bench = self.bench
            self.inside[station] = self.bench.insert(card, slot)


def operated(
    words: tuple[str, ...],
    stations: Mapping[str, int],
    pile: Mapping[str, list[CardSide]],
    leave: str = "",
    left: Callable[[], None] = lambda: None,
) -> str:
    """Work through a command at a terminal, and return everything that it wrote.

    Who leaves leaves work undone.
    """
    at = [word for name, slot in stations.items() for word in ("--at", f"{name}={NAMES[slot]}")]
    with Bench() as bench:
        terminal = Terminal(*words, *at)
        Operator(bench, stations, pile).work(terminal, leave, left)
        assert terminal.close() == (130 if leave else 0), terminal.text
    return terminal.text


def left(
    words: tuple[str, ...], station: str, cards: list[Card], noticed: Callable[[], None]
) -> str:
    """Of three cards pcscd dies under the first, and under the second the operator says ^C."""
    go = threading.Event()
    pile: dict[str, list[CardSide]] = {
        str(card.application.serial): [Halted(card, 30, go)] for card in cards
    }
    first, second, _ = pile
    pile[first] = [Blackout(cards[0], 30, noticed), cards[0]]
    return operated(words, {station: 0}, pile, leave=f"{second} LEAVE IT IN", left=go.set)
