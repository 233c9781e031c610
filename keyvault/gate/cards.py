"""What a card's secrets are made of: diversified management keys, and sealed PINs and PUKs.

The masters are ordinary keys, ordered and activated under approvals; the settings of this host say
which, oldest first, and the place in that list is the version. Here they answer for cards alone:
nobody gets a MAC, a ciphertext or a copy of them. A PIN or PUK is drawn from the device, sealed
under the token's id, and opened until it is closed: then two people's release opens it once more.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from hsm.device import Device
from hsm.errors import KeyUnusableError
from hsm.pcsc.piv import PivAlgorithm
from hsm.pcsc.piv_issue import KEY_SIZE, HeldKey
from hsm.types import Mechanism
from keyvault import durable, signatures
from keyvault.domain.access import Action, Deny, Principal, decide
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import (
    InvalidInputError,
    NotPermittedError,
    NotReadyError,
)
from keyvault.domain.keys import Purpose
from keyvault.domain.statements import (
    Countersigned,
    Deliver,
    GiveBack,
    Release,
    Said,
    Signed,
    Statement,
)
from keyvault.domain.times import time_of
from keyvault.domain.tokens import ACTIVATE_WITHIN, WIPE_WITHIN
from keyvault.gate.channels import ChannelGate
from keyvault.gate.clearance import Trust
from keyvault.gate.register import Register
from keyvault.settings import Settings

LABEL = b"PIV-9B"
DIGITS = 8  # of a PIN and of a PUK
BLOCK = 16  # bytes of AES-CMAC
SEALED_LIMIT = 256  # bytes
ID_SIZE = 16  # bytes of a token's id
RELEASED = timedelta(hours=1)  # how long a release opens what was closed
KINDS = ("pin", "puk")
# What two people's statement opens, and how old their signatures may be.
OPENS: Mapping[type[Said], tuple[tuple[str, ...], timedelta]] = {
    Release: (KINDS, timedelta(hours=24)),
    Deliver: (("pin",), ACTIVATE_WITHIN),
    GiveBack: (("puk",), WIPE_WITHIN),
}


class CardGate:
    """The part of the keys gate that answers for cards, and remembers what it closed."""

    def __init__(
        self,
        device: Device,
        settings: Settings,
        register: Register,
        trust: Trust,
        clock: Callable[[], datetime],
    ) -> None:
        self._device = device
        self._masters = [UUID(each).bytes for each in settings.issuing.masters]
        seal = settings.issuing.seal
        self._seal = UUID(seal).bytes if seal else b""
        self._register = register
        self._trust = trust
        self._clock = clock
        self._memory = settings.state / "cards"
        self._memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._channels = ChannelGate(device, self._diversified, self._is_set)

    @property
    def reserved(self) -> frozenset[bytes]:
        """Ids of the keys that serve cards and nothing else."""
        return frozenset({*self._masters, self._seal} - {b""})

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "card_answer": self.answer,
            "card_key": self.key,
            "card_key_set": self.key_set,
            "card_seal": self.seal,
            "card_open": self.open,
            "card_close": self.close,
            "card_release": self.release,
            "card_spend": self.spend,
            **self._channels.methods(),
        }

    # Management keys

    def answer(
        self, token: bytes, version: int, algorithm: int, witness: bytes, challenge: bytes
    ) -> list[bytes]:
        """Decrypt a card's witness and encrypt our challenge: one block each."""
        cipher = PivAlgorithm(algorithm)
        held = HeldKey(cipher, self._derived(token, version, cipher, Purpose.PROCESS))
        if len(witness) != len(challenge) or len(witness) not in (8, BLOCK):
            raise InvalidInputError("a witness and a challenge have one block each")
        return list(held.answer(witness, challenge))

    def key(self, token: bytes, version: int, algorithm: int) -> bytes:
        """The key itself, to be set on the card; until `key_set` says that it was."""
        if self._is_set(token, version):
            raise NotPermittedError(
                "this card has its management key, so nobody needs to see it again",
                next_step="give it a key of the next master",
            )
        return self._derived(token, version, PivAlgorithm(algorithm), Purpose.PROTECT)

    def key_set(self, token: bytes, version: int) -> None:
        self._mark(_name(token, str(version).encode()), "set")

    def _is_set(self, token: bytes, version: int) -> bool:
        return self._marked(_name(token, str(version).encode()), "set")

    def _derived(
        self, token: bytes, version: int, algorithm: PivAlgorithm, purpose: Purpose
    ) -> bytes:
        if algorithm not in KEY_SIZE:
            raise InvalidInputError("9B has one of PIV's ciphers")
        return self._diversified(LABEL, token, version, KEY_SIZE[algorithm], purpose)

    def _diversified(
        self, label: bytes, token: bytes, version: int, size: int, purpose: Purpose
    ) -> bytes:
        """SP 800-108 in counter mode with AES-CMAC: the label, the token's id and the version."""
        if len(token) != ID_SIZE:
            raise InvalidInputError("a token's id has 16 bytes")
        if not 0 < version <= len(self._masters):
            raise NotReadyError(
                f"there is no card master {version}",
                next_step="order an AES-256 key for MACs, and name it in [issuing] masters",
            )
        master = self._masters[version - 1]
        self._register.check_use(master, purpose)
        rest = label + b"\0" + token + version.to_bytes(4, "big") + (size * 8).to_bytes(4, "big")
        blocks = [
            self._device.mac(master, Mechanism.AES_CMAC, count.to_bytes(4, "big") + rest)
            for count in range(1, -(-size // BLOCK) + 1)
        ]
        return b"".join(blocks)[:size]

    # PINs and PUKs

    def seal(self, token: bytes, kind: str) -> bytes:
        """Draw eight digits and seal them for this token."""
        number = int.from_bytes(self._device.random(16), "big") % 10**DIGITS
        key = self._sealing(Purpose.PROTECT)
        plain = str(number).zfill(DIGITS).encode()
        return self._device.encrypt(key, Mechanism.AES_GCM, plain, _aad(token, kind))

    def open(self, token: bytes, kind: str, sealed: bytes) -> bytes:
        """The digits. Raises `NotPermittedError` once they are closed and nobody released them."""
        if len(sealed) > SEALED_LIMIT:
            raise InvalidInputError("this is no sealed PIN or PUK")
        name = _name(token, sealed)
        spent = self._marked(name, "spent")
        if self._marked(name, "closed") and not spent and not self._is_released(token, kind):
            raise NotPermittedError(
                f"the {kind.upper()} of this token is sealed",
                next_step="have two people release it, for one unblocking",
            )
        key = self._sealing(Purpose.PROCESS)
        return self._device.decrypt(key, Mechanism.AES_GCM, sealed, _aad(token, kind))

    def close(self, token: bytes, sealed: bytes) -> None:
        """From here on it opens by a release alone; closing ends a release, too."""
        self._mark(_name(token, sealed), "closed")
        (self._memory / f"{token.hex()}.released").unlink(missing_ok=True)

    def spend(self, token: bytes, sealed: bytes) -> None:
        """A released PUK went where others may have seen it: to replace it, it opens from now on.

        Raises `NotPermittedError` where it is not released.
        """
        name = _name(token, sealed)
        if not self._is_released(token, "puk") and not self._marked(name, "spent"):
            raise NotPermittedError("nobody released the PUK of this token")
        self._mark(name, "spent")

    def release(self, token: bytes, signed: Document, second: Document) -> None:
        """Let what is closed be opened for an hour: two people signed it.

        A release opens PIN and PUK, once. A receipt, signed by who delivered the token and by its
        holder, opens the PIN that it was sent with, until it has to be activated. That of its
        return opens the SO-PIN that a USB token is wiped by.
        """
        first, other = Signed.read(signed), Countersigned.read(second)
        self._check_release(token, first, other)
        if isinstance(first.statement.said, Release):
            if self._marked(first.statement.id.hex, "used"):
                raise NotPermittedError(
                    "this release was used before", next_step="have two people sign another"
                )
            self._mark(first.statement.id.hex, "used")
        kinds = OPENS[type(first.statement.said)][0]
        document: Document = {"until": (self._clock() + RELEASED).isoformat(), "kinds": list(kinds)}
        durable.replace(self._memory / f"{token.hex()}.released", canonical(document))

    def _check_release(self, token: bytes, first: Signed, second: Countersigned) -> None:
        authority, statement = self._trust.current, first.statement
        _, fresh = OPENS.get(type(statement.said), ((), timedelta()))
        wrong = (
            not fresh
            or statement.token != UUID(bytes=token)
            or statement.origin != authority.origin
            or statement.second != second.person
        )
        if wrong or self._clock() - min(map(time_of, (statement.at, second.at))) > fresh:
            raise NotPermittedError("this is no fresh release of this token by these two")
        now, said = self._clock(), statement.said
        _check_signer(authority, statement, statement.message(), first.signature, said.action, now)
        _check_signer(authority, second, second.message(first), second.signature, said.second, now)

    def _is_released(self, token: bytes, kind: str) -> bool:
        try:
            document = json.loads((self._memory / f"{token.hex()}.released").read_bytes())
        except FileNotFoundError:
            return False
        until = datetime.fromisoformat(document["until"])
        return kind in document.get("kinds", KINDS) and self._clock() < until

    def _sealing(self, purpose: Purpose) -> bytes:
        if not self._seal:
            raise NotReadyError(
                "no key seals PINs and PUKs",
                next_step="order an AES-256 key to encrypt, and name it in [issuing] seal",
            )
        self._register.check_use(self._seal, purpose)
        return self._seal

    def _marked(self, name: str, mark: str) -> bool:
        return (self._memory / f"{name}.{mark}").exists()

    def _mark(self, name: str, mark: str) -> None:
        if not self._marked(name, mark):
            durable.create(self._memory / f"{name}.{mark}", b"")


def _check_signer(
    authority: Authority,
    signer: Statement | Countersigned,
    message: bytes,
    signature: bytes,
    action: Action | None,
    now: datetime,
) -> None:
    """Whether this person, with this key, may sign this now. Raises `NotPermittedError`."""
    person = authority.people.get(signer.person)
    credential = person.decides_with(signer.credential) if person else None
    if person is None or credential is None or action is None:
        raise NotPermittedError(f"{signer.person} has no such key to sign with")
    if not signatures.verify(credential.spki, signature, message):
        raise NotPermittedError(f"this is not the signature of {signer.person}")
    who = Principal(person, now + RELEASED, credential.thumbprint, authority.duties)
    verdict = decide(who, action, now)
    if isinstance(verdict, Deny):
        raise NotPermittedError(verdict.reason, next_step=verdict.next_step)


def refuse_reserved(reserved: frozenset[bytes], key_id: bytes) -> None:
    """Raise `KeyUnusableError` at a key that serves cards alone."""
    if key_id in reserved:
        raise KeyUnusableError(
            "this key serves cards, and nobody else", next_step="order another key for this"
        )


def _aad(token: bytes, kind: str) -> bytes:
    if kind not in KINDS or len(token) != ID_SIZE:
        raise InvalidInputError(f"a token's id has {ID_SIZE} bytes and seals a PIN or a PUK")
    return f"keyvault-{kind}-v1\n".encode() + token


def _name(token: bytes, what: bytes) -> str:
    return f"{token.hex()}-{sha256(what).hexdigest()[:32]}"
