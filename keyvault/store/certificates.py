"""Certificates: requests of our keys, what came of them, and others' that are watched."""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, or_, select, update

from keyvault.domain import x509
from keyvault.domain.certificates import OPEN, Certificate, CertificateState, Kind
from keyvault.domain.errors import ConflictError, NotFoundError
from keyvault.domain.scopes import Scope
from keyvault.store import tables
from keyvault.store.paging import Order
from keyvault.store.rows import insert_new, insert_or_skip, moment, ticks

_TABLE = tables.certificate
_CLAIM = tables.interface_claim
_NEWEST = Order(_TABLE.c.created_at, _TABLE.c.id, str, newest_first=True)
_OLDEST = Order(_TABLE.c.created_at, _TABLE.c.id, str)
_ENDING = Order(_TABLE.c.not_after, _TABLE.c.id, str)
_TEXTS = (
    *("subject", "profile", "interface", "system"),
    *("issuer", "serial", "reference", "reason"),
)
_TIMES = ("not_before", "not_after", "received_at", "decide_until")
_WATCHED = tuple(str(state) for state in (CertificateState.ACCEPTED, CertificateState.IN_USE))


class Certificates:
    """The room of certificates in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, certificate: Certificate) -> bool:
        """Insert it; False if its key has an open request already, or the id is taken."""
        return insert_new(self._connection, _TABLE, **_row(certificate))

    def get(self, certificate_id: UUID) -> Certificate:
        """Raises `NotFoundError`."""
        found = self.known([certificate_id])
        if not found:
            raise no_certificate(certificate_id)
        return found[certificate_id]

    def known(self, ids: Iterable[UUID]) -> dict[UUID, Certificate]:
        """Return those of these that there are."""
        query = select(_TABLE).where(_TABLE.c.id.in_([str(each) for each in ids]))
        return {UUID(row.id): _certificate(row) for row in self._connection.execute(query)}

    def change(self, certificate: Certificate) -> None:
        """Store the next version. Raises `ConflictError` if another one came between."""
        same = (_TABLE.c.id == str(certificate.id)) & (_TABLE.c.version == certificate.version - 1)
        new = update(_TABLE).where(same).values(_row(certificate))
        if self._connection.execute(new).rowcount != 1:
            raise ConflictError(
                f"certificate {certificate.id} changed meanwhile", next_step="look again"
            )

    def page(
        self,
        filters: Mapping[str, object],
        scopes: AbstractSet[Scope] | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Certificate], str | None]:
        """List certificates, newest first, and the cursor of the next page.

        `filters` are by column: scope, state, kind, key_id, batch. None leaves one open.
        """
        query = _within(_where(filters), scopes)
        rows, following = _NEWEST.page(self._connection, query, after, limit)
        return [_certificate(row) for row in rows], following

    def ending(
        self,
        before: datetime,
        scope: Scope | None = None,
        scopes: AbstractSet[Scope] | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Certificate], str | None]:
        """List what is in force and ends before a time, the first to end first."""
        query = _within(_where({"scope": scope}), scopes).where(
            _TABLE.c.not_after < ticks(before), _TABLE.c.state.in_(_WATCHED)
        )
        rows, following = _ENDING.page(self._connection, query, after, limit)
        return [_certificate(row) for row in rows], following

    def of_batch(self, batch: UUID, state: CertificateState, limit: int) -> list[Certificate]:
        """Return the first of a batch in a state, the oldest first."""
        rows, _ = _OLDEST.page(
            self._connection, _where({"batch": batch, "state": state}), None, limit
        )
        return [_certificate(row) for row in rows]

    def of_key(self, key_id: UUID) -> list[Certificate]:
        """Return everything that a key ever had, the oldest first."""
        query = _where({"key_id": key_id}).order_by(_TABLE.c.created_at, _TABLE.c.id)
        return [_certificate(row) for row in self._connection.execute(query)]

    def open_of(self, keys: Iterable[UUID]) -> dict[UUID, Certificate]:
        """Return the open request of each of these keys that has one."""
        query = select(_TABLE).where(_TABLE.c.open_key.in_([str(key) for key in keys]))
        return {UUID(row.key_id): _certificate(row) for row in self._connection.execute(query)}

    def by_public_key(self, spki_sha256: Iterable[str]) -> list[Certificate]:
        """Return our own certificates of these public keys, the newest first."""
        query = (
            _where({"kind": Kind.OWN})
            .where(_TABLE.c.spki_sha256.in_(list(spki_sha256)))
            .order_by(_TABLE.c.created_at.desc(), _TABLE.c.id.desc())
        )
        return [_certificate(row) for row in self._connection.execute(query)]

    def issuers(self, subjects: Iterable[bytes]) -> list[Certificate]:
        """Return what may issue in force under these names (DER)."""
        digests = [sha256(subject).hexdigest() for subject in subjects]
        query = select(_TABLE).where(
            _TABLE.c.subject_sha256.in_(digests),
            _TABLE.c.state == str(CertificateState.IN_USE),
        )
        return [_certificate(row) for row in self._connection.execute(query)]

    def claim(self, subjects: Collection[str], scope: Scope, interface: str) -> bool:
        """Bind a key and a system's name to one interface; False if one of them has another."""
        row = {"scope": str(scope), "interface": interface}
        if not self._agree(subjects, row):  # before anything is written
            return False
        insert = insert_or_skip(self._connection.dialect, _CLAIM)
        for subject in sorted(subjects):
            self._connection.execute(insert.values(subject=subject, **row))
        return self._agree(subjects, row)

    def _agree(self, subjects: Collection[str], row: Mapping[str, str]) -> bool:
        held = select(_CLAIM).where(_CLAIM.c.subject.in_(sorted(subjects)))
        found = self._connection.execute(held).all()
        return all((each.scope, each.interface) == tuple(row.values()) for each in found)

    def counts(
        self, batch: UUID | None = None, scopes: AbstractSet[Scope] | None = None
    ) -> dict[CertificateState, int]:
        """Count by state: a batch, or everything of our own."""
        query = select(_TABLE.c.state, func.count()).group_by(_TABLE.c.state)
        chosen = _TABLE.c.kind == str(Kind.OWN) if batch is None else _TABLE.c.batch == str(batch)
        rows = self._connection.execute(_within(query.where(chosen), scopes))
        return {CertificateState(state): count for state, count in rows}

    def undecided(self, until: datetime, limit: int) -> list[Certificate]:
        """Return what nobody decided on by a time, where that was not written down yet."""
        query = (
            select(_TABLE)
            .where(_TABLE.c.decide_until < ticks(until), _TABLE.c.overdue.is_(False))
            .order_by(_TABLE.c.decide_until)
            .limit(limit)
        )
        return [_certificate(row) for row in self._connection.execute(query)]

    def count_undecided(self, until: datetime) -> int:
        query = select(func.count()).where(_TABLE.c.decide_until < ticks(until))
        return int(self._connection.scalar(query) or 0)

    def count_ending(self, before: datetime) -> int:
        """Count what is in force and ends before a time."""
        query = select(func.count()).where(
            _TABLE.c.not_after < ticks(before), _TABLE.c.state.in_(_WATCHED)
        )
        return int(self._connection.scalar(query) or 0)


def no_certificate(certificate_id: UUID) -> NotFoundError:
    """What is said of one that is not there, and to whom it is none of their business."""
    return NotFoundError(
        f"there is no certificate {certificate_id}",
        next_step="list them: keyvault certificates list",
    )


def _within(query: Any, scopes: AbstractSet[Scope] | None) -> Any:
    """Leave out what concerns other scopes; others' certificates concern everybody."""
    if scopes is None:
        return query
    return query.where(or_(_TABLE.c.scope.in_(sorted(map(str, scopes))), _TABLE.c.scope.is_(None)))


def _where(filters: Mapping[str, object]) -> Any:
    given = {name: value for name, value in filters.items() if value is not None}
    return select(_TABLE).where(*(_TABLE.c[name] == str(value) for name, value in given.items()))


def _row(one: Certificate) -> dict[str, Any]:
    issued = one.state is CertificateState.ISSUED
    return {
        "id": str(one.id),
        "kind": str(one.kind),
        "state": str(one.state),
        "version": one.version,
        "spki_sha256": one.spki_sha256,
        **{name: getattr(one, name) for name in _TEXTS},
        "created_at": ticks(one.created_at),
        "scope": _text(one.scope),
        "key_id": _text(one.key),
        "open_key": _text(one.key) if one.state in OPEN else None,
        "batch": _text(one.batch),
        "csr": one.csr,
        "certificate": one.certificate,
        "subject_sha256": _issuing_name(one),
        "not_before": _ticks(one.not_before),
        "not_after": _ticks(one.not_after),
        "received_at": _ticks(one.received_at),
        "decide_until": _ticks(one.decide_until) if issued else None,
        "overdue": one.overdue,
    }


def _issuing_name(one: Certificate) -> str | None:
    if one.kind not in (Kind.ROOT, Kind.ISSUING):
        return None
    return sha256(x509.read_certificate(one.certificate).subject).hexdigest()


def _certificate(row: Row[Any]) -> Certificate:
    times: dict[str, Any] = {name: _moment(getattr(row, name)) for name in _TIMES}
    same = ("version", "spki_sha256", *_TEXTS, "csr", "certificate", "overdue")
    return Certificate(
        id=UUID(row.id),
        kind=Kind(row.kind),
        state=CertificateState(row.state),
        created_at=moment(row.created_at),
        scope=None if row.scope is None else Scope.parse(row.scope),
        key=None if row.key_id is None else UUID(row.key_id),
        batch=None if row.batch is None else UUID(row.batch),
        **{name: getattr(row, name) for name in same},
        **times,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _ticks(when: datetime | None) -> int | None:
    return None if when is None else ticks(when)


def _moment(count: int | None) -> datetime | None:
    return None if count is None else moment(count)
