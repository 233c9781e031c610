"""The chain of authority: founded by all, changed by a quorum, and by nobody in any other way."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.canonical import canonical, parse
from keyvault.domain.chain import Record, extend, found, load
from keyvault.domain.commands import (
    AUTHORITY_COMMANDS,
    AcknowledgeDuty,
    ChangePerson,
    EnrolCredential,
    EnrolSystem,
    HoldPerson,
    ReinstatePerson,
    RemovePerson,
    RemoveRule,
    ReviewScreening,
    RevokeCredential,
    RevokeSystem,
    RotateSystem,
    SetDuty,
    SetKeyClass,
    SetRule,
    SetSpareKey,
    SetStandard,
    SuspendPerson,
)
from keyvault.domain.errors import (
    AuthorityError,
    NotFoundError,
    QuorumError,
)
from keyvault.domain.people import Assurance, Credential, Role
from keyvault.domain.rules import Rule
from keyvault.domain.times import text_of
from keyvault.signatures import spki_of_certificate, verify
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    CLASSES,
    DAVE,
    DUTY,
    NOW,
    RULE,
    SCOPE,
    STANDARD,
    after,
    certificate,
    changed,
    founded,
    genesis,
    grants,
    next_record,
    officer,
    places,
    screening,
)

SECOND = timedelta(seconds=1)
ERIN = officer("erin")
MALLORY = officer("mallory")
REGISTER_ERIN = ERIN.joining
DCC, DCC_NEXT = certificate("dcc-1"), certificate("dcc-1, the next one")
UNTIL = text_of(NOW + timedelta(days=365))
ENROL = EnrolSystem("dcc-1", "DCC", DCC, DCC, ("key:sign",), ("*",), UNTIL)
ROTATE = RotateSystem("dcc-1", DCC_NEXT, DCC_NEXT, 48, UNTIL)
CARD = Credential(officer("alice-s-card").credential.spki, Assurance.CARD)
STRICT = replace(RULE, id="strict", commands=("destroy-key",), approvals=3)
TRAINING = replace(DUTY, name="training", roles=(Role.AUDITOR,))
EVERY_CHANGE = [
    (REGISTER_ERIN, {}),
    (AcknowledgeDuty("erin", DUTY.name, 1, DUTY.sha256), {"requester": "erin", "by": (ERIN,)}),
    (ENROL, {"by": (ERIN, DAVE), "scope": SCOPE}),
    (ROTATE, {"scope": SCOPE}),
    (EnrolCredential("alice", CARD), {}),
    (RevokeCredential("alice", CARD.thumbprint, "it was lost"), {}),
    (ReviewScreening("alice", screening(standard="BS 7858:2025")), {}),
    (HoldPerson("dave", 2, "his card may be lost"), {}),
    (SuspendPerson("dave", "it is lost"), {"by": (BOB, ERIN)}),
    (ReinstatePerson("dave", "it was found"), {"by": (BOB, ERIN)}),
    (
        ChangePerson("dave", "Example Water", "york", "erin", grants(Role.KEY_APPROVER), "moved"),
        {},
    ),
    (SetRule(STRICT, "keys are gone for ever"), {}),
    (RemoveRule("strict", "it was too strict"), {"by": (BOB, CAROL, DAVE)}),
    (SetKeyClass(replace(CLASSES[0], name="grave", guarded=True), "as ordered"), {}),
    (SetDuty(TRAINING), {}),
    (SetStandard(replace(STANDARD, in_force_from="2026-06-01")), {}),
    (SetSpareKey(ERIN.credential.spki, "a second token was set up"), {}),
    (RevokeSystem("dcc-1", "decommissioned"), {"scope": SCOPE}),
    (RemovePerson("dave", "left the company"), {"by": (ERIN, CAROL)}),
]


def a_whole_chain():
    """Genesis, and then one record of every kind."""
    records = [genesis()]
    authority = found(records[0], verify)
    for command, how in EVERY_CHANGE:
        record = next_record(authority, command, how.get("by", (BOB, CAROL)), **_but_by(how))
        authority = extend(authority, record, verify, spki_of_certificate)
        records.append(record)
    return records, authority


def _but_by(how):
    return {key: value for key, value in how.items() if key != "by"}


CHAIN, AFTER = a_whole_chain()


def loaded(records):
    return load(records, verify, spki_of_certificate)


# A good chain ------------------------------------------------------------------------------


def test_the_chain_in_these_tests_holds_every_command_that_changes_authority():
    assert {type(command) for command, _ in EVERY_CHANGE} == set(AUTHORITY_COMMANDS)


def test_a_chain_folds_into_who_may_do_what_now():
    authority = loaded(CHAIN)
    assert authority == AFTER
    assert sorted(authority.people) == ["alice", "bob", "carol", "erin"]
    assert authority.systems == {}
    assert authority.rules == (RULE,)
    assert set(authority.key_classes) == {"standard", "bulk", "grave"}
    assert authority.duties == (DUTY, TRAINING)
    assert [one.in_force_from for one in authority.standards] == ["2026-06-01"]
    assert (authority.size, authority.head) == (len(CHAIN), CHAIN[-1].hash)


def test_a_chain_read_back_from_its_documents_is_the_same():
    documents = [parse(canonical(record.document())) for record in CHAIN]
    assert loaded(map(Record.read, documents)) == AFTER


@pytest.mark.parametrize("known", range(1, len(CHAIN) + 1))
def test_a_chain_is_folded_on_from_any_place_to_the_same_end(known):
    begun = loaded(CHAIN[:known])
    assert load(CHAIN[known:], verify, spki_of_certificate, begun) == AFTER


def test_a_person_is_found_by_their_key_until_they_leave():
    assert AFTER.person_of(ERIN.thumbprint).id == "erin"
    assert AFTER.person_of(DAVE.thumbprint) is None
    assert AFTER.person("erin").acknowledged == ((DUTY.name, 1),)
    with pytest.raises(NotFoundError, match="no person is called dave"):
        AFTER.person("dave")


def test_one_who_left_no_longer_approves():
    with pytest.raises(QuorumError, match="dave is no person"):
        after(AFTER, ENROL, (ERIN, DAVE), scope=SCOPE)


# Tampering ---------------------------------------------------------------------------------


def _other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value[:-1] + ("a" if value[-1:] != "a" else "b")
    return 1 if value is None else value + 1


BEFORE = [None, *(loaded(CHAIN[:size]) for size in range(1, len(CHAIN) + 1))]


@pytest.mark.parametrize("number", range(len(CHAIN)))
def test_a_record_edited_in_any_place_breaks_the_chain(number):
    first, *following = (record.document() for record in CHAIN[number : number + 2])
    unnoticed = [
        path
        for path in places(first)
        if _loads([changed(first, path, _other), *following], BEFORE[number])
    ]
    assert unnoticed == []


def _loads(documents, before):
    try:
        load(map(Record.read, documents), verify, spki_of_certificate, before)
    except AuthorityError:
        return False
    return True


@given(st.permutations(range(len(CHAIN))), st.integers(0, len(CHAIN)))
def test_records_dropped_or_reordered_break_the_chain_or_leave_a_shorter_one(order, keep):
    chosen = order[:keep]
    if keep and chosen == list(range(keep)):
        authority = loaded([CHAIN[number] for number in chosen])
        assert authority.size == keep  # cut short: whoever pinned the head sees it
    else:
        with pytest.raises(AuthorityError):
            loaded([CHAIN[number] for number in chosen])


@pytest.mark.parametrize("copied", range(len(CHAIN)))
def test_a_record_put_in_a_second_time_breaks_the_chain(copied):
    for at in range(1, len(CHAIN) + 1):
        if at != copied:
            with pytest.raises(AuthorityError):
                load([CHAIN[copied], *CHAIN[at:]], verify, spki_of_certificate, BEFORE[at])


def test_a_request_already_used_cannot_be_wrapped_into_a_new_record():
    system_again = replace(CHAIN[3], number=AFTER.size, previous=AFTER.head)  # it was revoked
    with pytest.raises(AuthorityError, match="a second time"):
        extend(AFTER, system_again, verify, spki_of_certificate)


def test_a_chain_of_another_log_is_refused():
    with pytest.raises(AuthorityError, match="belongs to another log"):
        after(founded(), REGISTER_ERIN, origin="elsewhere.test/keys/2026-1")


def test_a_record_without_enough_signatures_adds_nobody():
    with pytest.raises(QuorumError, match="1 of 2"):
        after(founded(), REGISTER_ERIN, (BOB,))
    with pytest.raises(QuorumError, match="asked for this"):
        after(founded(), REGISTER_ERIN, (ALICE, BOB))
    with pytest.raises(QuorumError, match="mallory is no person"):
        after(founded(), REGISTER_ERIN, (BOB, MALLORY))


def test_loading_names_the_record_that_fails():
    short = next_record(found(CHAIN[0], verify), REGISTER_ERIN, (BOB,))
    with pytest.raises(AuthorityError, match=r"record 1 is not valid: 1 of 2"):
        loaded([CHAIN[0], short])


def test_no_chain_is_no_authority():
    with pytest.raises(AuthorityError, match="no genesis") as refusal:
        loaded([])
    assert refusal.value.next_step == "run: keyvault init"


def test_the_newcomer_cannot_bring_the_signature_that_lets_them_in():
    with pytest.raises(QuorumError, match="erin is no person"):
        after(founded(), REGISTER_ERIN, (BOB, ERIN))


def test_a_weaker_rule_in_the_request_does_not_count():
    weak = Rule("weak", ("*",), ("*",), (Role.REGISTRAR,), 2, 60)
    with pytest.raises(AuthorityError, match="rule changed"):
        after(founded(), REGISTER_ERIN, rule=weak)


# Records -----------------------------------------------------------------------------------

DOCUMENT = CHAIN[1].document()


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**DOCUMENT, "v": 2},
        {**DOCUMENT, "extra": 1},
        {**DOCUMENT, "seq": 1.0},
        {**DOCUMENT, "seq": "one"},
        {**DOCUMENT, "approvals": 1},
        {**DOCUMENT, "request": []},
        {key: value for key, value in DOCUMENT.items() if key != "prev"},
    ],
)
def test_what_is_no_record_is_refused(document):
    with pytest.raises(AuthorityError):
        Record.read(document)
