"""Whether an event says what the closed list has for its type, see `keyvault.catalogue`."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from keyvault.catalogue import CATALOGUE, MEANS
from keyvault.domain.audit import AuditEvent

_SHAPES = 4_096  # of payloads that are remembered; the house makes a few hundred
_KINDS = (  # what JSON makes of a value; bool before int, which it is as well
    (bool, "bool"),
    (int, "number"),
    (str, "text"),
    (list | tuple, "list"),
    (Mapping, "object"),
    (type(None), "null"),
)


class Schema(NamedTuple):
    fields: Mapping[str, frozenset[str]]
    needed: tuple[str, ...]


def misfit(event: AuditEvent) -> str:
    """Say in what its payload differs from the list, without a value; empty where it fits.

    Looked up by names and types, which are few: half a microsecond, on the hot path, too.
    """
    payload = event.payload
    return _misfit(event.type, tuple(payload), tuple(map(type, payload.values())))


@lru_cache(maxsize=_SHAPES)
def _misfit(kind: str, names: tuple[str, ...], types: tuple[type, ...]) -> str:
    schema = SCHEMAS[kind]
    for name, made in zip(names, types, strict=True):
        if _kind_of(made) not in schema.fields.get(name, ()):
            return f"{name} of {kind} is not in the list, or of another kind"
    missing = [name for name in schema.needed if name not in names]
    return f"{kind} lacks {missing[0]}" if missing else ""


def _kind_of(made: type) -> str:
    return next((kind for known, kind in _KINDS if issubclass(made, known)), "")


def _schema(words: list[str]) -> Schema:
    spelt = " ".join(MEANS.get(word, word) for word in words).split()
    told = dict(word.split("=") for word in spelt)
    kinds = {name: frozenset(said.rstrip("?").split("/")) for name, said in told.items()}
    return Schema(kinds, tuple(name for name, said in told.items() if not said.endswith("?")))


SCHEMAS = {
    entry.split()[0]: _schema(entry.split()[2:])
    for entry in CATALOGUE.replace("\n  ", " ").strip().splitlines()
}
