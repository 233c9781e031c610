"""Asset registers as files: CSV after RFC 4180, or JSON, row by row, so that size is no matter."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from keyvault.domain.canonical import Document


class Register(StrEnum):
    KEYS = "keys"
    MODULES = "modules"
    PEOPLE = "people"
    CERTIFICATES = "certificates"
    SHARES = "shares"
    BACKUPS = "backups"


class Form(StrEnum):
    CSV = "csv"
    JSON = "json"


COLUMNS: dict[Register, tuple[str, ...]] = {
    Register.KEYS: (
        *("id", "label", "scope", "algorithm", "usage", "class", "classification", "state"),
        *("residence", "module", "serial", "location", "owner", "ordered", "generated"),
        *("registered", "labelled", "distributed", "installed", "renewed", "superseded"),
        *("activated", "compromised", "destroyed", "protect_until", "process_until"),
        *("supersedes", "check_value", "public_key_sha256"),
    ),
    Register.MODULES: (
        *("name", "uri", "label", "serial", "manufacturer", "model", "firmware", "library"),
        *("library_sha256", "level", "location", "owner", "reachable"),
    ),
    Register.PEOPLE: (
        *("id", "name", "organisation", "site", "manager", "roles", "vetting", "screened_on"),
        *("screening_due", "hold"),
    ),
    Register.CERTIFICATES: (
        *("id", "kind", "state", "subject", "issuer", "serial", "profile", "scope", "key"),
        *("owner", "not_before", "not_after"),
    ),
    Register.SHARES: (
        *("backup_key", "number", "owner", "state", "location", "bag", "fingerprint"),
        *("changed_at", "confirmed_at"),
    ),
    Register.BACKUPS: (
        *("id", "backup_key", "scope", "state", "owner", "location", "taken_at", "taken_by"),
        *("keys", "left_out", "size", "sha256", "log_size", "destroyed_at"),
    ),
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(columns: Sequence[str], pages: Iterable[Iterable[Document]]) -> Iterator[bytes]:
    """Write a page at a time: a head, CRLF, quotes where they are needed, UTF-8.

    A cell that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    yield _lines([columns])
    for page in pages:
        yield _lines([[_cell(row.get(name)) for name in columns] for row in page])


def as_json(
    register: Register, columns: Sequence[str], pages: Iterable[Iterable[Document]], at: str
) -> Iterator[bytes]:
    """Write one JSON document, a page at a time."""
    head = {"register": str(register), "at": at, "columns": list(columns)}
    yield json.dumps(head)[:-1].encode() + b', "items": ['
    comma = ""
    for page in pages:
        part = []
        for row in page:
            told = {name: row.get(name) for name in columns}
            part.append(comma + "\n" + json.dumps(told, ensure_ascii=False))
            comma = ","
        yield "".join(part).encode()
    yield b"\n]}\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    return written.getvalue().encode()
