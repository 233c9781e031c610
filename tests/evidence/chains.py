"""Made-up chains of authority, good and bad, put before the house and the verifier."""

import json
from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from keyvault import signatures
from keyvault.domain import commands as c
from keyvault.domain.canonical import canonical
from keyvault.domain.chain import Record, extend, found
from keyvault.domain.errors import VaultError
from keyvault.domain.people import Assurance, Credential, Duty, Grant, Role, Vetting
from keyvault.domain.quorum import OWN_RULE
from keyvault.domain.rules import GroupBy
from keyvault.domain.times import day_text, text_of
from tests.evidence.built import verify
from tests.evidence.people import (
    CLASSES,
    DUTY,
    P256,
    PEOPLE,
    RULES,
    SCOPE,
    START,
    grants,
    joiner,
    screening,
)
from tests.evidence.world import World, order
from tests.unit.officers import certificate, changed

SPARE = [P256() for _ in range(2)]
PAIRS = {key.spki: key for key in (*PEOPLE.values(), *SPARE)}

# Both verdicts ------------------------------------------------------------------------------------


def verified(report):
    """Whether the signatures that the verifier put aside are good, said by the house's library."""
    return all(signatures.verify(*job) for job in report.jobs)


def verifiers_word(documents):
    """Fold a chain with the verifier. Returns its authority, or None with its words."""
    report = verify.Report()
    with report.step("chain", "authority.ndjson"):
        lines = [canonical(document) for document in documents]
        folded = verify.Authority([verify.loads(line) for line in lines], report)
    if report.problems or not verified(report):
        return None, report.problems or "a signature is not valid"
    return folded, ""


def houses_word(authority, document):
    """Add a record as the house does. Returns what follows, or None with its words."""
    try:
        record = Record.read(document)
        if authority is None:
            return found(record, signatures.verify), ""
        return extend(authority, record, signatures.verify, signatures.spki_of_certificate), ""
    except VaultError as error:
        return None, str(error)


def agree(documents, authority, document):
    """Demand one verdict on a record after a good chain; return the authority if it is good."""
    house, why = houses_word(authority, document)
    other, words = verifiers_word([*documents, document])
    assert (house is None) == (other is None), (why, words, document)
    if house is not None:
        assert other.heads[-1] == house.head
        assert set(other.states[-1].people) == set(house.people)
    return house


# Chains -------------------------------------------------------------------------------------------

names = st.sampled_from(["alice", "bob", "carol", "dan", "fay"])
anyone = st.sampled_from(["alice", "bob", "carol", "dan", "erin", "fay", "mallory"])
roles = st.sampled_from(list(Role))
scopes = st.sampled_from(["*", "*", str(SCOPE), "other/supplier/u-1"])
days = st.integers(-400, 800)
texts = st.just("because")


def moment(number):
    return START + timedelta(days=number)


untils = st.integers(1, 800).map(lambda number: text_of(moment(number)))
held = st.lists(st.builds(Grant, roles, scopes, untils), min_size=1, max_size=4, unique=True).map(
    tuple
)
good = st.just(grants(Role.KEY_APPROVER, Role.REGISTRAR, Role.KEY_OWNER))
screenings = st.one_of(
    st.builds(lambda number: screening(moment(number)), st.integers(-300, 60)),
    st.builds(lambda number: screening(moment(number), 30), st.integers(-40, 3)),
)
keys_of_anyone = st.sampled_from([key.spki for key in (*PEOPLE.values(), *SPARE)])
credentials = st.builds(
    Credential, keys_of_anyone, st.sampled_from(Assurance), st.sampled_from([False, False, True])
)
logins = st.one_of(
    st.none(), st.builds(Credential, keys_of_anyone, st.sampled_from(Assurance), st.just(True))
)
duties = st.builds(
    lambda version, number, who: Duty(
        "keeping-keys", version, "5b" * 32, who, day_text(moment(number))
    ),
    st.integers(1, 3),
    st.integers(-1, 5),
    st.lists(roles, min_size=1, max_size=3, unique=True).map(tuple),
)
rules = st.builds(
    lambda rule, change: replace(rule, **change),
    st.sampled_from(RULES),
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from(["keys", "more", "glass"]),
            "approvals": st.integers(0, 4),
            "wait": st.sampled_from([0, 600, 90_000]),
            "expires_after": st.sampled_from([0, 3_600, 86_400, 40 * 86_400]),
            "groups": st.integers(1, 2),
            "group_by": st.sampled_from([None, *GroupBy]),
            "roles": st.sampled_from([(Role.KEY_APPROVER,), (Role.REGISTRAR,), tuple(Role)]),
            "key_classes": st.sampled_from([("*",), ("standard",), ("critical",)]),
            "vetting": st.sampled_from(Vetting),
            "assurance": st.sampled_from(Assurance),
            "break_glass": st.booleans(),
        },
    ),
)
systems = st.sampled_from(["dcc-1", "dcc-2"])
certificates = st.sampled_from(["dcc-1", "dcc-2", "dcc-3"]).map(certificate)
acts = st.one_of(
    st.builds(
        lambda name, what, key, login, seen: joiner(
            name,
            grants=what,
            credential=replace(key, login_only=False),
            login=login if login and login.spki != key.spki else None,
            screening=seen,
        ),
        st.sampled_from(["dan", "erin", "erin", "fay"]),
        st.one_of(good, held),
        credentials,
        logins,
        screenings,
    ),
    st.builds(
        c.ChangePerson, anyone, texts, st.sampled_from(["york", "leeds"]), st.none(), held, texts
    ),
    st.builds(c.ChangePerson, names, texts, st.just("york"), st.just("boss"), good, texts),
    st.builds(c.RemovePerson, anyone, texts),
    st.builds(c.ReviewScreening, anyone, screenings),
    st.builds(c.SuspendPerson, names, texts),
    st.builds(c.ReinstatePerson, names, texts),
    st.builds(c.HoldPerson, names, st.integers(1, 72), texts),
    st.builds(c.EnrolCredential, anyone, credentials),
    st.builds(
        lambda name, key: c.RevokeCredential(name, key.thumbprint, "lost"), names, credentials
    ),
    st.builds(
        lambda name, duty: c.AcknowledgeDuty(name, duty.name, duty.version, duty.sha256),
        names,
        st.one_of(st.just(DUTY), duties),
    ),
    st.builds(c.SetDuty, duties),
    st.builds(c.SetRule, rules, texts),
    st.builds(c.RemoveRule, st.sampled_from(["keys", "top", "glass", "none"]), texts),
    st.builds(c.SetKeyClass, st.sampled_from(CLASSES), texts),
    st.builds(
        lambda name, cert, until: c.EnrolSystem(
            name, "A system", cert, cert, ("key:sign",), ("*",), until
        ),
        systems,
        certificates,
        untils,
    ),
    st.builds(
        lambda name, cert, hours: c.RotateSystem(name, cert, cert, hours, text_of(moment(9))),
        systems,
        certificates,
        st.integers(0, 48),
    ),
    st.builds(c.RevokeSystem, systems, texts),
    st.just(order()),
)
waits = st.sampled_from([0, 0, 0, 61, 700, 90_000, 3 * 86_400, 20 * 86_400])
steps = st.fixed_dictionaries(
    {
        "command": acts,
        "requester": st.one_of(st.just("alice"), names),
        "approvers": st.one_of(
            st.just(("bob", "carol")),
            st.just(("bob", "carol", "dan")),
            st.lists(anyone, min_size=0, max_size=4).map(tuple),
        ),
        "before": waits,
        "between": waits,
        "shift": st.sampled_from([0, 0, 0, 0, -30, -61, 61]),
        "rule": st.sampled_from(["right", "right", "right", "right", "own", "keys", "glass"]),
        "scope": st.sampled_from(["right", "right", "right", "none", "one"]),
    }
)


class Chain:
    """A chain that is good so far, in the house's eyes and the verifier's."""

    def __init__(self, world):
        self.world, self.documents, self.authority = world, [], None
        self.keys = dict(PEOPLE)
        self.add(world.records[0].document())

    def add(self, document):
        authority = agree(self.documents, self.authority, document)
        if authority is not None:
            self.documents.append(document)
            self.authority = authority
        return authority is not None

    def rule(self, step):
        named = {"own": OWN_RULE, "keys": RULES[0], "glass": RULES[3]}
        try:
            return named.get(step["rule"]) or self.authority.rule_in_force(step["command"])
        except VaultError:
            return RULES[0]

    def asked(self, step):
        command, world = step["command"], self.world
        world.now += timedelta(seconds=step["before"])
        requester = step["requester"]
        if isinstance(command, c.AcknowledgeDuty) and requester == "alice":
            requester = command.person
        request = world.request(command, rule=self.rule(step), requester=requester)
        scope = {"none": None, "one": SCOPE}.get(step["scope"], request.scope)
        return replace(request, scope=scope)

    def record(self, step, request, change=None):
        """A record as its people signed it, perhaps after `change` was made to the request."""
        document = json.loads(canonical(request.document))
        document = changed(document, *change) if change else document
        world, approvers = self.world, step["approvers"]
        if isinstance(step["command"], c.AcknowledgeDuty) and approvers == ("bob", "carol"):
            approvers = (step["command"].person,)
        votes = tuple(self.vote(name, document) for name in approvers)
        world.now += timedelta(seconds=step["between"])
        at = world.now + timedelta(seconds=step["shift"])
        size, head = self.authority.size, self.authority.head
        return Record(size, head, document, votes, text_of(at)).document()

    def vote(self, name, document, **changes):
        """By the key that they have now: one that decides, and a card, if they have one."""
        person = self.authority.people.get(name)
        enrolled = [one for one in person.credentials if one.spki in PAIRS] if person else []
        best = max(
            enrolled,
            key=lambda one: (not one.login_only, one.assurance is Assurance.CARD),
            default=None,
        )
        key = PAIRS[best.spki] if best else PEOPLE["erin"]
        return self.world.approval(name, document, key=key, **changes)


def fresh():
    short = {"screening": screening(START - timedelta(days=320), 340)}
    until = {"grants": grants(Role.KEY_APPROVER, Role.REGISTRAR, until=START + timedelta(days=25))}
    return Chain(World(described={"dan": short, "fay": until, "carol": {"manager": "bob"}}))
