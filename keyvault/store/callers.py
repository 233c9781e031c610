"""How often it changed what a certificate is worth, for those who remember whose it is."""

from sqlalchemy import Connection, select, update

from keyvault.store import tables

_HEAD = tables.caller_head


class Callers:
    """One row, read ten times a second by each process that remembers callers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def changes(self) -> int:
        """How often a token was changed or a certificate of ours revoked."""
        return int(self._connection.execute(select(_HEAD.c.changes)).scalar_one())

    def changed(self) -> None:
        self._connection.execute(update(_HEAD).values(changes=_HEAD.c.changes + 1))
