"""Dual control attacked at random: no order of steps lets an act through with too few people.

The machine plays a web host that holds everything anybody ever signed, forges and replays it, and
waits for people's rights to lapse. What it knows of good standing it works out for itself.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyvault.domain.approvals import Approval, Decision, Request
from keyvault.domain.chain import Record, extend
from keyvault.domain.commands import (
    AcknowledgeDuty,
    ChangePerson,
    DestroyKey,
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
from keyvault.domain.errors import VaultError
from keyvault.domain.people import Assurance, Role
from keyvault.domain.quorum import clear
from keyvault.domain.rules import GroupBy
from keyvault.domain.times import text_of
from keyvault.signatures import spki_of_certificate, verify
from tests.unit.officers import (
    CLASSES,
    DECADE,
    DUTY,
    NOW,
    ORDER,
    ORIGIN,
    PROTECTION,
    ROLES,
    RULE,
    SCOPE,
    STANDARD,
    THE_REST,
    certificate,
    changed,
    founded,
    grants,
    officer,
    places,
    request_for,
    screening,
)

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")
EVERYBODY = tuple(  # their roles end or their reviews are due, one after the other
    officer(name).like(
        site=f"site-{at % 2}",
        grants=grants(*ROLES, at=NOW - DECADE + timedelta(days=2 + 2 * at + 300 * (at % 2))),
        screening=screening(due=text_of(NOW + timedelta(days=301 + at - 300 * (at % 2)))[:10]),
    )
    for at, name in enumerate(NAMES)
)
WHO = {who.id: who for who in EVERYBODY}
STRANGER = officer("mallory")
GRAVE = replace(
    RULE,
    id="grave",
    commands=("destroy-key",),
    approvals=3,
    group_by=GroupBy.SITE,
    groups=2,
)
KEY = request_for(number=1000).id
DCC, NEXT = certificate("dcc"), certificate("dcc, the next")
UNTIL = text_of(NOW + timedelta(days=3_000))
PEOPLE = st.sampled_from(NAMES)


def _commands(person, at, number):
    """One of every kind, about this person."""
    move = (person, "Example Energy", "site-0", None)
    rule_of_3 = replace(GRAVE, approvals=2 + number % 2)
    return (
        ORDER,
        DestroyKey(KEY, "end of life"),
        officer(f"new-{number}").joining,
        ChangePerson(*move, grants(Role.KEY_APPROVER, Role.REGISTRAR), "moved"),
        RemovePerson(person, "left"),
        ReviewScreening(person, screening(at)),
        AcknowledgeDuty(person, DUTY.name, 1, DUTY.sha256),
        HoldPerson(person, 24, "lost card"),
        SuspendPerson(person, "suspected"),
        ReinstatePerson(person, "cleared"),
        EnrolCredential(person, officer(f"key-{number}").joining.credential),
        RevokeCredential(person, WHO[person].thumbprint, "lost"),
        EnrolSystem("dcc-1", "DCC", DCC, DCC, ("key:sign",), ("*",), UNTIL),
        RotateSystem("dcc-1", NEXT, NEXT, 24, UNTIL),
        RevokeSystem("dcc-1", "gone"),
        SetRule(rule_of_3, "as decided"),
        SetRule(replace(THE_REST, id=f"more-{number % 2}", approvals=2 + number % 3), "more"),
        RemoveRule(("grave", "more-0", "protection")[number % 3], "as decided"),
        SetKeyClass(CLASSES[number % 2], "as decided"),
        SetDuty(replace(DUTY, name=f"duty-{number}", roles=(Role.AUDITOR,))),
        SetStandard(STANDARD),
        SetSpareKey(DCC, "set up"),
    )


_IN_A_SCOPE = (type(ORDER), DestroyKey, EnrolSystem, RotateSystem, RevokeSystem)


def _good(person, at, request):
    """Whether somebody's yes may count: reckoned here, from what is known of them."""
    return (
        any(
            grant.role in request.rule.roles and text_of(at) < grant.until and grant.scope == "*"
            for grant in person.grants
        )
        and text_of(at)[:10] <= person.screening.due
        and (person.hold is None or (person.hold.until is not None and at >= person.hold.until))
        and dict(person.acknowledged).get(DUTY.name) == 1
    )


class Control(RuleBasedStateMachine):
    """Everybody signs anything; the host hands in what it likes."""

    @initialize()
    def found(self):
        self.at, self.number = NOW, 0
        self.authority = founded(EVERYBODY, rules=(PROTECTION, THE_REST, GRAVE))
        self.asked, self.signed, self.done = [], [], set()

    @rule(hours=st.sampled_from([1, 30, 100]))
    def time_passes(self, hours):
        self.at += timedelta(hours=hours)

    @rule(person=PEOPLE, requester=PEOPLE, kind=st.integers(0, 21), wrong=st.integers(0, 9))
    def somebody_asks(self, person, requester, kind, wrong):
        self.number += 1
        command = _commands(person, self.at, self.number)[kind]
        if isinstance(command, AcknowledgeDuty) and wrong > 4:
            requester = person
        try:
            in_force = self.authority.rule_in_force(command)
        except VaultError:
            return
        chosen = RULE if wrong == 0 else in_force
        self.asked.append(
            request_for(
                command,
                requester,
                self.number,
                scope=SCOPE if isinstance(command, _IN_A_SCOPE) else None,
                rule=chosen,
                now=self.at,
                origin="elsewhere.test/keys" if wrong == 1 else ORIGIN,
            )
        )

    @rule(person=PEOPLE, kind=st.integers(0, 21), order=st.permutations(NAMES))
    def people_do_it_properly(self, person, kind, order):
        self._do(person, kind, order, lack=0)

    @rule(person=PEOPLE, kind=st.integers(0, 21), order=st.permutations(NAMES))
    def people_do_it_with_one_too_few(self, person, kind, order):
        self._do(person, kind, order, lack=1)

    @rule(person=PEOPLE, kind=st.integers(0, 21), order=st.permutations(NAMES))
    def people_do_it_and_one_more_refuses(self, person, kind, order):
        self._do(person, kind, order, lack=-1, last=Decision.REFUSE)

    def _do(self, person, kind, order, lack, last=Decision.APPROVE):
        """As many as the rule asks for, or fewer, of those who have no part in it."""
        known = len(self.asked)
        others = [name for name in order if name != person and name in self.authority.people]
        if not others:
            return
        self.somebody_asks(person, others[0], kind, 9)
        if len(self.asked) == known:
            return
        request = self.asked[-1]
        own = isinstance(request.command, AcknowledgeDuty)
        names = [person] if own else others[1:]
        signing = names[: request.rule.approvals - lack]
        at = text_of(self.at)
        given = [WHO[n].decides(request.document, at=at) for n in signing[:-1]]
        given += [WHO[n].decides(request.document, at=at, decision=last) for n in signing[-1:]]
        self.signed += [(request, one) for one in given]
        self._hand_in(request, given, self.at)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), signers=st.lists(PEOPLE, min_size=1, max_size=4), no=st.integers(0, 12))
    def people_sign(self, data, signers, no):
        request = data.draw(st.sampled_from(self.asked[-4:]))
        decision = Decision.REFUSE if no == 0 else Decision.APPROVE
        for name in signers:
            approval = WHO[name].decides(request.document, at=text_of(self.at), decision=decision)
            self.signed.append((request, approval))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), name=PEOPLE, how=st.sampled_from(["stranger", "flipped", "empty"]))
    def the_host_forges(self, data, name, how):
        request = data.draw(st.sampled_from(self.asked[-4:]))
        forged = STRANGER.decides(
            request.document,
            approver=name,
            credential=WHO[name].thumbprint,
            at=text_of(self.at),
        )
        if how == "flipped":
            good = WHO[name].decides(request.document, at=text_of(self.at))
            forged = replace(good, signature=good.signature[:-1] + bytes([good.signature[-1] ^ 1]))
        if how == "empty":
            forged = replace(forged, signature=b"")
        self.signed.append((request, forged))

    @precondition(lambda self: self.signed)
    @rule(data=st.data())
    def the_host_edits_an_approval(self, data):
        request, approval = data.draw(st.sampled_from(self.signed[-8:]))
        path = data.draw(st.sampled_from([*places(approval.document())]))
        try:
            edited = Approval.read(changed(approval.document(), path, _other))
        except VaultError:
            return
        self.signed.append((request, edited))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def the_host_edits_a_request(self, data):
        request = data.draw(st.sampled_from(self.asked[-4:]))
        path = data.draw(st.sampled_from([*places(request.document)]))
        try:
            self.asked.append(Request.read(changed(request.document, path, _other)))
        except VaultError:
            return

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), mixed=st.booleans(), backdated=st.sampled_from([0, 0, 0, 30, 3_000]))
    def the_host_hands_in(self, data, mixed, backdated):
        request = data.draw(st.sampled_from(self.asked[-6:]))
        own = [one for asked, one in self.signed if asked.id == request.id]
        others = [one for _, one in self.signed[-3:]] if mixed else []
        self._hand_in(request, [*own, *others], self.at - timedelta(seconds=backdated))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), signers=st.permutations(NAMES), count=st.integers(0, 5))
    def people_agree_at_once(self, data, signers, count):
        request = data.draw(st.sampled_from(self.asked[-3:]))
        given = [WHO[n].decides(request.document, at=text_of(self.at)) for n in signers[:count]]
        self.signed += [(request, one) for one in given]
        self._hand_in(request, given, self.at)

    def _hand_in(self, request, approvals, at):
        before, authority = self.authority, self.authority
        record = Record(
            authority.size, authority.head, request.document, tuple(approvals), text_of(at)
        )
        try:
            self.authority = extend(authority, record, verify, spki_of_certificate)
        except VaultError:
            pass
        else:
            event(f"carried out: {request.command.name}")
            self._check(before, request, approvals, at)
            assert request.id not in self.done, "a request was used twice"
            self.done.add(request.id)
            self._check_quorums(before, request, approvals)
        try:
            rule = authority.rule_in_force(request.command)
            clear(authority.electorate, rule, request, approvals, verify, at)
        except VaultError:
            return
        self._check(before, request, approvals, at)

    def _check(self, authority, request, approvals, at):
        """Enough people, each known, able, in good standing and signing exactly this."""
        command, people = request.command, authority.people
        assert at <= request.expires_at
        alone = request.rule.approvals == 1
        if isinstance(command, AcknowledgeDuty):
            assert {one.approver for one in approvals} == {command.person} == {request.requester}
        counted = set()
        for one in approvals:
            person = people[one.approver]
            credential = person.credential(one.credential)
            assert one.decision is Decision.APPROVE
            assert verify(credential.spki, one.signature, one.message(request.document))
            assert alone or one.approver not in (request.requester, getattr(command, "person", ""))
            if not isinstance(command, AcknowledgeDuty | ReviewScreening):
                assert _good(person, at, request)
            counted.add(one.approver)
        assert len(counted) >= request.rule.approvals
        if not isinstance(command, HoldPerson | RevokeSystem | AcknowledgeDuty):
            assert len(counted) >= 2
        if request.rule.groups > 1:
            assert len({people[name].site for name in counted}) >= request.rule.groups

    def _check_quorums(self, before, request, approvals):
        """Whoever lowered a quorum had met it."""
        signed = len({one.approver for one in approvals})
        for name in ("generate-key", "destroy-key", "register-person", "set-rule", "hold-person"):
            was, now = before.rule_for(name), self.authority.rule_for(name)
            if now.approvals < was.approvals:
                assert signed >= was.approvals, f"{request.command.name} lowered {name}"

    @invariant()
    def nobody_is_left_out_of_rules(self):
        if hasattr(self, "authority"):
            for name in ("generate-key", "destroy-key", "register-person", "set-rule"):
                assert self.authority.rule_for(name).approvals >= 2
            assert all(one.assurance is Assurance.SOFTWARE for one in self.authority.rules)


def _other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value[:-1] + ("a" if value[-1:] != "a" else "b")
    return 1 if value is None else value + 1


class ControlAtLength(Control):
    """The same, for as long as a campaign may take."""


TestControl = Control.TestCase
TestControl.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestControlAtLength = pytest.mark.soak(ControlAtLength.TestCase)
TestControlAtLength.settings = settings(max_examples=3_000, stateful_step_count=60, deadline=None)
