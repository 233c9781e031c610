"""Cards as they come from a factory, of models that differ in what SP 800-73-4 leaves open.

Each is a pair: the blank card, and the table by which the product knows the model.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cards.simulator.ber import Refused, tlv
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import container
from tests.cards.simulator.maker import ATTESTER_OBJECT, MAKER, Attester
from tests.cards.simulator.piv import P256, P384, TRIPLE_DES, Applet, Secret

MANAGEMENT = 0x9B
FACTORY_PIN, FACTORY_PUK = b"123456", b"12345678"
FACTORY_3DES = bytes.fromhex("0102030405060708") * 3
SUPPLIED = bytes.fromhex("8f4c1b9e7a3d5f60218457aecd9be013")  # by contract with a supplier


@dataclass
class Yubico(Applet):
    """With the maker's commands: management key, serial number, attestation."""

    serial: int = field(default_factory=lambda: int.from_bytes(os.urandom(4), "big"))
    attester: Attester = field(default_factory=MAKER.attester)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.objects[ATTESTER_OBJECT] = container(self.attester.certificate)

    def _set_management_key(self, p1: int, _: int, data: bytes) -> bytes:
        self._must_be_administered()
        sizes = {0x03: 24, 0x08: 16, 0x0A: 24, 0x0C: 32}
        if p1 != 0xFF or len(data) < 3 or data[1] != 0x9B or sizes.get(data[0]) != data[2]:
            raise Refused(0x6A80)
        if len(data) != 3 + data[2]:
            raise Refused(0x6700)
        self.management_algorithm, self.management_key = data[0], data[3:]
        return b""

    def _serial(self, *_: object) -> bytes:
        return self.serial.to_bytes(4, "big")

    def _version(self, *_: object) -> bytes:
        return bytes((5, 4, 3))

    def _metadata(self, _: int, about: int, __: bytes) -> bytes:
        """What the newer ones of this maker tell of a PIN, the PUK, or the management key."""
        secrets = {0x80: (self.pin, FACTORY_PIN), 0x81: (self.puk, FACTORY_PUK)}
        if about == MANAGEMENT:
            default = self.management_key == FACTORY_3DES
            cipher, more = self.management_algorithm, tlv(0x02, b"\0\1")
        elif about in secrets:
            secret, factory = secrets[about]
            default = secret.value == factory
            cipher, more = 0xFF, tlv(0x06, bytes((secret.limit, secret.left)))
        else:
            raise Refused(0x6A88)
        return tlv(0x01, bytes((cipher,))) + tlv(0x05, bytes((default,))) + more

    def _attest(self, slot: int, _: int, __: bytes) -> bytes:
        if slot not in self.keys:
            raise Refused(0x6A80)
        return self.attester.attest(self.keys[slot].public_key(), slot, self.serial)

    _commands: ClassVar[dict[int, Callable[..., bytes]]] = {
        **Applet._commands,  # noqa: SLF001  (one class in two parts)
        0xFF: _set_management_key,
        0xF8: _serial,
        0xF9: _attest,
        0xFD: _version,
        0xF7: _metadata,
    }


@dataclass
class Constant(Yubico):
    """Its generator is broken: it makes the keys that another card made."""

    pool: dict[int, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    def _clone(self, p1: int, slot: int, data: bytes) -> bytes:
        self._generate(p1, slot, data)
        self.keys[slot] = self.pool[slot]
        point = self.pool[slot].public_key()
        encoded = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return tlv(0x7F49, tlv(0x86, encoded))

    _commands: ClassVar[dict[int, Callable[..., bytes]]] = {
        **Yubico._commands,  # noqa: SLF001  (one class in two parts)
        0x47: _clone,
    }


@dataclass
class Lying(Applet):
    """It says that it made a key, and has another one."""

    def _lie(self, p1: int, slot: int, data: bytes) -> bytes:
        told = self._generate(p1, slot, data)
        self.keys[slot] = ec.generate_private_key(ec.SECP256R1())
        return told

    _commands: ClassVar[dict[int, Callable[..., bytes]]] = {
        **Applet._commands,  # noqa: SLF001  (one class in two parts)
        0x47: _lie,
    }


@dataclass(frozen=True)
class Model:
    """`make` takes the management key that a supplier put in, where the model has such a one."""

    table: str
    make: Callable[[], Card]


def _yubico() -> Card:
    applet = Yubico(
        pin=Secret(FACTORY_PIN), puk=Secret(FACTORY_PUK), management_key=FACTORY_3DES, label=b"Y"
    )
    return Card(applet, atr=bytes.fromhex("3BFD1300008131FE158073C021C057597562694B657940"))


def _strict(algorithm: int, key: bytes, **more: object) -> Card:
    applet = Applet(
        pin=Secret(FACTORY_PIN, 6, 6),
        puk=Secret(FACTORY_PUK, 10, 10),
        management_key=key,
        management_algorithm=algorithm,
        object_limit=1500,
        algorithms=(P256, P384),
        label=b"strict",
    )
    return Card(applet, short_only=True, **more)


STRICT = """
[[card]]
name = "strict-{name}"
title = "SP 800-73-4 and nothing else"
label = "strict"
atr = ["{atr}"]
management = ["{cipher}"]
factory_management_key = "{key}"
factory_pin = "123456"
factory_puk = "12345678"
pin_tries = 6
puk_tries = 10
object_limit = 1500
"""
T1, T0 = "3b8680015343504f555409", "3b065343504f5554"
TRIPLE = SUPPLIED + SUPPLIED[:8][::-1]
MODELS = {
    "yubico": Model("", _yubico),
    "strict-aes-128": Model(
        STRICT.format(name="aes-128", atr=T1, cipher="AES_128", key=SUPPLIED.hex()),
        lambda: _strict(0x08, SUPPLIED),
    ),
    "strict-aes-256": Model(
        STRICT.format(name="aes-256", atr=T1, cipher="AES_256", key=(SUPPLIED * 2).hex()),
        lambda: _strict(0x0C, SUPPLIED * 2),
    ),
    "strict-3des-t0": Model(
        STRICT.format(name="3des", atr=T0, cipher="TRIPLE_DES", key=TRIPLE.hex()),
        lambda: _strict(TRIPLE_DES, TRIPLE, t0=True),
    ),
}


def table_of(model: str, folder: Path) -> Path:
    """A file with this model's table, as an operator writes one."""
    path = folder / f"{model}.toml"
    path.write_text(MODELS[model].table or "card = []\n")
    return path
