"""Persons and systems: how they are named, and what is known of them."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain.commands import EnrolCredential
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import (
    EVERYWHERE,
    Assurance,
    Credential,
    Grant,
    Hold,
    Pin,
    Role,
    System,
    Vetting,
    check_id,
    thumbprint,
)
from keyvault.domain.rules import Standard
from keyvault.domain.scopes import Scope
from tests.unit.officers import ALICE, BOB, DUTY, NOW, SCOPE, grants, screening

YEAR = timedelta(days=365)


def system(*keys, **changes):
    one = System(
        id="dcc-1",
        name="DCC",
        scope=SCOPE,
        pins=(Pin("aa", b"c", b"i"),),
        actions=frozenset({"key:sign"}),
        keys=frozenset(keys),
        until=NOW + YEAR,
    )
    return replace(one, **changes)


@pytest.mark.parametrize("good", ["a", "alice", "dcc-1", "0", "a" * 63])
def test_an_id_is_a_plain_lower_case_word(good):
    assert check_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", "Alice", "-a", "a b", "a.b", "a" * 64, "a\n", "person:a", "\u0430lice", "a/b"]
)
def test_an_id_that_could_be_taken_for_another_is_refused(bad):
    with pytest.raises(InvalidInputError, match="an id is"):
        check_id(bad)
    with pytest.raises(InvalidInputError, match="an id is"):
        replace(ALICE.person, id=bad)


def test_a_thumbprint_is_the_sha_256_of_the_public_key():
    assert thumbprint(b"spki") == hashlib.sha256(b"spki").hexdigest()


def test_persons_and_systems_cannot_be_confused_in_the_log():
    assert replace(ALICE.person, id="dcc-1").actor == "person:dcc-1"
    assert system("*").actor == "system:dcc-1"


def test_a_person_is_known_by_every_key_that_is_enrolled_for_them():
    both = (ALICE.joining.credential, BOB.joining.credential)
    person = replace(ALICE.person, credentials=both)
    assert [person.credential(one.thumbprint) for one in both] == list(both)
    assert person.credential("00" * 32) is None


def test_a_key_has_one_spelling_so_that_nobody_is_two_people_with_one():
    spki = ALICE.credential.spki
    point = spki[-64:]
    compressed = spki[:26] + bytes([2 + point[-1] % 2]) + point[:32]
    for other in (b"", b"junk", spki + b"\0", spki[:-1], compressed):
        with pytest.raises(InvalidInputError, match="uncompressed point"):
            Credential(other, Assurance.CARD)


def test_a_joiner_and_a_new_key_name_every_key_that_they_bring():
    signing, login = ALICE.joining.credential, replace(BOB.joining.credential, login_only=True)
    assert replace(ALICE.joining, login=login).credentials == (signing, login)
    assert EnrolCredential("alice", login).credentials == (login,)


def test_the_last_acknowledged_version_of_a_duty_is_what_counts():
    person = replace(ALICE.person, acknowledged=()).acknowledges("a", 1).acknowledges("b", 1)
    assert person.acknowledges("a", 2).acknowledged == (("b", 1), ("a", 2))


@pytest.mark.parametrize("kind", [Assurance, Vetting])
def test_the_better_meets_what_is_asked_and_the_lesser_only_itself(kind):
    lesser, better = kind
    met = {(has, needs) for has in kind for needs in kind if has.meets(needs)}
    assert met == {(lesser, lesser), (better, lesser), (better, better)}


# What rights rest on -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reviewed_on", "due", "fits"),
    [
        ("2026-03-01", "2026-03-02", True),
        ("2026-03-01", "2027-03-02", True),
        ("2026-03-01", "2027-03-03", False),
        ("2026-03-01", "2026-03-01", False),
        ("2026-03-01", "2026-02-28", False),
    ],
)
def test_a_screening_is_good_for_a_year_at_most(reviewed_on, due, fits):
    if fits:
        assert screening(reviewed_on=reviewed_on, due=due).due == due
    else:
        with pytest.raises(InvalidInputError, match="1 to 366 days") as refusal:
            screening(reviewed_on=reviewed_on, due=due)
        assert refusal.value.next_step == "people are reviewed every year"


@pytest.mark.parametrize("day", ["2026-3-1", "2026-02-29", "tomorrow", "2026-03-01T00:00:00Z", ""])
def test_a_day_has_one_spelling(day):
    for wrong in ({"reviewed_on": day}, {"due": day}):
        with pytest.raises(InvalidInputError, match="is not a day like"):
            screening(**wrong)


def test_a_grant_names_a_scope_or_all_of_them_and_its_end():
    for scope, until in (("ACME", "2027-01-01T00:00:00Z"), ("a/b/c", "2027"), ("", "")):
        with pytest.raises(InvalidInputError):
            Grant(Role.AUDITOR, scope, until)


def test_grants_overlap_where_one_of_them_reaches_everywhere():
    here, there, everywhere = (
        grants(Role.AUDITOR, scope=scope)[0]
        for scope in (SCOPE, Scope("1f-example", "network-operator", "u1"), EVERYWHERE)
    )
    assert here.overlaps(here)
    assert here.overlaps(everywhere)
    assert everywhere.overlaps(there)
    assert not here.overlaps(there)


@pytest.mark.parametrize(
    "wrong", [{"name": "Duties!"}, {"sha256": "ab"}, {"sha256": "AB" * 32}, {"version": 0}]
)
def test_a_duty_has_a_name_a_version_and_the_hash_of_its_text(wrong):
    with pytest.raises(InvalidInputError):
        replace(DUTY, **wrong)


def test_a_hold_binds_until_its_second_and_a_suspension_for_ever():
    hold = Hold("lost card", NOW, NOW + timedelta(hours=72))
    assert hold.binds(NOW + timedelta(hours=72, seconds=-1))
    assert not hold.binds(NOW + timedelta(hours=72))
    assert replace(hold, until=None).binds(NOW + 100 * YEAR)


@pytest.mark.parametrize("name", ["", "BS\n7858", "x" * 65, "-"])
def test_a_standard_has_a_plain_name(name):
    with pytest.raises(InvalidInputError, match="a standard is named by"):
        Standard(name, "2019", None, None, "PANEL-12")


def test_a_standard_is_in_force_from_a_day():
    assert Standard("BS 7858", "2019", "2026-06-01", "2026-12-31", "PANEL-12")
    for wrong in (("June", None), ("2026-06-01", "later")):
        with pytest.raises(InvalidInputError, match="is not a day like"):
            Standard("BS 7858", "2019", *wrong, "PANEL-12")


# Systems -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "key_id", "allowed"),
    [(("*",), "any", True), (("k1", "k2"), "k2", True), (("k1",), "k2", False), ((), "k1", False)],
)
def test_a_system_uses_the_keys_it_was_enrolled_for(keys, key_id, allowed):
    assert system(*keys).may_use(key_id, SCOPE) is allowed


def test_no_enrolment_reaches_into_another_scope():
    assert not system("*", "k1").may_use("k1", Scope("1f-example", "network-operator", "u1"))


def test_a_certificate_counts_until_its_own_end_or_that_of_the_enrolment():
    older = Pin("aa", b"c", b"i", until=NOW)
    one = system(pins=(older, Pin("bb", b"c", b"i")))
    assert one.pin("aa", NOW - timedelta(seconds=1)) == older
    assert one.pin("aa", NOW) is None
    assert one.pin("bb", NOW + YEAR - timedelta(seconds=1))
    assert one.pin("bb", NOW + YEAR) is None
    assert one.pin("cc", NOW) is None
