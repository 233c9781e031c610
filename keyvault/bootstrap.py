"""Puts the parts together: the only module that names concrete ones."""

import logging
import threading
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from keyvault import wire
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import VaultError
from keyvault.gate.breaker import Breaker
from keyvault.gate.client import Gate
from keyvault.gate.hot import GateClient
from keyvault.operations.vault import KeyCache, Vault
from keyvault.settings import ModuleSettings, Settings
from keyvault.store.cosigned import Cosigned
from keyvault.store.recorder_client import RecorderClient
from keyvault.store.unit_of_work import Database
from keyvault.witness.client import read_policy

log = logging.getLogger("keyvault")


def build(settings: Settings) -> Vault:
    """Connect nothing yet but the database: gate and recorder are called when needed."""
    database = Database(settings.database, node=settings.node)
    keys = KeyCache(database)
    gate, hot = _gates(settings.keys, database, keys)
    return Vault(
        settings=settings,
        database=database,
        gate=gate,
        hot=hot,
        recorder=RecorderClient(settings.recorder),
        recorder_status=wire.Client(settings.recorder),
        clock=lambda: datetime.now(UTC),
        cosigned=_cosigned(settings),
        keys=keys,
        spare=_spare(settings, database),
    )


def _gates(module: ModuleSettings, database: Database, keys: KeyCache) -> tuple[Gate, GateClient]:
    """The first gate of the keys for what is rare, and all of them for uses."""
    workers = range(1, module.workers + 1)
    breakers = [Breaker(partial(_report_in_background, database, number)) for number in workers]
    gate = Gate(
        module.socket,
        records_from=lambda number: _records(database, number),
        breaker=breakers[0],
        deadline=module.deadline,
    )
    hot = GateClient(
        *module.sockets,
        wrapped=lambda key_id: database.key(UUID(bytes=key_id))[1],
        fresh=keys.take,
        breakers=breakers,
        deadline=module.deadline,
    )
    return gate, hot


def _spare(settings: Settings, database: Database) -> Gate | None:
    """The gate of the second token has a breaker of its own: nobody waits for it to sign."""
    if settings.spare is None:
        return None
    socket, deadline = settings.spare.socket, settings.spare.deadline
    return Gate(socket, records_from=lambda number: _records(database, number), deadline=deadline)


def _cosigned(settings: Settings) -> Cosigned:
    named, origin = settings.witnesses, settings.origin
    return Cosigned(read_policy(named, origin) if named else None, origin)


def _records(database: Database, number: int) -> list[Document]:
    with database.reading() as work:
        return [record.document() for record in work.authority.records(start=number)]


def _report_in_background(database: Database, gate: int, up: bool, reason: str) -> None:
    """Write down a change of a gate's state. Who noticed it has a call to answer."""
    if gate > 1:
        reason = f"gate {gate}: {reason or 'it answers'}"
    threading.Thread(target=_report, args=(database, up, reason)).start()


def _report(database: Database, up: bool, reason: str) -> None:
    try:
        with database.work() as work:
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
    except VaultError as error:  # then no signature leaves either
        log.warning("the device's state (%s) could not be written down: %s", up, error)
