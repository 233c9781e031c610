"""Reconciling: the register of keys held against the objects that are really on each token.

Pure. What differs is a `Finding`, and every finding is an alarm; objects of others that people
declared beforehand are listed and nothing more.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from hsm.types import Algorithm, KeyUsage, ObjectRecord
from keyvault.domain.canonical import Document
from keyvault.domain.keys import Key, KeyState, Residence
from keyvault.domain.times import text_of

CONTEXT = "keyvault-reconciliation-v1"
KEY_CLASSES = frozenset({"PRIVATE_KEY", "PUBLIC_KEY", "SECRET_KEY"})
LISTED = 5_000  # findings and foreign objects that a report names; the rest is counted
_PAIR = frozenset({"PRIVATE_KEY", "PUBLIC_KEY"})
_TYPES = {
    Algorithm.EC_P256: "EC",
    Algorithm.EC_P384: "EC",
    Algorithm.ED25519: "EC_EDWARDS",
    Algorithm.RSA_2048: "RSA",
    Algorithm.RSA_3072: "RSA",
    Algorithm.RSA_4096: "RSA",
    Algorithm.AES_128: "AES",
    Algorithm.AES_256: "AES",
    Algorithm.HMAC_SHA256: "GENERIC_SECRET",
}
# What a key's hidden half may do, by its one purpose; every other flag has to be off.
_PRIVATE = {
    KeyUsage.SIGN: {"SIGN"},
    KeyUsage.AGREE: {"DERIVE"},
    KeyUsage.DECRYPT: {"DECRYPT"},
}
_SECRET = {
    KeyUsage.ENCRYPT: {"ENCRYPT", "DECRYPT"},
    KeyUsage.MAC: {"SIGN", "VERIFY"},
    KeyUsage.GMAC: {"ENCRYPT"},
    KeyUsage.WRAP: {"WRAP", "UNWRAP"},
}
_FLAGS = frozenset({"SIGN", "DECRYPT", "UNWRAP", "DERIVE", "VERIFY", "ENCRYPT", "WRAP"})


class Drift(StrEnum):
    MISSING = "missing"  # in the register, but not on the token
    LEFT_BEHIND = "left-behind"  # destroyed by the register, but still there
    UNKNOWN = "unknown"  # on the token, but nobody ordered it here
    CHANGED = "changed"  # an attribute differs from what was made
    HALF_PAIR = "half-pair"  # a private key without its public one, or the other way round


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that differs. `key` is a key's id, or the CKA_ID in hex of a strange object."""

    drift: Drift
    module: str
    key: str
    label: str
    detail: str


@dataclass(frozen=True, slots=True)
class Token:
    """What a module says of itself, and what the settings declare about it.

    One whose gate does not answer is not `reachable`, and nothing else is known of it.
    """

    name: str  # of its table in the settings
    uri: str
    level: int  # of FIPS 140, as declared
    location: str
    owner: str
    reachable: bool
    serial: str = ""
    label: str = ""
    manufacturer: str = ""
    model: str = ""
    firmware: str = ""
    library: str = ""
    library_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Signed:
    """A person's signature under a report: `statement` is what they were shown and signed."""

    person: str
    at: datetime
    statement: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A report as it is kept, under the SHA-256 of its canonical bytes."""

    id: UUID
    taken_at: datetime
    taken_by: str
    sha256: str
    findings: int
    report: bytes
    signed: tuple[Signed, ...] = ()


def judge(module: str, key: Key, objects: Sequence[ObjectRecord]) -> Iterator[Finding]:
    """Hold one key of the register against the objects with its CKA_ID, the keys among them."""
    about = module, str(key.id), key.label
    if key.state is KeyState.DESTROYED:
        if objects:
            yield _found(Drift.LEFT_BEHIND, *about, f"{len(objects)} objects are still there")
        return
    if key.residence is not Residence.RESIDENT:
        if objects:
            yield _found(Drift.UNKNOWN, *about, "the key rests wrapped, and has objects as well")
        return
    if not objects:
        yield _found(Drift.MISSING, *about, f"the key is {key.state} and has no object")
        return
    yield from _shape(about, key.algorithm, objects)
    for one in objects:
        if wrong := list(_differs(key, one)):
            yield _found(Drift.CHANGED, *about, f"{one.object_class}: {', '.join(wrong)}")


def _shape(
    about: tuple[str, str, str], algorithm: Algorithm, objects: Sequence[ObjectRecord]
) -> Iterator[Finding]:
    classes = [one.object_class for one in objects]
    wanted = _PAIR if algorithm.is_pair else {"SECRET_KEY"}
    if algorithm.is_pair and len(set(classes) & _PAIR) == 1:
        yield _found(Drift.HALF_PAIR, *about, f"only {' and '.join(sorted(set(classes)))}")
    elif set(classes) != wanted or len(classes) != len(wanted):
        yield _found(Drift.CHANGED, *about, f"there are {', '.join(sorted(classes))}")


def _differs(key: Key, one: ObjectRecord) -> Iterator[str]:
    have = one.attributes
    if one.label != key.label:
        yield f"label is {one.label!r}"
    if one.key_type != _TYPES[key.algorithm]:
        yield f"kind is {one.key_type}"
    if one.object_class == "PUBLIC_KEY":
        return
    wanted = {
        "SENSITIVE": True,
        "PRIVATE": True,
        "EXTRACTABLE": key.extractable,
    }
    if have.get("LOCAL", True):  # modules make what they unwrap before they fill it: it stays on
        wanted["MODIFIABLE"] = False
    uses = (_PRIVATE if key.algorithm.is_pair else _SECRET).get(key.usage, set())
    wanted |= {flag: flag in uses for flag in _FLAGS}
    for name, value in sorted(wanted.items()):
        if name in have and bool(have[name]) is not value:
            yield f"{name} is {'on' if have[name] else 'off'}"


def strangers(
    module: str,
    found: Mapping[bytes, Sequence[ObjectRecord]],
    known: frozenset[bytes],
    declared: frozenset[bytes],
) -> Iterator[Finding]:
    """Name the keys on a token that are neither in the register nor declared to be another's."""
    for key_id in sorted(set(found) - known - declared):
        there = found[key_id]
        label = "".join(c if c.isprintable() else "?" for c in there[0].label)[:200]
        kinds = ", ".join(f"{one.object_class} {one.key_type}" for one in there[:10])
        yield _found(Drift.UNKNOWN, module, key_id.hex(), label, f"nobody ordered it here: {kinds}")


def by_id(objects: Iterable[ObjectRecord]) -> dict[bytes, list[ObjectRecord]]:
    """Group the keys among the objects by CKA_ID. Certificates and data are nobody's key."""
    grouped: dict[bytes, list[ObjectRecord]] = {}
    for record in objects:
        if record.object_class in KEY_CLASSES:
            grouped.setdefault(record.key_id, []).append(record)
    return grouped


def document_of(finding: Finding) -> Document:
    return {
        "drift": str(finding.drift),
        "module": finding.module,
        "key": finding.key,
        "label": finding.label,
        "detail": finding.detail,
    }


def statement_of(made: Reconciliation, origin: str, person: str, at: datetime) -> Document:
    """Say what a person signs: that they were shown the report with this digest."""
    return {
        "ctx": CONTEXT,
        "origin": origin,
        "reconciliation": str(made.id),
        "sha256": made.sha256,
        "findings": made.findings,
        "person": person,
        "at": text_of(at),
    }


def _found(drift: Drift, module: str, key: str, label: str, detail: str) -> Finding:
    return Finding(drift, module, key, label, detail)
