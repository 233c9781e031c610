"""The chain of authority: founded by all, changed by a quorum, and by nobody in any other way."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.approvals import Rule
from keyvault.domain.authority import Record, found, load
from keyvault.domain.canonical import canonical, parse
from keyvault.domain.commands import (
    ActivateKey,
    EnrolSystem,
    GenerateKey,
    RegisterPerson,
    RemovePerson,
    RevokeSystem,
)
from keyvault.domain.errors import (
    AuthorityError,
    InvalidInputError,
    NotFoundError,
    QuorumError,
    RuleError,
)
from keyvault.domain.people import Person, Role, thumbprint
from keyvault.signatures import spki_of_certificate, verify
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    OFFICERS,
    ORDER,
    RULE,
    SCOPE,
    certificate,
    changed,
    founded,
    genesis,
    next_record,
    officer,
    places,
)

ERIN = officer("erin")
MALLORY = officer("mallory")
REGISTER_ERIN = RegisterPerson("erin", "Erin", (Role.KEY_APPROVER,), ERIN.person.spki)
ENROL = EnrolSystem("dcc-1", "DCC", certificate("dcc-1"), ("key:sign",), ("*",))


def extend(authority, command, approvers=(BOB, CAROL), **more):
    record = next_record(authority, command, approvers, **more)
    return record, authority.extend(record, verify, spki_of_certificate)


def a_whole_chain():
    """Genesis, Erin comes and signs, a system is enrolled and revoked, Dave leaves."""
    records = [genesis()]
    authority = found(records[0], verify)
    steps = [
        (REGISTER_ERIN, (BOB, CAROL)),
        (ENROL, (ERIN, DAVE)),
        (RevokeSystem("dcc-1", "decommissioned"), (ERIN, BOB)),
        (RemovePerson("dave", "left the company"), (ERIN, CAROL)),
    ]
    for command, approvers in steps:
        record, authority = extend(authority, command, approvers)
        records.append(record)
    return records, authority


CHAIN, AFTER = a_whole_chain()


def loaded(records):
    return load(records, verify, spki_of_certificate)


# A good chain ------------------------------------------------------------------------------


def test_a_chain_folds_into_who_may_do_what_now():
    authority = loaded(CHAIN)
    assert authority == AFTER
    assert sorted(authority.people) == ["alice", "bob", "carol", "erin"]
    assert authority.systems == {}
    assert (authority.size, authority.head) == (5, CHAIN[-1].hash)


def test_a_chain_read_back_from_its_documents_is_the_same():
    documents = [parse(canonical(record.document())) for record in CHAIN]
    assert loaded(map(Record.read, documents)) == AFTER


@pytest.mark.parametrize("known", range(1, len(CHAIN) + 1))
def test_a_chain_is_folded_on_from_any_place_to_the_same_end(known):
    begun = loaded(CHAIN[:known])
    assert load(CHAIN[known:], verify, spki_of_certificate, begun) == AFTER


def test_an_enrolled_system_is_found_by_its_key_until_it_is_revoked():
    spki_sha256 = thumbprint(spki_of_certificate(ENROL.certificate))
    _, enrolled = extend(founded(), ENROL)
    system = enrolled.system_of(spki_sha256)
    assert (system.id, system.scope, system.actions) == ("dcc-1", SCOPE, {"key:sign"})
    _, revoked = extend(enrolled, RevokeSystem("dcc-1", "gone"))
    assert revoked.system_of(spki_sha256) is None


def test_a_person_is_found_by_their_key_until_they_leave():
    assert AFTER.person_of(thumbprint(ERIN.person.spki)).id == "erin"
    assert AFTER.person_of(thumbprint(DAVE.person.spki)) is None


def test_one_who_left_no_longer_approves():
    with pytest.raises(QuorumError, match="dave is no person"):
        extend(AFTER, ENROL, (ERIN, DAVE))


# Tampering ---------------------------------------------------------------------------------


def _other(value):
    if isinstance(value, str):
        return value[:-1] + ("a" if value[-1:] != "a" else "b")
    return 1 if value is None else value + 1


PLACES = [
    (number, path) for number, record in enumerate(CHAIN) for path in places(record.document())
]


@pytest.mark.parametrize(("number", "path"), PLACES, ids=str)
def test_a_record_edited_in_any_place_breaks_the_chain(number, path):
    documents = [record.document() for record in CHAIN]
    documents[number] = changed(documents[number], path, _other)
    with pytest.raises(AuthorityError):
        loaded(map(Record.read, documents))


@given(st.permutations(range(len(CHAIN))), st.integers(0, len(CHAIN)))
def test_records_dropped_or_reordered_break_the_chain_or_leave_a_shorter_one(order, keep):
    chosen = order[:keep]
    if keep and chosen == list(range(keep)):
        authority = loaded([CHAIN[number] for number in chosen])
        assert authority.size == keep  # cut short: whoever pinned the head sees it
    else:
        with pytest.raises(AuthorityError):
            loaded([CHAIN[number] for number in chosen])


@pytest.mark.parametrize("at", range(1, len(CHAIN) + 1))
@pytest.mark.parametrize("copied", range(len(CHAIN)))
def test_a_record_put_in_a_second_time_breaks_the_chain(at, copied):
    with pytest.raises(AuthorityError):
        loaded([*CHAIN[:at], CHAIN[copied], *CHAIN[at:]])


def test_a_request_already_used_cannot_be_wrapped_into_a_new_record():
    system_again = replace(CHAIN[2], number=AFTER.size, previous=AFTER.head)  # it was revoked
    with pytest.raises(AuthorityError, match="a second time"):
        AFTER.extend(system_again, verify, spki_of_certificate)


def test_a_chain_of_another_log_is_refused():
    with pytest.raises(AuthorityError, match="belongs to another log"):
        extend(founded(), REGISTER_ERIN, origin="elsewhere.test/keys/2026-1")


def test_a_record_without_enough_signatures_adds_nobody():
    with pytest.raises(QuorumError, match="1 of 2"):
        extend(founded(), REGISTER_ERIN, (BOB,))
    with pytest.raises(QuorumError, match="asked for this"):
        extend(founded(), REGISTER_ERIN, (ALICE, BOB))
    with pytest.raises(QuorumError, match="mallory is no person"):
        extend(founded(), REGISTER_ERIN, (BOB, MALLORY))


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
        extend(founded(), REGISTER_ERIN, (BOB, ERIN))


def test_a_weaker_rule_in_the_request_does_not_count():
    weak = Rule("weak", ("*",), ("*",), Role.REGISTRAR, 2, 60)
    with pytest.raises(AuthorityError, match="rule changed"):
        extend(founded(), REGISTER_ERIN, rule=weak)


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


# The linter --------------------------------------------------------------------------------


def test_nobody_leaves_while_the_rest_could_not_decide_without_them():
    strict = founded(rules=[replace(RULE, approvals=3)])
    leave = RemovePerson("dave", "left")
    with pytest.raises(RuleError, match="3 of 3 holders"):
        extend(strict, leave, (BOB, CAROL, DAVE), rule=strict.rules[0])


# Applying ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (RegisterPerson("bob", "Bob", (Role.AUDITOR,), ERIN.person.spki), "registered already"),
        (RegisterPerson("erin", "E", (Role.AUDITOR,), BOB.person.spki), "registered already"),
        (RemovePerson("erin", "who?"), "erin is not registered"),
        (RevokeSystem("dcc-9", "which?"), "dcc-9 is not registered"),
        (ORDER, "does not change authority"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_though_approved(command, reason):
    with pytest.raises(AuthorityError, match=reason):
        extend(founded(), command)


def test_one_key_is_enrolled_once():
    _, enrolled = extend(founded(), ENROL)
    with pytest.raises(AuthorityError, match="enrolled already"):
        extend(enrolled, replace(ENROL, system="dcc-2"))
    spki = spki_of_certificate(ENROL.certificate)
    with pytest.raises(AuthorityError, match="registered already"):
        extend(enrolled, RegisterPerson("frank", "Frank", (Role.AUDITOR,), spki))


def test_a_system_belongs_to_one_scope():
    with pytest.raises(AuthorityError, match="for one scope"):
        extend(founded(), ENROL, scope=None)


@pytest.mark.parametrize("name", ["DCC", "a b", "person:bob"])
def test_names_are_plain_words(name):
    with pytest.raises(InvalidInputError, match="an id is"):
        extend(founded(), replace(ENROL, system=name))
    with pytest.raises(InvalidInputError, match="an id is"):
        extend(founded(), replace(REGISTER_ERIN, person=name))


def test_what_is_no_certificate_is_refused():
    with pytest.raises(InvalidInputError, match=r"not an X\.509 certificate"):
        extend(founded(), replace(ENROL, certificate=b"certificate"))


# Asking authority --------------------------------------------------------------------------


def test_the_strictest_rule_that_covers_an_act_is_in_force():
    three = Rule("critical", ("generate-key",), ("critical",), Role.KEY_APPROVER, 3, 60)
    authority = founded(rules=[RULE, three])
    assert authority.rule_for("generate-key", "critical") == three
    assert authority.rule_for("generate-key", "standard") == RULE
    assert authority.rule_for("register-person") == RULE


def test_what_no_rule_covers_is_not_allowed():
    only_keys = replace(RULE, commands=(GenerateKey.name, ActivateKey.name))
    authority = founded(rules=[only_keys])
    with pytest.raises(RuleError, match="no rule allows register-person for class none"):
        authority.rule_for("register-person")


def test_an_unknown_key_class_is_refused_with_those_that_exist():
    authority = founded()
    assert authority.key_class("bulk").extractable
    with pytest.raises(NotFoundError) as refusal:
        authority.key_class("gold")
    assert refusal.value.next_step == "use one of: bulk, standard"


def test_eligible_are_those_who_hold_the_role():
    auditor = Person("zoe", "Zoe", frozenset({Role.AUDITOR}), b"spki")
    authority = replace(founded(), people={**founded().people, "zoe": auditor})
    assert authority.eligible(RULE) == len(OFFICERS)
