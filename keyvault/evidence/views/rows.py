"""Disclosed events as lines of text: CSV, NDJSON, OCSF and CEF, each with index and leaf hash."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from keyvault import VERSION

LOCAL = ZoneInfo("Europe/London")
COLUMNS = (
    *("index", "time_utc", "time_local", "type", "outcome", "actor", "name", "role"),
    *("about", "scope", "operation", "leaf_sha256", "level", "details"),
)
_FORMULA = "=+-@\t\r"  # how a cell begins that a spreadsheet would run


@dataclass(frozen=True, slots=True)
class Shown:
    """One disclosed event, with the full name of who did it, as authority knew them."""

    index: int
    leaf_hash: bytes
    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    name: str = ""
    level: str = ""  # sealed or witnessed: what stood behind it when the bundle was made

    @property
    def time(self) -> datetime:
        return datetime.fromtimestamp(self.header["t"] / 1000, UTC)


def utc(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def local(time: datetime) -> str:
    return time.astimezone(LOCAL).strftime("%Y-%m-%d %H:%M:%S %Z")


def csv_head() -> str:
    return _csv_line(COLUMNS)


def csv_row(event: Shown) -> str:
    """RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe before it."""
    header = event.header
    cells = (
        *(str(event.index), utc(event.time), local(event.time), header["ty"], header["out"]),
        *(header["ac"], event.name, header["ro"], header["st"], header["sc"], header["op"]),
        *(event.leaf_hash.hex(), event.level),
        json.dumps(event.payload, sort_keys=True, ensure_ascii=False),
    )
    return _csv_line([f"'{cell}" if cell[:1] in _FORMULA and cell else cell for cell in cells])


def _csv_line(cells: tuple[str, ...] | list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()


def ndjson_row(event: Shown) -> str:
    shown = {"index": event.index, "leaf_sha256": event.leaf_hash.hex(), "name": event.name}
    shown["level"] = event.level
    body = {**shown, "header": dict(event.header), "payload": dict(event.payload)}
    return json.dumps(body, sort_keys=True, ensure_ascii=False) + "\n"


# OCSF 1.3 (schema.ocsf.io): class, its category, and which activity an event is.
_AUTHENTICATION, _ACCESS_MANAGEMENT, _ENTITY = (3002, 3), (3005, 3), (3004, 3)
_NETWORK, _LIFECYCLE, _API = (4001, 4), (6002, 6), (6003, 6)
_OTHER = 99
_OCSF: dict[str, tuple[tuple[int, int], int]] = {
    "AUTH.OK": (_AUTHENTICATION, 1),
    "AUTH.FAILED": (_AUTHENTICATION, 1),
    "AUTH.LOCKED": (_AUTHENTICATION, _OTHER),
    "SESSION.CLOSE": (_AUTHENTICATION, 2),
    "AUTHORITY.CHANGED": (_ACCESS_MANAGEMENT, _OTHER),
    "CONN.REFUSED": (_NETWORK, 5),
    "SERVICE.STARTED": (_LIFECYCLE, 3),
    "KEY.GENERATED": (_ENTITY, 1),
    "KEY.IMPORTED": (_ENTITY, 1),
    "KEY.EXPORTED": (_ENTITY, 2),
    "KEY.ACTIVATED": (_ENTITY, 8),
    "KEY.RESUMED": (_ENTITY, 9),
    "KEY.SUSPENDED": (_ENTITY, 10),
    "KEY.DEACTIVATED": (_ENTITY, 11),
    "KEY.DESTROYED": (_ENTITY, 4),
}
_STATUS = {"ok": 1, "fail": 2, "refused": 2, "unknown": 0, "intent": _OTHER}
_GRAVE = ("COMPROMISE", "REJECTED", "REOPENED", "REGRESSION", "LOCKED", "ERROR", "AT_RISK")


def _severity(header: Mapping[str, Any]) -> int:
    """OCSF's numbers: 1 is informational, 3 medium, 4 high."""
    if any(word in header["ty"] for word in _GRAVE):
        return 4
    return 3 if header["out"] in ("fail", "refused", "unknown") else 1


def ocsf_row(event: Shown) -> str:
    header = event.header
    (class_uid, category), activity = _OCSF.get(header["ty"], (_API, _OTHER))
    kind, _, uid = header["ac"].partition(":")
    user = {"uid": uid, "name": event.name or uid, "type": kind}
    body: dict[str, Any] = {
        "class_uid": class_uid,
        "category_uid": category,
        "activity_id": activity,
        "activity_name": header["ty"],
        "type_uid": class_uid * 100 + activity,
        "time": header["t"],
        "severity_id": _severity(header),
        "status_id": _STATUS[header["out"]],
        "status": header["out"],
        "message": f"{header['ty']} {header['out']}",
        "metadata": _metadata(header),
        "actor": {"user": user},
        "unmapped": {"index": event.index, "leaf_sha256": event.leaf_hash.hex(), **_rest(event)},
    }
    body |= _of_class(class_uid, user, header)
    return json.dumps(body, sort_keys=True, ensure_ascii=False) + "\n"


def _metadata(header: Mapping[str, Any]) -> dict[str, Any]:
    product = {"name": "keyvault", "vendor_name": "keyvault", "version": VERSION}
    own = {"uid": header["ev"], "correlation_uid": header["op"]}
    return {"version": "1.3.0", "product": product, **own}


def _of_class(class_uid: int, user: Mapping[str, str], header: Mapping[str, Any]) -> dict[str, Any]:
    """What each class asks for beside what all have."""
    entity = {"uid": header["st"], "type": header["st"].partition(":")[0], "name": header["st"]}
    source = {"svc_name": header["ac"]}
    own: dict[int, dict[str, Any]] = {
        _AUTHENTICATION[0]: {"user": user, "service": {"name": "keyvault"}},
        _ACCESS_MANAGEMENT[0]: {"user": user, "privileges": [header["ty"]]},
        _ENTITY[0]: {"entity": entity},
        _NETWORK[0]: {"src_endpoint": source, "dst_endpoint": {"svc_name": "keyvault"}},
        _LIFECYCLE[0]: {"app": {"name": "keyvault", "vendor_name": "keyvault"}},
        _API[0]: {"api": {"operation": header["ty"]}, "src_endpoint": source},
    }
    return own[class_uid]


def _rest(event: Shown) -> dict[str, Any]:
    header = event.header
    place = {
        "level": event.level,
        "about": header["st"],
        "role": header["ro"],
        "scope": header["sc"],
    }
    return {**place, "node": header["n"], "payload": dict(event.payload)}


def cef_row(event: Shown) -> str:
    """CEF version 0 (ArcSight); the severity is of 0 to 10."""
    header = event.header
    head = ("keyvault", "keyvault", VERSION, header["ty"], f"{header['ty']} {header['out']}")
    severity = {1: 2, 3: 5, 4: 8}[_severity(header)]
    extension = {
        "rt": str(header["t"]),
        "externalId": header["ev"],
        "suser": event.name or header["ac"],
        "suid": header["ac"],
        "outcome": header["out"],
        "dvchost": header["n"],
        "cn1": str(event.index),
        "cn1Label": "index",
        **_custom(event),
        "msg": json.dumps(event.payload, sort_keys=True, ensure_ascii=False),
    }
    fields = " ".join(f"{name}={_extension(text)}" for name, text in extension.items() if text)
    return f"CEF:0|{'|'.join(map(_header, head))}|{severity}|{fields}\n"


def _custom(event: Shown) -> dict[str, str]:
    """The fields that CEF leaves to each product, with their labels."""
    header = event.header
    named = {"leafSha256": event.leaf_hash.hex(), "about": header["st"], "scope": header["sc"]}
    named |= {"role": header["ro"], "level": event.level}
    found: dict[str, str] = {}
    for number, (label, text) in enumerate(named.items(), 1):
        found |= {f"cs{number}": text, f"cs{number}Label": label}
    return found


def _header(text: str) -> str:
    return _one_line(text.replace("\\", "\\\\").replace("|", "\\|"))


def _extension(text: str) -> str:
    return _one_line(text.replace("\\", "\\\\").replace("=", "\\="))


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


Row = Callable[[Shown], str]
ROWS: dict[str, tuple[str, Row]] = {
    "csv": ("events.csv", csv_row),
    "ndjson": ("events.ndjson", ndjson_row),
    "ocsf": ("ocsf.ndjson", ocsf_row),
    "cef": ("cef.txt", cef_row),
}
