"""The stamper: has time stamping authorities stamp checkpoints, and watches this host's clock.

An authority that is away or lies stops nobody: what was not stamped now is stamped with the next
checkpoint, which covers all before it. The hash of each token is the next event, so an event
stands between two tokens and not only before one.
"""

import ctypes
import errno
import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from uuid import uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.clocks import ClockState, Reading, judged
from keyvault.domain.errors import InvalidInputError, VaultError
from keyvault.domain.times import text_of
from keyvault.office import Stop, hold
from keyvault.settings import AuthoritySettings, Settings, TimeSettings
from keyvault.store import Database, StoredCheckpoint
from keyvault.store.audit import StoredStamp
from keyvault.timestamps.client import TimeStampError, ask

FIRST_PAUSE, LONGEST_PAUSE = 15.0, 900.0  # seconds before an authority that failed is asked again
ACTOR = "service:stamper"
_TIMEX_SIZE = 256  # bytes: struct timex has 208 on 64-bit Linux
_TIME_ERROR = 5  # what adjtimex(2) returns for a clock that is not synchronised
log = logging.getLogger("stamper")


@dataclass(slots=True)
class Turn:
    """When an authority is asked next, by the monotonic clock."""

    at: float = 0.0
    pause: float = 0.0
    beyond_ms: int = 0  # its time from ours, when it last stamped


class Stamper:
    """Asks every authority of the settings, each when its own turn has come."""

    def __init__(self, database: Database, settings: TimeSettings) -> None:
        self._database = database
        self._settings = settings
        self._turns = {one.name: Turn() for one in settings.authorities}

    @property
    def beyond_ms(self) -> int:
        """How far the authorities' time is from ours: the least, for one of them may be wrong."""
        return min((turn.beyond_ms for turn in self._turns.values()), key=abs, default=0)

    def turn(self) -> None:
        """Have the newest checkpoint stamped by all whose turn it is, at once."""
        with self._database.reading() as reading:
            newest = reading.audit.checkpoint()
        now = time.monotonic()
        due = [one for one in self._settings.authorities if now >= self._turns[one.name].at]
        if newest is None or not due:
            return
        with ThreadPoolExecutor(len(due), thread_name_prefix="tsa") as threads:
            list(threads.map(lambda one: self._stamped(one, newest), due))

    def _stamped(self, one: AuthoritySettings, newest: StoredCheckpoint) -> None:
        turn = self._turns[one.name]
        with self._database.reading() as reading:
            last = reading.audit.stamp(one.name)
        if last is not None and last.size >= newest.size:
            turn.at = time.monotonic() + self._settings.look
            return
        try:
            token = ask(one, newest.note.encode())
        except TimeStampError as error:
            turn.pause = min(max(turn.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            turn.at = time.monotonic() + turn.pause
            self._failed(one.name, newest.size, str(error))
            return
        turn.at, turn.pause = time.monotonic() + self._settings.interval, 0.0
        turn.beyond_ms = token.beyond_ms
        stamp = StoredStamp(newest.size, one.name, token.reply, token.stamped_at)
        with self._database.sealing() as seals:
            seals.add_time_stamp(stamp)
        self._note(EventType.TIME_STAMPED, Outcome.OK, one.name, told(stamp))

    def _failed(self, name: str, size: int, reason: str) -> None:
        log.warning("%s", reason)
        with self._database.reading() as reading:
            newest = reading.audit.newest_of(f"time:{name}")
        if newest is None or newest.header["ty"] != EventType.TIME_STAMP_FAILED:
            payload: Document = {"size": size, "reason": reason}
            self._note(EventType.TIME_STAMP_FAILED, Outcome.FAIL, name, payload)

    def _note(self, kind: EventType, outcome: Outcome, name: str, payload: Document) -> None:
        payload = {"authority": name, **payload}
        with self._database.work() as work:
            work.commit(AuditEvent(kind, outcome, uuid4(), f"time:{name}", ACTOR, payload))


def told(stamp: StoredStamp) -> Document:
    """What the log says of a token."""
    digest = sha256(stamp.reply).hexdigest()
    return {"size": stamp.size, "sha256": digest, "time": text_of(stamp.stamped_at)}


class Watch:
    """Looks at this host's clock and writes down when what is to be thought of it changes."""

    def __init__(
        self, database: Database, node: str, tolerance: float, look: Callable[[], Reading]
    ) -> None:
        self._database = database
        self._node = node
        self._tolerance_ms = int(tolerance * 1_000)
        self._look = look
        self._before: Reading | None = None

    def turn(self, beyond_ms: int = 0) -> ClockState:
        """Look once; `beyond_ms` is how far the authorities' time is from ours."""
        now = self._look()
        state, detail = judged(self._before, now, beyond_ms, self._tolerance_ms)
        self._before = now
        stream = f"clock:{self._node}"
        with self._database.reading() as reading:
            newest = reading.audit.newest_of(stream)
        bad = newest is not None and newest.header["ty"] == EventType.TIME_UNTRUSTED
        if bad == (state is not ClockState.SYNCHRONISED):
            return state
        log.warning("this host's clock is %s. %s", state, detail)
        kind = EventType.TIME_TRUSTED if bad else EventType.TIME_UNTRUSTED
        outcome = Outcome.OK if bad else Outcome.FAIL
        payload: Document = {"state": str(state), "detail": detail}
        with self._database.work() as work:
            work.commit(AuditEvent(kind, outcome, uuid4(), stream, ACTOR, payload))
        return state


def look() -> Reading:
    """Read this host's clocks, and what the kernel knows of who keeps them right."""
    wall, monotonic = time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000
    return Reading(wall, monotonic, _kept())


def _kept() -> bool | None:
    """Ask adjtimex(2), changing nothing; None where the system does not tell."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        return None
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
    if state < 0:
        log.debug("adjtimex: %s", errno.errorcode.get(ctypes.get_errno(), "?"))
        return None
    return bool(state != _TIME_ERROR)


def run(settings: Settings, stop: Stop) -> None:
    """Watch the clock, and stamp while this process is the elected one, until `stop`."""
    if settings.time is None:
        raise InvalidInputError("the settings have no [time]", next_step="see docs/time.md")
    database = Database(settings.database, settings.node)
    stamper = Stamper(database, settings.time)
    watch = Watch(database, settings.node, settings.time.tolerance, look)
    try:
        with database.election("stamper") as holds:
            while not stop.wait(min(settings.time.look, settings.time.interval)):
                _turn(stamper, watch, holds)
    finally:
        database.close()


def _turn(stamper: Stamper, watch: Watch, holds: Callable[[], bool]) -> None:
    try:
        if holds():
            stamper.turn()
        watch.turn(stamper.beyond_ms)
    except (VaultError, OSError) as error:
        log.warning("%s", error)


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    return hold("stamper", __doc__, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
