"""Yubico's own library at a card that we issued: a program of its own, see `test_yubikeys`.

It reads the card, logs in with the management key, the PIN and the PUK that the issue set, signs,
and has the card attest; of a card with a secure channel all that through the channel, by its own
SCP03. It prints what it found.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from yubikit.core import TRANSPORT, CommandError
from yubikit.core.smartcard import ApduError, SmartCardConnection
from yubikit.core.smartcard.scp import KeyRef, Scp03KeyParams, StaticKeys
from yubikit.piv import KEY_TYPE, SLOT, PivSession
from yubikit.securitydomain import SecurityDomainSession

from hsm.pcsc import scp03
from hsm.pcsc.apdu import Channel
from hsm.pcsc.piv import PivCard
from keyvault.domain.issuing import Standing
from keyvault.operations import attestation
from keyvault.signatures import spki_der
from tests.cards.personalising import OWN, PIN, PUK, Here, Own, insert, new_job
from tests.cards.simulator import secure
from tests.cards.simulator.in_process import InProcess
from tests.cards.simulator.maker import MAKER
from tests.cards.simulator.models import FACTORY_3DES, FACTORY_PIN, MODELS, table_of

HEADER = 4  # bytes of an APDU without data and Le
MESSAGE = b"a message of a test"


class Connection(SmartCardConnection):
    """The simulated card, as this library wants a reader."""

    transport = TRANSPORT.USB

    def __init__(self, card) -> None:
        self._card = card

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        if len(apdu) == HEADER:  # it leaves Le out where it wants all that there is
            apdu += b"\0"
        answer = self._card.process(apdu)
        return answer[:-2], int.from_bytes(answer[-2:], "big")


def refused(call, *given) -> bool:
    try:
        call(*given)
    except (ApduError, CommandError, ValueError):
        return True
    return False


def issued(models, table, folder: Path) -> tuple:
    card, house = models["yubico"].make(), Here(new_job())
    insert(card, table("yubico", folder), house)
    card.reset()
    card.log.clear()
    return card, house


def found(card, house, params=None) -> dict:
    """What the library says of the card, after it has used all that the issue put there."""
    session = PivSession(Connection(card), params)
    certificate = session.get_certificate(SLOT.SIGNATURE)
    told = {
        "done": house.job.standing == Standing.DONE,
        "certificate": certificate.public_bytes(Encoding.DER) == house.asked["9C"],
        "tries": session.get_pin_attempts() == card.application.pin.limit,
        "pin is not the factory's": not session.get_pin_metadata().default_value,
        "puk is not the factory's": not session.get_puk_metadata().default_value,
        "factory pin": refused(session.verify_pin, FACTORY_PIN.decode()),
        "factory management key": refused(session.authenticate, FACTORY_3DES),
    }
    session.authenticate(OWN)
    session.verify_pin(PIN.decode())
    signature = session.sign(SLOT.SIGNATURE, KEY_TYPE.ECCP256, MESSAGE, SHA256())
    certificate.public_key().verify(signature, MESSAGE, ec.ECDSA(SHA256()))
    said = [session.attest_key(SLOT.SIGNATURE), session.get_certificate(SLOT.ATTESTATION)]
    chain = [each.public_bytes(Encoding.DER) for each in said]
    spki, serial = spki_der(certificate.public_key()), str(card.application.serial)
    attestation.check(spki, serial, chain, [MAKER.certificate], datetime.now(UTC))
    session.unblock_pin(PUK.decode(), "161803")
    session.verify_pin("161803")
    return told


def found_through_its_channel(folder: Path) -> dict:
    """The same with every command wrapped; then it gives the card other keys, which we take up."""
    card, house = issued(secure.SECURE, secure.table_of, folder)
    own = Own().channel(16).static
    params = Scp03KeyParams(KeyRef(1, 1), StaticKeys(own.enc, own.mac, own.dek))
    told = found(card, house, params)
    in_clear = {apdu[1] for apdu in card.log if not apdu[0] & 0x84}
    told["in clear"] = in_clear <= {0xA4, 0xC0}
    told["factory keys"] = refused(PivSession, Connection(card), Scp03KeyParams(KeyRef(1, 0xFF)))
    domain = SecurityDomainSession(Connection(card))
    domain.authenticate(params)
    other = [bytes((n,)) * 16 for n in (1, 2, 3)]
    domain.put_key(KeyRef(1, 2), StaticKeys(*other), replace_kvn=1)
    piv = PivCard(Channel(InProcess(card)))
    keys = scp03.HeldChannelKeys(2, scp03.StaticKeys(*other))
    piv.channel = scp03.SecureChannel(piv.channel, keys)
    told["what it put"] = piv.tries_left() == card.application.pin.limit
    return {f"secured: {name}": good for name, good in told.items()}


def main(folder: Path) -> None:
    told = found(*issued(MODELS, table_of, folder)) | found_through_its_channel(folder)
    sys.stdout.write(json.dumps(told))


main(Path(sys.argv[1]))
