"""Keys for messages at the surface: as typed at a terminal, and what is refused at the door."""

from base64 import b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from keyvault.signatures import spki_der
from tests.stack import PASSPHRASE, SCOPE, Stack, ok
from tests.surface.desk import Desk, keyvault, spoken
from tests.vectors import make_gbcs

METER = make_gbcs.METER
PEER = spki_der(ec.generate_private_key(ec.SECP256R1()).public_key())
OTHER_CURVE = spki_der(ec.generate_private_key(ec.SECP384R1()).public_key())


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return stack.active_key(usage="agree")


@pytest.fixture(scope="module")
def adapter(stack: Stack):
    return stack.system("agreeing-1", "key:derive", "key:read")


@pytest.fixture
def access(stack: Stack, adapter) -> tuple[str, ...]:
    return (
        *("--server", stack.url, "--ca", str(stack.ca)),
        *("--certificate", str(adapter.certificate), "--key", str(adapter.key)),
    )


@pytest.fixture(scope="module")
def desk(stack: Stack) -> Desk:
    made = Desk(stack.folder, "alice", stack.folder / "alice.key", PASSPHRASE.decode())
    assert made.login(stack.url, stack.ca, "--genesis", stack.settings.genesis).status == 0
    return made


def text(data: bytes) -> str:
    return b64encode(data).decode()


def test_at_a_terminal_both_sides_are_seen_to_derive_the_same(stack, key, access, desk, tmp_path):
    theirs = make_gbcs.scalar("meter 1")
    peer, message = tmp_path / "meter.pem", tmp_path / "message.bin"
    public = load_der_public_key(make_gbcs.spki(theirs))
    peer.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    message.write_bytes(bytes.fromhex("110000000000") + b"message")
    counter = spoken("counters", "reserve", *access)["first"]
    about = ("--peer", str(peer), "--device", "00-DB-12-34-56-78-90-A0", "--file", str(message))
    made = spoken("keys", "agree", key, "mac", *about, "--counter", counter, *access)
    assert made["result"] == by_the_meter(stack, key, theirs, 1, counter, message.read_bytes())

    mac = by_the_meter(stack, key, theirs, 2, counter, message.read_bytes())
    line = ("keys", "agree", key, "check", *about, "--counter", counter, *access)
    assert keyvault(*line, "--mac", mac).out == "good\n"
    bad = keyvault(*line, "--mac", "00" * 12, "--json")
    assert (bad.status, bad.error["code"]) == (65, "evidence-wrong")
    listed = desk.ask("counters", "list")["items"]
    assert any(item["issued"] >= counter for item in listed)


def by_the_meter(stack, key: str, theirs: int, kind: int, counter: str, aad: bytes) -> str:
    """The MAC as the independent script of the vectors makes it."""
    pem = stack.person("alice").client().get(f"/v1/keys/{key}/public-key?format=pem").content
    ours = load_pem_public_key(pem).public_numbers()
    z = make_gbcs.times(theirs, (ours.x, ours.y))[0].to_bytes(32)
    sender, receiver = (make_gbcs.US, METER) if kind == 1 else (METER, make_gbcs.US)
    info = bytes.fromhex(f"60857406080300{sender}09{kind:02X}{counter}{receiver}")
    agreed = sha256((1).to_bytes(4) + z + info).digest()[:16]
    return make_gbcs.gcm(agreed, bytes.fromhex(sender) + bytes(4), b"", aad)[1][:12].hex()


def test_at_a_terminal_a_key_for_top_ups_is_ordered_and_a_floor_raised(desk):
    words = ("keys", "order", "--scope", "/".join(SCOPE.values()), "--label", "top-ups")
    terms = ("--algorithm", "EC-P256", "--usage", "agree", "--cell-usage", "prePaymentTopUp")
    ordered = desk.ask(*words, *terms)
    assert ordered["document"]["parameters"]["cell_usage"] == "prePaymentTopUp"
    scope = f"FLOORS/{SCOPE['user_role']}/{SCOPE['user_id']}"
    line = ("counters", "raise", "00000000000000ff", "--scope", scope, "--reason", "taken over")
    assert desk.ask(*line)["floor"] == "00000000000000FF"
    again = desk.keyvault(*line, "--json")
    assert (again.status, again.error["code"]) == (65, "invalid-input")


GOOD = {
    "peer": text(PEER),
    "recipient": METER,
    "counter": "0000000000000001",
    "data": text(b"message"),
}


@pytest.mark.parametrize(
    "change",
    [
        {"peer": text(OTHER_CURVE)},
        {"peer": text(PEER[:-1])},
        {"peer": text(PEER[:-1] + bytes([PEER[-1] ^ 1]))},
        {"peer": text(bytes(20_000))},
        {"peer": ""},
        {"recipient": METER[1:]},
        {"recipient": METER.lower()},
        {"recipient": 7},
        {"counter": "1"},
        {"counter": "8000000000000000"},
        {"counter": "0000000000000000"},
        {"counter": 1},
        {"data": text(bytes(262_145))},
        {"data": None},
        {"cell_usage": "other"},
        {"kind": "command"},
    ],
    ids=lambda change: f"{next(iter(change))}-{str(next(iter(change.values())))[:12]}",
)
def test_what_is_no_message_is_refused_at_the_door(key, adapter, change):
    answer = adapter.client().post(f"/v1/keys/{key}/agreed-macs", json={**GOOD, **change})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


@pytest.mark.parametrize("size", [0, 11, 13, 16])
def test_the_mac_of_a_message_has_twelve_bytes(key, adapter, size):
    body = {"peer": text(PEER), "originator": METER, "counter": "0000000000000001"}
    body |= {"data": "", "mac": text(bytes(size))}
    answer = adapter.client().post(f"/v1/keys/{key}/agreed-mac-checks", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


@pytest.mark.parametrize(
    "body",
    [{"count": 0}, {"count": 1001}, {"recipient": METER}, {"cell_usage": "prePaymentTopUp"}],
    ids=str,
)
def test_what_is_no_reservation_is_refused(adapter, body):
    answer = adapter.client().post("/v1/counters/reservations", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


def test_a_key_outside_the_scope_is_not_there(stack, key):
    stranger = stack.system("agreeing-2", "key:derive", scope={**SCOPE, "party": "ELSE"})
    path = f"/v1/keys/{key}/agreed-macs"
    answer = stranger.client().post(path, json=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    ok(stack.person("alice").client().get(f"/v1/keys/{key}"))
