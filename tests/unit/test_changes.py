"""What each change makes of authority, when it may be made, and what authority answers then."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain.chain import extend
from keyvault.domain.commands import (
    AcknowledgeDuty,
    EnrolCredential,
    EnrolSystem,
    ReinstatePerson,
    RemovePerson,
    RemoveRule,
    ReviewScreening,
    RevokeCredential,
    RevokeSystem,
    RotateSystem,
    SetDuty,
)
from keyvault.domain.errors import (
    AuthorityError,
    InvalidInputError,
    NotFoundError,
    RequestStateError,
    RuleError,
)
from keyvault.domain.people import Assurance, Credential, Role, Vetting, thumbprint
from keyvault.domain.rules import GroupBy, Rule
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.signatures import spki_of_certificate, verify
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DUTY,
    NOW,
    ORDER,
    RULE,
    SCOPE,
    after,
    certificate,
    founded,
    next_record,
    officer,
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
LOGIN = Credential(officer("erin-s-9a").credential.spki, Assurance.CARD, login_only=True)
STRICT = replace(RULE, id="strict", commands=("destroy-key",), approvals=3)
TRAINING = replace(DUTY, name="training", roles=(Role.AUDITOR,))

# Applying ----------------------------------------------------------------------------------

ELSEWHERE = Scope("1f-example", "network-operator", "u1")


def used(who):
    """The key of somebody else, for logging in alone."""
    return replace(who.joining.credential, login_only=True)


@pytest.mark.parametrize(
    ("command", "reason", "more"),
    [
        (ERIN.like(person="alice").joining, "alice is registered already", {}),
        (ERIN.like(credential=BOB.joining.credential).joining, "key is enrolled already", {}),
        (ERIN.like(login=used(BOB)).joining, "key is enrolled already", {}),
        (EnrolCredential("dave", used(CAROL)), "key is enrolled already", {}),
        (RemovePerson("erin", "who?"), "erin is not registered", {}),
        (RevokeSystem("dcc-9", "which?"), "dcc-9 is not registered", {"scope": SCOPE}),
        (ORDER, "does not change authority", {}),
        (REGISTER_ERIN, "concerns every scope", {"scope": SCOPE}),
        (ENROL, "enrolled for one scope", {}),
        (EnrolCredential("dave", CAROL.joining.credential), "key is enrolled already", {}),
        (RevokeCredential("dave", CARD.thumbprint, "lost"), "has no such credential", {}),
        (ReinstatePerson("dave", "back"), "is not on hold", {}),
        (RemoveRule("none", "gone"), "no rule is called none", {}),
        (SetDuty(DUTY), "follows with the version after", {}),
        (SetDuty(replace(DUTY, version=3)), "follows with the version after", {}),
        (SetDuty(replace(TRAINING, version=2)), "follows with the version after", {}),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_though_approved(command, reason, more):
    with pytest.raises(AuthorityError, match=reason):
        after(founded(), command, **more)


def test_only_the_duty_as_it_stands_can_be_acknowledged():
    for wrong in (
        AcknowledgeDuty("bob", DUTY.name, 2, DUTY.sha256),
        AcknowledgeDuty("bob", DUTY.name, 1, "00" * 32),
    ):
        with pytest.raises(AuthorityError, match="stands at version 1 and another text"):
            after(founded(), wrong, (BOB,), requester="bob")
    with pytest.raises(NotFoundError) as refusal:
        after(founded(), AcknowledgeDuty("bob", "other", 1, "00" * 32), (BOB,), requester="bob")
    assert refusal.value.next_step == "use one of: keeping-keys"


def test_a_joiner_comes_with_both_keys_of_their_card():
    authority = after(founded(), ERIN.like(login=LOGIN).joining)
    person = authority.person("erin")
    assert person.credentials == (ERIN.joining.credential, LOGIN)
    assert person.deciding == (ERIN.joining.credential,)
    assert authority.person_of(LOGIN.thumbprint) == person
    without = after(authority, RevokeCredential("erin", LOGIN.thumbprint, "lost"))
    assert without.person("erin").credentials == (ERIN.joining.credential,)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"credential": LOGIN}, "cannot be one that only logs in"),
        ({"login": replace(LOGIN, login_only=False)}, "has to be login_only"),
        ({"login": used(ERIN)}, "logs in anyway"),
    ],
)
def test_the_two_keys_of_a_joiner_are_for_what_they_are_for(changes, reason):
    with pytest.raises(InvalidInputError, match=reason):
        replace(REGISTER_ERIN, **changes)


def test_a_key_that_only_logs_in_can_be_enrolled_later():
    authority = after(founded(), EnrolCredential("dave", LOGIN))
    assert authority.person("dave").deciding == (DAVE.joining.credential,)
    with pytest.raises(AuthorityError, match="key is enrolled already"):
        after(authority, EnrolCredential("dave", replace(LOGIN, login_only=False)))


def test_one_key_is_enrolled_once():
    enrolled = after(founded(), ENROL, scope=SCOPE)
    with pytest.raises(AuthorityError, match="enrolled already"):
        after(enrolled, replace(ENROL, system="dcc-1"), scope=SCOPE)
    with pytest.raises(AuthorityError, match="key is enrolled already"):
        after(enrolled, replace(ENROL, system="dcc-2"), scope=SCOPE)
    own = Credential(spki_of_certificate(DCC), Assurance.SOFTWARE)
    with pytest.raises(AuthorityError, match="key is enrolled already"):
        after(enrolled, ERIN.like(credential=own).joining)


def test_the_systems_of_one_scope_are_not_changed_for_another():
    enrolled = after(founded(), ENROL, scope=SCOPE)
    for command in (RevokeSystem("dcc-1", "gone"), ROTATE):
        for scope in (ELSEWHERE, None):
            with pytest.raises(AuthorityError, match="belongs to another scope"):
                after(enrolled, command, scope=scope)


@pytest.mark.parametrize("name", ["DCC", "a b", "person:bob"])
def test_names_are_plain_words(name):
    with pytest.raises(InvalidInputError, match="an id is"):
        replace(ENROL, system=name)
    with pytest.raises(InvalidInputError, match="an id is"):
        replace(REGISTER_ERIN, person=name)


def test_what_is_no_certificate_is_refused():
    for wrong in ({"certificate": b"certificate"}, {"issuer": b"certificate"}):
        with pytest.raises(InvalidInputError, match=r"not an X\.509 certificate"):
            after(founded(), replace(ENROL, **wrong), scope=SCOPE)


def test_a_review_cannot_be_written_before_it_took_place():
    """Else a year from next year's review would be two."""
    tomorrow = screening(NOW + timedelta(days=1))
    for early in (ReviewScreening("bob", tomorrow), ERIN.like(screening=tomorrow).joining):
        with pytest.raises(AuthorityError, match="2026-03-02 has not taken place yet"):
            after(founded(), early, (CAROL, DAVE))
    with pytest.raises(AuthorityError, match="has not taken place yet"):
        founded((ALICE, BOB, CAROL, DAVE.like(screening=tomorrow)))


def test_an_older_review_does_not_take_the_place_of_a_later_one():
    yesterday = screening(NOW - timedelta(days=1))
    with pytest.raises(AuthorityError, match="was reviewed on 2026-03-01, later"):
        after(founded(), ReviewScreening("bob", yesterday), (CAROL, DAVE))


# Time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ago", "follows"), [(0, True), (60, True), (61, False)])
def test_a_record_is_not_older_than_the_one_before_it(ago, follows):
    at = NOW - timedelta(seconds=ago)
    if follows:
        assert after(founded(), REGISTER_ERIN, at=at).size == 2
    else:
        with pytest.raises(AuthorityError, match="older than the one before"):
            after(founded(), REGISTER_ERIN, at=at)


def test_what_was_approved_in_time_is_carried_out_in_time_or_not_at_all():
    authority = founded()
    record = next_record(authority, REGISTER_ERIN)
    late = replace(record, at=text_of(NOW + timedelta(seconds=RULE.expires_after + 1)))
    with pytest.raises(RequestStateError, match="expired"):
        extend(authority, late, verify, spki_of_certificate)


def test_the_second_of_the_last_record_is_held_by_the_head_and_by_nothing_else():
    authority = founded()
    record = next_record(authority, REGISTER_ERIN)
    later = replace(record, at=text_of(NOW + SECOND))
    assert extend(authority, later, verify, spki_of_certificate).head == later.hash != record.hash


# Asking authority --------------------------------------------------------------------------


def test_the_strictest_rule_that_covers_an_act_is_in_force():
    three = Rule("critical", ("generate-key",), ("critical",), (Role.KEY_APPROVER,), 3, 60)
    authority = founded(rules=(RULE, three))
    assert authority.rule_for("generate-key", "critical") == three
    assert authority.rule_for("generate-key", "standard") == RULE
    assert authority.rule_for("register-person") == RULE


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "stricter",
    [
        {"assurance": Assurance.CARD},
        {"vetting": Vetting.ENHANCED},
        {"expires_after": 60},
        {"wait": 3_600},
        {"roles": (Role.REGISTRAR,)},
        {"groups": 2, "group_by": GroupBy.SITE},
        {"approvals": 3},
    ],
    ids=str,
)
def test_a_rule_is_the_stricter_in_whatever_it_asks_more_of(stricter, turned):
    wide = replace(RULE, roles=(Role.KEY_APPROVER, Role.REGISTRAR))
    strict = replace(wide, id="strict", commands=("export-key",), **stricter)
    rules = (strict, wide) if turned else (wide, strict)
    authority = replace(founded(), rules=rules)
    assert authority.rule_for("export-key") == strict
    assert authority.rule_for("destroy-key") == wide


def test_of_rules_that_cannot_be_compared_none_is_in_force():
    early, many = (
        replace(RULE, id=name, **change)
        for name, change in {"early": {"expires_after": 60}, "many": {"approvals": 3}}.items()
    )
    authority = replace(founded(), rules=(early, many))
    with pytest.raises(RuleError, match="of the rules early, many none is the strictest"):
        authority.rule_for("export-key")


def test_what_no_rule_covers_is_not_allowed():
    authority = replace(founded(), rules=(replace(RULE, commands=("generate-key",)),))
    with pytest.raises(RuleError, match="no rule allows register-person for class none"):
        authority.rule_for("register-person")
    with pytest.raises(RuleError, match="for class gold by breaking the glass"):
        authority.rule_for("generate-key", "gold", break_glass=True)


def test_an_unknown_key_class_is_refused_with_those_that_exist():
    authority = founded()
    assert authority.key_class("bulk").extractable
    with pytest.raises(NotFoundError) as refusal:
        authority.key_class("gold")
    assert refusal.value.next_step == "use one of: bulk, standard"


# Systems -----------------------------------------------------------------------------------


def test_an_enrolled_system_is_found_by_its_key_until_it_is_revoked():
    spki_sha256 = thumbprint(spki_of_certificate(DCC))
    enrolled = after(founded(), ENROL, scope=SCOPE)
    system = enrolled.system_of(spki_sha256)
    assert (system.id, system.scope, system.actions) == ("dcc-1", SCOPE, {"key:sign"})
    assert system.pin(spki_sha256, NOW).certificate == DCC
    assert enrolled.system("dcc-1") == system
    revoked = after(enrolled, RevokeSystem("dcc-1", "gone"), scope=SCOPE)
    assert revoked.system_of(spki_sha256) is None
    with pytest.raises(NotFoundError, match="no system is called dcc-1"):
        revoked.system("dcc-1")


def test_the_older_certificate_of_a_system_counts_for_as_long_as_they_overlap():
    first, second = (thumbprint(spki_of_certificate(one)) for one in (DCC, DCC_NEXT))
    enrolled = after(founded(), ENROL, scope=SCOPE)
    system = after(enrolled, ROTATE, scope=SCOPE).system("dcc-1")
    end = NOW + timedelta(hours=48)
    assert system.pin(first, end - SECOND)
    assert system.pin(first, end) is None
    assert system.pin(second, end)
    assert system.pin(second, NOW + timedelta(days=365)) is None
