"""The register of ceremonies, on both databases: rows are added, and never change."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from keyvault.domain.audit import AuditEvent, EventType
from keyvault.domain.ceremonies import Ceremony
from keyvault.domain.errors import NotFoundError
from keyvault.store.engine import open_engine
from tests.store.events import used

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _event(ceremony: UUID) -> AuditEvent:
    return used(f"ceremony:{ceremony}", "person:alice", EventType.CEREMONY_STARTED)


def test_a_ceremony_is_begun_and_closed_once_and_listed_newest_first(database):
    first, second = (
        Ceremony(uuid4(), f"no. {n}", "00" * 32, NOW + timedelta(hours=n), "person:alice")
        for n in range(2)
    )
    with database.work() as work:
        assert work.ceremonies.start(first, b"script")
        assert work.ceremonies.start(second, b"script")
        assert not work.ceremonies.start(first, b"another")
        work.commit(_event(first.id))
    closed = replace(
        first, outcome="completed", sha256="11" * 32, deviations=2, closed_at=NOW, closed_by="x"
    )
    with database.work() as work:
        assert work.ceremonies.close(closed, b"transcript")
        assert not work.ceremonies.close(closed, b"another")
        work.commit(_event(first.id))
    with database.reading() as work:
        page, following = work.ceremonies.page(limit=1)
        assert page == [second]
        assert work.ceremonies.page(following, 1) == ([closed], None)
        assert work.ceremonies.transcript(first.id) == b"transcript"
        with pytest.raises(NotFoundError, match="no transcript"):
            work.ceremonies.transcript(second.id)
        with pytest.raises(NotFoundError):
            work.ceremonies.get(uuid4())


def test_what_is_on_record_cannot_be_changed(database, database_url):
    held = Ceremony(uuid4(), "one", "00" * 32, NOW, "person:alice")
    with database.work() as work:
        work.ceremonies.start(held, b"script")
        work.commit(_event(held.id))
    engine = open_engine(database_url.replace("keyvault@", "app@"))  # as the service logs in
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ceremony SET title = 'another'")
    engine.dispose()
    with database.reading() as work:
        assert work.ceremonies.get(held.id) == held
