"""Key sets of cards that have a secure channel (SCP03): one session's keys come out, no others.

The static keys are made of the card master, as management keys are, whenever they are needed. A
session's keys come out once the card has proven the static ones over a challenge that was drawn
here for it alone, so that what was recorded of a session opens nobody else's. The static keys
come out in one form, enciphered under the key set that a card has, to be put into it.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from hsm.device import Device
from hsm.errors import IntegrityError
from hsm.pcsc.scp03 import KEY_SIZES, SHORT_MAC, StaticKeys, key_data, session_keys
from keyvault.domain.errors import InvalidInputError, NotPermittedError
from keyvault.domain.keys import Purpose

LABELS = b"SCP03-ENC", b"SCP03-MAC", b"SCP03-DEK"
VERSIONS = range(1, 128)  # of key sets on a card
OPEN = 256  # challenges that are remembered at once

Diversified = Callable[[bytes, bytes, int, int, Purpose], bytes]
"""(label, token, version of the master, size in bytes, purpose) → a card's own key."""
Done = Callable[[bytes, int], bool]
"""(token, version) → whether the card has everything that is made of this master."""


class ChannelGate:
    """The part of the cards' gate that answers for their secure channels."""

    def __init__(self, device: Device, diversified: Diversified, done: Done) -> None:
        self._device = device
        self._diversified = diversified
        self._done = done
        self._challenges: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "channel_challenge": self.challenge,
            "channel_session": self.session,
            "channel_keys": self.keys,
        }

    def challenge(self, token: bytes, version: int) -> bytes:
        """Eight bytes for INITIALIZE UPDATE; they end the ones before."""
        drawn = self._device.random(SHORT_MAC)
        self._challenges[token, version] = drawn
        if len(self._challenges) > OPEN:
            self._challenges.popitem(last=False)
        return drawn

    def session(
        self, token: bytes, version: int, size: int, challenge: bytes, cryptogram: bytes
    ) -> list[bytes]:
        """Keys for ENC, MAC and RMAC, and the host's cryptogram; for a challenge, once.

        Raises `IntegrityError` where the card did not prove that it has the static keys.
        """
        drawn = self._challenges.pop((token, version), b"")
        if not drawn or (len(challenge), len(cryptogram)) != (SHORT_MAC, SHORT_MAC):
            raise IntegrityError("a session of a card's channel begins with a challenge of its own")
        static = self._static(token, version, size, Purpose.PROCESS)
        made = session_keys(static, drawn + challenge, cryptogram)
        return [made.enc, made.mac, made.rmac, made.cryptogram]

    def keys(
        self, token: bytes, version: int, size: int, lengths: bool, dek: bytes, older: int
    ) -> bytes:
        """What PUT KEY carries, under `dek` or, without one, that of our `older` version.

        Raises `NotPermittedError` once the card has what is made of this master.
        """
        if self._done(token, version):
            raise NotPermittedError(
                "this card has its own keys, so nobody needs to see them again",
                next_step="give it keys of the next master",
            )
        under = dek or self._static(token, older, size, Purpose.PROCESS).dek
        if len(under) not in KEY_SIZES:
            raise InvalidInputError("a key for keys is one of AES")
        static = self._static(token, version, size, Purpose.PROTECT)
        return key_data(version, static, under, lengths=lengths)

    def _static(self, token: bytes, version: int, size: int, purpose: Purpose) -> StaticKeys:
        if size not in KEY_SIZES or version not in VERSIONS:
            raise InvalidInputError(
                "keys of a channel have 16, 24 or 32 bytes, and versions to 127"
            )
        return StaticKeys(
            *(self._diversified(label, token, version, size, purpose) for label in LABELS)
        )
