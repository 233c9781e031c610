"""The chain of authority: signed records, kept as they came, in order."""

from sqlalchemy import Connection, func, select

from keyvault.domain.canonical import CanonicalError
from keyvault.domain.chain import Record
from keyvault.domain.errors import AuthorityError, ConflictError
from keyvault.store import tables
from keyvault.store.rows import document_of, insert_new, text_of

_RECORD = tables.authority_record
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
        query = select(_RECORD.c.document).where(_RECORD.c.number >= start)
        texts = self._connection.scalars(query.order_by(_RECORD.c.number))
        try:
            return [Record.read(document_of(text)) for text in texts]
        except CanonicalError as error:
            raise AuthorityError("an authority record is no document") from error

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
