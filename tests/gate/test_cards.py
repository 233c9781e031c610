"""What a gate does for cards: keys by SP 800-108, PINs and PUKs that open once, and no more."""

from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from hsm.errors import DataInvalidError, IntegrityError, KeyUnusableError
from hsm.pcsc.piv import PivAlgorithm
from hsm.types import Algorithm, KeyUsage
from keyvault.domain.errors import InvalidInputError, NotPermittedError, NotReadyError
from tests.cards.simulator.secure import FACTORY, Domain, KeySet
from tests.gate.house import active, order

TOKEN = uuid4().bytes


def derived(mac, size: int, version: int, label: bytes = b"PIV-9B") -> bytes:
    """SP 800-108r1, 4.1 (counter mode), over a MAC that was asked before the key was reserved."""
    bits = (size * 8).to_bytes(4, "big")
    fixed = label + b"\0" + TOKEN + version.to_bytes(4, "big") + bits
    return b"".join(mac(n.to_bytes(4, "big") + fixed) for n in (1, 2))[:size]


def test_management_keys_follow_the_standard_and_secrets_open_until_they_are_closed(own) -> None:
    own.start()
    gate, call = own.gate(), own.wire().call
    with pytest.raises(NotReadyError, match="no card master"):
        gate.card_key(TOKEN, 1, PivAlgorithm.AES_256)
    master = active(gate, order(Algorithm.AES_256, KeyUsage.MAC))["key_id"]
    seal = active(gate, order(Algorithm.AES_256, KeyUsage.ENCRYPT))["key_id"]
    sizes = {PivAlgorithm.AES_256: 32, PivAlgorithm.AES_192: 24, PivAlgorithm.AES_128: 16}

    def mac(data: bytes) -> bytes:
        [mac] = call("mac", master, "AES-CMAC", [data], b"")
        return mac

    wanted = {each: derived(mac, size, 1) for each, size in sizes.items()}
    labels = b"SCP03-ENC", b"SCP03-MAC", b"SCP03-DEK"
    static = [derived(mac, 24, 1, label) for label in labels]
    own.stop()
    names = str(UUID(bytes=master)), str(UUID(bytes=seal))
    text = f"[issuing]\nmasters = ['{names[0]}']\nseal = '{names[1]}'\n"
    own.path.write_text(own.path.read_text() + text)
    own.start()
    gate = own.gate()
    assert {each: gate.card_key(TOKEN, 1, each) for each in sizes} == wanted
    assert gate.card_key(uuid4().bytes, 1, PivAlgorithm.AES_256) != wanted[PivAlgorithm.AES_256]
    _opens_a_card_s_channel(gate, static)
    _answers_for_the_card_alone(own, gate, master, seal, wanted[PivAlgorithm.AES_256])
    with pytest.raises(NotPermittedError, match="has its own keys"):
        gate.card_channel("keys", TOKEN, 1, 24, True, FACTORY, 0)
    _opens_until_closed(gate)


def _opens_a_card_s_channel(gate, static: list[bytes]) -> None:
    """Of a simulated card, which gets its keys from the gate and learns of a session by itself."""
    card = Domain({0xFF: KeySet(FACTORY, FACTORY, FACTORY)})
    card.put(0, 0x81, gate.card_channel("keys", TOKEN, 1, 24, True, FACTORY, 0), FACTORY)
    [(version, held)] = card.sets.items()
    assert (version, [held.enc, held.mac, held.dek]) == (1, static)
    session, told = card.greeted(1, gate.card_channel("challenge", TOKEN, 1))
    proof = told[13:21], told[21:29]
    made = gate.card_channel("session", TOKEN, 1, 24, *proof)
    assert made == [session.enc, session.mac, session.rmac, session.host]
    for drawn in (False, True):  # what was recorded is asked for again: as it was, and afresh
        if drawn:
            gate.card_channel("challenge", TOKEN, 1)
        with pytest.raises(IntegrityError):
            gate.card_channel("session", TOKEN, 1, 24, *proof)
    older = gate.card_channel("keys", TOKEN, 1, 24, True, b"", 1)  # under the card's own DEK
    assert card.put(1, 0x81, older, held.dek)[0] == 1
    gate.card_channel("challenge", TOKEN, 1)
    with pytest.raises(InvalidInputError):
        gate.card_channel("session", TOKEN, 1, 20, *proof)


def _answers_for_the_card_alone(own, gate, master, seal, key) -> None:
    opened, sealed = gate.card_answer(TOKEN, 1, PivAlgorithm.AES_256, b"w" * 16, b"c" * 16)
    cipher = Cipher(AES(key), modes.ECB())  # noqa: S305  (PIV's)
    assert cipher.encryptor().update(opened) == b"w" * 16
    assert cipher.decryptor().update(sealed) == b"c" * 16
    gate.card_key_set(TOKEN, 1)
    with pytest.raises(NotPermittedError, match="has its management key"):
        gate.card_key(TOKEN, 1, PivAlgorithm.AES_256)
    call = own.wire().call
    for method, *args in (
        ("mac", master, "AES-CMAC", [b"x"], b""),
        ("encrypt", seal, "AES-GCM", [b""], b""),
    ):
        with pytest.raises(KeyUnusableError, match="serves cards"):
            call(method, *args)


def _opens_until_closed(gate) -> None:
    pin, puk = (gate.card_seal(TOKEN, kind) for kind in ("pin", "puk"))
    digits = gate.card_open(TOKEN, "puk", puk)
    assert len(digits) == 8
    assert digits.isdigit()
    for token, kind in ((uuid4().bytes, "puk"), (TOKEN, "pin")):
        with pytest.raises(DataInvalidError):
            gate.card_open(token, kind, puk)
    gate.card_close(TOKEN, puk)
    with pytest.raises(NotPermittedError, match="sealed"):
        gate.card_open(TOKEN, "puk", puk)
    assert gate.card_open(TOKEN, "pin", pin) != digits
