"""Values as canonical documents and back: one strict reading for everything that is signed.

Fields are texts, whole numbers, booleans, enums, UUIDs, bytes (as base64), tuples without doubles,
further frozen dataclasses, and each of these or nothing (`X | None`).
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from keyvault.domain.canonical import Document, Json
from keyvault.domain.errors import InvalidInputError

TEXT_LIMIT = 200  # characters of a label, name or reason
BYTES_LIMIT = 16_384  # bytes of a certificate, public key or wrapped blob
LIST_LIMIT = 1_000
MAX_NUMBER = 2**31 - 1
T = TypeVar("T")


def document_of(value: Any) -> Document:
    """Write a dataclass: every field under its name."""
    return {field.name: _encode(getattr(value, field.name)) for field in fields(value)}


def read(kind: type[T], document: object, name: str) -> T:
    """Read what `document_of` wrote: every field, no other. Raises `InvalidInputError`.

    `name` is what the message calls it.
    """
    hints = _hints(kind)  # type: ignore[arg-type]  # classes hash
    if not isinstance(document, dict) or set(document) != set(hints):
        raise InvalidInputError(f"{name} takes exactly: {', '.join(sorted(hints))}")
    return kind(**{key: _decode(hints[key], key, value) for key, value in document.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _encode(value: object) -> Json:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if is_dataclass(value):
        return document_of(value)
    return value if value is None or isinstance(value, int) else str(value)


def _decode(hint: Any, key: str, value: object) -> object:
    try:
        return _decoded(hint, key, value)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{key} is not what it should be: {error}") from error


def _decoded(hint: Any, key: str, value: object) -> object:
    if isinstance(hint, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return None if value is None else _decoded(kinds[0], key, value)
    if get_origin(hint) is tuple:
        return _items(get_args(hint)[0], key, value)
    if is_dataclass(hint):
        return read(hint, value, key)  # type: ignore[arg-type]  # a class, as hints are
    return _SCALARS.get(hint, _named)(value, hint)


def _truth(value: object, _: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false was expected")  # noqa: TRY004  (bad input, not a bug)
    return value


def _whole(value: object, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
        raise ValueError(f"a whole number from 0 to {MAX_NUMBER} was expected")
    return value


def _items(hint: object, key: str, value: object) -> tuple[object, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= LIST_LIMIT:
        raise ValueError(f"a list of 1 to {LIST_LIMIT} was expected")
    items = tuple(_decoded(hint, key, item) for item in value)
    if len(set(items)) != len(items):
        raise ValueError("an item stands twice")
    return items


def _bytes(value: object, _: Any) -> bytes:
    data = b64decode(_string(value), validate=True)
    if not 0 < len(data) <= BYTES_LIMIT or b64encode(data).decode() != value:
        raise ValueError(f"base64 of 1 to {BYTES_LIMIT} bytes was expected")
    return data


def _text(value: object, _: Any) -> str:
    text = _string(value)
    if not 0 < len(text) <= TEXT_LIMIT or not text.isprintable() or text != text.strip():
        raise ValueError(f"1 to {TEXT_LIMIT} printable characters were expected")
    return text


def _named(value: object, kind: Any) -> object:
    """An enum or a UUID, by its text. A UUID has one spelling."""
    named = kind(_string(value))
    if str(named) != value:
        raise ValueError("it is written in another way")
    return named


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text was expected")  # noqa: TRY004  (bad input, not a bug)
    return value


_SCALARS: dict[Any, Callable[[object, Any], object]] = {
    bool: _truth,
    int: _whole,
    bytes: _bytes,
    str: _text,
}
