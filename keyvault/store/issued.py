"""What our own CA issued, what it revoked, and its lists of that."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from keyvault.domain.canonical import Document
from keyvault.domain.errors import ConflictError, KeyStateError, NotFoundError
from keyvault.domain.times import text_of
from keyvault.store import token_tables as tables
from keyvault.store.paging import Order
from keyvault.store.rows import insert_new, moment, ticks

_CA = tables.ca_certificate
_ISSUED = tables.issued_certificate
_LIST = tables.ca_list
SIGNER = "content"  # in place of a slot, where the key is one that signs cards; its id is the job
_NEWEST = Order(_ISSUED.c.not_before, _ISSUED.c.serial, str, newest_first=True)
_OF_KEY = select(_ISSUED).where(_ISSUED.c.spki_sha256 == bindparam("name"))


class Status(StrEnum):
    INTENT = "intent"  # it has a serial, and may have been signed
    ISSUED = "issued"
    REVOKED = "revoked"


class Reason(StrEnum):
    LOST = "keyCompromise"
    ENDED = "cessationOfOperation"
    REPLACED = "superseded"


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate that was asked of our CA. `certificate` is empty until it is signed."""

    serial: str  # hex
    issuer: UUID
    job: str
    slot: str
    profile: str
    subject: str
    spki_sha256: str
    token: UUID | None
    status: Status
    terms: bytes
    certificate: bytes
    reason: str
    actor: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ca:
    """One of our own authorities: the key that signs for it, and its certificate."""

    key: UUID
    parent: UUID | None
    name: str
    certificate: bytes
    not_before: datetime
    not_after: datetime

    def check_certifies(self, now: datetime) -> None:
        """Raise `KeyStateError` once it has ended: what it certifies then counts for nobody."""
        if now >= self.not_after:
            raise KeyStateError(
                f"the authority {self.name} ended at {text_of(self.not_after)}",
                next_step="name another (keyvault ca list), or make one: keyvault ca certify",
            )


@dataclass(frozen=True, slots=True)
class RevocationList:
    issuer: UUID
    number: int
    crl: bytes
    this_update: datetime
    next_update: datetime


class IssuedCertificates:
    """The room of what our CA issued, in one transaction. `changed`: whether it revoked any."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.changed = False

    # Authorities

    def add_ca(self, ca: Ca, request: UUID) -> None:
        """Raises `ConflictError` if the key has a certificate."""
        made = insert_new(
            self._connection,
            _CA,
            key_id=str(ca.key),
            parent=str(ca.parent or ""),
            name=ca.name,
            request=str(request),
            certificate=ca.certificate,
            not_before=ticks(ca.not_before),
            not_after=ticks(ca.not_after),
        )
        if not made:
            raise ConflictError(f"key {ca.key} has its certificate as an authority")

    def ca(self, key: UUID) -> Ca:
        row = self._connection.execute(select(_CA).where(_CA.c.key_id == str(key))).first()
        if row is None:
            raise NotFoundError(
                f"key {key} is no authority of ours", next_step="see keyvault ca list"
            )
        return _ca(row)

    def cas(self) -> list[Ca]:
        """Every authority of ours, the oldest first."""
        rows = self._connection.execute(select(_CA).order_by(_CA.c.not_before, _CA.c.key_id))
        return [_ca(row) for row in rows]

    # Certificates

    def reserve(self, one: Issued) -> Issued:
        """Keep what is about to be signed; or return what this job and slot has already."""
        row = {
            "serial": one.serial,
            "issuer": str(one.issuer),
            "state": str(one.status),
            "token_id": str(one.token or ""),
            "terms": one.terms,
            "certificate": None,
            "not_before": ticks(one.not_before),
            "not_after": ticks(one.not_after),
            "revoked_at": None,
            **{name: getattr(one, name) for name in _TEXTS},
        }
        self._connection.execute(insert(_ISSUED).values(row))
        return one

    def of_job(self, job: str, slot: str) -> Issued | None:
        same = (_ISSUED.c.job == job) & (_ISSUED.c.slot == slot)
        row = self._connection.execute(select(_ISSUED).where(same)).first()
        return None if row is None else _issued(row)

    def complete(self, serial: str, certificate: bytes) -> bool:
        """Keep the certificate of a serial, once; False if it has one."""
        same = (_ISSUED.c.serial == serial) & (_ISSUED.c.certificate.is_(None))
        values = {"certificate": certificate, "state": str(Status.ISSUED)}
        return self._connection.execute(update(_ISSUED).where(same).values(values)).rowcount == 1

    def get(self, serial: str) -> Issued:
        row = self._connection.execute(select(_ISSUED).where(_ISSUED.c.serial == serial)).first()
        if row is None:
            raise NotFoundError(
                f"we issued no certificate {serial[:60]}", next_step="see keyvault ca issued"
            )
        return _issued(row)

    def find(self, issuer: UUID, serial: str) -> Issued | None:
        same = (_ISSUED.c.serial == serial) & (_ISSUED.c.issuer == str(issuer))
        row = self._connection.execute(select(_ISSUED).where(same)).first()
        return None if row is None else _issued(row)

    def of_key(self, spki_sha256: str) -> list[Issued]:
        rows = self._connection.execute(_OF_KEY, {"name": spki_sha256})
        return [_issued(row) for row in rows]

    def of_token(self, token: UUID) -> list[Issued]:
        query = select(_ISSUED).where(_ISSUED.c.token_id == str(token))
        rows = self._connection.execute(query.order_by(_ISSUED.c.slot, _ISSUED.c.serial))
        return [_issued(row) for row in rows]

    def tokens_of(self, issuer: UUID, limit: int) -> tuple[list[UUID], int]:
        """Return the first tokens with a certificate of this authority, and how many there are."""
        query = select(_ISSUED.c.token_id).distinct()
        query = query.where(_ISSUED.c.issuer == str(issuer), _ISSUED.c.token_id != "")
        query = query.where(_ISSUED.c.state != str(Status.REVOKED))
        count = self._connection.scalar(select(func.count()).select_from(query.subquery()))
        first = query.order_by(_ISSUED.c.token_id).limit(limit)
        return [UUID(found) for found in self._connection.scalars(first)], int(count or 0)

    def ends(self, token: UUID) -> datetime | None:
        """When the first certificate of a token ends."""
        query = select(func.min(_ISSUED.c.not_after)).where(
            _ISSUED.c.token_id == str(token), _ISSUED.c.state == str(Status.ISSUED)
        )
        first = self._connection.scalar(query)
        return None if first is None else moment(first)

    def revoke(self, serial: str, reason: str, now: datetime) -> bool:
        """Revoke one, whether it was signed or only begun; False if it is revoked."""
        same = (_ISSUED.c.serial == serial) & (_ISSUED.c.state != str(Status.REVOKED))
        return self._revoke(same, reason, now) == 1

    def revoke_token(self, token: UUID, reason: str, now: datetime) -> int:
        """Revoke every certificate of a token; how many that were."""
        same = (_ISSUED.c.token_id == str(token)) & (_ISSUED.c.state != str(Status.REVOKED))
        return self._revoke(same, reason, now)

    def _revoke(self, which: Any, reason: str, now: datetime) -> int:
        values: Document = {"state": str(Status.REVOKED), "reason": str(reason)}
        values["revoked_at"] = ticks(now)
        revoked = self._connection.execute(update(_ISSUED).where(which).values(values)).rowcount
        self.changed |= revoked > 0
        return revoked

    def revoked(self, issuer: UUID, now: datetime) -> list[Issued]:
        """What is revoked and has not ended: what a list has to name, by serial."""
        query = select(_ISSUED).where(
            _ISSUED.c.issuer == str(issuer),
            _ISSUED.c.state == str(Status.REVOKED),
            _ISSUED.c.not_after > ticks(now),
        )
        return [_issued(r) for r in self._connection.execute(query.order_by(_ISSUED.c.serial))]

    def is_revoked(self, spki_sha256: str) -> bool:
        """Whether we ever revoked a certificate of this key, and issued no good one since."""
        found = self.of_key(spki_sha256)
        return bool(found) and all(one.status is Status.REVOKED for one in found)

    def page(
        self, issuer: UUID, after: str | None = None, limit: int = 50
    ) -> tuple[list[Issued], str | None]:
        """List what an authority issued, newest first."""
        query = select(_ISSUED).where(_ISSUED.c.issuer == str(issuer))
        rows, following = _NEWEST.page(self._connection, query, after, limit)
        return [_issued(row) for row in rows], following

    def all_of(self, issuer: UUID) -> list[Issued]:
        """Everything that an authority issued, the oldest first."""
        query = select(_ISSUED).where(_ISSUED.c.issuer == str(issuer))
        ordered = query.order_by(_ISSUED.c.not_before, _ISSUED.c.serial)
        return [_issued(row) for row in self._connection.execute(ordered)]

    # Lists

    def add_list(self, made: RevocationList) -> None:
        """Raises `ConflictError` if another process made this number."""
        values = {"crl": made.crl, "this_update": ticks(made.this_update)}
        values["next_update"] = ticks(made.next_update)
        if not insert_new(
            self._connection, _LIST, issuer=str(made.issuer), number=made.number, **values
        ):
            raise ConflictError(f"list {made.number} is there already")

    def newest_list(self, issuer: UUID) -> RevocationList | None:
        query = select(_LIST).where(_LIST.c.issuer == str(issuer))
        row = self._connection.execute(query.order_by(_LIST.c.number.desc()).limit(1)).first()
        if row is None:
            return None
        times = moment(row.this_update), moment(row.next_update)
        return RevocationList(issuer, row.number, row.crl, *times)


_TEXTS = ("serial", "job", "slot", "profile", "subject", "spki_sha256", "reason", "actor")


def _ca(row: Row[Any]) -> Ca:
    return Ca(
        key=UUID(row.key_id),
        parent=UUID(row.parent) if row.parent else None,
        name=row.name,
        certificate=row.certificate,
        not_before=moment(row.not_before),
        not_after=moment(row.not_after),
    )


def _issued(row: Row[Any]) -> Issued:
    values = row._mapping  # noqa: SLF001  (SQLAlchemy's public name for it)
    return Issued(
        issuer=UUID(row.issuer),
        token=UUID(row.token_id) if row.token_id else None,
        status=Status(row.state),
        terms=row.terms,
        certificate=row.certificate or b"",
        not_before=moment(row.not_before),
        not_after=moment(row.not_after),
        revoked_at=None if row.revoked_at is None else moment(row.revoked_at),
        **{name: values[name] for name in _TEXTS},
    )
