"""The PIV card application as SP 800-73-4 part 2 has it, and nothing of any maker.

What a card's holder needs: who the card is, its certificates, the PIN, a signature. What an
issuer needs besides stands in `hsm.pcsc.piv_issue`.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.errors import (
    CardDataError,
    CardForeignError,
    CardObjectMissingError,
    IntegrityError,
    MechanismUnsupportedError,
    PinIncorrectError,
    PinLockedError,
)
from hsm.pcsc import tlv
from hsm.pcsc.apdu import SHORT_LE, Carrier, Command, Response, StatusWord, refusal

AID = bytes.fromhex("A00000030800001000")  # without the version, so that every edition answers
CERTIFICATE_LIMIT = 16_384  # bytes of one certificate, unpacked
PIN_SIZE = 8  # bytes on the wire, filled up with FF
PIN_MINIMUM = 6
GUID_SIZE, DATE_SIZE, POLICY_SIZE = 16, 8, 2
RSA_SIZE = 256  # bytes
SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class PivSlot(IntEnum):
    """Key references of SP 800-73-4 part 1, table 4b. The number is what travels in the APDU."""

    AUTHENTICATION = 0x9A
    MANAGEMENT = 0x9B
    SIGNATURE = 0x9C
    KEY_MANAGEMENT = 0x9D
    CARD_AUTHENTICATION = 0x9E


class PivReference(IntEnum):
    """References of secrets that VERIFY and its kin take (SP 800-73-4 part 1, table 4b)."""

    PIN = 0x80  # the application's own, not the global one of the card
    PUK = 0x81


class PivAlgorithm(IntEnum):
    """Algorithm identifiers of SP 800-78-4, table 6-2."""

    TRIPLE_DES = 0x03
    RSA_2048 = 0x07
    AES_128 = 0x08
    AES_192 = 0x0A
    AES_256 = 0x0C
    ECC_P256 = 0x11
    ECC_P384 = 0x14


class PivObject(IntEnum):
    """Tags of data objects (SP 800-73-4 part 1, table 3)."""

    DISCOVERY = 0x7E
    CARD_CAPABILITY_CONTAINER = 0x5FC107
    CHUID = 0x5FC102
    CERTIFICATE_AUTHENTICATION = 0x5FC105
    CERTIFICATE_SIGNATURE = 0x5FC10A
    CERTIFICATE_KEY_MANAGEMENT = 0x5FC10B
    CERTIFICATE_CARD_AUTHENTICATION = 0x5FC101
    SECURITY_OBJECT = 0x5FC106
    KEY_HISTORY = 0x5FC10C


CERTIFICATE_OF = {
    PivSlot.AUTHENTICATION: PivObject.CERTIFICATE_AUTHENTICATION,
    PivSlot.SIGNATURE: PivObject.CERTIFICATE_SIGNATURE,
    PivSlot.KEY_MANAGEMENT: PivObject.CERTIFICATE_KEY_MANAGEMENT,
    PivSlot.CARD_AUTHENTICATION: PivObject.CERTIFICATE_CARD_AUTHENTICATION,
}


class Ins(IntEnum):
    """Instruction bytes (SP 800-73-4 part 2, table 2)."""

    VERIFY = 0x20
    CHANGE_REFERENCE_DATA = 0x24
    RESET_RETRY_COUNTER = 0x2C
    GENERATE_ASYMMETRIC_KEY_PAIR = 0x47
    GENERAL_AUTHENTICATE = 0x87
    SELECT = 0xA4
    GET_DATA = 0xCB
    PUT_DATA = 0xDB


class Tag(IntEnum):
    """Tags inside commands, responses and containers."""

    CERTIFICATE = 0x70
    CERTIFICATE_INFO = 0x71
    DATA = 0x53
    OBJECT = 0x5C
    APPLICATION = 0x61
    APPLICATION_AID = 0x4F
    APPLICATION_LABEL = 0x50
    PIN_USAGE_POLICY = 0x5F2F
    DYNAMIC_AUTHENTICATION = 0x7C
    WITNESS = 0x80
    CHALLENGE = 0x81
    RESPONSE = 0x82
    EXPONENTIATION = 0x85
    GUID = 0x34
    EXPIRATION_DATE = 0x35


ALGORITHM_OF: dict[type[ec.EllipticCurve], PivAlgorithm] = {
    ec.SECP256R1: PivAlgorithm.ECC_P256,
    ec.SECP384R1: PivAlgorithm.ECC_P384,
}
COMPRESSED = 0x01  # in certificate info: gzip
WARNING_TRIES = 0x63C0  # the last nibble is what is left


@dataclass(frozen=True, slots=True)
class Chuid:
    """Cardholder unique identifier. `guid` are 16 bytes, `expires` is YYYYMMDD as on the card."""

    guid: bytes
    expires: str


class PivCard:
    """The selected PIV application. A PIN is passed on and never kept."""

    def __init__(self, channel: Carrier) -> None:
        """Select it. Raises `CardObjectMissingError` where the card has none."""
        self.channel = channel
        self.label = ""
        self.select()

    def select(self) -> None:
        """Select the application, as after a reset. Raises as the constructor does."""
        command = Command(Ins.SELECT, 0x04, 0x00, AID, SHORT_LE)
        answer = self.ask(command, "select the PIV application")
        properties = tlv.template(tlv.unwrap(Tag.APPLICATION, answer))
        if Tag.APPLICATION_AID not in properties:
            raise CardDataError("the application does not say its identifier")
        self.label = properties.get(Tag.APPLICATION_LABEL, b"").decode("utf-8", "replace")

    def ask(self, command: Command, doing: str, seconds: float | None = None) -> bytes:
        """Send and insist on success. `doing` completes "the card refused to …"."""
        response = self.channel.send(command, seconds)
        if not response.ok:
            raise refusal(response, doing)
        return response.data

    def get_data(self, wanted: int) -> bytes:
        """Return what is in a data object. Raises `CardObjectMissingError` where there is none."""
        request = tlv.encode(Tag.OBJECT, tlv.tag_bytes(wanted))
        command = Command(Ins.GET_DATA, 0x3F, 0xFF, request, SHORT_LE)
        answer = self.ask(command, f"give data object {wanted:X}")
        if wanted == PivObject.DISCOVERY:  # the one object that is its own container
            return tlv.unwrap(PivObject.DISCOVERY, answer)
        content = tlv.unwrap(Tag.DATA, answer)
        if not content:  # a deleted object answers so on many cards
            raise CardObjectMissingError(f"data object {wanted:X} on the card is empty")
        return content

    def chuid(self) -> Chuid:
        content = tlv.template(self.get_data(PivObject.CHUID))
        guid, expires = content.get(Tag.GUID, b""), content.get(Tag.EXPIRATION_DATE, b"")
        if len(guid) != GUID_SIZE or len(expires) != DATE_SIZE or not expires.isdigit():
            raise CardDataError("the CHUID lacks a GUID of 16 bytes or a date of 8 digits")
        return Chuid(guid, expires.decode())

    def pin_usage_policy(self) -> int | None:
        """The two bytes of the discovery object, None on a card without one."""
        try:
            content = tlv.template(self.get_data(PivObject.DISCOVERY))
        except CardObjectMissingError:
            return None
        policy = content.get(Tag.PIN_USAGE_POLICY, b"")
        if len(policy) != POLICY_SIZE:
            raise CardDataError("the discovery object lacks a PIN usage policy of 2 bytes")
        return int.from_bytes(policy, "big")

    def certificate(self, slot: PivSlot) -> x509.Certificate:
        """Raises `CardObjectMissingError`; `CardDataError` on what is not one certificate."""
        content = tlv.template(self.get_data(CERTIFICATE_OF[slot]))
        data = content.get(Tag.CERTIFICATE, b"")
        info = content.get(Tag.CERTIFICATE_INFO, b"\0")
        if len(info) != 1 or info[0] not in (0, COMPRESSED):
            raise CardDataError("the certificate's container says what SP 800-73-4 does not know")
        if info[0] == COMPRESSED:
            data = _gunzip(data)
        try:
            return x509.load_der_x509_certificate(data)
        except (ValueError, x509.InvalidVersion) as error:
            raise CardDataError(f"slot {slot:X} holds no certificate in DER") from error

    def tries_left(self) -> int | None:
        """Ask without spending a try. None: the PIN is verified now, so the card does not say.

        Raises `PinLockedError` at none left.
        """
        response = self.channel.send(Command(Ins.VERIFY, 0x00, PivReference.PIN))
        if response.ok:
            return None
        tries = _tries(response)
        if tries is None:
            raise refusal(response, "say how many PIN tries are left")
        if tries == 0:
            raise pin_error(response, "PIN")
        return tries

    def verify_pin(self, pin: bytes | bytearray) -> None:
        """Raises `PinIncorrectError` with what is left, `PinLockedError`.

        An empty PIN, or one of another form, never reaches the card: it would cost a try, or
        (empty) only ask for the state, which a program could take for a yes.
        """
        before = self.tries_left()
        block = pin_block(pin)
        response = self.channel.send(Command(Ins.VERIFY, 0x00, PivReference.PIN, block))
        if response.ok:
            return
        error = pin_error(response, "PIN")
        if isinstance(error, PinIncorrectError) and error.tries_left and before is not None:
            _must_fall(before, error.tries_left)
        raise error

    def sign(self, slot: PivSlot, key: PublicKey, message: bytes) -> bytes:
        """Sign and check the signature under `key` before anybody sees it.

        ECDSA (DER) of P-256 with SHA-256 or of P-384 with SHA-384, or RSA-2048 with PKCS #1 v1.5
        and SHA-256. `key` is the enrolled one, or that of a
        certificate somebody checked. Raises `IntegrityError` where the card signs something else.
        """
        algorithm, challenge = _prepared(key, message)
        request = tlv.encode(Tag.RESPONSE) + tlv.encode(Tag.CHALLENGE, challenge)
        answer = self.general_authenticate(algorithm, slot, request, f"sign in slot {slot:X}")
        if set(answer) != {Tag.RESPONSE}:
            raise CardDataError("the card answered a challenge with something else")
        _check(key, answer[Tag.RESPONSE], message)
        return answer[Tag.RESPONSE]

    def agree(
        self, slot: PivSlot, key: ec.EllipticCurvePublicKey, peer: ec.EllipticCurvePublicKey
    ) -> bytes:
        """ECDH of the slot's key, whose public half is `key`, with `peer`: Z, a curve's field wide.

        SP 800-73-4 part 2, annex A.5. Whoever can checks what the card answers: here nobody can.
        Raises `MechanismUnsupportedError` at keys of other or of different curves.
        """
        algorithm = ALGORITHM_OF.get(type(key.curve))
        if algorithm is None or not isinstance(peer.curve, type(key.curve)):
            raise MechanismUnsupportedError("a card agrees here on P-256 or P-384, both alike")
        point = peer.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        request = tlv.encode(Tag.RESPONSE) + tlv.encode(Tag.EXPONENTIATION, point)
        answer = self.general_authenticate(algorithm, slot, request, f"agree in slot {slot:X}")
        z = answer.get(Tag.RESPONSE, b"")
        if set(answer) != {Tag.RESPONSE} or len(z) != key.key_size // 8:
            raise CardDataError("the card answered a peer's key with something else")
        return z

    def general_authenticate(
        self, algorithm: PivAlgorithm, slot: PivSlot, request: bytes, doing: str
    ) -> dict[int, bytes]:
        """One step of GENERAL AUTHENTICATE: the dynamic authentication template, both ways."""
        data = tlv.encode(Tag.DYNAMIC_AUTHENTICATION, request)
        command = Command(Ins.GENERAL_AUTHENTICATE, algorithm, slot, data, SHORT_LE)
        return tlv.template(tlv.unwrap(Tag.DYNAMIC_AUTHENTICATION, self.ask(command, doing)))


def pin_block(pin: bytes | bytearray) -> bytes:
    """Fill up a PIN of 6 to 8 digits (SP 800-73-4 part 1, 4.2). Raises `PinIncorrectError`."""
    if not PIN_MINIMUM <= len(pin) <= PIN_SIZE or not pin.isdigit():
        raise PinIncorrectError(
            "a PIV PIN has 6 to 8 digits; the card was not asked",
            next_step="Type the PIN again; no try was spent.",
        )
    return bytes(pin).ljust(PIN_SIZE, b"\xff")


BLOCKED_STEP = {"PIN": "Have it unblocked with the PUK.", "PUK": "Replace the card."}


def pin_error(response: Response, secret: str) -> Exception:
    """What the card's answer to a PIN or PUK means, a success excluded."""
    tries = _tries(response)
    cause = f"{response.sw:04X}"
    if tries is None:
        return refusal(response, f"check the {secret}")
    if tries == 0:
        return PinLockedError(
            f"the {secret} is blocked",
            tries_left=0,
            cause=cause,
            next_step=BLOCKED_STEP[secret],
        )
    return PinIncorrectError(
        f"the card refused the {secret}: {tries} {'try' if tries == 1 else 'tries'} left",
        tries_left=tries,
        cause=cause,
        next_step=f"Make sure of the {secret} before the next try.",
    )


def _tries(response: Response) -> int | None:
    if response.sw == StatusWord.AUTHENTICATION_BLOCKED:
        return 0
    return response.sw & 0xF if response.sw & 0xFFF0 == WARNING_TRIES else None


def _must_fall(before: int, after: int) -> None:
    if after != before - 1:
        raise IntegrityError(
            f"the card's count of PIN tries went from {before} to {after} at one wrong PIN",
            next_step="Do not use this card again: it does not protect its PIN.",
        )


def _prepared(key: PublicKey, message: bytes) -> tuple[PivAlgorithm, bytes]:
    """What the card gets: a digest, or for RSA the whole encoded block (RFC 8017, 9.2)."""
    digest = hashes.Hash(_hash_of(key))
    digest.update(message)
    value = digest.finalize()
    if isinstance(key, ec.EllipticCurvePublicKey) and type(key.curve) in ALGORITHM_OF:
        return ALGORITHM_OF[type(key.curve)], value
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == RSA_SIZE * 8:
        info = SHA256_DIGEST_INFO + value
        return PivAlgorithm.RSA_2048, b"\0\1" + b"\xff" * (RSA_SIZE - len(info) - 3) + b"\0" + info
    raise MechanismUnsupportedError(
        "a card signs here with ECDSA P-256 or P-384, or RSA-2048",
        next_step="Enrol a card that has such a key.",
    )


def _hash_of(key: PublicKey) -> hashes.HashAlgorithm:
    """SP 800-78-4, 3.2: with P-384 SHA-384, with all others SHA-256."""
    curve = key.curve if isinstance(key, ec.EllipticCurvePublicKey) else None
    return hashes.SHA384() if isinstance(curve, ec.SECP384R1) else hashes.SHA256()


def _check(key: PublicKey, signature: bytes, message: bytes) -> None:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, message, ec.ECDSA(_hash_of(key)))
    except InvalidSignature:
        raise IntegrityError(
            "the card's signature is not of this message under the expected key",
            next_step="Do not use this card again before somebody has looked at it.",
        ) from None


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """Raises `CardForeignError` where it is of a kind that no PIV card signs with."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CardDataError("the certificate's public key cannot be read") from error
    if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return key
    raise CardForeignError("the certificate's key is neither an EC nor an RSA key")


def _gunzip(data: bytes) -> bytes:
    """RFC 1952, never unpacking beyond the limit."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = stream.decompress(data, CERTIFICATE_LIMIT)
    except zlib.error as error:
        raise CardDataError("a compressed certificate that does not unpack") from error
    if not stream.eof:
        raise CardDataError(f"a compressed certificate cut off or over {CERTIFICATE_LIMIT} bytes")
    return unpacked
