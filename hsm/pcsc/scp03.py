"""SCP03, GlobalPlatform's secure channel of AES (Card Specification 2.3, Amendment D 1.1.2).

In S8 mode, at security level 33: each command is enciphered and under a MAC that hangs on the MAC
before it, each answer is enciphered and under a MAC of the command that it answers. An answer
that says no (any status word but 9000, 62xx and 63xx) has no MAC by the standard: it may be
anybody's, and it never means success.
"""

import os
from dataclasses import dataclass, field
from enum import IntEnum
from hmac import compare_digest
from typing import Protocol as Contract

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from hsm.errors import CardDataError, CardForeignError, IntegrityError
from hsm.pcsc.apdu import SHORT_DATA, SHORT_LE, Carrier, Command, Response, StatusWord, refusal
from hsm.pcsc.piv import Ins

SECURITY_DOMAIN = bytes.fromhex("A000000151000000")  # GlobalPlatform's
INITIALIZE_UPDATE, EXTERNAL_AUTHENTICATE, PUT_KEY = 0x50, 0x82, 0xD8
GLOBAL_PLATFORM = 0x80  # CLA
SECURED = 0x04  # in CLA
LEVEL = 0x33  # C-MAC, C-DECRYPTION, R-MAC, R-ENCRYPTION
KEY_SIZES = (16, 24, 32)  # bytes
BLOCK = 16  # bytes
SHORT_MAC = 8  # bytes of challenges, cryptograms and MACs in S8 mode
DIVERSIFICATION = 10  # bytes in front of the answer to INITIALIZE UPDATE
PROTOCOL, S16 = 3, 0x01
UPDATED = (29, 32)  # bytes of that answer; with a sequence counter at its end, or without
CHECK = 3  # bytes of a key check value
KEY_TYPE = 0x88  # AES
ANSWERED = (0x90, 0x62, 0x63)  # SW1 of what carries a MAC
NO_CHANNEL = {
    StatusWord.INS_UNSUPPORTED,
    StatusWord.CLA_UNSUPPORTED,
    StatusWord.SECURE_MESSAGING_UNSUPPORTED,
}


class Constant(IntEnum):
    """What a derivation is for (Amendment D, table 4-1)."""

    CARD_CRYPTOGRAM = 0x00
    HOST_CRYPTOGRAM = 0x01
    S_ENC = 0x04
    S_MAC = 0x06
    S_RMAC = 0x07


@dataclass(frozen=True, slots=True)
class StaticKeys:
    """The three keys of a key set, all of one size of AES. Never shown."""

    enc: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    dek: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.enc) not in KEY_SIZES or {len(self.mac), len(self.dek)} != {len(self.enc)}:
            raise ValueError("a key set has three keys of AES, of one size")


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one session, and the cryptogram that proves them to the card. Never shown."""

    enc: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    rmac: bytes = field(repr=False)
    cryptogram: bytes = field(repr=False)


class ChannelKeys(Contract):
    """A key set that need not be here: only the keys of one session come out."""

    @property
    def version(self) -> int:
        """Its number on the card, 1 to 127; 255 for a factory's, 0 for whichever there is."""

    def challenge(self) -> bytes:
        """Eight fresh bytes, good for the next `session`."""

    def session(self, challenge: bytes, cryptogram: bytes) -> SessionKeys:
        """Take the card's challenge and its cryptogram.

        Raises `IntegrityError` where the card has other keys.
        """


class HeldChannelKeys:
    """A key set in this process."""

    def __init__(self, version: int, keys: StaticKeys) -> None:
        self.version = version
        self._keys = keys
        self._challenge = b""

    def challenge(self) -> bytes:
        self._challenge = os.urandom(SHORT_MAC)
        return self._challenge

    def session(self, challenge: bytes, cryptogram: bytes) -> SessionKeys:
        return session_keys(self._keys, self._challenge + challenge, cryptogram)


def derive(key: bytes, constant: Constant, context: bytes, size: int) -> bytes:
    """`size` bytes by SP 800-108 in counter mode with CMAC, as Amendment D, 4.1.5 lays it out."""
    head = bytes((*bytes(11), constant, 0)) + (size * 8).to_bytes(2, "big")
    counts = range(1, -(-size // BLOCK) + 1)
    return b"".join(_cmac(key, head + bytes((count,)) + context) for count in counts)[:size]


def session_keys(keys: StaticKeys, context: bytes, cryptogram: bytes) -> SessionKeys:
    """`context`: the host's challenge, then the card's. Raises `IntegrityError` at other keys."""
    size = len(keys.enc)
    mac = derive(keys.mac, Constant.S_MAC, context, size)
    expected = derive(mac, Constant.CARD_CRYPTOGRAM, context, SHORT_MAC)
    if not compare_digest(expected, cryptogram):
        raise IntegrityError("the card's cryptogram is not made with these keys")
    return SessionKeys(
        derive(keys.enc, Constant.S_ENC, context, size),
        mac,
        derive(keys.mac, Constant.S_RMAC, context, size),
        derive(mac, Constant.HOST_CRYPTOGRAM, context, SHORT_MAC),
    )


def check_value(key: bytes) -> bytes:
    """Three bytes by which a card and we see that we mean the same key."""
    return _cipher(key, bytes(BLOCK)).update(b"\1" * BLOCK)[:CHECK]


def key_data(version: int, keys: StaticKeys, dek: bytes, *, lengths: bool) -> bytes:
    """What PUT KEY carries: three keys, each enciphered under the `dek` that the card has now.

    `lengths`: each with its own length in front, as Amendment D, 7.2 has it.
    """
    return bytes((version,)) + b"".join(
        _block(key, dek, lengths=lengths) for key in (keys.enc, keys.mac, keys.dek)
    )


def _block(key: bytes, dek: bytes, *, lengths: bool) -> bytes:
    padded = key.ljust(-(-len(key) // BLOCK) * BLOCK, b"\0")
    sealed = (bytes((len(key),)) if lengths else b"") + _cipher(dek, bytes(BLOCK)).update(padded)
    return bytes((KEY_TYPE, len(sealed))) + sealed + bytes((CHECK,)) + check_value(key)


def put_key(secure: "SecureChannel", replaced: int, data: bytes) -> None:
    """Give the selected security domain a key set; `replaced` is the version it takes, or 0.

    Raises `IntegrityError` where the card says it got other keys.
    """
    size = (len(data) - 1) // 3
    checks = b"".join(data[1 + at * size :][:size][-CHECK:] for at in range(3))
    answer = secure.send(Command(PUT_KEY, replaced, 0x81, data, cla=GLOBAL_PLATFORM))
    if not answer.ok:
        raise refusal(answer, "take other keys for its secure channel")
    if answer.data != data[:1] + checks:
        raise IntegrityError("the card says that it got other keys than were sent")


class SecureChannel:
    """What is said to a card goes through its secure channel, which opens when it is needed.

    To select an application ends a session, so that goes in clear. A channel that heard something
    that is not its card's stays closed for good.
    """

    def __init__(self, plain: Carrier, keys: ChannelKeys) -> None:
        self.plain = plain
        self._keys = keys
        self._session: _Session | None = None
        self._broken = False

    def reset(self) -> None:
        self._session = None
        self.plain.reset()

    def send(self, command: Command, seconds: float | None = None) -> Response:
        """Raises `CardDataError` at an answer that is not the card's, and what `open` raises."""
        if command.ins == Ins.SELECT:
            self._session = None
            return self.plain.send(command, seconds)
        if self._broken:
            raise CardDataError(
                "the secure channel to this card was closed: somebody changed what it said",
                next_step="Take another reader, and look at this one.",
            )
        session = self._session or self.open()
        wrapped = session.wrap(command)
        try:
            return session.unwrap(self.plain.send(wrapped, seconds))
        except CardDataError:
            self._broken = True
            raise

    def open(self) -> "_Session":
        """Prove the keys to the card, which has proven them first.

        Raises `CardForeignError` at a card that has no such channel, `CardRefusedError` at one
        that does not know the key set, `IntegrityError` at one that has others in it.
        """
        session = _Session(self.greet())
        answer = self.plain.send(session.authenticating())
        if not answer.ok:
            raise refusal(answer, "open its secure channel")
        self._session = session
        return session

    def greet(self) -> SessionKeys:
        """The first half of `open`, by which the card proves its keys and we do not."""
        challenge = self._keys.challenge()
        update = Command(
            *(INITIALIZE_UPDATE, self._keys.version, 0, challenge), SHORT_LE, GLOBAL_PLATFORM
        )
        answer = self.plain.send(update)
        if answer.sw in NO_CHANNEL:
            raise CardForeignError(
                "the card says it has no secure channel, and its model has one",
                cause=f"{answer.sw:04X}",
                next_step="See whether its profile fits. If it was issued so, it is another card.",
            )
        if not answer.ok:
            raise refusal(answer, "begin its secure channel")
        return self._keys.session(*_proof(answer.data))


def _proof(answer: bytes) -> tuple[bytes, bytes]:
    """The card's challenge and cryptogram in its answer to INITIALIZE UPDATE."""
    info, rest = answer[DIVERSIFICATION:][:3], answer[DIVERSIFICATION + 3 :]
    if len(answer) not in UPDATED or info[1] != PROTOCOL or info[2] & S16:
        raise CardDataError("the card offers another secure channel than SCP03 in S8 mode")
    return rest[:SHORT_MAC], rest[SHORT_MAC : 2 * SHORT_MAC]


class _Session:
    """Counter and chain of one session."""

    def __init__(self, keys: SessionKeys) -> None:
        self._keys = keys
        self._chain = bytes(BLOCK)
        self._counter = 0

    def authenticating(self) -> Command:
        command = Command(EXTERNAL_AUTHENTICATE, LEVEL, 0, cla=GLOBAL_PLATFORM)
        return self._signed(command, self._keys.cryptogram, 0)

    def wrap(self, command: Command) -> Command:
        self._counter += 1
        data = command.data
        if data:
            data = _cipher(self._keys.enc, self._vector(0x00)).update(_pad(data))
        return self._signed(command, data, max(command.le, SHORT_LE))

    def _signed(self, command: Command, data: bytes, le: int) -> Command:
        cla, size = command.cla | SECURED, len(data) + SHORT_MAC
        lc = bytes((size,)) if size <= SHORT_DATA else b"\0" + size.to_bytes(2, "big")
        head = bytes((cla, command.ins, command.p1, command.p2))
        self._chain = _cmac(self._keys.mac, self._chain + head + lc + data)
        body = data + self._chain[:SHORT_MAC]
        return Command(command.ins, command.p1, command.p2, body, le, cla)

    def unwrap(self, answer: Response) -> Response:
        if answer.sw1 not in ANSWERED:
            return Response(b"", answer.sw)
        data, mac = answer.data[:-SHORT_MAC], answer.data[-SHORT_MAC:]
        spoken = self._chain + data + answer.sw.to_bytes(2, "big")
        if not compare_digest(_cmac(self._keys.rmac, spoken)[:SHORT_MAC], mac):
            raise CardDataError(
                "an answer in the secure channel is not the card's: its MAC is wrong",
                next_step="Take another reader, and look at this one.",
            )
        if data:
            data = self._opened(data)
        return Response(data, answer.sw)

    def _opened(self, data: bytes) -> bytes:
        if len(data) % BLOCK:
            raise CardDataError("an answer in the secure channel is no whole number of blocks")
        plain = _cipher(self._keys.enc, self._vector(0x80), opens=True).update(data).rstrip(b"\0")
        if not plain.endswith(b"\x80"):
            raise CardDataError("an answer in the secure channel is not padded as it has to be")
        return plain[:-1]

    def _vector(self, first: int) -> bytes:
        """The counter, enciphered (Amendment D, 6.2.6 and 6.2.7)."""
        block = bytes((first,)) + self._counter.to_bytes(BLOCK - 1, "big")
        return _cipher(self._keys.enc, bytes(BLOCK)).update(block)


def _pad(data: bytes) -> bytes:
    """ISO/IEC 9797-1, method 2."""
    return (data + b"\x80").ljust(-(-(len(data) + 1) // BLOCK) * BLOCK, b"\0")


class _Context(Contract):
    def update(self, data: bytes) -> bytes: ...


def _cipher(key: bytes, vector: bytes, *, opens: bool = False) -> _Context:
    cipher = Cipher(AES(key), modes.CBC(vector))
    return cipher.decryptor() if opens else cipher.encryptor()


def _cmac(key: bytes, data: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(data)
    return mac.finalize()
