"""What an issuer does to a PIV card beyond its holder (SP 800-73-4 part 2, 3.2 and 3.3).

Each function is one act; order, journal and read-back are the caller's. The card never proves
that it did what it said: read back, and sign something with a new key.
"""

import hmac
import os
from typing import Protocol as Contract

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from hsm.errors import CardDataError, IntegrityError, MechanismUnsupportedError, PinIncorrectError
from hsm.pcsc import tlv
from hsm.pcsc.apdu import SHORT_LE, Command
from hsm.pcsc.piv import (
    PIN_SIZE,
    RSA_SIZE,
    Ins,
    PivAlgorithm,
    PivCard,
    PivReference,
    PivSlot,
    PublicKey,
    Tag,
    pin_block,
    pin_error,
)

GENERATE_SECONDS = 60.0  # an RSA key takes a card that long
TEMPLATE_TAG = 0xAC
ALGORITHM_TAG = 0x80
PUBLIC_KEY_TAG = 0x7F49
MODULUS_TAG = 0x81
EXPONENT_TAG = 0x82
POINT_TAG = 0x86
EXPONENT = 65_537

# Bytes of the management key, by its cipher.
KEY_SIZE = {
    PivAlgorithm.TRIPLE_DES: 24,
    PivAlgorithm.AES_128: 16,
    PivAlgorithm.AES_192: 24,
    PivAlgorithm.AES_256: 32,
}
TRIPLE_DES_BLOCK, AES_BLOCK = 8, 16
CURVE: dict[PivAlgorithm, ec.EllipticCurve] = {
    PivAlgorithm.ECC_P256: ec.SECP256R1(),
    PivAlgorithm.ECC_P384: ec.SECP384R1(),
}


class ManagementKey(Contract):
    """A management key (9B) that need not be here: what it answers is all that a card hears."""

    @property
    def algorithm(self) -> PivAlgorithm: ...

    def answer(self, witness: bytes, challenge: bytes) -> tuple[bytes, bytes]:
        """Decrypt the card's witness, encrypt our challenge: one block each."""


class HeldKey:
    """A management key in this process. Raises `MechanismUnsupportedError` at a wrong size."""

    def __init__(self, algorithm: PivAlgorithm, key: bytes) -> None:
        if KEY_SIZE.get(algorithm) != len(key):
            raise MechanismUnsupportedError(
                f"no management key of {algorithm.name} has {len(key)} B"
            )
        self.algorithm = algorithm
        self._key = key

    def answer(self, witness: bytes, challenge: bytes) -> tuple[bytes, bytes]:
        cipher = Cipher(_block_cipher(self.algorithm, self._key), modes.ECB())  # noqa: S305  (one block, by the standard)
        decryptor, encryptor = cipher.decryptor(), cipher.encryptor()
        opened = decryptor.update(witness) + decryptor.finalize()
        return opened, encryptor.update(challenge) + encryptor.finalize()


def authenticate_management(card: PivCard, key: ManagementKey) -> None:
    """Prove the management key (9B) to the card, and let the card prove it too.

    Raises `CardRefusedError` where the card does not know this key, `IntegrityError` where it
    takes it without knowing it.
    """
    algorithm = key.algorithm
    block = TRIPLE_DES_BLOCK if algorithm is PivAlgorithm.TRIPLE_DES else AES_BLOCK
    doing = "authenticate with the management key"
    slot = PivSlot.MANAGEMENT
    answer = card.general_authenticate(algorithm, slot, tlv.encode(Tag.WITNESS), doing)
    sealed = answer.get(Tag.WITNESS, b"")
    if len(sealed) != block:
        raise CardDataError(f"the card's witness has {len(sealed)} bytes instead of {block}")
    challenge = os.urandom(block)
    witness, expected = key.answer(sealed, challenge)
    request = tlv.encode(Tag.WITNESS, witness) + tlv.encode(Tag.CHALLENGE, challenge)
    answer = card.general_authenticate(algorithm, slot, request, doing)
    if not hmac.compare_digest(answer.get(Tag.RESPONSE, b""), expected):
        raise IntegrityError("the card does not know the management key that it accepted")


def generate_key(card: PivCard, slot: PivSlot, algorithm: PivAlgorithm) -> PublicKey:
    """Make a key pair on the card; the one before it is gone. Wants the management key."""
    template = tlv.encode(TEMPLATE_TAG, tlv.encode(ALGORITHM_TAG, bytes((algorithm,))))
    command = Command(Ins.GENERATE_ASYMMETRIC_KEY_PAIR, 0x00, slot, template, SHORT_LE)
    answer = card.ask(command, f"make a key in slot {slot:X}", GENERATE_SECONDS)
    fields = tlv.template(tlv.unwrap(PUBLIC_KEY_TAG, answer))
    try:
        return _public_key(algorithm, fields)
    except (KeyError, ValueError) as error:
        raise CardDataError(f"the card made no {algorithm.name} key that can be read") from error


def put_data(card: PivCard, where: int, content: bytes) -> None:
    """Write a data object; empty content deletes it. Wants the management key."""
    data = tlv.encode(Tag.OBJECT, tlv.tag_bytes(where)) + tlv.encode(Tag.DATA, content)
    card.ask(Command(Ins.PUT_DATA, 0x3F, 0xFF, data), f"write data object {where:X}")


def change_pin(card: PivCard, old: bytes | bytearray, new: bytes | bytearray) -> None:
    """Raises `PinIncorrectError`, which spends a try, and `PinLockedError`."""
    _spend(card, Ins.CHANGE_REFERENCE_DATA, PivReference.PIN, pin_block(old) + pin_block(new))


def change_puk(card: PivCard, old: bytes | bytearray, new: bytes | bytearray) -> None:
    """Raises `PinIncorrectError`, which spends a try, and `PinLockedError`."""
    _spend(card, Ins.CHANGE_REFERENCE_DATA, PivReference.PUK, _puk(old) + _puk(new))


def unblock_pin(card: PivCard, puk: bytes | bytearray, new: bytes | bytearray) -> None:
    """Set a new PIN by the PUK (RESET RETRY COUNTER). A wrong PUK spends a try of its own."""
    _spend(card, Ins.RESET_RETRY_COUNTER, PivReference.PIN, _puk(puk) + pin_block(new))


def _spend(card: PivCard, ins: Ins, reference: PivReference, data: bytes) -> None:
    by_puk = ins is Ins.RESET_RETRY_COUNTER or reference is PivReference.PUK
    response = card.channel.send(Command(ins, 0x00, reference, data))
    if not response.ok:
        raise pin_error(response, "PUK" if by_puk else "PIN")


def _puk(puk: bytes | bytearray) -> bytes:
    if len(puk) != PIN_SIZE:
        raise PinIncorrectError(f"a PUK has {PIN_SIZE} bytes; the card was not asked")
    return bytes(puk)


def _block_cipher(algorithm: PivAlgorithm, key: bytes) -> AES | TripleDES:
    return TripleDES(key) if algorithm is PivAlgorithm.TRIPLE_DES else AES(key)


def _public_key(algorithm: PivAlgorithm, fields: dict[int, bytes]) -> PublicKey:
    if algorithm in CURVE:
        return ec.EllipticCurvePublicKey.from_encoded_point(CURVE[algorithm], fields[POINT_TAG])
    modulus = int.from_bytes(fields[MODULUS_TAG], "big")
    exponent = int.from_bytes(fields[EXPONENT_TAG], "big")
    if modulus.bit_length() != RSA_SIZE * 8 or exponent != EXPONENT:
        raise ValueError("not RSA-2048 with the usual exponent")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()
