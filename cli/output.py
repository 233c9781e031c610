"""Where words go: answers to stdout, everything for people to stderr, nothing unprintable."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keyvault.domain.canonical import Document, Json

PIPE_WIDTH = 200  # columns where nobody's terminal says how wide it is


@dataclass
class Style:
    """How this call answers. Set once by the option --json that every command has."""

    json: bool = False


STYLE = Style()


def printable(value: object) -> str:
    """Write a value from outside so that it cannot steer or deceive the terminal."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def answer(value: Json, human: object) -> None:
    """Print the answer: `value` with --json, or else `human`, a renderable or a text."""
    if STYLE.json:
        print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)
        return
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as written:
        console.print(human, soft_wrap=isinstance(human, str))
    # Tables are padded to the width of the terminal; nobody wants that in a file.
    print(*map(str.rstrip, written.get().splitlines()), sep="\n", flush=True)


def answer_line(value: Document, human: str) -> None:
    """Print one of many answers that come one after another: with --json a line of JSON each."""
    print(json.dumps(value, ensure_ascii=False) if STYLE.json else printable(human), flush=True)


def answer_bytes(data: bytes) -> None:
    """Write an answer that is a file of its own, such as a key in PEM."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say(message: str) -> None:
    """Tell a person something, in lower case and without a full stop."""
    print(f"keyvault: {printable(message)}", file=sys.stderr, flush=True)


def say_more(page: Document) -> None:
    """Tell how to see the rest of a list that came in parts."""
    if page["next"] is not None:
        say(f"there are more: --after {page['next']}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table: one line a record, values as they are, long ones folded and never cut."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(value)) for value in row))
    return made


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values, one pair a line; a list takes a line for each item."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        lines = value if isinstance(value, list | tuple) else [value]
        made.add_row(name, Text("\n".join(map(printable, lines))))
    return made


def grouped(fingerprint: str) -> str:
    """Write a fingerprint so that two people can compare it aloud: groups of four."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, len(fingerprint), 4))
