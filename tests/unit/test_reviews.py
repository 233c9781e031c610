"""The yearly review when those who would review are due themselves: the one way back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain.commands import (
    ReviewScreening,
    SuspendPerson,
)
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    QuorumError,
)
from keyvault.domain.people import Assurance
from keyvault.domain.quorum import check_requester, clear
from keyvault.domain.times import text_of
from keyvault.signatures import verify
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    NOW,
    OFFICERS,
    RULE,
    after,
    electorate,
    founded,
    screening,
)
from tests.unit.quorate import CARDS, ERIN, asked_under, like

# When the reviews of all are due -----------------------------------------------------------

LATE = NOW + timedelta(days=400)


def reviewing(who="dave", requester="alice"):
    review = ReviewScreening(who, screening(LATE))
    return asked_under(RULE, review, scope=None, requester=requester, now=LATE)


def signed_late(asked, approvers, people=OFFICERS):
    approvals = [who.decides(asked.document, at=text_of(LATE)) for who in approvers]
    return clear(electorate(people), asked.rule, asked, approvals, verify, LATE).approvers


def fresh(who):
    return like(who, screening=screening(LATE))


def test_when_everybodys_review_is_due_they_review_each_other():
    assert signed_late(reviewing(), (BOB, CAROL)) == ("bob", "carol")


def test_even_then_two_have_to_agree_and_nobody_reviews_themselves():
    for approvers in ((), (BOB,), (BOB, BOB)):
        with pytest.raises(QuorumError, match="of 2 approvals"):
            signed_late(reviewing(), approvers)
    with pytest.raises(ApprovalInvalidError, match="cannot decide on themselves"):
        signed_late(reviewing(), (BOB, DAVE))
    with pytest.raises(ApprovalInvalidError, match="asked for this"):
        signed_late(reviewing(), (BOB, ALICE))


def test_while_enough_are_in_good_standing_the_others_review_nobody():
    people = (ALICE, fresh(BOB), fresh(CAROL), DAVE, ERIN)
    with pytest.raises(ApprovalInvalidError, match="screening of Erin was due"):
        signed_late(reviewing(), (BOB, ERIN), people)
    assert signed_late(reviewing(), (BOB, CAROL), people) == ("bob", "carol")


def test_with_one_left_in_good_standing_the_lapsed_make_up_the_number():
    people = (ALICE, fresh(BOB), CAROL, DAVE)
    assert signed_late(reviewing(), (BOB, CAROL), people) == ("bob", "carol")


def test_the_way_back_is_for_reviews_alone_and_forgives_nothing_else():
    register = asked_under(RULE, ERIN.joining, scope=None, now=LATE)
    with pytest.raises(AuthorityError, match="could not ask"):
        signed_late(register, (BOB, CAROL))
    suspended = after(founded(), SuspendPerson("bob", "suspected"), (CAROL, DAVE))
    asked = reviewing("dave")
    approvals = [who.decides(asked.document, at=text_of(LATE)) for who in (BOB, CAROL)]
    with pytest.raises(ApprovalInvalidError, match="on hold"):
        clear(suspended.electorate, RULE, asked, approvals, verify, LATE)


def test_who_lacks_what_the_rule_asks_does_not_count_as_left():
    """Two in good standing without a card are nobody under a rule for cards."""
    rule = replace(RULE, assurance=Assurance.CARD)
    asked = asked_under(rule, ReviewScreening("dave", screening(LATE)), scope=None, now=LATE)
    people = (ALICE, fresh(BOB), fresh(CAROL), DAVE, *CARDS)
    assert signed_late(asked, CARDS[:2], people) == ("ann-c", "ben-c")


def test_of_three_officers_the_one_who_lapsed_asks_for_their_own_review():
    people = (ALICE, fresh(BOB), fresh(CAROL))
    asked = reviewing("alice", "alice")
    assert signed_late(asked, (BOB, CAROL), people) == ("bob", "carol")
    check_requester(electorate(people), asked)
