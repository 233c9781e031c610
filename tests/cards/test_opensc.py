"""OpenSC and OpenSSL, which know nothing of us, judge the simulator and what we sign with it."""

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm import errors
from hsm.pcsc import containers
from hsm.pcsc.apdu import Channel
from hsm.pcsc.credential import PivCredential
from hsm.pcsc.piv import PivAlgorithm, PivCard, PivObject, PivSlot
from hsm.pcsc.piv_issue import (
    HeldKey,
    authenticate_management,
    change_pin,
    generate_key,
    put_data,
)
from hsm.pcsc.reader import PcscCard
from tests.cards.bench import NAMES, Bench
from tests.cards.conftest import inserted
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import certificate, personalised
from tests.cards.simulator.piv import MANAGEMENT_KEY, PIN
from tests.cards.simulator.vpcd import VirtualCard

READER = NAMES[0]
MODULE = next(Path("/usr/lib").glob("*-linux-gnu/opensc-pkcs11.so"))
IDS = {0x9A: "01", 0x9C: "02"}  # what OpenSC calls the slots
SELECT_PIV = "00A4040009A0000003080000100000"
TRIES = "00200080"


def ran(folder: Path, *command: str) -> str:
    """A wedged reader must end the test, and OpenSC's cache must not outlive it."""
    environment = os.environ | {"HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, timeout=30, check=False
    )
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, output
    return output


def pkcs11_tool(folder: Path, *arguments: str) -> str:
    return ran(folder, "pkcs11-tool", "--module", str(MODULE), *arguments)


def judged_by_openssl(folder: Path, card: Card, slot: int) -> str:
    key = card.application.keys[slot].public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(pem)
    return ran(
        folder, "openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", "message"
    )


def test_opensc_sees_a_piv_card_with_its_reader(virtual: VirtualCard, tmp_path: Path) -> None:
    assert virtual.card.atr
    for tool in ("opensc-tool", "piv-tool"):
        name = ran(tmp_path, tool, "--reader", READER, "--name")
        assert "Personal Identity Verification Card" in name
    certificates = pkcs11_tool(tmp_path, "--list-objects", "--type", "cert")
    assert all(f"A. Holder {slot:X}" in certificates for slot in (0x9A, 0x9C, 0x9D, 0x9E))


@pytest.mark.parametrize("slot", IDS)
def test_opensc_logs_in_and_signs_and_openssl_agrees(
    virtual: VirtualCard, tmp_path: Path, slot: int
) -> None:
    card = virtual.card
    (tmp_path / "message").write_bytes(b"an approval")
    (tmp_path / "digest").write_bytes(hashlib.sha256(b"an approval").digest())
    login = ["--login", "--pin", PIN.decode(), "--id", IDS[slot]]
    how = ["--sign", "--mechanism", "ECDSA", "--signature-format", "openssl"]
    pkcs11_tool(tmp_path, *login, *how, "-i", "digest", "-o", "sig")
    assert "Verified OK" in judged_by_openssl(tmp_path, card, slot)


@pytest.mark.parametrize("slot", [PivSlot.AUTHENTICATION, PivSlot.SIGNATURE])
@pytest.mark.parametrize("t0", [False, True], ids=["T=1", "T=0"])
def test_openssl_agrees_with_what_our_credential_signs(
    bench: Bench, tmp_path: Path, slot: PivSlot, t0: bool
) -> None:
    card = Card(personalised(), t0=t0)
    (tmp_path / "message").write_bytes(b"an approval")
    with inserted(bench, card, 1):
        credential = PivCredential.of_card(NAMES[1], slot, lambda _: PIN)
        (tmp_path / "sig").write_bytes(credential.sign(b"an approval"))
    assert "Verified OK" in judged_by_openssl(tmp_path, card, slot)


def test_openssl_agrees_with_an_rsa_signature(bench: Bench, tmp_path: Path) -> None:
    card = Card(personalised(rsa_slots=(0x9C,)))
    (tmp_path / "message").write_bytes(b"an approval")
    with inserted(bench, card, 1), PcscCard(NAMES[1]) as transport:
        piv = PivCard(Channel(transport))
        key = piv.certificate(PivSlot.SIGNATURE).public_key()
        piv.verify_pin(PIN)
        (tmp_path / "sig").write_bytes(piv.sign(PivSlot.SIGNATURE, key, b"an approval"))
    assert "Verified OK" in judged_by_openssl(tmp_path, card, 0x9C)


def test_opensc_proves_the_management_key_to_the_simulator(
    virtual: VirtualCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert virtual.card.atr
    (tmp_path / "9b").write_text(MANAGEMENT_KEY.hex(":"))
    monkeypatch.setenv("PIV_EXT_AUTH_KEY", str(tmp_path / "9b"))
    ran(tmp_path, "piv-tool", "--reader", READER, "--admin", "M:9B:03")
    (tmp_path / "9b").write_text(MANAGEMENT_KEY[::-1].hex(":"))
    with pytest.raises(AssertionError, match="-1211"):
        ran(tmp_path, "piv-tool", "--reader", READER, "--admin", "M:9B:03")


def test_opensc_signs_with_a_key_that_we_issued(virtual: VirtualCard, tmp_path: Path) -> None:
    card = virtual.card
    before = card.application.keys[0x9A]
    with PcscCard(READER) as transport:
        piv = PivCard(Channel(transport))
        authenticate_management(piv, HeldKey(PivAlgorithm.TRIPLE_DES, MANAGEMENT_KEY))
        made = generate_key(piv, PivSlot.AUTHENTICATION, PivAlgorithm.ECC_P256)
        content = containers.certificate(certificate(card.application.keys[0x9A], "Issued"))
        put_data(piv, PivObject.CERTIFICATE_AUTHENTICATION, content)
        change_pin(piv, PIN, b"12345678")
    assert made != before.public_key()
    (tmp_path / "message").write_bytes(b"an approval")
    (tmp_path / "digest").write_bytes(hashlib.sha256(b"an approval").digest())
    login = ["--login", "--pin", "12345678", "--id", IDS[0x9A]]
    how = ["--sign", "--mechanism", "ECDSA", "--signature-format", "openssl"]
    pkcs11_tool(tmp_path, *login, *how, "-i", "digest", "-o", "sig")
    assert "Verified OK" in judged_by_openssl(tmp_path, card, 0x9A)


def test_while_we_hold_a_card_nobody_else_reaches_it(virtual: VirtualCard, tmp_path: Path) -> None:
    with PcscCard(READER) as transport:
        PivCard(Channel(transport)).verify_pin(PIN)
        with pytest.raises(AssertionError, match=r"Sharing violation|Reader in use"):
            ran(tmp_path, "opensc-tool", "--reader", READER, "-s", SELECT_PIV)
    assert virtual.card.application.pin.left == 3


def test_after_us_the_pin_is_verified_for_nobody(virtual: VirtualCard, tmp_path: Path) -> None:
    with PcscCard(READER) as transport:
        PivCard(Channel(transport)).verify_pin(PIN)
        assert virtual.card.application.verified
    assert not virtual.card.application.verified
    raw = ["opensc-tool", "--reader", READER, "-s", SELECT_PIV, "-s", TRIES]
    assert "SW1=0x63, SW2=0xC3" in ran(tmp_path, *raw)


def test_a_card_in_another_programs_hands_is_called_busy(virtual: VirtualCard) -> None:
    assert virtual.card.atr
    with PcscCard(READER), pytest.raises(errors.ReaderBusyError):
        PcscCard(READER)


def test_a_card_that_somebody_holds_for_a_moment_is_waited_for(virtual: VirtualCard) -> None:
    assert virtual.card.atr
    holder = PcscCard(READER)
    threading.Timer(0.5, holder.close).start()
    with PcscCard(READER) as transport:
        assert PivCard(Channel(transport)).tries_left() == 3
