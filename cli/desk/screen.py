"""What the operator of several stations sees: one picture at a terminal, lines elsewhere."""

import sys
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.output import printable, say

PAUSE = 4  # pictures a second, at most


@dataclass(frozen=True, slots=True)
class Sight:
    """What stands at one station: the token, what to do with it, and why or how far."""

    do: str
    why: str = ""
    token: str = ""


class Screen:
    """A context manager. Every method may be called from any thread.

    At a terminal each station has its place and keeps it; what is finished goes up and away.
    Anywhere else, and for programs that read screens aloud, each change is a line.
    """

    def __init__(self, stations: list[str], title: str) -> None:
        self._title = title
        self._lock = threading.Lock()
        self._seen = {name: Sight("wait") for name in stations}
        self._live: Live | None = None
        if sys.stderr.isatty():
            console = Console(stderr=True, highlight=False, markup=False, emoji=False)
            self._live = Live(self._picture(), console=console, refresh_per_second=PAUSE)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, station: str, sight: Sight) -> None:
        """Put what is to be done at a station into its place."""
        with self._lock:
            if self._seen[station] == sight:
                return
            self._seen[station] = sight
            if self._live is None:
                say(_line(station, sight))
            else:
                self._live.update(self._picture(), refresh=True)

    def keep(self, station: str, sight: Sight) -> None:
        """The same, and it stays to be read when the station goes on."""
        if self._live is not None:
            self.tell(_line(station, sight))
        self.show(station, sight)

    def tell(self, what: str) -> None:
        """Say something that is not about one station, or stays."""
        if self._live is None:
            say(what)
        else:
            self._live.console.print(Text(f"keyvault: {printable(what)}"))

    def count(self, title: str) -> None:
        """Say how far the whole of it is."""
        with self._lock:
            self._title = title
            if self._live is not None:
                self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Table:
        made = Table(title=Text(self._title, style="bold"), title_justify="left", expand=True)
        for name, share in (("station", 2), ("token", 3), ("what to do", 8)):
            made.add_column(name, overflow="fold", ratio=share)
        for station, sight in self._seen.items():
            do = Text(printable(sight.do), style="bold")
            if sight.why:
                do.append(f"\n{printable(sight.why)}", style="not bold")
            made.add_row(Text(printable(station)), Text(printable(sight.token)), do)
        return made


def _line(station: str, sight: Sight) -> str:
    token = f"token {sight.token}: " if sight.token else ""
    return f"{station}: {token}{sight.do}{f' ({sight.why})' if sight.why else ''}"
