"""What people are told before it is too late, as a pure question to authority and the clock."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.notices import DAYS, of_authority, of_request
from keyvault.domain.people import Duty, Role
from keyvault.domain.times import text_of
from tests.unit.officers import NOW, founded, request_for

ALICE = "alice"


def screening_notices(at: datetime, lapses_at: datetime) -> list[str]:
    """Keys of what is told at `at` of Alice's screening, if it lapses then."""
    authority = founded()
    alice = authority.people[ALICE]
    days = (lapses_at - timedelta(days=1)).strftime("%Y-%m-%d")
    due = replace(
        alice.screening,
        reviewed_on=(lapses_at - timedelta(days=300)).strftime("%Y-%m-%d"),
        due=days,
    )
    changed = replace(authority, people={ALICE: replace(alice, screening=due)})
    return [n.key for n in of_authority(changed, at) if n.key.startswith("screening:")]


MIDNIGHT = datetime(2027, 1, 1, tzinfo=NOW.tzinfo)


@pytest.mark.parametrize(("left", "mark"), [(91, None), (90, 90), (31, 90), (30, 30), (7, 7)])
def test_a_screening_is_told_of_90_30_and_7_days_before(left, mark):
    keys = screening_notices(MIDNIGHT - timedelta(days=left), MIDNIGHT)
    assert [key.rpartition(":")[2] for key in keys] == ([str(mark)] if mark is not None else [])


def test_what_has_ended_is_told_once_more():
    for later in (timedelta(0), timedelta(days=400)):
        assert screening_notices(MIDNIGHT + later, MIDNIGHT)[0].endswith(":0")


@given(st.integers(min_value=-30 * 86_400, max_value=120 * 86_400))
def test_there_is_one_notice_at_a_time_for_each_thing_that_ends(seconds):
    keys = screening_notices(MIDNIGHT - timedelta(seconds=seconds), MIDNIGHT)
    assert len(keys) == (seconds <= DAYS[0] * 86_400)


def test_the_person_and_every_registrar_are_told():
    authority = founded()
    registrars = {p.id for p in authority.people.values() if Role.REGISTRAR in p.roles}
    at = authority.people[ALICE].screening.lapses_at
    told = {n.key.split(":")[1]: set(n.people) for n in of_authority(authority, at)}
    for person, people in told.items():
        assert people == registrars | {person}


def test_a_duty_is_told_to_those_who_have_not_acknowledged_it_and_to_nobody_else():
    authority = founded()
    duty = Duty("night-shift", 1, "ab" * 32, (Role.KEY_APPROVER,), "2026-03-10")
    bob = authority.people["bob"].acknowledges("night-shift", 1)
    changed = replace(authority, duties=(duty,), people={**authority.people, "bob": bob})
    told = [n.people for n in of_authority(changed, NOW) if n.key.startswith("duty:")]
    assert ("bob",) not in told
    assert (ALICE,) in told


def test_approvers_are_told_of_a_request_and_its_requester_is_not():
    authority = founded()
    notice = of_request(authority, request_for(), NOW)
    assert notice is not None
    assert ALICE not in notice.people
    assert set(notice.people) == {"bob", "carol", "dave"}
    assert "keyvault approvals approve" in notice.text


def test_check_words_are_not_told_since_they_have_to_come_by_another_way():
    authority, request = founded(), request_for()
    notice = of_request(authority, request, NOW)
    assert notice is not None
    assert request.digest.hex()[:8] not in notice.text


def test_nobody_is_told_of_a_request_that_has_expired():
    request = request_for()
    assert of_request(founded(), request, request.expires_at) is None


def test_who_is_on_hold_or_lapsed_is_not_asked_to_sign():
    authority = founded()
    bob = authority.people["bob"]
    at = bob.screening.lapses_at
    late = request_for(now=at)
    assert of_request(authority, late, at) is None


def test_a_notice_says_when_and_what_to_do():
    authority = founded()
    at = authority.people[ALICE].screening.lapses_at
    notice = next(n for n in of_authority(authority, at) if n.key.startswith("screening:"))
    assert text_of(notice.due) in notice.text
    assert "keyvault people review" in notice.text
