"""What the gate remembers of originator counters: the highest number given of each series.

The database gives numbers away and may be restored from yesterday; this memory is not in it.
A file for each series, whose name is a hash, since a party's name may hold what no file's may.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from keyvault import durable
from keyvault.domain.errors import CounterRegressionError, InvalidInputError, NotReadyError

GRACE = 60.0  # seconds in which numbers may still arrive that were overtaken by higher ones
KEPT = 10_000  # series held in memory at once
MOST_GAPS = 1_000
_SERIES = re.compile(r"[ -~]{1,200}")
_LIMIT = 1 << 63


@dataclass(slots=True)
class _Known:
    """One series: its highest number, and ranges below it that are still on their way."""

    highest: int
    gaps: list[tuple[int, int, float]] = field(default_factory=list)  # first, last, until


class CounterMemory:
    """Never lets a number be given twice, whatever the database says."""

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.monotonic, *, gives: bool = True
    ) -> None:
        self._folder = folder
        self._gives = gives
        self._clock = clock
        self._known: dict[str, _Known] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def highest(self, series: str) -> int:
        """The highest number that was ever given, 0 if none was. Raises `NotReadyError`."""
        if not self._gives:  # then another process does, and what it last wrote counts
            self._known.pop(series, None)
        return self._of(series).highest

    def issue(self, series: str, first: int, last: int) -> None:
        """Take note of numbers before anybody gets them; when this returns it is durable.

        Raises `CounterRegressionError` if one of them was given before.
        """
        if not 0 < first <= last < _LIMIT:
            raise InvalidInputError("no range of counters")
        known = self._of(series)
        if first > known.highest:
            self._rise(series, known, first, last)
        elif not self._filled(known, first, last):
            raise CounterRegressionError(
                f"{first:016X} to {last:016X} of {series} were given before, or passed over",
                next_step="was the database restored? see the runbook counter-regression",
            )

    def raise_to(self, series: str, floor: int) -> None:
        """Give no number up to `floor` any more."""
        if not 0 <= floor < _LIMIT:
            raise InvalidInputError("no counter")
        known = self._of(series)
        known.gaps.clear()
        if floor > known.highest:
            self._write(series, floor)
            known.highest = floor

    def _rise(self, series: str, known: _Known, first: int, last: int) -> None:
        self._write(series, last)
        if first > known.highest + 1:  # another process was faster to come here than to be told
            known.gaps.append((known.highest + 1, first - 1, self._clock() + GRACE))
            del known.gaps[:-MOST_GAPS]
        known.highest = last

    def _filled(self, known: _Known, first: int, last: int) -> bool:
        """Whether these numbers come late and not again; they leave their gap."""
        now = self._clock()
        known.gaps = [gap for gap in known.gaps if gap[2] > now]
        for gap in known.gaps:
            begin, end, until = gap
            if begin <= first and last <= end:
                known.gaps.remove(gap)
                parts = ((begin, first - 1, until), (last + 1, end, until))
                known.gaps += [part for part in parts if part[0] <= part[1]]
                return True
        return False

    def _of(self, series: str) -> _Known:
        known = self._known.get(series)
        if known is None:
            if not _SERIES.fullmatch(series):
                raise InvalidInputError("no series of counters")
            known = self._known[series] = _Known(self._read(series))
            if len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
        return known

    def _path(self, series: str) -> Path:
        return self._folder / sha256(series.encode()).hexdigest()[:40]

    def _read(self, series: str) -> int:
        """A file that cannot be read stops the series, as it must."""
        path = self._path(series)
        try:
            name, _, number = path.read_text().strip().rpartition(" ")
            highest = int(number, 16)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            raise _unreadable(path) from error
        if name != series or not 0 <= highest < _LIMIT:
            raise _unreadable(path)
        return highest

    def _write(self, series: str, highest: int) -> None:
        try:
            durable.replace(self._path(series), f"{series} {highest:016X}\n".encode())
        except OSError as error:
            raise NotReadyError(
                f"the gate cannot write down which counters are given: {error.strerror}",
                next_step="make room for the gate's state",
            ) from error


def _unreadable(path: Path) -> NotReadyError:
    return NotReadyError(
        f"{path} does not say which counter was given last",
        next_step="take the highest from the log's COUNTER events; see the runbook",
    )
