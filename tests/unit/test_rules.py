"""The linter: rules under which too few could decide, or nobody, and rules beside each other."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.domain.commands import (
    AUTHORITY_COMMANDS,
    PERSONAL_COMMANDS,
    HoldPerson,
    SuspendPerson,
)
from keyvault.domain.errors import (
    AuthorityError,
    QuorumError,
    RequestStateError,
    RuleError,
)
from keyvault.domain.linting import lint, lint_rule
from keyvault.domain.people import Assurance, Role, Vetting
from keyvault.domain.quorum import shortfall
from keyvault.domain.rules import MAX_BREAK_GLASS, MAX_EXPIRY, GroupBy, Rule, strictest
from keyvault.domain.times import text_of
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    NOW,
    OFFICERS,
    PROTECTION,
    RULE,
    SCOPE,
    THE_REST,
    after,
    founded,
    grants,
    next_record,
    officer,
    request_for,
    screening,
)
from tests.unit.quorate import DAY, ERIN, like

# The linter: a single rule -----------------------------------------------------------------

UNSOUND = {
    "no approvals": ({"approvals": 0}, "asks for 0 approvals"),
    "one approval": ({"approvals": 1}, "asks for 1 approvals, fewer than 2"),
    "all approvals": ({"approvals": 4}, "asks for 4 of 4 holders"),
    "more than there are": ({"approvals": 5}, "asks for 5 of 4 holders"),
    "a role that nobody holds": ({"roles": (Role.AUDITOR,)}, "asks for 2 of 0 holders"),
    "no commands": ({"commands": ()}, "covers nothing"),
    "no key classes": ({"key_classes": ()}, "covers nothing"),
    "no roles": ({"roles": ()}, "covers nothing, or asks nobody"),
    "a command that there is not": ({"commands": ("sign",)}, "commands that there are not"),
    "no time": ({"expires_after": 0}, "expires after 0"),
    "too long": ({"expires_after": MAX_EXPIRY + 1}, "expires after"),
    "a wait to the end": ({"wait": 86_400}, "or too soon"),
    "no groups": ({"groups": 0}, "groups that do not add up"),
    "groups of nothing": ({"groups": 2}, "groups that do not add up"),
    "one group": ({"group_by": GroupBy.SITE}, "groups that do not add up"),
    "more groups than people": (
        {"group_by": GroupBy.SITE, "groups": 3},
        "groups that do not add up",
    ),
    "groups that there are not": (
        {"group_by": GroupBy.SITE, "groups": 2},
        "without one person there are too few",
    ),
    "cards that nobody has": ({"assurance": Assurance.CARD}, "asks for 2 of 0 holders"),
    "a level that nobody has": ({"vetting": Vetting.ENHANCED}, "asks for 2 of 0 holders"),
    "glass for too long": (
        {"break_glass": True, "approvals": 3, "expires_after": MAX_BREAK_GLASS + 1},
        "breaks the glass: it waits for nobody",
    ),
    "glass that waits": (
        {"break_glass": True, "approvals": 3, "expires_after": 3_600, "wait": 60},
        "breaks the glass: it waits for nobody",
    ),
    "glass for one": (
        {
            "break_glass": True,
            "commands": ("hold-person",),
            "approvals": 1,
            "expires_after": 3_600,
        },
        "asks for 1 approvals, fewer than 2",
    ),
}


@pytest.mark.parametrize("kind", UNSOUND)
def test_a_rule_under_which_too_few_could_decide_or_nobody_is_refused(kind):
    change, reason = UNSOUND[kind]
    with pytest.raises(RuleError, match=reason):
        lint_rule(founded(), replace(RULE, **change))


@settings(deadline=None, max_examples=60)  # each founds an authority anew
@given(
    st.integers(0, 6),
    st.integers(0, 4),
    st.sampled_from([None, *GroupBy]),
    st.sets(st.sampled_from([Role.KEY_APPROVER, Role.REGISTRAR, Role.AUDITOR])),
    st.integers(3, 6),
)
def test_no_rule_that_the_linter_lets_through_needs_everybody(approvals, groups, by, roles, n):
    """Whoever is away, or asks, the others can decide; and never fewer than two."""
    names = ("alice", "bob", "carol", "dave", "erin", "frank")[:n]
    people = tuple(
        like(officer(name), site=f"site-{at % 2}", organisation=f"org-{at % 3}")
        for at, name in enumerate(names)
    )
    authority = founded(people)
    rule = replace(
        RULE, approvals=approvals, groups=groups, group_by=by, roles=tuple(sorted(roles))
    )
    try:
        lint_rule(authority, rule)
    except RuleError:
        return
    assert rule.approvals >= 2
    for away in names:
        asked = request_for(rule=rule, requester=away)
        others = [authority.people[name] for name in names if name != away]
        assert shortfall(asked, others) is None


def test_a_group_that_hangs_on_one_person_is_no_group():
    grouped = replace(RULE, group_by=GroupBy.SITE, groups=2)
    one_in_york = (ALICE, BOB, CAROL, like(DAVE, site="york"))
    with pytest.raises(RuleError, match="without one person there are too few"):
        lint_rule(founded(one_in_york), grouped)
    lint_rule(founded((ALICE, BOB, like(CAROL, site="york"), like(DAVE, site="york"))), grouped)


def test_a_grant_for_one_scope_makes_nobody_an_elector_for_all():
    scoped = [like(who, grants=grants(*_ROLES, scope=SCOPE)) for who in (CAROL, DAVE)]
    with pytest.raises(RuleError, match="asks for 2 of 2 holders"):
        founded((ALICE, BOB, *scoped))


_ROLES = (Role.KEY_APPROVER, Role.REGISTRAR)


def test_who_is_suspended_is_no_elector_and_who_is_held_for_hours_is():
    authority = founded((*OFFICERS, ERIN))
    four = replace(RULE, approvals=4)
    held = after(authority, HoldPerson("erin", 72, "lost card"))
    lint_rule(held, four)
    suspended = after(authority, SuspendPerson("erin", "suspected"))
    with pytest.raises(RuleError, match="4 of 4"):
        lint_rule(suspended, four)


def test_whose_role_has_ended_is_no_elector():
    short = tuple(replace(grant, until=text_of(NOW + DAY)) for grant in ERIN.joining.grants)
    authority = founded((*OFFICERS, like(ERIN, grants=short)))
    four = replace(RULE, approvals=4)
    lint_rule(authority, four)
    with pytest.raises(RuleError, match="4 of 4"):
        lint_rule(replace(authority, at=NOW + DAY), four)


# The linter: rules beside each other -------------------------------------------------------


@pytest.mark.parametrize(
    "pair",
    [
        ({"approvals": 3}, {"wait": 60}),
        ({"approvals": 3}, {"vetting": Vetting.ENHANCED}),
        ({"expires_after": 60}, {"approvals": 3}),
        ({"assurance": Assurance.CARD}, {"wait": 60}),
        ({"group_by": GroupBy.SITE, "groups": 2}, {"group_by": GroupBy.ORGANISATION, "groups": 2}),
        ({"roles": (Role.REGISTRAR,)}, {"approvals": 3}),
    ],
    ids=str,
)
def test_rules_for_one_act_of_which_neither_is_stricter_are_refused(pair):
    one, other = (replace(RULE, id=name, **change) for name, change in zip("ab", pair, strict=True))
    authority = replace(_plenty(), rules=(one, other))
    with pytest.raises(RuleError, match="rules a and b cover the same act"):
        lint(authority)


def _plenty():
    """Two sites, two organisations, everybody with a card and screened to the full."""
    people = [
        officer(f"{name}-c", assurance=Assurance.CARD).like(
            site=f"site-{at % 2}",
            organisation=f"org-{at // 2 % 2}",
            screening=screening(vetting=Vetting.ENHANCED),
        )
        for at, name in enumerate(("ann", "ben", "cat", "dan", "eve", "fay", "gus", "hal"))
    ]
    return founded(tuple(people))


rule_strategy = st.builds(
    lambda **given: replace(RULE, **given),
    id=st.sampled_from("abc"),
    roles=st.sampled_from([_ROLES, _ROLES[:1], _ROLES[1:]]),
    approvals=st.integers(2, 4),
    wait=st.sampled_from([0, 60]),
    expires_after=st.sampled_from([3_600, 86_400]),
    group_by=st.sampled_from([GroupBy.SITE, GroupBy.ORGANISATION]),
    groups=st.integers(1, 2),
    assurance=st.sampled_from([*Assurance]),
    vetting=st.sampled_from([*Vetting]),
)


@given(rule_strategy, rule_strategy, rule_strategy)
def test_strictness_is_an_order_and_the_strictest_is_as_strict_as_all(one, two, three):
    assert one.as_strict_as(one)
    if one.as_strict_as(two) and two.as_strict_as(three):
        assert one.as_strict_as(three)
    try:
        found = strictest([one, two, three])
    except RuleError:
        assert not any(
            all(rule.as_strict_as(other) for other in (one, two, three))
            for rule in (one, two, three)
        )
    else:
        assert all(found.as_strict_as(other) for other in (one, two, three))


@given(rule_strategy, rule_strategy, st.sets(st.sampled_from(range(8)), min_size=1))
def test_whoever_meets_a_joined_rule_meets_both(one, other, chosen):
    try:
        joined = one.joined(other)
    except RuleError:
        assert not set(one.roles) & set(other.roles) or one.group_by is not other.group_by
        return
    people = [person for at, person in enumerate(_PLENTY) if at in chosen]
    met = {rule: shortfall(request_for(rule=rule), people) is None for rule in (joined, one, other)}
    assert met[joined] <= (met[one] and met[other])
    assert joined.wait == max(one.wait, other.wait) < joined.expires_after
    for rule in (one, other):
        assert joined.assurance.meets(rule.assurance)
        assert joined.vetting.meets(rule.vetting)
        assert set(joined.roles) <= set(rule.roles)


_PLENTY = tuple(_plenty().people.values())


def test_two_rules_for_different_acts_need_not_be_comparable():
    destroying = replace(RULE, commands=("destroy-key",))
    early = replace(destroying, id="early", key_classes=("standard",), expires_after=60)
    many = replace(destroying, id="many", key_classes=("bulk",), approvals=3)
    assert founded(rules=(RULE, early, many))


@pytest.mark.parametrize(("approvals", "fits"), [(2, False), (3, True)])
def test_breaking_the_glass_takes_more_people_than_the_rule_beside_it(approvals, fits):
    glass = replace(
        RULE, id="glass", approvals=approvals, expires_after=MAX_BREAK_GLASS, break_glass=True
    )
    for rules in ((RULE, glass), (glass, RULE)):
        if fits:
            authority = founded(rules=rules)
            assert authority.rule_for("generate-key") == RULE
            assert authority.rule_for("generate-key", break_glass=True) == glass
        else:
            with pytest.raises(RuleError, match="breaks the glass with 2 approvals") as refusal:
                founded(rules=rules)
            assert refusal.value.next_step == "breaking the glass takes more people, never fewer"


def test_the_glass_is_broken_only_by_those_who_say_so():
    slow = replace(RULE, wait=3_600)
    glass = replace(RULE, id="glass", approvals=3, expires_after=3_600, break_glass=True)
    authority = founded(rules=(slow, glass))
    broken = next_record(authority, ERIN.joining, (BOB, CAROL, DAVE), rule=glass)
    assert broken.request["rule"]["break_glass"] is True
    assert after(authority, ERIN.joining, (BOB, CAROL, DAVE), rule=glass).person("erin")
    with pytest.raises(QuorumError, match="2 of 3"):
        after(authority, ERIN.joining, (BOB, CAROL), rule=glass)
    with pytest.raises(RequestStateError, match="carried out from"):
        after(authority, ERIN.joining, (BOB, CAROL, DAVE))
    with pytest.raises(AuthorityError, match="rule changed"):
        after(authority, ERIN.joining, (BOB, CAROL, DAVE), rule=replace(glass, break_glass=False))


@pytest.mark.parametrize("missing", sorted(c.name for c in AUTHORITY_COMMANDS))
def test_every_change_of_authority_stays_possible(missing):
    rules = (PROTECTION, THE_REST)
    less = tuple(
        replace(rule, commands=tuple(name for name in rule.commands if name != missing))
        for rule in rules
    )
    if missing in {c.name for c in PERSONAL_COMMANDS}:
        assert founded(rules=less)
    else:
        with pytest.raises(RuleError, match=f"no rule allows {missing}"):
            founded(rules=less)


def test_a_rule_for_other_people_than_those_who_change_rules_is_refused():
    """Else nobody could change it under both its own rule and that for changing rules."""
    others = replace(RULE, id="others", commands=("export-key",), roles=(Role.REGISTRAR,))
    rest = replace(THE_REST, commands=tuple(set(THE_REST.commands) - {"export-key"}))
    with pytest.raises(RuleError, match="other roles or groups"):
        founded(rules=(PROTECTION, rest, others))


# Order of strictness of two rules, by one field --------------------------------------------

LESS_TO_MORE = {
    "roles": (_ROLES, _ROLES[:1]),
    "approvals": (2, 3),
    "wait": (0, 60),
    "expires_after": (86_400, 3_600),
    "assurance": tuple(Assurance),
    "vetting": tuple(Vetting),
}


@pytest.mark.parametrize("field", LESS_TO_MORE)
def test_more_of_any_one_thing_is_stricter(field):
    lax, strict = (replace(RULE, **{field: value}) for value in LESS_TO_MORE[field])
    assert strict.as_strict_as(lax)
    assert not lax.as_strict_as(strict)


@pytest.mark.parametrize(
    ("one", "other"), [*product([("a",), ("*",), ("a", "b")], [("b",), ("*",)])]
)
def test_rules_overlap_where_one_act_is_covered_by_both(one, other):
    both = "*" in one + other or bool(set(one) & set(other))
    by_command = replace(RULE, commands=one).overlaps(replace(RULE, commands=other))
    by_class = replace(RULE, key_classes=one).overlaps(replace(RULE, key_classes=other))
    assert by_command is by_class is both


def test_a_rule_has_an_id_like_everything_else():
    with pytest.raises(Exception, match="an id is"):
        Rule("Everything!", ("*",), ("*",), (Role.KEY_APPROVER,), 2, 60)
