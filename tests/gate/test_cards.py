"""What a gate does for cards: keys by SP 800-108, PINs and PUKs that open once, and no more."""

from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from hsm.errors import DataInvalidError, KeyUnusableError
from hsm.pcsc.piv import PivAlgorithm
from hsm.types import Algorithm, KeyUsage
from keyvault.domain.errors import NotPermittedError, NotReadyError
from tests.gate.house import active, order

TOKEN = uuid4().bytes


def derived(mac, size: int, version: int) -> bytes:
    """SP 800-108r1, 4.1 (counter mode), over a MAC that was asked before the key was reserved."""
    bits = (size * 8).to_bytes(4, "big")
    fixed = b"PIV-9B\0" + TOKEN + version.to_bytes(4, "big") + bits
    return b"".join(mac(n.to_bytes(4, "big") + fixed) for n in (1, 2))[:size]


def test_management_keys_follow_the_standard_and_secrets_open_until_they_are_closed(own) -> None:
    own.start()
    gate, call = own.gate(), own.wire().call
    with pytest.raises(NotReadyError, match="no card master"):
        gate.card_key(TOKEN, 1, PivAlgorithm.AES_256)
    master = active(gate, order(Algorithm.AES_256, KeyUsage.MAC))["key_id"]
    seal = active(gate, order(Algorithm.AES_256, KeyUsage.ENCRYPT))["key_id"]
    sizes = {PivAlgorithm.AES_256: 32, PivAlgorithm.AES_192: 24, PivAlgorithm.AES_128: 16}
    wanted = {
        each: derived(lambda data: call("mac", master, "AES-CMAC", data, b""), size, 1)
        for each, size in sizes.items()
    }
    own.stop()
    names = str(UUID(bytes=master)), str(UUID(bytes=seal))
    text = f"[issuing]\nmasters = ['{names[0]}']\nseal = '{names[1]}'\n"
    own.path.write_text(own.path.read_text() + text)
    own.start()
    gate = own.gate()
    assert {each: gate.card_key(TOKEN, 1, each) for each in sizes} == wanted
    assert gate.card_key(uuid4().bytes, 1, PivAlgorithm.AES_256) != wanted[PivAlgorithm.AES_256]
    _answers_for_the_card_alone(own, gate, master, seal, wanted[PivAlgorithm.AES_256])
    _opens_until_closed(gate)


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
        ("mac", master, "AES-CMAC", b"x", b""),
        ("encrypt", seal, "AES-GCM", b"", b""),
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
