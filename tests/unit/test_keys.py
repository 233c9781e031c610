"""A key's life against the figure of SP 800-57 part 1, section 7, and the uses it allows."""

from datetime import timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.types import USAGES, Algorithm, KeyUsage, Mechanism, VerifyPolicy
from keyvault.domain.documents import document_of
from keyvault.domain.errors import InvalidInputError, KeyStateError
from keyvault.domain.keys import (
    DIGEST_SIZES,
    MECHANISMS,
    MOVES,
    Key,
    KeyClass,
    KeyState,
    Purpose,
    Residence,
    mechanism_for,
    service_key_id,
)
from tests.unit.officers import NOW, SCOPE

# Transitions 2 to 15 of SP 800-57 part 1 revision 5, figure 3; the first one makes the key.
FIGURE = """
pre-active > destroyed
pre-active > compromised
pre-active > active
active > destroyed
active > compromised
active > suspended
active > deactivated
suspended > destroyed
suspended > compromised
suspended > active
suspended > deactivated
deactivated > destroyed
deactivated > compromised
compromised > destroyed
"""
ARROWS = {tuple(map(KeyState, line.split(" > "))) for line in FIGURE.split("\n") if line}


def key(state=KeyState.ACTIVE, **changes):
    given_by_default = {
        "id": UUID(int=1),
        "scope": SCOPE,
        "label": "meter signing",
        "algorithm": Algorithm.EC_P256,
        "usage": KeyUsage.SIGN,
        "key_class": "standard",
        "residence": Residence.RESIDENT,
        "verify": VerifyPolicy.ALWAYS,
        "extractable": False,
        "state": state,
        "version": 1,
        "created_at": NOW,
        "protect_until": NOW + timedelta(days=365),
        "process_until": NOW + timedelta(days=730),
        "active_from": NOW,
    }
    return Key(**{**given_by_default, **changes})


@pytest.mark.parametrize(("before", "after"), [*product(KeyState, KeyState)])
def test_a_key_takes_the_arrows_of_sp_800_57_and_no_other(before, after):
    subject = key(before)
    if (before, after) in ARROWS:
        moved = subject.to(after, NOW)
        assert (moved.state, moved.version) == (after, 2)
    else:
        with pytest.raises(KeyStateError, match=f"a {before} key cannot become {after}"):
            subject.to(after, NOW)
    assert (subject.state, subject.version) == (before, 1)


def test_the_refusal_of_a_move_says_what_can_be_done_instead():
    with pytest.raises(KeyStateError) as refusal:
        key(KeyState.COMPROMISED).to(KeyState.ACTIVE, NOW)
    assert refusal.value.next_step == "from compromised a key can become: destroyed"
    with pytest.raises(KeyStateError) as refusal:
        key(KeyState.DESTROYED).to(KeyState.ACTIVE, NOW)
    assert refusal.value.next_step == "nothing follows"


@given(st.lists(st.sampled_from(KeyState), max_size=12))
def test_whatever_is_tried_dates_stay_and_destroyed_is_the_end(tries):
    subject = key(KeyState.PRE_ACTIVE, active_from=None)
    for number, state in enumerate(tries):
        if state not in MOVES[subject.state]:
            continue
        before, now = subject, NOW + timedelta(days=number)
        subject = before.to(state, now)
        assert before.state is not KeyState.DESTROYED
        assert subject.version == before.version + 1
        assert before.active_from in (None, subject.active_from)
        assert before.compromised_at in (None, subject.compromised_at)
        assert (subject.destroyed_at == now) is (state is KeyState.DESTROYED)
        if before.state is KeyState.COMPROMISED:
            assert subject.compromised_at == before.compromised_at is not None


def test_activation_is_dated_once_and_a_pause_does_not_change_it():
    first = key(KeyState.PRE_ACTIVE, active_from=None).to(KeyState.ACTIVE, NOW)
    later = NOW + timedelta(days=3)
    resumed = first.to(KeyState.SUSPENDED, later).to(KeyState.ACTIVE, later)
    assert resumed.active_from == NOW


USABLE = {
    (KeyState.ACTIVE, Purpose.PROTECT),
    (KeyState.ACTIVE, Purpose.PROCESS),
    (KeyState.DEACTIVATED, Purpose.PROCESS),
}


@pytest.mark.parametrize(("state", "purpose"), [*product(KeyState, Purpose)])
def test_a_key_protects_only_while_active_and_processes_until_compromised(state, purpose):
    if (state, purpose) in USABLE:
        key(state).check_use(purpose, NOW)
    else:
        with pytest.raises(KeyStateError, match=f"the key is {state}") as refusal:
            key(state).check_use(purpose, NOW)
        assert refusal.value.next_step.startswith(("ask for", "order a successor"))


@pytest.mark.parametrize(
    ("purpose", "end"),
    [(Purpose.PROTECT, timedelta(days=365)), (Purpose.PROCESS, timedelta(days=730))],
)
def test_the_clock_ends_a_period_to_the_second(purpose, end):
    key().check_use(purpose, NOW + end - timedelta(seconds=1))
    with pytest.raises(KeyStateError, match=f"period to {purpose} ended"):
        key().check_use(purpose, NOW + end)


@pytest.mark.parametrize("active_from", [None, NOW + timedelta(seconds=1)])
def test_a_key_is_of_no_use_before_its_activation_date(active_from):
    with pytest.raises(KeyStateError, match="activation date has not come"):
        key(active_from=active_from).check_use(Purpose.PROTECT, NOW)


def test_every_use_that_a_kind_of_key_can_be_made_for_has_its_mechanism():
    wanted = {(usage, algorithm) for algorithm, usages in USAGES.items() for usage in usages}
    assert set(MECHANISMS) == wanted


def test_every_kind_that_signs_a_digest_has_its_length():
    signing = {a for (usage, a), m in MECHANISMS.items() if usage is KeyUsage.SIGN}
    assert set(DIGEST_SIZES) == signing - {Algorithm.ED25519}  # EdDSA takes the message


@pytest.mark.parametrize(("usage", "algorithm"), sorted(MECHANISMS))
def test_a_key_answers_only_to_the_mechanisms_of_its_kind(usage, algorithm):
    subject = key(usage=usage, algorithm=algorithm)
    default = mechanism_for(subject, usage)
    for asked in Mechanism:
        both_rsa = {default, asked} == {Mechanism.RSA_PSS_SHA256, Mechanism.RSA_PKCS1_SHA256}
        if asked is default or both_rsa:
            assert mechanism_for(subject, usage, asked) is asked
        else:
            with pytest.raises(InvalidInputError, match="does not go with"):
                mechanism_for(subject, usage, asked)


@pytest.mark.parametrize("usage", sorted(set(KeyUsage) - {KeyUsage.SIGN}))
def test_a_key_has_one_purpose(usage):
    with pytest.raises(InvalidInputError, match=f"is for sign, not for {usage}"):
        mechanism_for(key(), usage)


def test_the_services_own_keys_have_ids_that_never_change():
    names = ("log", "log-ed25519", "session-ca", "evidence", "kek", "mac")
    ids = [service_key_id(name) for name in names]
    assert len(set(ids)) == len(names)
    assert {len(one) for one in ids} == {16}
    assert service_key_id("log").hex() == "72bb43993aa656a0a8d74192378228b2"


def test_a_key_class_writes_every_consequence_it_has():
    assert document_of(KeyClass("bulk", Residence.WRAPPED, VerifyPolicy.SAMPLED)) == {
        "name": "bulk",
        "residence": "wrapped",
        "verify": "sampled",
        "extractable": False,
        "guarded": False,
        "module_level": 0,
        "retention_days": 2_557,
        "classification": None,
        "location": None,
    }


@pytest.mark.parametrize("wrong", [{"name": "Bulk"}, {"name": ""}, {"module_level": 5}])
def test_a_key_class_has_a_plain_name_and_a_level_that_there_is(wrong):
    given = {"name": "bulk", "residence": Residence.RESIDENT, "verify": VerifyPolicy.ALWAYS}
    with pytest.raises(InvalidInputError, match="a key class has a name"):
        KeyClass(**{**given, **wrong})
