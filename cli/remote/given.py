"""What somebody wants to set: read strictly from a file, or from options over what there is."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from cli.remote.client import connect
from cli.remote.screens import Pairs, told
from keyvault.domain.canonical import Document
from keyvault.domain.documents import document_of, read
from keyvault.domain.errors import InvalidInputError

FILE_LIMIT = 65_536  # bytes of a file with a rule, class, duty or standard
T = TypeVar("T")

File = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="Every field, in TOML or JSON; no option then."),
]
Reason = Annotated[str, typer.Option(help="Why; it is signed and recorded.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]


NAMES = frozenset({"id", "name", "edition"})  # what names a thing stands on the line either way


def current(session: Path | None, kind: type[T], room: str, **names: str) -> T | None:
    """What is in force under these names, in one of the lists of /v1/rules; None if nothing is."""
    items = connect(session).get("/v1/rules")[room]
    same = (one for one in items if all(one[key] == name for key, name in names.items()))
    found = next(same, None)
    return None if found is None else read(kind, found, room)


def options_of(kind: Any, arguments: Mapping[str, object]) -> dict[str, object]:
    """Of a command's arguments, those that are fields of `kind`."""
    return {field.name: arguments.get(field.name) for field in fields(kind)}


def wanted(
    kind: type[T], name: str, file: Path | None, options: Mapping[str, object], before: T | None
) -> T:
    """Build a `kind`: from a file that has every field, or from options over `before`.

    Options that are None were not given. Raises `InvalidInputError`.
    """
    given = {key: _plain(value) for key, value in options.items() if value is not None}
    if file is None:
        base = _defaults(kind) if before is None else document_of(before)
        return _read(kind, name, {**base, **given})
    if set(given) - NAMES:
        raise InvalidInputError("give a file or options, not both")
    document = {**_nothing(kind), **document_in(file)}
    if any(document.get(key) != value for key, value in given.items()):
        raise InvalidInputError(f"{file} is about another {name}")
    return _read(kind, name, document)


def document_in(path: Path) -> Document:
    """The TOML or JSON of a file, by its ending. Raises `InvalidInputError`."""
    text = bytes_of(path)
    try:
        value = tomllib.loads(text.decode()) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"{path} does not hold one object")
    return value


def bytes_of(path: Path, limit: int = FILE_LIMIT) -> bytes:
    """A small file. Raises `InvalidInputError` on one that is larger than `limit` bytes."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidInputError(f"{path} is larger than {limit} bytes")
    return data


def differences(before: T | None, after: T) -> Pairs:
    """What would change, field by field: `2 -> 3`. All of it where there was nothing before."""
    pairs: Pairs = []
    for field in fields(after):  # type: ignore[arg-type]  # a dataclass, as `wanted` makes
        new = told(getattr(after, field.name))
        old = told(getattr(before, field.name)) if before is not None else None
        if before is None or old != new:
            shown = _line(new) if before is None else f"{_line(old)} -> {_line(new)}"
            pairs.append((field.name.replace("_", " "), shown))
    return pairs or [("nothing", "would change")]


def _read(kind: type[T], name: str, document: Document) -> T:
    missing = sorted({field.name for field in fields(kind)} - set(document))  # type: ignore[arg-type]  # a dataclass
    if missing:
        raise InvalidInputError(f"a new {name} needs: {', '.join(missing)}")
    return read(kind, document, f"a {name}")


def _defaults(kind: Any) -> Document:
    found = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    return {**_nothing(kind), **{key: _plain(value) for key, value in found.items()}}


def _nothing(kind: Any) -> Document:
    """None for what may be none: TOML has no word for it."""
    hints = get_type_hints(kind)
    return {f.name: None for f in fields(kind) if NoneType in get_args(hints[f.name])}


def _plain(value: object) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, int) else str(value)


def _line(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
