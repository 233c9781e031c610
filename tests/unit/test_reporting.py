"""What a desk's program tells of its readers: what changed, not too often, and that it leaves."""

import queue

import pytest
from pydantic import ValidationError

from api.rest.schemas.issuing import ReportIn
from cli.desk import reporting
from cli.desk.reporting import Readers, Reports
from cli.errors import ServerUnreachableError
from hsm.pcsc.supervisor import ReaderEvent, Seen
from keyvault.domain.stations import READER_NAME, StationState

ADDED, REMOVED = ReaderEvent(Seen.READER_ADDED, "A"), ReaderEvent(Seen.READER_REMOVED, "A")
LOOKED, LOST = ReaderEvent(Seen.LOOKED), ReaderEvent(Seen.SERVICE_LOST)
BACK, INSERTED = ReaderEvent(Seen.SERVICE_BACK), ReaderEvent(Seen.CARD_INSERTED, "A", b"x", 1)
PATIENCE = 60


class Service:
    """Takes what is posted; it is away for the first calls, if it is so told."""

    def __init__(self, away=0):
        self.posts, self._away = queue.Queue(), away

    def post(self, path, body):
        if self._away:
            self._away -= 1
            raise ServerUnreachableError("no answer")
        self.posts.put((path, body["station"], body["state"]))
        return {"again": 1000.0}

    def next(self):
        path, station, state = self.posts.get(timeout=PATIENCE)
        assert path == "/v1/issuing/stations/reports"
        return station, state


def test_nothing_is_said_before_anybody_looked_and_a_card_is_nobodys_news():
    service = Service()
    with Reports(service, {"leeds": "A"}, print) as reports:
        for event in (ADDED, INSERTED):
            reports.tell(event)
    assert service.posts.empty()  # not even that it has left


def test_what_changes_back_is_not_told_and_who_ends_has_left(monkeypatch):
    monkeypatch.setattr(reporting, "PAUSE", 0.3)
    service = Service()
    with Reports(service, {"leeds": "A", "york": "B"}, print) as reports:
        for event in (ADDED, LOOKED):
            reports.tell(event)
        assert {service.next(), service.next()} == {("leeds", "ready"), ("york", "reader-gone")}
        for event in (LOST, BACK, REMOVED, ADDED, LOST):
            reports.tell(event)
        assert {service.next(), service.next()} == {
            ("leeds", "pcscd-gone"),
            ("york", "pcscd-gone"),
        }
    assert {service.next(), service.next()} == {("leeds", "left"), ("york", "left")}
    assert service.posts.empty()


def test_what_the_service_does_not_take_is_said_once_and_told_later(monkeypatch):
    monkeypatch.setattr(reporting, "PAUSE", 0.01)
    monkeypatch.setattr(reporting, "UNTOLD", 0.01)
    said, service = [], Service(away=3)
    with Reports(service, {"leeds": "A"}, said.append) as reports:
        reports.tell(LOST)
        assert service.next() == ("leeds", "pcscd-gone")
    assert said == ["the service was not told how the reader at leeds is: no answer"]


def test_a_reader_is_there_when_it_is_seen_and_the_service_answers():
    readers = Readers()
    assert not readers.known
    for event, state in (
        (LOOKED, StationState.READER_GONE),
        (ADDED, StationState.READY),
        (LOST, StationState.SERVICE_GONE),
        (BACK, StationState.READY),
        (REMOVED, StationState.READER_GONE),
    ):
        readers.note(event)
        assert (readers.known, readers.state("A")) == (True, state)


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "silent"},
        {"state": "unheard"},
        {"station": "x" * 41},
        {"station": ""},
        {"reader": "x" * (READER_NAME + 1)},
        {"reader": "a\nb"},
        {"reader": "a\u202eb"},
        {"jobs": []},
    ],
)
def test_a_report_that_no_desk_makes_is_refused(wrong):
    good = {"station": "leeds-1", "state": "ready", "reader": "Bench 00 00"}
    assert ReportIn.model_validate(good).state is StationState.READY
    with pytest.raises(ValidationError):
        ReportIn.model_validate(good | wrong)
