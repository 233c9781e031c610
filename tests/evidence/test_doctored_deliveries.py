"""Keys that people carried: parts that somebody else brought, or that nobody signed."""

import json
from dataclasses import replace

import pytest

from hsm.types import CheckValues
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import canonical
from keyvault.domain.handovers import STATEMENT_CONTEXT, Delivery, digest
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of
from tests.evidence.people import PEOPLE, SCOPE
from tests.evidence.world import EVIDENCE, ORIGIN, STRANGER, World, b64

CUSTODIANS = ("bob", "carol")


@pytest.fixture
def world():
    return World()


def opened(world, sign=EVIDENCE.sign, **changes):
    """A handover to bob and carol; return its id and the digest of its statement."""
    request = world.unique()
    said = {"v": 1, "origin": ORIGIN, "request": str(request), "custodians": list(CUSTODIANS)}
    data = canonical(said)
    told = {
        "request": str(request),
        "command": "import-components",
        "custodians": list(CUSTODIANS),
        "until": text_of(world.now),
        "statement": b64(data),
        "signature": b64(sign(STATEMENT_CONTEXT + data)),
        **changes,
    }
    _event(world, EventType.HANDOVER_OPENED, request, told)
    return request, digest(data)


def brought(world, handover, number, person, key=None, actor=None, told=None, **changes):
    request, statement = handover
    own = PEOPLE[person]
    made = Delivery(
        ORIGIN,
        request,
        statement,
        number,
        person,
        thumbprint(own.spki),
        "0" * 64,
        b"sealed",
        CheckValues("1a2b3c", "4d5e6f"),
        text_of(world.now),
    )
    made = replace(made, **changes)
    signature = b64((key or own).sign(made.message))
    payload = {**made.told(), "signature": signature, **(told or {})}
    kind = EventType.HANDOVER_DELIVERED
    _event(world, kind, request, payload, actor=f"person:{actor or person}")


def _event(world, kind, request, payload, actor="person:alice"):
    more = {"stream": f"key:{request}", "scope": SCOPE, "operation": request, "actor": actor}
    world.event(kind, json.loads(json.dumps(payload)), **more)


def test_parts_that_their_custodians_signed_are_found_to_be_good(check, world) -> None:
    handover = opened(world)
    for number, person in enumerate(CUSTODIANS, 1):
        brought(world, handover, number, person)
    status, answer = check(world.bundle())
    assert (status, answer["problems"]) == (0, [])
    assert any(
        "parts of keys that people carried" in line for line in map(str, answer["transcript"])
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"key": STRANGER}, "the signature of bob on part 1 of a key is not valid"),
        ({"told": {"check_values": {"cmac": "ffffff", "ecb": "4d5e6f"}}}, "of bob on part 1"),
        ({"credential": "0" * 64}, "bob signed with a key that was never theirs"),
        ({"person": "carol"}, "part 1 came from carol, who was not to bring it"),
        ({"number": 2}, "part 2 came from bob, who was not to bring it"),
        ({"number": 0}, "part 0 came from bob, who was not to bring it"),
        ({"actor": "dan"}, "was brought by another than bob, who signed"),
        ({"statement": "0" * 64}, "was signed for another statement"),
        ({"origin": "another.example"}, "holds a delivery of another log"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_a_part_that_is_not_its_custodians_own_is_refused(caught, world, wrong, words) -> None:
    handover = opened(world)
    terms = {"number": 1, "person": "bob", **wrong}
    brought(world, handover, terms.pop("number"), terms.pop("person"), **terms)
    caught(world.bundle(), words, "events.ndjson", len(world.leaves) - 1)


def test_a_part_comes_once(caught, world) -> None:
    handover = opened(world)
    for _ in range(2):
        brought(world, handover, 1, "bob")
    caught(world.bundle(), "brings part 1 for the second time", "events.ndjson")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sign": STRANGER.sign}, "the gate's signature on the statement of a handover"),
        ({"custodians": ["bob", "dan"]}, "names other custodians than its gate"),
    ],
    ids=["stranger", "custodians"],
)
def test_a_handover_that_the_gate_did_not_open_so_is_refused(caught, world, wrong, words) -> None:
    opened(world, **wrong)
    caught(world.bundle(), words, "events.ndjson")


def test_a_part_whose_handover_is_not_in_the_bundle_is_a_limit_that_is_named(check, world) -> None:
    handover = opened(world)
    brought(world, handover, 1, "bob")
    status, answer = check(world.bundle(start=len(world.leaves) - 1))
    assert (status, answer["problems"]) == (0, [])
    assert any("whose opening is not here" in line for line in map(str, answer["transcript"]))
