"""Dual control: what counts as an approval, how many are enough, and that nothing else is."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.approvals import Approval, Decision, Request, Seen
from keyvault.domain.canonical import canonical
from keyvault.domain.documents import TEXT_LIMIT, document_of, read
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    InvalidInputError,
    QuorumError,
    RequestStateError,
)
from keyvault.domain.people import Role
from keyvault.domain.quorum import check_approval, clear
from keyvault.domain.rules import Rule
from keyvault.domain.times import text_of
from keyvault.signatures import verify
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    NOW,
    RULE,
    changed,
    electorate,
    officer,
    places,
    request_for,
)

ERIN = officer("erin", Role.AUDITOR)  # known, but no approver
MALLORY = officer("mallory")  # signs well, but authority does not know them
PEOPLE = electorate((ALICE, BOB, CAROL, DAVE, ERIN))
ASKED = request_for()  # by Alice

# The quorum --------------------------------------------------------------------------------


def test_two_other_approvers_are_enough_and_are_named():
    approvals = [BOB.decides(ASKED.document), CAROL.decides(ASKED.document)]
    assert clear(PEOPLE, RULE, ASKED, approvals, verify, NOW).approvers == ("bob", "carol")


@pytest.mark.parametrize("signers", [(), (BOB,), (BOB, BOB), (BOB, BOB, BOB)])
def test_one_person_is_never_enough_however_often_they_sign(signers):
    approvals = [signer.decides(ASKED.document) for signer in signers]
    with pytest.raises(QuorumError, match=f"{len(set(signers))} of 2") as refusal:
        clear(PEOPLE, RULE, ASKED, approvals, verify, NOW)
    assert refusal.value.next_step.startswith(f"wait for {2 - len(set(signers))} more")


@pytest.mark.parametrize("approvals", [0, 1])
def test_a_rule_that_asks_for_fewer_than_two_still_gets_two(approvals):
    weak = replace(RULE, approvals=approvals)
    asked = request_for(rule=weak)
    with pytest.raises(QuorumError, match="1 of 2"):
        clear(PEOPLE, weak, asked, [BOB.decides(asked.document)], verify, NOW)


ANYBODY = (ALICE, BOB, CAROL, DAVE, ERIN, MALLORY)
FAULTS = ("none", "none", "none", "none", "another's", "flipped", "empty", "late", "elsewhere")
hands = st.tuples(st.sampled_from(ANYBODY), st.sampled_from(FAULTS), st.integers(0, 559))


def _handed_in(asked, who, fault, bit):
    """Return an approval with this fault, and whether it should count."""
    document = request_for(number=9).document if fault == "elsewhere" else asked.document
    at = NOW + timedelta(days=2) if fault == "late" else NOW
    approval = who.decides(document, at=text_of(at))
    signature = bytearray(approval.signature)
    if fault == "another's":
        signature = MALLORY.decides(document, approver="bob").signature
    if fault == "flipped":
        signature[bit // 8 % len(signature)] ^= 1 << bit % 8
    if fault == "empty":
        signature.clear()
    counts = fault == "none" and who in (BOB, CAROL, DAVE)
    return replace(approval, signature=bytes(signature)), counts


@given(st.lists(hands, max_size=6), st.integers(2, 3))
def test_fewer_distinct_valid_signatures_than_the_rule_asks_never_clear(handed_in, needed):
    asked = request_for(rule=replace(RULE, approvals=needed))
    checked = [_handed_in(asked, *hand) for hand in handed_in]
    approvals = [approval for approval, _ in checked]
    distinct = {approval.approver for approval, counts in checked if counts}
    if all(counts for _, counts in checked) and len(distinct) >= needed:
        cleared = clear(PEOPLE, asked.rule, asked, approvals, verify, NOW)
        assert cleared.approvers == tuple(sorted(distinct))
    else:
        with pytest.raises(QuorumError):
            clear(PEOPLE, asked.rule, asked, approvals, verify, NOW)


def test_the_one_who_asks_cannot_approve():
    with pytest.raises(ApprovalInvalidError, match="asked for this") as refusal:
        check_approval(PEOPLE, ASKED, ALICE.decides(ASKED.document), verify, NOW)
    assert refusal.value.next_step == "two other people have to decide"


@pytest.mark.parametrize(
    ("who", "reason"), [(MALLORY, "is no person known"), (ERIN, "does not hold the role")]
)
def test_only_holders_of_the_role_approve(who, reason):
    with pytest.raises(ApprovalInvalidError, match=reason):
        check_approval(PEOPLE, ASKED, who.decides(ASKED.document), verify, NOW)


def test_a_person_signs_with_the_key_that_is_enrolled_for_them():
    foreign = MALLORY.thumbprint
    with pytest.raises(ApprovalInvalidError, match="not an enrolled key of Bob"):
        check_approval(PEOPLE, ASKED, BOB.decides(ASKED.document, credential=foreign), verify, NOW)


def test_nobody_signs_in_the_name_of_another():
    forged = MALLORY.decides(ASKED.document, approver="bob", credential=BOB.thumbprint)
    with pytest.raises(ApprovalInvalidError, match="signature of Bob is not valid"):
        check_approval(PEOPLE, ASKED, forged, verify, NOW)


@pytest.mark.parametrize(
    ("offset", "counts"), [(-61, False), (-60, True), (86_400, True), (86_401, False)]
)
def test_an_approval_counts_from_a_minute_before_the_request_until_it_expires(offset, counts):
    at = NOW + timedelta(seconds=offset)
    approval = BOB.decides(ASKED.document, at=text_of(at))
    if counts:
        check_approval(PEOPLE, ASKED, approval, verify, max(at, NOW))
    else:
        with pytest.raises(ApprovalInvalidError, match="outside the request's time"):
            check_approval(PEOPLE, ASKED, approval, verify, max(at, NOW))


@pytest.mark.parametrize(("ahead", "counts"), [(60, True), (61, False)])
def test_an_approval_dated_in_the_future_does_not_count_yet(ahead, counts):
    approval = BOB.decides(ASKED.document, at=text_of(NOW + timedelta(seconds=ahead)))
    if counts:
        check_approval(PEOPLE, ASKED, approval, verify, NOW)
    else:
        with pytest.raises(ApprovalInvalidError, match="outside the request's time"):
            check_approval(PEOPLE, ASKED, approval, verify, NOW)


def test_one_refusal_outweighs_any_number_of_approvals():
    yes = [who.decides(ASKED.document) for who in (BOB, CAROL)]
    no = DAVE.decides(ASKED.document, decision=Decision.REFUSE, reason="wrong meter")
    with pytest.raises(QuorumError, match="dave refused"):
        clear(PEOPLE, RULE, ASKED, [*yes, no], verify, NOW)


def test_a_request_expires_to_the_second():
    approvals = [who.decides(ASKED.document) for who in (BOB, CAROL)]
    clear(PEOPLE, RULE, ASKED, approvals, verify, ASKED.expires_at)
    with pytest.raises(RequestStateError, match="expired"):
        clear(PEOPLE, RULE, ASKED, approvals, verify, ASKED.expires_at + timedelta(seconds=1))


@pytest.mark.parametrize(
    "change", [{"approvals": 3}, {"id": "other"}, {"expires_after": 60}, {"roles": (Role.AUDITOR,)}]
)
def test_a_rule_that_changed_meanwhile_makes_the_request_void(change):
    approvals = [who.decides(ASKED.document) for who in (BOB, CAROL)]
    with pytest.raises(AuthorityError, match="rule changed"):
        clear(PEOPLE, replace(RULE, **change), ASKED, approvals, verify, NOW)


# What a signature covers -------------------------------------------------------------------


def _other(value):
    """Another value of the same type, as near as can be."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value[:-1] + ("a" if value[-1:] != "a" else "b")
    return 1 if value is None else value + 1


@pytest.mark.parametrize("path", [*places(ASKED.document)], ids=str)
def test_a_request_changed_in_any_place_has_no_approval(path):
    approval = BOB.decides(ASKED.document)
    document = changed(ASKED.document, path, _other)
    with pytest.raises((InvalidInputError, ApprovalInvalidError)):
        check_approval(PEOPLE, Request.read(document), approval, verify, NOW)


@pytest.mark.parametrize("path", [*places(BOB.decides(ASKED.document).document())], ids=str)
def test_an_approval_changed_in_any_place_is_none(path):
    document = changed(BOB.decides(ASKED.document).document(), path, _other)
    with pytest.raises(ApprovalInvalidError):
        check_approval(PEOPLE, ASKED, Approval.read(document), verify, NOW)


def test_a_refusal_cannot_be_turned_into_a_yes():
    document = BOB.decides(ASKED.document, decision=Decision.REFUSE).document()
    turned = Approval.read({**document, "decision": "approve"})
    with pytest.raises(ApprovalInvalidError, match="not valid"):
        check_approval(PEOPLE, ASKED, turned, verify, NOW)


def test_the_signed_bytes_are_the_canonical_form_of_request_and_decision():
    approval = BOB.decides(ASKED.document)
    signed = {key: value for key, value in approval.document().items() if key != "signature"}
    signed |= {"ctx": "keyvault-approval-v1", "request": ASKED.document}
    assert approval.message(ASKED.document) == canonical(signed)
    assert verify(BOB.credential.spki, approval.signature, canonical(signed))


# Reading documents -------------------------------------------------------------------------

NOT_A_DOCUMENT = [None, 1, "text", [], {}]


def test_a_request_reads_back_as_it_was_written():
    assert Request.read(ASKED.document) == ASKED
    assert ASKED.digest == hashlib.sha256(canonical(ASKED.document)).digest()
    without_scope = request_for(scope=None)
    assert Request.read(without_scope.document) == without_scope


@pytest.mark.parametrize("document", NOT_A_DOCUMENT)
def test_what_is_no_request_is_refused_with_our_own_error(document):
    with pytest.raises(InvalidInputError):
        Request.read(document)


WRONG = [None, True, 1.5, 2**60, "", "x", [], {}, ["x"], {"x": 1}, "\ud800"]


COULD_BE = [("origin", ""), ("origin", "x"), ("requester", "x"), ("scope", None)]
WRONG_FIELDS = [pair for pair in product(sorted(ASKED.document), WRONG) if pair not in COULD_BE]


@pytest.mark.parametrize(("field", "wrong"), WRONG_FIELDS, ids=repr)
def test_a_request_with_a_field_of_the_wrong_kind_is_refused(field, wrong):
    with pytest.raises(InvalidInputError):
        Request.read({**ASKED.document, field: wrong})


@pytest.mark.parametrize("field", sorted(ASKED.document))
def test_a_request_lacks_nothing_and_has_nothing_more(field):
    less = {key: value for key, value in ASKED.document.items() if key != field}
    with pytest.raises(InvalidInputError):
        Request.read(less)
    with pytest.raises(InvalidInputError):
        Request.read({**ASKED.document, field + "x": 1})


@pytest.mark.parametrize(
    ("field", "spelling"),
    [
        ("id", ASKED.document["id"].replace("-", "")),
        ("id", "urn:uuid:" + ASKED.document["id"]),
        ("nonce", "AB" * 16),
        ("nonce", "ab" * 15),
        ("nonce", "ab" * 17),
        ("requested_at", "2026-3-1T12:00:00Z"),
        ("seen", {"size": 7.0, "root": "ab" * 32}),
        ("seen", {"size": True, "root": "ab" * 32}),
        ("seen", {"size": -1, "root": "ab" * 32}),
        ("seen", {"size": 7, "root": "ab" * 31}),
        ("seen", {"size": 7, "root": "AB" * 32}),
        ("rule", {**document_of(RULE), "approvals": 2.0}),
        ("rule", {**document_of(RULE), "expires_after": 10**15}),
    ],
)
def test_a_second_spelling_of_the_same_thing_is_refused(field, spelling):
    with pytest.raises(InvalidInputError):
        Request.read({**ASKED.document, field: spelling})


def test_a_request_lives_exactly_as_long_as_its_rule_says():
    longer = text_of(ASKED.expires_at + timedelta(seconds=1))
    with pytest.raises(InvalidInputError, match="of this version"):
        Request.read({**ASKED.document, "expires_at": longer})


def test_an_approval_reads_back_as_it_was_written():
    approval = BOB.decides(ASKED.document)
    assert Approval.read(approval.document()) == approval


@pytest.mark.parametrize("document", NOT_A_DOCUMENT)
def test_what_is_no_approval_is_refused_with_our_own_error(document):
    with pytest.raises(ApprovalInvalidError):
        Approval.read(document)


APPROVAL = BOB.decides(ASKED.document).document()


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("field", sorted(set(APPROVAL) - {"reason"}))
def test_an_approval_with_a_field_of_the_wrong_kind_does_not_count(field, wrong):
    with pytest.raises(ApprovalInvalidError):
        check_approval(PEOPLE, ASKED, Approval.read({**APPROVAL, field: wrong}), verify, NOW)


@pytest.mark.parametrize("field", sorted(APPROVAL))
def test_an_approval_lacks_nothing_and_has_nothing_more(field):
    with pytest.raises(ApprovalInvalidError):
        Approval.read({key: value for key, value in APPROVAL.items() if key != field})
    with pytest.raises(ApprovalInvalidError):
        Approval.read({**APPROVAL, field + "x": 1})


@pytest.mark.parametrize("reason", ["x" * (TEXT_LIMIT + 1), "\x1b[2J", "two\nlines", "a\u202eb"])
def test_a_reason_cannot_write_over_the_screen_of_the_next_approver(reason):
    with pytest.raises(ApprovalInvalidError, match="printable"):
        Approval.read(BOB.decides(ASKED.document, reason=reason).document())


def test_a_rule_reads_back_and_nothing_else_does():
    assert read(Rule, document_of(RULE), "a rule") == RULE
    for wrong in (
        None,
        {},
        {**document_of(RULE), "roles": ["boss"]},
        {**document_of(RULE), "x": 1},
    ):
        with pytest.raises(InvalidInputError):
            read(Rule, wrong, "a rule")


@pytest.mark.parametrize(
    ("commands", "classes", "command", "key_class", "covered"),
    [
        (("destroy-key",), ("*",), "destroy-key", "standard", True),
        (("destroy-key",), ("*",), "export-key", "standard", False),
        (("*",), ("standard",), "destroy-key", "standard", True),
        (("*",), ("standard",), "destroy-key", "critical", False),
        (("*",), ("standard",), "register-person", "", False),
        (("*",), ("*",), "register-person", "", True),
    ],
)
def test_a_rule_covers_named_commands_on_named_classes(
    commands, classes, command, key_class, covered
):
    rule = replace(RULE, commands=commands, key_classes=classes)
    assert rule.covers(command, key_class) is covered


def test_what_was_seen_of_the_log_is_a_size_and_a_root():
    assert Seen.read({"size": 0, "root": "00" * 32}) == Seen(0, "00" * 32)
