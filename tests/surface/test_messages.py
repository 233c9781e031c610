"""Keys for messages through the whole service: a meter in software is the other side."""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import select

from keyvault.signatures import spki_der
from keyvault.store.engine import open_engine
from keyvault.store.tables import METADATA
from tests.stack import SCOPE, Stack, ok
from tests.vectors import make_gbcs

US, METER = "90B3D51F30010000", "00DB1234567890A0"
KINDS = {"command": 1, "response": 2, "alert": 3, "encryption": 4}
AAD = bytes.fromhex("110000000000") + b"a grouping header and a payload"


@dataclass
class Meter:
    """A device: it derives by its own means what GBCS says, and shares nothing with the service."""

    ours: ec.EllipticCurvePublicKey
    private: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def peer(self) -> str:
        return b64encode(spki_der(self.private.public_key())).decode()

    def z(self) -> bytes:
        return self.private.exchange(ec.ECDH(), self.ours)

    def key(self, kind: str, originator: str, counter: str, recipient: str) -> bytes:
        parts = f"60857406080300{originator}09{KINDS[kind]:02x}{counter}{recipient}"
        return hashlib.sha256(bytes(3) + b"\1" + self.z() + bytes.fromhex(parts)).digest()[:16]

    def seal(self, key: bytes, originator: str, text: bytes, aad: bytes) -> bytes:
        """Ciphertext and the whole tag of 16 bytes."""
        iv = bytes.fromhex(originator) + bytes(4)
        cipher = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
        cipher.authenticate_additional_data(aad)
        return cipher.update(text) + cipher.finalize() + cipher.tag


@pytest.fixture(scope="module")
def agreeing(stack: Stack) -> str:
    return stack.active_key(usage="agree", label="SMKI key agreement")


@pytest.fixture(scope="module")
def top_up_key(stack: Stack) -> str:
    return stack.active_key(usage="agree", label="prepayment", cell_usage="prePaymentTopUp")


@pytest.fixture(scope="module")
def adapter(stack: Stack):
    return stack.system("messenger", "key:derive", "key:read")


def meter_of(stack: Stack, key: str) -> Meter:
    pem = ok_bytes(stack, f"/v1/keys/{key}/public-key?format=pem")
    return Meter(load_pem_public_key(pem))


def ok_bytes(stack: Stack, path: str) -> bytes:
    return stack.person("alice").client().get(path).content


def reserve(adapter, **body: object) -> dict:
    return ok(adapter.client().post("/v1/counters/reservations", json=body))


def outgoing(meter: Meter, counter: str, **more: object) -> dict:
    return {"peer": meter.peer, "recipient": METER, "counter": counter, **more}


def incoming(meter: Meter, counter: str, **more: object) -> dict:
    return {"peer": meter.peer, "originator": METER, "counter": counter, **more}


def text(data: bytes) -> str:
    return b64encode(data).decode()


def test_the_meter_finds_our_mac_good_and_we_find_its_macs_good(stack, agreeing, adapter):
    meter, client = meter_of(stack, agreeing), adapter.client()
    counter = reserve(adapter)["first"]
    body = outgoing(meter, counter, data=text(AAD))
    made = ok(client.post(f"/v1/keys/{agreeing}/agreed-macs", json=body))
    key = meter.key("command", US, counter, METER)
    assert b64decode(made["mac"]) == meter.seal(key, US, b"", AAD)[:12]

    for kind in ("response", "alert"):
        key = meter.key(kind, METER, counter, US)
        tag = meter.seal(key, METER, b"", AAD)[:12]
        for mac, valid in ((tag, True), (bytes(12), False)):
            body = incoming(meter, counter, data=text(AAD), mac=text(mac), kind=kind)
            answer = ok(client.post(f"/v1/keys/{agreeing}/agreed-mac-checks", json=body))
            assert answer == {"valid": valid}


def test_attributes_are_encrypted_in_both_directions(stack, agreeing, adapter):
    meter, client = meter_of(stack, agreeing), adapter.client()
    counter = reserve(adapter)["first"]
    body = outgoing(meter, counter, plaintext=text(b"tariff"))
    made = ok(client.post(f"/v1/keys/{agreeing}/agreed-encryptions", json=body))
    key = meter.key("encryption", US, counter, METER)
    assert b64decode(made["ciphertext"]) == meter.seal(key, US, b"tariff", b"\x31")[:-4]

    key = meter.key("encryption", METER, counter, US)
    sealed = meter.seal(key, METER, b"4711 kWh", b"\x31")[:-4]
    body = incoming(meter, counter, ciphertext=text(sealed))
    opened = ok(client.post(f"/v1/keys/{agreeing}/agreed-decryptions", json=body))
    assert b64decode(opened["plaintext"]) == b"4711 kWh"
    altered = incoming(meter, counter, ciphertext=text(sealed[:-1] + b"\0"))
    refused = client.post(f"/v1/keys/{agreeing}/agreed-decryptions", json=altered)
    assert (refused.status_code, refused.json()["code"]) == (422, "hsm-data-invalid")


def test_a_counter_serves_one_message_and_the_same_call_gets_the_same_answer(
    stack, agreeing, adapter
):
    meter, client = meter_of(stack, agreeing), adapter.client()
    counter = reserve(adapter)["first"]
    path = f"/v1/keys/{agreeing}/agreed-macs"
    body = outgoing(meter, counter, data=text(AAD))
    first, again = (ok(client.post(path, json=body)) for _ in range(2))
    assert first == again
    other = client.post(path, json=outgoing(meter, counter, data=text(AAD + b"!")))
    assert (other.status_code, other.json()["code"]) == (409, "counter-used")
    with ThreadPoolExecutor(8) as pool:
        racing = outgoing(meter, reserve(adapter)["first"], data="")
        calls = [{**racing, "data": text(bytes([at]))} for at in range(8)]
        codes = sorted(a.status_code for a in pool.map(lambda c: client.post(path, json=c), calls))
    assert codes == [201] + [409] * 7


def test_a_counter_that_nobody_was_given_is_refused(stack, agreeing, adapter):
    meter, client = meter_of(stack, agreeing), adapter.client()
    for counter in ("0FFFFFFFFFFFFFFF", "7FFFFFFFFFFFFFFF"):
        body = outgoing(meter, counter, data=text(AAD))
        refused = client.post(f"/v1/keys/{agreeing}/agreed-macs", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "counter-not-issued")


def test_top_ups_have_a_key_and_counters_of_their_own(stack, agreeing, top_up_key, adapter):
    meter, client = meter_of(stack, top_up_key), adapter.client()
    usage = {"cell_usage": "prePaymentTopUp"}
    taken = reserve(adapter, **usage, recipient=METER)
    assert taken["step"] == "0000000100000000"
    counter = taken["first"]
    body = outgoing(meter, counter, data=text(AAD), **usage)
    made = ok(client.post(f"/v1/keys/{top_up_key}/agreed-macs", json=body))
    key = meter.key("command", US, counter, METER)
    assert b64decode(made["mac"]) == meter.seal(key, US, b"", AAD)

    plain = {"cell_usage": "management"}
    fresh = reserve(adapter, **usage, recipient=METER)["first"], reserve(adapter)["first"]
    wrongs = zip((agreeing, top_up_key), fresh, (usage, plain), strict=True)
    for wrong_key, number, wrong in wrongs:
        body = outgoing(meter, number, data=text(AAD), **wrong)
        refused = client.post(f"/v1/keys/{wrong_key}/agreed-macs", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "cell-usage")
    body = incoming(meter, counter, ciphertext=text(bytes(12)))
    refused = client.post(f"/v1/keys/{top_up_key}/agreed-decryptions", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "cell-usage")


def test_what_a_key_is_for_stands_in_its_order_and_a_wrong_use_in_the_log(
    stack, top_up_key, adapter
):
    client = stack.person("alice").client()
    order = ok(client.get(f"/v1/requests/{top_up_key}"))["document"]
    assert order["parameters"]["cell_usage"] == "prePaymentTopUp"
    meter = meter_of(stack, top_up_key)
    body = outgoing(meter, reserve(adapter)["first"], data=text(AAD))
    assert adapter.client().post(f"/v1/keys/{top_up_key}/agreed-macs", json=body).is_error
    history = ok(client.get(f"/v1/keys/{top_up_key}/history?limit=500"))["items"]
    assert history[-1]["header"]["ty"] == "KEY.USE_DENIED"
    assert "ordered for prePaymentTopUp" in history[-1]["payload"]["reason"]


def test_a_key_that_agrees_on_nothing_serves_no_slot(stack):
    body = {"scope": SCOPE, "label": "x", "algorithm": "EC-P256", "usage": "sign"}
    body |= {"key_class": "standard", "protect_days": 1, "process_days": 1}
    wrong = {**body, "cell_usage": "management"}
    refused = stack.person("alice").client().post("/v1/keys", json=wrong)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")


def test_keys_that_sign_agree_on_nothing_and_the_reverse(stack, agreeing, adapter):
    signing = stack.active_key()
    meter = meter_of(stack, agreeing)
    body = outgoing(meter, reserve(adapter)["first"], data=text(AAD))
    refused = adapter.client().post(f"/v1/keys/{signing}/agreed-macs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
    signer = stack.system("signer-of-all", "key:sign")
    digest = {"digest": text(hashlib.sha256(b"x").digest())}
    refused = signer.client().post(f"/v1/keys/{agreeing}/signatures", json=digest)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")


def test_a_system_without_the_right_gets_neither_key_nor_counter(stack, agreeing):
    system = stack.system("no-derive", "key:sign", "key:read")
    meter = meter_of(stack, agreeing)
    body = outgoing(meter, "0000000000000001", data=text(AAD))
    refused = system.client().post(f"/v1/keys/{agreeing}/agreed-macs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-permitted")
    refused = system.client().post("/v1/counters/reservations", json={})
    assert refused.status_code == 403
    refused = stack.person("alice").client().post("/v1/counters/reservations", json={})
    assert refused.status_code == 403


def test_every_use_says_under_which_counter_it_was_and_where_the_secret_was(
    stack, agreeing, adapter
):
    meter = meter_of(stack, agreeing)
    counter = reserve(adapter)["first"]
    body = outgoing(meter, counter, data=text(AAD))
    made = ok(adapter.client().post(f"/v1/keys/{agreeing}/agreed-macs", json=body))
    history = ok(stack.person("alice").client().get(f"/v1/keys/{agreeing}/history?limit=500"))
    [event] = [e for e in history["items"] if e["index"] == made["event"]["index"]]
    said = event["payload"]
    assert said["counter"] == {"first": counter, "last": counter}
    assert (said["use"], said["kind"]) == ("mac", "command")
    assert (said["originator"], said["recipient"]) == (US, METER)
    assert said["series"] == f"ACME/{US}/management"
    assert said["z"] == "in-gate-overwritten"
    assert said["peer_sha256"] == hashlib.sha256(b64decode(meter.peer)).hexdigest()


def test_a_peer_whose_private_key_is_published_is_refused(agreeing, adapter):
    body = {
        "peer": text(make_gbcs.spki(make_gbcs.PUBLISHED)),
        "recipient": METER,
        "counter": reserve(adapter)["first"],
        "data": text(AAD),
    }
    refused = adapter.client().post(f"/v1/keys/{agreeing}/agreed-macs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "published-key")


# Where neither the shared secret nor the agreed key may ever be seen ---------------------------


def needles(secret: bytes) -> list[bytes]:
    """A secret as it could have been written: as it is, in hex, in base64 wherever it starts."""
    forms = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for before in range(3):
        whole = b64encode(bytes(before) + secret)
        forms.append(whole[-(-before * 8 // 6) : len(whole) // 4 * 4 - 4])
    return forms


def places(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """All that the service has written, and the memory of every process but the gates' own."""
    for path in stack.folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    engine = open_engine(stack.settings.database)
    with engine.connect() as connection:
        for table in METADATA.tables.values():
            for row in connection.execute(select(table)):
                yield table.name, b"\n".join(map(_bytes, row))
    engine.dispose()
    for name in ("api", "recorder", "sealer"):
        yield from ((f"memory of {name}", part) for part in memory_of(stack.pid(name)))


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


def memory_of(pid: int) -> Iterator[bytes]:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            begin, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw"):
                with suppress(OSError, OverflowError, ValueError):  # unmapped meanwhile
                    memory.seek(begin)
                    yield memory.read(end - begin)


def test_the_shared_secret_and_the_agreed_keys_are_nowhere_to_be_found(stack, agreeing, adapter):
    meter, client = meter_of(stack, agreeing), adapter.client()
    counter = reserve(adapter)["first"]
    secrets = {"z": meter.z(), "command": meter.key("command", US, counter, METER)}
    made = ok(
        client.post(
            f"/v1/keys/{agreeing}/agreed-macs", json=outgoing(meter, counter, data=text(AAD))
        )
    )
    for kind, path in (("response", "agreed-mac-checks"), ("encryption", "agreed-decryptions")):
        secrets[kind] = key = meter.key(kind, METER, counter, US)
        sealed = meter.seal(key, METER, b"", AAD)[:12]
        more = {"data": text(AAD), "mac": text(sealed)} if kind == "response" else {}
        more = more or {"ciphertext": text(sealed), "aad": text(AAD)}
        ok(client.post(f"/v1/keys/{agreeing}/{path}", json=incoming(meter, counter, **more)))
    broken = incoming(meter, counter, ciphertext=text(bytes(12)))
    assert not client.post(f"/v1/keys/{agreeing}/agreed-decryptions", json=broken).is_success

    sought = {name: needles(secret) for name, secret in secrets.items()}
    control = b64decode(made["mac"]).hex().encode()  # what is no secret is found by this search
    found = set()
    for place, content in places(stack):
        found.add(control in content)
        hits = [name for name, forms in sought.items() if any(form in content for form in forms)]
        assert not hits, (place, hits)
    assert True in found
