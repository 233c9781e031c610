"""A world of events in an archive, written by the real writer."""

from datetime import UTC, datetime

import pytest

from keyvault.archive import reader, writer
from keyvault.domain.audit import EventType
from tests.evidence.conftest import check
from tests.evidence.world import full_world

__all__ = ["check"]  # a fixture that both folders use

SIZE = 700  # leaves: two full tiles, and a partial one of each kind


@pytest.fixture(scope="package")
def world():
    made = full_world()
    while len(made.leaves) < SIZE:
        made.event(EventType.AUDIT_QUERIED, {"n": len(made.leaves)}, actor=_actor(made))
    return made


def _actor(made):
    return f"person:{('alice', 'bob')[len(made.leaves) % 2]}"


def year_of(world, **more):
    contents = {
        "year": 2026,
        "start": 0,
        "end": len(world.leaves),
        "checkpoint": world.note(),
        "read": world.reader,
        "leaves": world.leaves,
        "authority": world.records,
        "software": "keyvault 0.1.0",
        "created_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    return writer.Year(**{**contents, **more})


@pytest.fixture(scope="package")
def folder(world, tmp_path_factory):
    place = tmp_path_factory.mktemp("archive") / "2026"
    writer.write(place, year_of(world))
    return place


@pytest.fixture
def archive(folder):
    return reader.opened(folder)
