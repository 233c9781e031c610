"""The screen before anything that cannot be undone, and before every approval."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.panel import Panel

from cli.errors import DeclinedError
from cli.output import PIPE_WIDTH, facts
from cli.passphrases import line_of


def confirm(title: str, pairs: Iterable[tuple[str, object]], *, yes: bool) -> None:
    """Show what is about to happen and go on only after the word yes. Raises `DeclinedError`."""
    screen(title, pairs)
    if not yes:
        spelled("yes", "read the screen and type yes, in full")


def screen(title: str, pairs: Iterable[tuple[str, object]]) -> None:
    """Show something that has to be read, to the person and not into the answer."""
    console = Console(
        stderr=True,
        width=None if sys.stderr.isatty() else PIPE_WIDTH // 2,
        highlight=False,
        markup=False,
    )
    console.print(Panel(facts(pairs), title=title, title_align="left", expand=False))


def spelled(word: str, otherwise: str) -> None:
    """Go on only after this very word, from standard input. Raises `DeclinedError`."""
    print(f"keyvault: type {word} to go on: ", end="", file=sys.stderr, flush=True)
    if line_of(sys.stdin.fileno()).strip() != word.encode():
        raise DeclinedError("nothing was done", next_step=otherwise)
