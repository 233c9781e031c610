"""A PIV card that has GlobalPlatform's secure channel (see `hsm.pcsc.scp03`), as it is issued.

Its keys in its security domain become our own before anything else does, and what is said to it
from then on goes through the channel. What is in PIV is as with every card: `hsm.pcsc.token`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from hsm.errors import (
    CardForeignError,
    CardRefusedError,
    IntegrityError,
    MechanismUnsupportedError,
    TokenSpoiledError,
)
from hsm.pcsc import scp03
from hsm.pcsc.apdu import SHORT_LE, Command
from hsm.pcsc.piv import Ins, PivCard
from hsm.pcsc.profiles import INITIAL, CardProfile, ChannelProfile
from hsm.pcsc.scp03 import ChannelKeys, HeldChannelKeys, SecureChannel
from hsm.pcsc.token import OwnKey, PivToken
from hsm.tokens import Secrets, TokenFacts

ANY = 0  # key version: whichever the card has


class OwnChannel(Protocol):
    """The card's own key set of one version, behind whoever holds it."""

    def keys(self) -> ChannelKeys: ...

    def to_put(self, *, lengths: bool, dek: bytes = b"", older: int = 0) -> bytes:
        """What PUT KEY carries (`scp03.key_data`), under the card's DEK: `dek`, or our older one's.

        Asked for at no other time.
        """


class OwnKeys(OwnKey, Protocol):
    @property
    def version(self) -> int:
        """Of the master that everything here is made of, and of the key set on the card."""

    def channel(self, size: int) -> OwnChannel:
        """`size` bytes each."""


def token_of(
    card: PivCard,
    profile: CardProfile,
    own: OwnKeys,
    *,
    channel: bool | None = None,
    also: Sequence[OwnKeys] = (),
) -> PivToken:
    """A card as what is issued, through its secure channel where it has one.

    `channel` is whether the journal says that this card has one, None where it says nothing yet;
    `also` are key sets that may be on it beside `own`. Raises `CardForeignError` where the journal
    says that it has a channel and its profile says that it has none: then nothing is said to it in
    clear.
    """
    if channel and profile.secure_channel is None:
        raise CardForeignError(
            "this card was issued with a secure channel, and its model knows of none",
            next_step="If its profile was changed, change it back. Otherwise look at the reader.",
        )
    if channel is False or profile.secure_channel is None:
        return PivToken(card, profile, own)
    return SecuredToken(card, profile, own, profile.secure_channel, also)


class SecuredToken(PivToken):
    """One card of one profile with a secure channel, in one session that began with a reset."""

    def __init__(
        self,
        card: PivCard,
        profile: CardProfile,
        own: OwnKeys,
        channel: ChannelProfile,
        also: Sequence[OwnKeys] = (),
    ) -> None:
        super().__init__(card, profile, own)
        before = card.channel
        self._plain = before.plain if isinstance(before, SecureChannel) else before
        self._channel = channel
        self._sets = (own, *also)

    def identify(self) -> TokenFacts:
        return replace(super().identify(), channel=True)

    def take_over(self, *, begun: bool, taken: bool) -> str:
        if not any(map(self._opens, self._sets)):
            self._replace_factory(taken=taken)
        return super().take_over(begun=begun, taken=taken)

    def _opens(self, own: OwnKeys) -> bool:
        """Go on through the channel with this key set, if the card has it."""
        secure = SecureChannel(self._plain, own.channel(self._channel.size).keys())
        try:
            secure.open()
        except (CardRefusedError, IntegrityError):
            return False
        self._card.channel = secure
        return True

    def _replace_factory(self, *, taken: bool) -> None:
        channel, own = self._channel, self._sets[0]
        factory = HeldChannelKeys(channel.factory_version, channel.factory)
        secure = self._with_domain(factory)
        if secure is None:
            raise TokenSpoiledError(
                "the card knows neither its factory's keys for the secure channel nor ours",
                next_step="Destroy it, and find out where it comes from.",
            )
        if taken:
            raise CardForeignError(
                "this card's secure channel has its factory's keys, and that of this job has ours",
                next_step="Put in the card that this job began with.",
            )
        replaced = 0 if channel.factory_version == INITIAL else channel.factory_version
        data = own.channel(channel.size).to_put(lengths=channel.lengths, dek=channel.factory.dek)
        self._put(secure, replaced, data, own)

    def _with_domain(self, keys: ChannelKeys) -> SecureChannel | None:
        """The channel to the card's security domain; None where it has other keys."""
        secure = SecureChannel(self._plain, keys)
        if not secure.send(Command(Ins.SELECT, 4, 0, scp03.SECURITY_DOMAIN, SHORT_LE)).ok:
            raise CardForeignError(
                "the card has no security domain, and its model has one",
                next_step="See whether its profile fits.",
            )
        try:
            secure.open()
        except (CardRefusedError, IntegrityError):
            return None
        return secure

    def _put(self, secure: SecureChannel, replaced: int, data: bytes, own: OwnKeys) -> None:
        scp03.put_key(secure, replaced, data)
        self._card.channel = self._plain
        self._card.select()
        if not self._opens(own):
            raise TokenSpoiledError("the card does not know the channel's keys it was just given")

    def _prove_dead(self, secrets: Secrets) -> None:
        """The factory's key set is asked for by its number, and whichever the card has is not it.

        That costs a try of the channel's, which the card gives back when ours opens it.
        """
        for version in (self._channel.factory_version, ANY):
            self._restart()
            try:
                factory = HeldChannelKeys(version, self._channel.factory)
                SecureChannel(self._plain, factory).greet()
            except (CardRefusedError, IntegrityError):
                continue
            raise TokenSpoiledError("the card still has its factory's keys for the secure channel")
        self._restart()
        super()._prove_dead(secrets)

    def rekey(self, new: OwnKeys) -> None:  # type: ignore[override]  # it takes one key set more
        """The channel's key set first, under the older one's DEK: nobody on the way sees it."""
        if not self._opens(new):
            size, lengths = self._channel.size, self._channel.lengths
            held = next(each for each in self._sets if self._opens(each))
            secure = self._with_domain(held.channel(size).keys())
            if secure is None:
                raise MechanismUnsupportedError("its security domain has other keys than its PIV")
            data = new.channel(size).to_put(lengths=lengths, older=held.version)
            self._put(secure, held.version, data, new)
        self._administered = False
        super().rekey(new)
