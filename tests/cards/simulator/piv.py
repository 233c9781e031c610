"""The PIV application (SP 800-73-4) in software: real keys, real counters, no maker's extension.

It shares no code with the product, so that a shared mistake cannot hide.
"""

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cards.simulator.ber import Refused, fields, tlv

AID = bytes.fromhex("A000000308000010000100")
PIN, PUK = b"654321", b"87654321"
MANAGEMENT_KEY = bytes(range(24))
DISCOVERY = 0x7E
PRINTED = 0x5FC109  # readable behind the PIN alone
RSA_2048, P256, P384, TRIPLE_DES = 0x07, 0x11, 0x14, 0x03
BLOCK = {TRIPLE_DES: 8, 0x08: 16, 0x0A: 16, 0x0C: 16}
CURVES: dict[int, ec.EllipticCurve] = {P256: ec.SECP256R1(), P384: ec.SECP384R1()}
HASHES: dict[int, hashes.HashAlgorithm] = {32: hashes.SHA256(), 48: hashes.SHA384()}

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class Secret:
    """A PIN or PUK and its counter."""

    value: bytes
    limit: int = 3
    left: int = 3

    def check(self, given: bytes) -> None:
        if not self.left:
            raise Refused(0x6983)
        if len(given) != 8:
            raise Refused(0x6A80)
        self.left -= 1
        if not hmac.compare_digest(given, self.value.ljust(8, b"\xff")):
            raise Refused(0x63C0 | self.left if self.left else 0x6983)
        self.left = self.limit

    def change(self, value: bytes) -> None:
        self.value, self.left = value.rstrip(b"\xff"), self.limit


@dataclass
class Applet:
    keys: dict[int, Key] = field(default_factory=dict)
    objects: dict[int, bytes] = field(default_factory=dict)
    pin: Secret = field(default_factory=lambda: Secret(PIN))
    puk: Secret = field(default_factory=lambda: Secret(PUK))
    management_key: bytes = MANAGEMENT_KEY
    management_algorithm: int = TRIPLE_DES
    object_limit: int = 4096  # bytes
    label: bytes = b""  # in the answer to SELECT
    algorithms: tuple[int, ...] = (RSA_2048, P256, P384)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.selected = self.verified = self.administered = False
        self.fresh = self.just_verified = False
        self.witness = self.challenge = b""

    def execute(self, ins: int, p1: int, p2: int, data: bytes) -> bytes:
        command = self._commands.get(ins)
        if command is None or not (self.selected or ins == 0xA4):
            raise Refused(0x6D00)
        # The PIN for 9C is good for the very next command.
        self.just_verified, self.fresh = self.fresh, False
        return command(self, p1, p2, data)

    def _select(self, p1: int, _: int, data: bytes) -> bytes:
        if p1 != 0x04 or len(data) < 5 or not AID.startswith(data):
            raise Refused(0x6A82)
        self.selected = True
        label = tlv(0x50, self.label) if self.label else b""
        return tlv(0x61, tlv(0x4F, AID[5:]) + tlv(0x79, tlv(0x4F, AID[:5])) + label)

    def _get_data(self, p1: int, p2: int, data: bytes) -> bytes:
        if (p1, p2) != (0x3F, 0xFF):
            raise Refused(0x6A86)
        tag = int.from_bytes(fields(data).get(0x5C, b""), "big")
        if tag not in self.objects:
            raise Refused(0x6A82)
        if tag == PRINTED and not self.verified:
            raise Refused(0x6982)
        return tlv(DISCOVERY if tag == DISCOVERY else 0x53, self.objects[tag])

    def _put_data(self, p1: int, p2: int, data: bytes) -> bytes:
        if (p1, p2) != (0x3F, 0xFF):
            raise Refused(0x6A86)
        self._must_be_administered()
        given = fields(data)
        tag, content = int.from_bytes(given[0x5C], "big"), given[0x53]
        if len(content) > self.object_limit:
            raise Refused(0x6A84)
        if content:
            self.objects[tag] = content
        else:
            self.objects.pop(tag, None)
        return b""

    def _verify(self, p1: int, p2: int, data: bytes) -> bytes:
        if p2 != 0x80:
            raise Refused(0x6A88)
        if p1 == 0xFF and not data:
            self.verified = False
            return b""
        if p1:
            raise Refused(0x6A86)
        if not data:
            if self.verified:
                return b""
            raise Refused(0x63C0 | self.pin.left if self.pin.left else 0x6983)
        self.verified = False
        self.pin.check(data)
        self.verified = self.fresh = True
        return b""

    def _change(self, p1: int, p2: int, data: bytes) -> bytes:
        secret = {0x80: self.pin, 0x81: self.puk}.get(p2)
        if p1 or secret is None:
            raise Refused(0x6A88)
        if len(data) != 16 or (p2 == 0x80 and not _is_pin(data[8:])):
            raise Refused(0x6A80)
        secret.check(data[:8])
        secret.change(data[8:])
        return b""

    def _unblock(self, p1: int, p2: int, data: bytes) -> bytes:
        if (p1, p2) != (0, 0x80):
            raise Refused(0x6A88)
        if len(data) != 16 or not _is_pin(data[8:]):
            raise Refused(0x6A80)
        self.puk.check(data[:8])
        self.pin.change(data[8:])
        return b""

    def _generate(self, p1: int, slot: int, data: bytes) -> bytes:
        self._must_be_administered()
        algorithm = fields(fields(data).get(0xAC, b"")).get(0x80, b"\0")[0]
        if p1 or slot not in (0x9A, 0x9C, 0x9D, 0x9E):
            raise Refused(0x6A86)
        if algorithm not in self.algorithms:
            raise Refused(0x6A80)
        if algorithm == RSA_2048:
            key: Key = rsa.generate_private_key(65_537, 2048)
        else:
            key = ec.generate_private_key(CURVES[algorithm])
        self.keys[slot] = key
        return tlv(0x7F49, _public(key))

    def _general(self, algorithm: int, slot: int, data: bytes) -> bytes:
        given = fields(fields(data).get(0x7C, b""))
        if slot == 0x9B:
            return tlv(0x7C, self._authenticate(algorithm, given))
        key = self.keys.get(slot)
        if key is None or algorithm != _algorithm(key):
            raise Refused(0x6A86 if key else 0x6A88)
        if not (slot == 0x9E or self.just_verified or (self.verified and slot != 0x9C)):
            raise Refused(0x6982)
        if 0x82 not in given or given[0x82]:
            raise Refused(0x6A80)
        return tlv(0x7C, tlv(0x82, _use(key, given)))

    def _authenticate(self, algorithm: int, given: dict[int, bytes]) -> bytes:
        """Management key, mutual (witness) and external (challenge) as in part 2, annex A.1."""
        if algorithm != self.management_algorithm:
            raise Refused(0x6A86)
        size = BLOCK[algorithm]
        if given == {0x80: b""}:
            self.witness = os.urandom(size)
            return tlv(0x80, self._encrypt(self.witness))
        if given == {0x81: b""}:
            self.challenge = os.urandom(size)
            return tlv(0x81, self.challenge)
        witness, challenge, self.witness, self.challenge = self.witness, self.challenge, b"", b""
        if witness and given.get(0x80) == witness and len(given.get(0x81, b"")) == size:
            self.administered = True
            return tlv(0x82, self._encrypt(given[0x81]))
        if challenge and given.get(0x82) == self._encrypt(challenge):
            self.administered = True
            return b""
        raise Refused(0x6982)

    def _encrypt(self, block: bytes) -> bytes:
        kind = TripleDES if self.management_algorithm == TRIPLE_DES else AES
        encryptor = Cipher(kind(self.management_key), modes.ECB()).encryptor()  # noqa: S305 (PIV's)
        return encryptor.update(block) + encryptor.finalize()

    def _must_be_administered(self) -> None:
        if not self.administered:
            raise Refused(0x6982)

    _commands: ClassVar[dict[int, Callable[..., bytes]]] = {
        0x20: _verify,
        0x24: _change,
        0x2C: _unblock,
        0x47: _generate,
        0x87: _general,
        0xA4: _select,
        0xCB: _get_data,
        0xDB: _put_data,
    }


def _is_pin(block: bytes) -> bool:
    pin = block.rstrip(b"\xff")
    return len(block) == 8 and 6 <= len(pin) <= 8 and pin.isdigit()


def _algorithm(key: Key) -> int:
    if isinstance(key, rsa.RSAPrivateKey):
        return RSA_2048
    return P256 if isinstance(key.curve, ec.SECP256R1) else P384


def _use(key: Key, given: dict[int, bytes]) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        if len(given.get(0x81, b"")) != 256:
            raise Refused(0x6A80)
        value = pow(int.from_bytes(given[0x81], "big"), numbers.d, numbers.public_numbers.n)
        return value.to_bytes(256, "big")
    if 0x85 in given:
        peer = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, given[0x85])
        return key.exchange(ec.ECDH(), peer)
    digest = given.get(0x81, b"")
    if len(digest) != (key.key_size + 7) // 8:
        raise Refused(0x6A80)
    return key.sign(digest, ec.ECDSA(utils.Prehashed(HASHES[len(digest)])))


def _public(key: Key) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return tlv(0x81, numbers.n.to_bytes(256, "big")) + tlv(0x82, b"\1\0\1")
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return tlv(0x86, point)
