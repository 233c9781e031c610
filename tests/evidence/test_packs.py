"""Packs of one scope: all of it, nothing of any other, and what happens when one is doctored."""

import io
import json
from base64 import b64encode

import pytest

from keyvault.domain import commands as c
from keyvault.domain.canonical import canonical
from keyvault.domain.heads import StreamHead, ordered
from keyvault.domain.people import thumbprint
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.domain.tree import HashReader, inclusion_proof, root_of
from keyvault.evidence.bundle import MANIFEST_CONTEXT
from keyvault.evidence.lone import Lone
from keyvault.evidence.pack import PackContents, write_pack
from tests.evidence.people import PEOPLE, SCOPE
from tests.evidence.world import (
    EVIDENCE,
    LOG_KEYS,
    ORIGIN,
    World,
    full_world,
    resigned,
    rezip,
    unzip,
)

EVENTS, HEADS = "events.ndjson", "heads.ndjson"
OTHER = Scope("other-party", "gas-supplier", "u-99")
TRUST = ("--log-key", LOG_KEYS[0].vkey)


def two_scopes():
    """A key of one scope and a key of another, approved by others and used by another system."""
    world = World()
    key, other = world.generate(), world.unique()
    world.act(c.ActivateKey(key, "go"))
    world.event("KEY.LABELLED", {"key": str(other)}, stream=f"key:{other}", scope=OTHER)
    for _ in range(3):
        world.use(key)
        world.use(other, scope=OTHER, actor="system:gas-7")
    world.event("KEY.SUSPENDED", {}, stream=f"key:{other}", scope=OTHER, actor="person:dan")
    return world, key, other


def heads_of(world):
    found = {}
    for leaf in world.leaves:
        document = json.loads(leaf.data)
        for kind, name in (("stream", "st"), ("actor", "ac"), ("scope", "sc")):
            if document["h"][name]:
                whose = f"{kind}/{document['h'][name]}"
                found[whose] = (found.get(whose, (0,))[0] + 1, document["p"])
    return ordered(StreamHead(name, *last) for name, last in found.items())


def sealed(world):
    heads, size = heads_of(world), len(world.leaves)
    root = root_of([head.leaf for head in heads]).hex()
    payload = {"size": size, "count": len(heads), "root": root}
    return heads, world.event("AUDIT.STREAM_HEADS", payload, stream="stream-heads")


def packed(world, scope=SCOPE, left_out=(), people=("bob", "carol")):
    heads, at = sealed(world)
    size, read = len(world.leaves), world.reader

    def lone(index):
        return Lone(index, world.leaves[index], inclusion_proof(read, index, size))

    own = [i for i in range(at) if json.loads(world.leaves[i].data)["h"]["sc"] == str(scope)]
    place = next(n for n, head in enumerate(heads) if head.name == f"scope/{scope}")
    keys = {one: PEOPLE[one].spki for one in people}
    named = {
        one: {"full_name": one.title(), "keys": {thumbprint(k): b64encode(k).decode()}}
        for one, k in keys.items()
    }
    contents = PackContents(
        origin=ORIGIN,
        genesis=world.genesis,
        scope=scope,
        checkpoint=world.note(),
        size=size,
        events=[lone(index) for index in own if index not in left_out],
        sealed=lone(at),
        head=heads[place],
        at=place,
        path=inclusion_proof(HashReader([head.leaf for head in heads]), place, len(heads)),
        people=named,
        services={
            "log_keys": [key.vkey for key in LOG_KEYS],
            "evidence": b64encode(EVIDENCE.spki).decode(),
        },
        requester="person:erin",
        created_at=text_of(world.now),
        software="keyvault 0.1.0",
    )
    out = io.BytesIO()
    write_pack(contents, out, lambda manifest: EVIDENCE.sign(MANIFEST_CONTEXT + manifest))
    return out.getvalue(), own


WORLD, KEY, ELSE = two_scopes()
PACK, OWN = packed(WORLD)
FILES = unzip(PACK)


def rows_of(files, name=EVENTS):
    return [json.loads(line) for line in files[name].splitlines()]


def doctored(rows, name=EVENTS):
    data = b"".join(canonical(row) + b"\n" for row in rows)
    return rezip(resigned({**FILES, name: data}))


def test_a_pack_holds_all_events_of_its_scope_and_proves_it(check):
    status, answer = check(PACK, *TRUST)
    assert (status, answer["problems"]) == (0, [])
    said = dict(answer["transcript"])
    assert said["scope"].startswith(f"all {len(OWN)} events of {SCOPE} before event")
    assert said["people"].startswith("bob (Bob), carol (Carol); 8 signatures")
    assert "TRUST" not in said


def test_a_pack_shows_nothing_of_another_scope_nor_who_acted_there():
    for text in ("other-party", "gas-supplier", "u-99", str(ELSE), "gas-7", "dan", "Dan", "fay"):
        for name, data in FILES.items():
            if name != "verify.py":
                assert text.encode() not in data, (text, name)


def test_the_pack_of_the_other_scope_shows_nothing_of_the_first(check):
    data, _ = packed(two_scopes()[0], OTHER, people=())
    status, answer = check(data, *TRUST)
    assert (status, answer["problems"]) == (0, [])
    files = unzip(data)
    for text in (str(SCOPE), str(KEY), "dcc-1", "bob", "carol"):
        assert not any(text.encode() in files[name] for name in files if name != "verify.py"), text


@pytest.mark.parametrize("left_out", [0, 3, -1], ids=["the first", "one", "the last"])
def test_an_event_of_the_scope_that_is_left_out_is_missed(caught, left_out):
    data, _ = packed(two_scopes()[0], left_out=(OWN[left_out],))
    caught(data, f"the log holds {len(OWN)} events of this scope, and {len(OWN) - 1} are here")


def changed(change):
    rows = rows_of(FILES)
    change(rows)
    return doctored(rows)


def changed_head(**changes):
    event, head = rows_of(FILES, HEADS)
    return doctored([event, {**head, **changes}], HEADS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (changed(lambda rows: rows.reverse()), "an event is out of order"),
        (changed(lambda rows: rows.insert(1, rows[0])), "an event is out of order"),
        (changed(lambda rows: rows[0]["h"].update(sc=str(OTHER))), "is not in the log"),
        (changed(lambda rows: rows[0]["p"].update(x=1)), "is not in the log"),
        (changed(lambda rows: rows[0].update(x=1)), "row has other fields"),
        (changed_head(count=len(OWN) - 1), "is not the head that was sealed"),
        (changed_head(last="AAAA"), "is not the head that was sealed"),
        (changed_head(name=f"scope/{OTHER}"), "is the head of something else"),
        (changed_head(at=0), "is not the head that was sealed"),
        (doctored(rows_of(FILES, HEADS)[:1], HEADS), "does not show one head"),
        (packed(two_scopes()[0], people=("bob",))[0], "carol signed, and the manifest does not"),
    ],
)
def test_a_doctored_pack_is_refused(caught, data, words):
    caught(data, words)


def test_heads_that_do_not_fit_the_events_are_found_in_a_whole_bundle(check, caught):
    world = full_world()
    heads, at = sealed(world)
    world.event("AUDIT.QUERIED", {})

    def line(place):
        path = inclusion_proof(world.reader, place, len(world.leaves))
        return Lone(place, world.leaves[place], path).line()

    status, answer = check(world.bundle(heads=(line(at),)))
    assert (status, answer["problems"]) == (0, [])
    assert dict(answer["transcript"])["heads"].startswith(f"{len(heads)} streams")
    payload = {"size": at, "count": len(heads), "root": "00" * 32}
    false = world.event("AUDIT.STREAM_HEADS", payload, stream="stream-heads")
    caught(world.bundle(heads=(line(false),)), "sealed are not those of the log", EVENTS, at)
