"""Puts the parts together: the only module that names concrete ones."""

import threading
from datetime import UTC, datetime
from uuid import UUID, uuid4

from hsm.types import WrappedKey
from keyvault import wire
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.gate.client import Gate, GateClient
from keyvault.operations.vault import Vault
from keyvault.settings import Settings
from keyvault.store.recorder_client import RecorderClient
from keyvault.store.unit_of_work import Database


def build(settings: Settings) -> Vault:
    """Connect nothing yet but the database: gate and recorder are called when needed."""
    database = Database(settings.database, node=settings.node)
    reports = _Reports(database)
    socket, deadline = settings.keys.socket, settings.keys.deadline
    return Vault(
        settings=settings,
        database=database,
        gate=Gate(
            socket,
            records_from=lambda number: _records(database, number),
            on_change=reports.changed,
            deadline=deadline,
        ),
        hot=GateClient(
            socket,
            wrapped=lambda key_id: _wrapped(database, key_id),
            on_change=reports.changed_in_background,
            deadline=deadline,
        ),
        recorder=RecorderClient(settings.recorder),
        recorder_status=wire.Client(settings.recorder),
        clock=lambda: datetime.now(UTC),
    )


def _records(database: Database, number: int) -> list[Document]:
    with database.reading() as work:
        return [record.document() for record in work.authority.records(start=number)]


def _wrapped(database: Database, key_id: bytes) -> WrappedKey | None:
    with database.reading() as work:
        return work.keys.wrapped(UUID(bytes=key_id))


class _Reports:
    """Writes down each change of the device's state, once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def changed(self, up: bool, reason: str) -> None:
        with self._database.work() as work:
            work.commit(
                AuditEvent(
                    type=EventType.HSM_RECOVERED if up else EventType.HSM_ERROR,
                    outcome=Outcome.OK if up else Outcome.FAIL,
                    operation=uuid4(),
                    stream="hsm",
                    actor="service:api",
                    payload={"reason": reason},
                )
            )

    def changed_in_background(self, up: bool, reason: str) -> None:
        """The same for callers in an event loop, which must not wait for a database."""
        threading.Thread(target=self.changed, args=(up, reason), daemon=True).start()
