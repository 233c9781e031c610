"""Copies of events for other systems: which are shipped, and how they are written. Pure.

A copy names the event's place and leaf hash, so that whoever doubts it asks the log. What is
shipped is chosen here; what is recorded never is.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from keyvault.domain.audit import Outcome
from keyvault.domain.canonical import Document

FACILITY = 13  # log audit, RFC 5424 table 1
SEVERITY = {Outcome.FAIL: 3, Outcome.UNKNOWN: 3, Outcome.REFUSED: 4}  # error, warning
INFORMATIONAL = 6
MESSAGE_LIMIT = 8_192  # bytes: what RFC 5425 says that receivers should take
SD_ID = "keyvault@32473"  # the enterprise number that RFC 5612 keeps for examples
_NIL = "-"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Copy:
    """An event as it leaves. `payload` is None where it is not shipped, or was erased."""

    index: int
    leaf_hash: bytes
    header: Document
    payload: Document | None

    def document(self) -> Document:
        told: Document = {
            "index": self.index,
            "leaf_hash": self.leaf_hash.hex(),
            "header": self.header,
        }
        return told if self.payload is None else {**told, "payload": self.payload}

    def line(self) -> bytes:
        """Return it as a line of NDJSON."""
        return json.dumps(self.document(), separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a stream takes: patterns such as KEY.*, and outcomes; none of them is all."""

    types: Sequence[str] = ()
    outcomes: Sequence[str] = ()

    def takes(self, header: Document) -> bool:
        typed = not self.types or any(fnmatchcase(header["ty"], one) for one in self.types)
        return typed and (not self.outcomes or header["out"] in self.outcomes)


def syslog(copy: Copy) -> bytes:
    """Return the message of RFC 5424, without framing; a payload that does not fit stays away."""
    start = _start(copy.header)
    message = start + _data(copy) + b" " + _BOM + copy.line().rstrip()
    if len(message) <= MESSAGE_LIMIT:
        return message
    short = Copy(copy.index, copy.leaf_hash, copy.header, None)
    return start + _data(short) + b" " + _BOM + short.line().rstrip()


def framed(message: bytes) -> bytes:
    """Put the length in front: octet counting of RFC 5425 section 4.3."""
    return b"%d %b" % (len(message), message)


def _start(header: Document) -> bytes:
    priority = FACILITY * 8 + SEVERITY.get(Outcome(header["out"]), INFORMATIONAL)
    at = datetime.fromtimestamp(header["t"] / 1_000, UTC)
    time = f"{at:%Y-%m-%dT%H:%M:%S}.{header['t'] % 1_000:03d}Z"
    host, process, kind = (_name(header[key], size) for key, size in _NAMES)
    return f"<{priority}>1 {time} {host} keyvault {process} {kind} ".encode()


_NAMES = (("n", 255), ("bo", 128), ("ty", 32))


def _name(text: str, limit: int) -> str:
    """A name of RFC 5424: printable ASCII without spaces, or a dash."""
    return "".join(c if "!" <= c <= "~" else "_" for c in text[:limit]) or _NIL


def _data(copy: Copy) -> bytes:
    header = copy.header
    values = {
        "index": str(copy.index),
        "leaf": copy.leaf_hash.hex(),
        "outcome": header["out"],
        "operation": header["op"],
        "stream": header["st"],
        "actor": header["ac"],
        "scope": header["sc"],
    }
    params = " ".join(f'{name}="{_escaped(value)}"' for name, value in values.items())
    return f"[{SD_ID} {params}]".encode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
