"""Canonical JSON (RFC 8785), restricted so that no two encoders can differ.

Allowed are objects with ASCII keys, strings without lone surrogates, integers below 2**53,
booleans, null and lists. Floats are refused: their shortest form is where encoders disagree.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import orjson

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]
Document = dict[str, Any]  # an object as read: what its reader has not checked is Any

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
_ENCODE = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
).encode


class CanonicalError(ValueError):
    """Not a document that this service signs or hashes."""


def canonical(value: Json) -> bytes:
    """Return the one encoding of `value` (UTF-8). Raises `CanonicalError`."""
    _check(value, MAX_DEPTH)
    return encoded(value)


def encoded(value: Json) -> bytes:
    """Do so for a document of our own making, whose keys, numbers and depth need no look."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)  # of ASCII: by UTF-16 as well
    except TypeError:  # a lone surrogate, or a key of a class of its own
        return _slowly(value)


def _slowly(value: Json) -> bytes:
    try:
        return _ENCODE(value).encode()
    except UnicodeEncodeError as error:
        raise CanonicalError("a string holds a lone surrogate") from error


def parse(data: bytes, *, max_size: int = 262_144) -> Document:
    """Read one canonical object. Anything that does not encode back to `data` is refused."""
    if len(data) > max_size:
        raise CanonicalError(f"document of {len(data)} bytes is over the limit of {max_size}")
    try:
        value = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise CanonicalError("not a JSON document") from error
    if not isinstance(value, dict) or canonical(value) != data:
        raise CanonicalError("not a canonical JSON object")
    return value


def equal(left: Json, right: Json) -> bool:
    """Whether both have the same encoding. Python's own == takes 1, 1.0 and True for one."""
    try:
        return canonical(left) == canonical(right)
    except CanonicalError:
        return False


def _no_float(text: str) -> NoReturn:
    raise CanonicalError(f"number {text[:20]} is not an integer")


def _check(value: Json, depth: int) -> None:
    if depth == 0:
        raise CanonicalError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        _check_keys(value)
        items: Iterable[Json] = value.values()
    elif isinstance(value, list | tuple):
        items = value
    else:
        _check_scalar(value)
        return
    for item in items:
        kind = type(item)  # most are plain texts and numbers, and every event comes by here
        plain = kind is str or (kind is int and -MAX_INTEGER <= item <= MAX_INTEGER)  # type: ignore[operator]
        if not plain or depth == 1:
            _check(item, depth - 1)


def _check_keys(value: dict[Any, Any]) -> None:
    try:
        good = "".join(value).isascii()
    except TypeError:  # one is no string
        good = False
    if not good:
        raise CanonicalError("object key is not an ASCII string")


def _check_scalar(value: Json) -> None:
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise CanonicalError("integer beyond 2**53")
    elif not (value is None or isinstance(value, str)):
        raise CanonicalError(f"{type(value).__name__} has no canonical form")
