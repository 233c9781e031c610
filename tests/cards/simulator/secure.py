"""A card with a security domain: SCP03 as the card has it (GlobalPlatform, Amendment D 1.1.2).

Written from the specification and apart from the product: keys are derived with the library's
own SP 800-108, and a program that is neither's, yubikit, opens this channel, too (tests/judges).
"""

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation, Mode

from tests.cards.simulator.ber import Refused, tlv
from tests.cards.simulator.card import Application, Card
from tests.cards.simulator.models import MODELS, Model

DOMAIN = bytes.fromhex("A000000151000000")
FACTORY = bytes(range(0x40, 0x50))  # GlobalPlatform's, for all three
TRIES = 65
CARD, HOST, ENC, MAC, RMAC = 0x00, 0x01, 0x04, 0x06, 0x07
LEVEL = 0x33


def derived(key: bytes, what: int, context: bytes, bits: int) -> bytes:
    """The counter stands between the length and the context."""
    fixed = bytes(11) + bytes((what, 0)) + bits.to_bytes(2, "big") + context
    place = CounterLocation.MiddleFixed
    kdf = KBKDFCMAC(
        AES, Mode.CounterMode, bits // 8, 1, None, place, None, None, fixed, break_location=15
    )
    return kdf.derive(key)


def cmac(key: bytes, data: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(data)
    return mac.finalize()


def block(key: bytes, data: bytes) -> bytes:
    return Cipher(AES(key), modes.ECB()).encryptor().update(data)  # noqa: S305  (one block)


@dataclass
class KeySet:
    enc: bytes
    mac: bytes
    dek: bytes
    left: int = TRIES


@dataclass
class Session:
    keys: KeySet
    enc: bytes
    mac: bytes
    rmac: bytes
    host: bytes  # the cryptogram that the host has to have
    opened: bool = False
    chain: bytes = bytes(16)
    count: int = 0

    def vector(self, first: int) -> bytes:
        return block(self.enc, bytes((first,)) + self.count.to_bytes(15, "big"))

    def checked(self, head: bytes, body: bytes, *, extended: bool) -> bytes:
        """A command's data without its MAC, which hangs on the one before."""
        size = len(body)
        long = extended or size > 255
        lc = b"\0" + size.to_bytes(2, "big") if long else bytes((size,))
        chain = cmac(self.mac, self.chain + head + lc + body[:-8])
        if size < 8 or not hmac.compare_digest(chain[:8], body[-8:]):
            raise Refused(0x6982)
        self.chain = chain
        return body[:-8]

    def plain(self, data: bytes) -> bytes:
        self.count += 1
        if not data:
            return b""
        if len(data) % 16:
            raise Refused(0x6982)
        opened = Cipher(AES(self.enc), modes.CBC(self.vector(0))).decryptor().update(data)
        text, mark, rest = opened.rpartition(b"\x80")
        if not mark or rest.strip(b"\0"):
            raise Refused(0x6982)
        return text

    def sealed(self, answer: bytes, word: bytes) -> bytes:
        if answer:
            padded = answer + b"\x80" + bytes(-(len(answer) + 1) % 16)
            answer = Cipher(AES(self.enc), modes.CBC(self.vector(0x80))).encryptor().update(padded)
        return answer + cmac(self.rmac, self.chain + answer + word)[:8]


@dataclass
class Domain:
    """Key sets by their versions. `lengths`: PUT KEY says how long each key is."""

    sets: dict[int, KeySet] = field(default_factory=dict)
    lengths: bool = True
    room: int = 3

    def greeted(self, version: int, challenge: bytes) -> tuple[Session, bytes]:
        version = version or min(self.sets)
        if version not in self.sets:
            raise Refused(0x6A88)
        if len(challenge) != 8:
            raise Refused(0x6700)
        keys = self.sets[version]
        if not keys.left:
            raise Refused(0x6983)
        keys.left -= 1
        own = os.urandom(8)
        context, bits = challenge + own, len(keys.enc) * 8
        mac = derived(keys.mac, MAC, context, bits)
        enc, rmac = derived(keys.enc, ENC, context, bits), derived(keys.mac, RMAC, context, bits)
        session = Session(keys, enc, mac, rmac, derived(mac, HOST, context, 64))
        told = bytes(10) + bytes((version, 3, 0x70)) + own + derived(mac, CARD, context, 64)
        return session, told + b"\0\0\1"

    def put(self, replaced: int, p2: int, data: bytes, dek: bytes) -> bytes:
        version, rest, keys, checks = data[0], data[1:], [], b""
        if p2 != 0x81 or not 0 < version < 0x80 or (replaced and replaced not in self.sets):
            raise Refused(0x6A88)
        for _ in range(3):
            key, check, rest = self._component(rest, dek)
            keys.append(key)
            checks += check
        others = {number: one for number, one in self.sets.items() if number != replaced}
        others.pop(0xFF, None)
        if rest or (version in others):
            raise Refused(0x6A80)
        if len(others) >= self.room:
            raise Refused(0x6A84)
        self.sets = {**others, version: KeySet(*keys)}
        return bytes((version,)) + checks

    def _component(self, data: bytes, dek: bytes) -> tuple[bytes, bytes, bytes]:
        size = data[1]
        sealed, check, rest = data[2 : 2 + size], data[3 + size : 6 + size], data[6 + size :]
        length = len(sealed)
        if self.lengths:
            length, sealed = sealed[0], sealed[1:]
        key = Cipher(AES(dek), modes.CBC(bytes(16))).decryptor().update(sealed)[:length]
        if data[0] != 0x88 or data[2 + size] != 3 or block(key, b"\1" * 16)[:3] != check:
            raise Refused(0x6A80)
        return key, check, rest


class SecureCard(Card):
    """An application that is reached in clear and through the channel, and its security domain."""

    classes = frozenset({0x00, 0x04, 0x80, 0x84})

    def __init__(self, application: Application, domain: Domain, **more: object) -> None:
        self.domain = domain
        super().__init__(application, **more)

    def reset(self) -> None:
        self._session: Session | None = None
        self._in_domain = False
        super().reset()

    def _run(self, cla: int, ins: int, p1: int, p2: int, data: bytes) -> bytes:
        if ins == 0xA4:
            return self._select(p1, p2, data)
        if cla & 0x04:
            return self._secured(bytes((cla, ins, p1, p2)), data)
        if (cla, ins) == (0x80, 0x50):
            self._session, told = self.domain.greeted(p1, data)
            return told
        if self._session is not None and self._session.opened:
            raise Refused(0x6982)  # nothing in clear while the channel is open
        if cla or self._in_domain:
            raise Refused(0x6E00)
        return super()._run(cla, ins, p1, p2, data)

    def _secured(self, head: bytes, data: bytes) -> bytes:
        session, self._session = self._session, None  # gone, unless all of it is right
        if session is None:
            raise Refused(0x6985)
        data = session.checked(head, data, extended=self._extended)
        if head[:2] == b"\x84\x82":
            self._open(session, head[2], data)
            return b""
        if not session.opened:
            raise Refused(0x6982)
        data, self._session = session.plain(data), session
        return self._through(session, head, data)

    def _select(self, p1: int, p2: int, data: bytes) -> bytes:
        self._session = None
        self._in_domain = data == DOMAIN
        if self._in_domain:
            self.application.reset()  # it is not the one selected any more
            return tlv(0x6F, tlv(0x84, DOMAIN))
        return super()._run(0, 0xA4, p1, p2, data)

    def _open(self, session: Session, level: int, cryptogram: bytes) -> None:
        if session.opened or level != LEVEL or not hmac.compare_digest(session.host, cryptogram):
            raise Refused(0x6300)
        session.opened, session.keys.left, self._session = True, TRIES, session

    def _through(self, session: Session, head: bytes, data: bytes) -> bytes:
        answer = b""
        try:
            answer = self._done(session, *head, data)
        except Refused as refused:
            if refused.sw >> 8 not in (0x62, 0x63):
                raise
            self._end = refused.sw.to_bytes(2, "big")
        return session.sealed(answer, self._end)

    def _done(self, session: Session, cla: int, ins: int, p1: int, p2: int, data: bytes) -> bytes:
        if not self._in_domain:
            return super()._run(cla, ins, p1, p2, data)
        if (cla, ins) != (0x84, 0xD8):
            raise Refused(0x6D00)
        return self.domain.put(p1, p2, data, session.keys.dek)


class Between:
    """A reader that changes what passes it: for an instruction, what it makes of the APDU."""

    def __init__(self, card: Card, lies: dict[int, Callable[[bytes], bytes]]) -> None:
        self.card, self.atr, self.lies = card, card.atr, lies

    def reset(self) -> None:
        self.card.reset()

    def process(self, apdu: bytes) -> bytes:
        lie = self.lies.get(apdu[1])
        return self.card.process(apdu) if lie is None else lie(apdu)


YUBICO = """
[[card]]
name = "yubico-secure"
title = "One with a secure channel"
label = "secure"
atr = ["3bfd1300008131fe158073c021c057597562694b6579.."]
management = ["TRIPLE_DES", "AES_192"]
factory_management_key = "010203040506070801020304050607080102030405060708"
factory_pin = "123456"
factory_puk = "12345678"
management_change = "yubico"
own_management = "AES_256"
serial = "yubico"
attests = true
algorithms = ["ECC_P256", "ECC_P384", "RSA_2048"]
[card.secure_channel]
factory = ["{key}", "{key}", "{key}"]
lengths = false
"""
STRICT = """
[card.secure_channel]
factory = ["{key}", "{key}", "{key}"]
factory_version = 1
size = {size}
"""


def _yubico() -> SecureCard:
    plain = MODELS["yubico"].make()
    plain.application.label = b"secure"
    domain = Domain({0xFF: KeySet(FACTORY, FACTORY, FACTORY)}, lengths=False)
    return SecureCard(plain.application, domain, atr=plain.atr)


def _strict(model: str, *, t0: bool = False) -> SecureCard:
    domain = Domain({1: KeySet(FACTORY, FACTORY, FACTORY)})
    return SecureCard(MODELS[model].make().application, domain, t0=t0, short_only=True)


def _table(model: str, size: int) -> str:
    return MODELS[model].table + STRICT.format(key=FACTORY.hex(), size=size)


SECURE = {
    "yubico": Model(YUBICO.format(key=FACTORY.hex()), _yubico),
    "strict-aes-256": Model(_table("strict-aes-256", 32), lambda: _strict("strict-aes-256")),
    "strict-3des-t0": Model(
        _table("strict-3des-t0", 24), lambda: _strict("strict-3des-t0", t0=True)
    ),
}


def table_of(model: str, folder: Path) -> Path:
    path = folder / f"secure-{model}.toml"
    path.write_text(SECURE[model].table)
    return path
