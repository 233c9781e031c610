"""What desks say of their readers: kept, shown, logged on change, an alarm with a job in work."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from keyvault.domain.audit import EventType
from keyvault.domain.errors import BusyError, NotPermittedError
from keyvault.domain.issuing import IssueJob, Standing
from keyvault.domain.stations import Station, StationState
from keyvault.domain.tokens import Token, TokenKind, TokenState
from keyvault.operations import notices, stations
from keyvault.operations.issuing_house import event
from keyvault.settings import IssuingSettings, StationSettings
from tests.cards.bench import NAMES, Bench
from tests.operating import Terminal
from tests.stack import PASSPHRASE, Stack, ok
from tests.surface.desk import Desk
from tests.token_people import principal

PATIENCE = 120.0
READY, GONE, LEFT = StationState.READY, StationState.READER_GONE, StationState.LEFT


class Post:
    """Whom a notice reached."""

    def __init__(self):
        self.name, self.sent = f"post-{uuid4()}", []

    def reaches(self, person):
        return bool(person)

    def send(self, notice, person):
        self.sent.append((notice.subject, person))


@pytest.fixture
def desk(stack, vault):
    """A service with one station, an issuer who works there, and a clock that tests turn."""
    name = f"place {uuid4()}"[:40]
    issuing = IssuingSettings(stations=(StationSettings(name=name),), alarm_after=PATIENCE)
    vault.settings = vault.settings.model_copy(update={"issuing": issuing})
    who = principal(vault, stack.register(f"i-{uuid4().hex[:8]}", "token-issuer"))
    start, passed = vault.clock(), [0.0]
    vault.clock = lambda: start + timedelta(seconds=passed[0])

    class Desk:
        station = name

        def later(self, seconds):
            passed[0] += seconds

        def says(self, state):
            return stations.report(vault, who, name, state, "Bench 00 00")

        def shown(self):
            [one] = stations.outlooks(vault, who)
            return one

        def events(self):
            with vault.database.reading() as work:
                found, _ = work.audit.page(stream=f"station:{name}")
            return [(one.header["ty"].partition(".")[2], one.header["out"]) for one in found]

    made = Desk()
    made.who = who
    return made


def begun(vault, desk, standing=Standing.INTERRUPTED):
    """A job that somebody began at the station."""
    now, serial = vault.clock(), f"T-{uuid4()}"
    about = (desk.who.id, f"box {serial}", "seal", "B-1", now, now)
    token = Token(uuid4(), TokenKind.PIV_CARD, serial, "m", TokenState.ALLOCATED, *about)
    own = {"station": desk.station, "standing": standing}
    job = replace(IssueJob(uuid4(), token.id, "piv-card", desk.who.id, now, now), **own)
    with vault.database.work() as work:
        work.tokens.add(token)
        work.issuing.add(job)
        told = {"what": "interrupted", "cause": "card-removed"}
        work.commit(event(EventType.ISSUE_STOPPED, desk.who, job, told))
    return job


def finished(vault, desk, job):
    with vault.database.work() as work:
        work.issuing.change(replace(job, standing=Standing.ABANDONED, version=job.version + 1))
        told = {"what": "abandoned", "cause": "for a test"}
        work.commit(event(EventType.ISSUE_STOPPED, desk.who, job, told))


def test_only_what_changes_is_an_event_and_a_loose_plug_writes_no_log(vault, desk):
    assert desk.shown().shown == "unheard"
    again = desk.says(READY)
    assert again == PATIENCE / 4
    for _ in range(8):
        desk.later(again)
        desk.says(READY)
    assert desk.events() == [("REPORTED", "ok")]
    assert (desk.shown().shown, desk.shown().said.heard_at) == ("ready", vault.clock())
    desk.later(3)
    desk.says(GONE)
    with pytest.raises(BusyError) as refused:
        desk.says(READY)
    assert refused.value.retry_after == 2
    assert desk.shown().shown == "reader-gone"
    desk.says(LEFT)  # who goes does not come back to say so
    assert [outcome for _, outcome in desk.events()] == ["ok", "fail", "ok"]
    desk.later(10 * PATIENCE)
    assert desk.shown().shown == "left"


def test_a_station_that_no_settings_name_is_not_heard_and_who_makes_no_tokens_is_not(
    stack, vault, desk
):
    with pytest.raises(NotPermittedError, match="no station is called"):
        stations.report(vault, desk.who, "kitchen", READY, "r")
    bob = principal(vault, stack.person("bob"))
    with pytest.raises(NotPermittedError):
        stations.report(vault, bob, desk.station, READY, "r")
    assert desk.events() == []


@pytest.mark.parametrize(
    ("word", "alarm"), [(GONE, "reader-gone"), (StationState.SERVICE_GONE, "pcscd-gone")]
)
def test_a_reader_that_stays_away_is_an_alarm_with_a_job_in_work_and_once(vault, desk, word, alarm):
    desk.says(READY)
    desk.later(5)
    desk.says(word)
    desk.later(PATIENCE + 1)
    assert (stations.sweep(vault), stations.remark(vault)) == (0, "")  # nobody waits for it
    job, post = begun(vault, desk), Post()
    assert (stations.sweep(vault), stations.sweep(vault)) == (1, 0)
    assert (desk.shown().alarm, desk.shown().jobs) == (alarm, (job.id,))
    assert "see runbook station-lost" in stations.remark(vault)
    for _ in range(2):
        notices.tell(vault, [post])
    told = [person for subject, person in post.sent if desk.station in subject]
    assert told.count(desk.who.id) == 1
    desk.says(READY)
    assert (stations.sweep(vault), stations.remark(vault)) == (1, "")
    kinds = [kind for kind, _ in desk.events()]
    assert kinds == ["REPORTED", "REPORTED", "FAILED", "REPORTED", "RECOVERED"]


def test_a_desk_that_falls_silent_in_mid_job_is_an_alarm_until_the_job_is_finished(vault, desk):
    job = begun(vault, desk)
    desk.says(READY)
    desk.later(PATIENCE - 1)
    assert stations.sweep(vault) == 0
    desk.later(1)
    assert (desk.shown().shown, stations.sweep(vault)) == ("silent", 1)
    assert f"station {desk.station} is silent in mid-job" in stations.remark(vault)
    finished(vault, desk, job)
    assert (stations.sweep(vault), desk.shown().alarm) == (1, "")
    assert desk.events() == [("REPORTED", "ok"), ("FAILED", "fail"), ("RECOVERED", "ok")]


def test_two_ways_of_being_gone_are_one_absence():
    now = datetime.now(UTC)
    one = Station("a", READY, "r", "p", now, now)
    patience, later = timedelta(seconds=PATIENCE), now + timedelta(seconds=PATIENCE)
    gone = one.heard(GONE, "r", "p", now).heard(StationState.SERVICE_GONE, "r", "p", later)
    assert gone.since == now
    assert gone.lasting(later, patience) == "pcscd-gone"
    assert gone.heard(READY, "r", "p", later).lasting(later, patience) == ""
    assert gone.heard(LEFT, "r", "p", now).lasting(later, patience) == ""


@pytest.mark.soak  # a service of its own; what desks make tells the same, see test_issuing
def test_a_desk_that_only_watches_tells_of_its_reader_and_of_a_pcscd_that_comes_back():
    table = "[issuing]\n[[issuing.stations]]\nname = 'leeds-1'\n"
    with Stack.make() as stack, Bench() as bench:
        stack.configure(tables=table)
        stack.start()
        person = stack.register("ina", "token-issuer")
        desk = Desk(stack.folder, "ina", stack.folder / "ina.key", PASSPHRASE.decode())
        assert desk.login(stack.url, stack.ca).status == 0
        at = ("--reader", NAMES[0], "--session", str(desk.session))
        unknown = desk.keyvault("desk", "watch", "--station", "york", "--reader", NAMES[0])
        assert (unknown.status, "use one of: leeds-1" in unknown.err) == (64, True)
        terminal = Terminal("desk", "watch", "--station", "leeds-1", *at)
        until(person, "ready", terminal)
        bench.kill_pcscd()
        until(person, "pcscd-gone", terminal)
        bench.start_pcscd()
        until(person, "ready", terminal)
        figures = stack.register("adam", "system-administrator").client().get("/metrics").text
        assert 'keyvault_station_ready{station="leeds-1"} 1.0' in figures
        assert 'keyvault_station_alarm{station="leeds-1"} 0.0' in figures
        terminal.interrupt()
        assert terminal.close() == 130
        [told] = desk.ask("issuing", "stations")["items"]
        assert (told["state"], told["person"], told["reader"]) == ("left", "ina", NAMES[0])
    assert "the card service (pcscd) is gone" in terminal.text
    assert "the card service is back" in terminal.text


def until(person, state, terminal):
    deadline = time.monotonic() + 60
    while True:
        [one] = ok(person.client().get("/v1/issuing/stations"))["items"]
        if one["state"] == state:
            return
        assert time.monotonic() < deadline, (one, terminal.text)
        time.sleep(0.2)
