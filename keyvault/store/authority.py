"""The chain of authority: signed records, kept as they came, in order."""

import hashlib

from sqlalchemy import Connection, bindparam, func, select

from keyvault.domain.canonical import CanonicalError
from keyvault.domain.chain import Record
from keyvault.domain.errors import AuthorityError, ConflictError
from keyvault.store import tables
from keyvault.store.rows import document_of, insert_new, text_of

_RECORD = tables.authority_record
_SINCE = (
    select(_RECORD.c.document)
    .where(_RECORD.c.number >= bindparam("start"))
    .order_by(_RECORD.c.number)
)
SHORT = 16  # hex digits of a record's hash, as event headers quote it


class AuthorityRecords:
    """The room of authority in one transaction. `newest` is what this transaction added last."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.newest: str | None = None

    def records(self, start: int = 0) -> list[Record]:
        """Return the records from number `start` on. Whoever uses them verifies them.

        Raises `AuthorityError` for what is no record at all.
        """
        return list(map(_record, self._texts(start)))

    def after(self, last: int) -> tuple[str, list[Record]]:
        """Return the hash of record `last` as it stands, empty if it is gone, and those after it.

        A record's hash is that of its text: what was verified once need not be read again.
        """
        texts = self._texts(last)
        if not texts:
            return "", []
        return hashlib.sha256(texts[0].encode()).hexdigest(), list(map(_record, texts[1:]))

    def _texts(self, start: int) -> list[str]:
        return list(self._connection.scalars(_SINCE, {"start": start}))

    def add(self, record: Record) -> None:
        """Append a record. Raises `ConflictError` unless its number is the next."""
        count = self._connection.scalar(select(func.count()).select_from(_RECORD))
        document = text_of(record.document())
        if record.number != count or not insert_new(
            self._connection, _RECORD, number=record.number, document=document
        ):
            raise ConflictError(
                f"authority has {count} records and this is number {record.number}",
                next_step="ask again under the authority in force",
            )
        self.newest = record.hash[:SHORT]


def _record(text: str) -> Record:
    try:
        return Record.read(document_of(text))
    except CanonicalError as error:
        raise AuthorityError("an authority record is no document") from error
