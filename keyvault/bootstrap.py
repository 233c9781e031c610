"""Puts the parts together: the only module that names concrete ones."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.gate.client import Gate, GateClient
from keyvault.operations.vault import Vault
from keyvault.settings import Settings
from keyvault.store.recorder_client import RecorderClient
from keyvault.store.unit_of_work import Database


def build(settings: Settings) -> Vault:
    """Connect nothing yet but the database: gates and recorder are called when needed."""
    database = Database(settings.database, node=settings.node)

    def records_from(number: int) -> list[Document]:
        with database.reading() as work:
            return [record.document() for record in work.authority.records(start=number)]

    def wrapped(key_id: bytes) -> Any:
        with database.reading() as work:
            return work.keys.wrapped(UUID(bytes=key_id))

    def changed(up: bool, reason: str) -> None:
        with database.work() as work:
            work.commit(_hsm_event(up, reason))

    parts = {"records_from": records_from, "wrapped": wrapped}
    return Vault(
        settings=settings,
        database=database,
        gate=Gate(settings.keys.socket, on_change=changed, **parts),
        hot=GateClient(settings.keys.socket, on_change=_later(changed), **parts),
        recorder=RecorderClient(settings.recorder),
        clock=lambda: datetime.now(UTC),
    )
