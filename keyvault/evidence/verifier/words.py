"""Words and encodings: canonical JSON (RFC 8785 without floats), base64, times, and findings."""

from __future__ import annotations

import base64
import calendar
import hashlib
import json
import struct
import time
from typing import Any

MAX_BUNDLE = (1 << 32) - 1  # bytes: what a ZIP can count
LEEWAY = 60  # seconds that clocks may differ; the log refuses events beyond it
HASH_SIZE = 32  # bytes, SHA-256
DAY, HOUR = 86_400, 3_600  # seconds
P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
ED25519 = bytes.fromhex("302a300506032b6570032100")
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, struct.error)


class Wrong(Exception):  # noqa: N818 - a finding, not a fault of this program
    """The evidence is wrong. The report knows where."""


class CannotCheck(Exception):  # noqa: N818 - a finding, not a fault of this program
    """Something that the check itself needs is missing."""


def need(holds: object, what: str) -> None:
    if not holds:
        raise Wrong(what)


ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
DECODER = json.JSONDecoder(parse_float=lambda _: need(False, "a number is not whole"))


def dumps(value: Any) -> bytes:
    return ENCODER.encode(value).encode()


def loads(data: bytes) -> Any:
    """Read JSON that is written in the one canonical way."""
    value = DECODER.decode(data.decode())
    need(data == dumps(value), "is not canonical JSON")
    return value


def lines_of(data: bytes) -> list[bytes]:
    need(data.endswith(b"\n") or not data, "does not end with a newline")
    return data[:-1].split(b"\n") if data else []


def unbase64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 is not written in the one right way")
    return data


LAST_YEAR = 9000  # whoever counts days from a time must not run out of years


def seconds(text: str) -> int:
    moment = time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    at = calendar.timegm(moment)
    same = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) == text  # no 60th second, either
    need(same and moment.tm_year <= LAST_YEAR, f"{text} is not a time")
    return at


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def day(text: str) -> int:
    """The second at which a day begins."""
    return seconds(f"{text}T00:00:00Z")


def when(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
