"""Secrets come from the terminal or a file descriptor, never from argv or the environment."""

import getpass
import os
import warnings
from typing import Annotated

import typer

from cli.errors import DeclinedError

LIMIT = 1024  # bytes of one secret

PassphraseFd = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, help="Read passphrase or PIN from descriptor N, up to a newline."
    ),
]


class Secrets:
    """Reads one secret after another: lines of a descriptor if one is given, else prompts."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def next(self, prompt: str) -> bytes:
        """Return the next secret without its newline. Raises `DeclinedError` if none comes."""
        given = self._descriptor
        secret = _typed(prompt) if given is None else line_of(given)
        if not secret:
            raise DeclinedError(
                f"no answer to: {prompt}",
                next_step="type it at a terminal, or give one line on a descriptor",
            )
        return secret

    def chosen(self, prompt: str) -> bytes:
        """Return a new secret; at a terminal it is asked for twice."""
        secret = self.next(prompt)
        if self._descriptor is None and self.next(f"{prompt}, once more") != secret:
            raise DeclinedError("the two are not the same", next_step="try again")
        return secret


def _typed(prompt: str) -> bytes:
    try:
        with warnings.catch_warnings():
            # Without a terminal it would go on, and show what is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"keyvault: {prompt}: ").encode()
    except (EOFError, getpass.GetPassWarning):
        return b""


def line_of(descriptor: int) -> bytes:
    """Read one line, and nothing beyond it. Raises `DeclinedError`."""
    # Byte by byte, so that what belongs to the next question stays in the pipe.
    line = bytearray()
    try:
        while len(line) < LIMIT and (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
            line += byte
    except OSError as error:
        raise DeclinedError(f"cannot read descriptor {descriptor}: {error.strerror}") from error
    return bytes(line)
