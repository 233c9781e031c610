"""Keys whose private halves everybody can read: those of public test systems.

Whoever agrees on a secret with one of them shares it with the world.
"""

from datetime import date
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from keyvault.domain.errors import InvalidInputError, PublishedKeyError

LIST = Path(__file__).with_name("published-keys.txt")
_FIELDS = 4
_DIGEST = 64  # hex digits


class Published(NamedTuple):
    """One line of the list: when it was taken from where, and what the key is called there."""

    taken: date
    source: str
    name: str


def refuse(spki: bytes) -> None:
    """Raise `PublishedKeyError` if this public key (SPKI, DER) is on the list."""
    found = published().get(sha256(spki).hexdigest())
    if found is not None:
        raise PublishedKeyError(
            f"the private half of this key is published: {found.name} of {found.source}",
            next_step="use a key of the real infrastructure, or a sandbox's settings",
        )


@lru_cache(maxsize=1)
def published() -> dict[str, Published]:
    """The whole list, by SHA-256 of the SPKI in hex."""
    return read(LIST.read_text())


def read(text: str) -> dict[str, Published]:
    """Read a list: digest, date, source and name, a key a line. Raises `InvalidInputError`."""
    known: dict[str, Published] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        try:
            digest, taken, source, name = line.split(maxsplit=_FIELDS - 1)
            if len(bytes.fromhex(digest)) * 2 != _DIGEST or digest in known:
                raise InvalidInputError(f"line {number} holds no new SHA-256")
            known[digest] = Published(date.fromisoformat(taken), source, name)
        except ValueError as error:
            raise InvalidInputError(f"line {number} is no entry of published keys") from error
    return known
