"""A PIV card as a credential token that is issued: what `hsm.tokens` asks, by SP 800-73-4.

Nothing here depends on a maker; what differs between models is in the card's profile.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from hsm.errors import (
    CardDataError,
    CardForeignError,
    CardObjectMissingError,
    CardRefusedError,
    IntegrityError,
    MechanismUnsupportedError,
    PinIncorrectError,
    TokenSpoiledError,
)
from hsm.pcsc import containers, piv_issue, vendor
from hsm.pcsc.apdu import Command
from hsm.pcsc.piv import (
    CERTIFICATE_OF,
    Ins,
    PivAlgorithm,
    PivCard,
    PivObject,
    PivReference,
    PivSlot,
    PublicKey,
    pin_error,
)
from hsm.pcsc.piv_issue import HeldKey, ManagementKey
from hsm.pcsc.profiles import NONE, CardProfile
from hsm.tokens import (
    UNSIGNED,
    IssuerSignatures,
    SecretChange,
    Secrets,
    TokenFacts,
    TokenSlot,
    check_agreement,
)

ALGORITHMS = {
    "EC-P256": PivAlgorithm.ECC_P256,
    "EC-P384": PivAlgorithm.ECC_P384,
    "RSA-2048": PivAlgorithm.RSA_2048,
}
FLOOR = 2  # PIN tries: below that nothing is tried any more


class OwnKey(Protocol):
    """The management key that is to be, or is, this card's own, behind whoever holds it."""

    def answering(self, algorithm: PivAlgorithm) -> ManagementKey: ...

    def to_set(self, algorithm: PivAlgorithm) -> bytes:
        """The key itself, for the maker's command that sets it; asked for at no other time."""


class PivToken:
    """One card of one profile, in one session that began with a reset."""

    def __init__(self, card: PivCard, profile: CardProfile, own: OwnKey) -> None:
        self._card = card
        self._profile = profile
        factory = profile.factory_management_key
        self._factory = [HeldKey(each, factory) for each in profile.management if factory]
        self._kept = bool(factory) and profile.management_change == NONE
        self._own = own
        self._administered = False

    def identify(self) -> TokenFacts:
        card, profile = self._card, self._profile
        try:
            guid = card.chuid().guid.hex()
        except CardObjectMissingError:
            guid = ""
        serial = vendor.serial(card, profile)
        return TokenFacts(
            profile.name, serial, guid, card.label, card.tries_left(), profile.certificate
        )

    # The management key

    def take_over(self, *, begun: bool, taken: bool) -> str:
        if self._kept:
            self._authenticate(self._factory, "the key that its supplier put in")
            return "management key as delivered"
        own = self._own.answering(self._profile.own_algorithm)
        if (begun or not self._factory) and self._knows(own):
            return "own management key"
        if not any(map(self._knows, self._factory)):
            return self._last_resort(own, begun=begun)
        if taken:
            raise CardForeignError(
                "this card still has its factory's management key, and the one of this job has not",
                next_step="Put in the card that this job began with.",
            )
        algorithm = self._profile.own_algorithm
        vendor.set_management_key(self._card, algorithm, self._own.to_set(algorithm))
        self._authenticate([own], "the management key that it was just given")
        return "own management key"

    def _last_resort(self, own: ManagementKey, *, begun: bool) -> str:
        if not begun and self._factory and self._knows(own):
            return "own management key"
        raise TokenSpoiledError(
            "the card knows neither its factory's management key nor ours",
            next_step="Destroy it, and find out where it comes from.",
        )

    def _authenticate(self, keys: list[HeldKey] | list[ManagementKey], what: str) -> None:
        if not any(map(self._knows, keys)):
            raise TokenSpoiledError(
                f"the card does not know {what}",
                next_step="Destroy it, and find out where it comes from.",
            )

    def _knows(self, key: ManagementKey) -> bool:
        try:
            piv_issue.authenticate_management(self._card, key)
        except (CardRefusedError, IntegrityError):
            return False
        self._administered = True
        return True

    def _administer(self) -> None:
        if not self._administered:
            own = self._own.answering(self._profile.own_algorithm)
            self._authenticate(self._factory if self._kept else [own], "its management key")

    # Keys

    def make_key(self, slot: TokenSlot, algorithm: str) -> bytes:
        wanted = ALGORITHMS.get(algorithm)
        if wanted not in self._profile.algorithms:
            raise MechanismUnsupportedError(
                f"{self._profile.title} makes no key of {algorithm}",
                next_step="Issue another model, or another algorithm.",
            )
        self._administer()
        key = piv_issue.generate_key(self._card, piv_slot(slot), wanted)
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def attest(self, slot: TokenSlot) -> tuple[bytes, ...]:
        return vendor.attest(self._card, piv_slot(slot)) if self._profile.attests else ()

    def sign(self, slot: TokenSlot, spki: bytes, message: bytes, secrets: Secrets) -> bytes:
        self._verify(secrets.pin)
        return self._card.sign(piv_slot(slot), _key(spki), message)

    def agree(self, slot: TokenSlot, spki: bytes, peer: bytes, secrets: Secrets) -> bytes:
        self._verify(secrets.pin)
        return self._card.agree(piv_slot(slot), _curved(spki), _curved(peer))

    def _prove_agreement(self, spki: bytes) -> None:
        slot, key = PivSlot.KEY_MANAGEMENT, _curved(spki)
        check_agreement(spki, lambda peer: self._card.agree(slot, key, _curved(peer)))

    # Data objects

    @property
    def signed_room(self) -> int:
        return self._profile.object_limit if self._profile.security_object else 0

    def load(
        self,
        guid: bytes,
        certificates: Mapping[TokenSlot, bytes],
        signed: IssuerSignatures = UNSIGNED,
    ) -> dict[str, str]:
        wanted = containers.of_card(guid, certificates, signed.chuid)
        if signed.security:
            sealed = containers.security_object(wanted, signed.security)
            wanted[PivObject.SECURITY_OBJECT] = sealed
        for where, content in wanted.items():
            self._write(where, content)
        return {f"{where:X}": sha256(content).hexdigest() for where, content in wanted.items()}

    def _write(self, where: PivObject, content: bytes) -> None:
        if len(content) > self._profile.object_limit:
            raise MechanismUnsupportedError(
                f"{where.name.lower().replace('_', ' ')} has {len(content)} bytes, and this card "
                f"takes {self._profile.object_limit}",
                next_step="Issue a model with larger objects, or a shorter certificate.",
            )
        if self._read(where) == content:
            return
        self._administer()
        piv_issue.put_data(self._card, where, content)
        if self._read(where) != content:
            raise TokenSpoiledError(f"the card gives back another {where.name} than was written")

    def _read(self, where: PivObject) -> bytes:
        try:
            return self._card.get_data(where)
        except CardObjectMissingError:
            return b""

    # PIN and PUK

    def secure(self, secrets: Secrets) -> None:
        _change(piv_issue.change_puk, self._card, secrets.puk, new_first=secrets.puk.begun % 2 == 1)
        tries = self._card.tries_left()
        # A try is missing only where the new PIN was tried on a card that still has the old one.
        full = tries is None or tries >= self._profile.pin_tries
        new_first = bool(secrets.pin.begun) and full
        _change(piv_issue.change_pin, self._card, secrets.pin, new_first=new_first)

    def _verify(self, pin: SecretChange) -> None:
        """With what is on the card by the journal: the old one until a change was begun."""
        self._card.verify_pin(pin.new if pin.begun else pin.old)

    def prove(
        self, secrets: Secrets, keys: Mapping[TokenSlot, bytes], nonce: bytes
    ) -> dict[TokenSlot, bytes]:
        self._restart()
        signed: dict[TokenSlot, bytes] = {}
        for slot, spki in keys.items():
            self._card.verify_pin(secrets.pin.new)
            if slot is TokenSlot.KEY_MANAGEMENT:
                self._prove_agreement(spki)
                continue
            signed[slot] = self._card.sign(piv_slot(slot), _key(spki), nonce)
        self._prove_dead(secrets)
        return signed

    def _prove_dead(self, secrets: Secrets) -> None:
        """The right one comes first and last, so that a pull between costs no second try."""
        card, pin, puk = self._card, secrets.pin, secrets.puk
        piv_issue.change_puk(card, puk.new, puk.new)
        _dead("PUK", lambda: piv_issue.change_puk(card, puk.old, puk.old))
        piv_issue.change_puk(card, puk.new, puk.new)
        self._restart()
        _dead("PIN", lambda: card.verify_pin(pin.old))
        card.verify_pin(pin.new)
        self._restart()
        if not self._kept and any(map(self._knows, self._factory)):
            raise TokenSpoiledError("the card still obeys its factory's management key")
        tries = card.tries_left()
        if tries is not None and tries < self._profile.pin_tries:
            raise TokenSpoiledError(f"{tries} PIN tries are left on a card that should have all")

    def _restart(self) -> None:
        self._administered = False
        self._card.channel.reset()
        self._card.select()

    def unblock(self, puk: SecretChange, pin: bytes) -> None:
        self.replace_puk(puk)
        piv_issue.unblock_pin(self._card, puk.new, pin)

    def takes(self, pin: bytes) -> bool:
        """Whether this is its PIN: a try, which the right one gives back."""
        try:
            self._card.verify_pin(pin)
        except PinIncorrectError:
            return False
        return True

    def prove_pin_dead(self, given: Mapping[str, bytes], own: Callable[[], None]) -> None:
        """Try each PIN that is to be dead; `own` has the holder give theirs after each.

        Raises `CardRefusedError` at one that the card still takes.
        """
        for name, pin in given.items():
            self._restart()
            if self.takes(pin):
                raise CardRefusedError(
                    f"the card still takes {name}", next_step="Choose another PIN, once more."
                )
            own()
        self._restart()

    def unblock_by(self, puk: bytes, pin: bytes) -> None:  # where no other PUK may be shown
        piv_issue.unblock_pin(self._card, puk, pin)

    def replace_puk(self, puk: SecretChange) -> None:
        _change(piv_issue.change_puk, self._card, puk, new_first=puk.begun % 2 == 1)

    @property
    def factory_pin(self) -> bytes:
        return self._profile.factory_pin

    def rekey(self, new: OwnKey) -> None:
        """Replace our management key by that of another master's version."""
        algorithm = self._profile.own_algorithm
        if self._profile.management_change == NONE:
            raise MechanismUnsupportedError(f"no command changes the key of {self._profile.title}")
        if not self._knows(new.answering(algorithm)):
            self._administer()
            vendor.set_management_key(self._card, algorithm, new.to_set(algorithm))
            self._authenticate([new.answering(algorithm)], "the management key it was just given")

    def wipe(self) -> None:
        """By what every PIV card can: other keys, no objects, PIN and PUK used up."""
        self._administer()
        for slot in TokenSlot:
            piv_issue.generate_key(self._card, piv_slot(slot), self._profile.algorithms[0])
            piv_issue.put_data(self._card, CERTIFICATE_OF[piv_slot(slot)], b"")
        piv_issue.put_data(self._card, PivObject.CHUID, b"")
        if self._profile.security_object:
            piv_issue.put_data(self._card, PivObject.SECURITY_OBJECT, b"")
        _use_up(self._card)


def piv_slot(slot: TokenSlot) -> PivSlot:
    return PivSlot(int(slot, 16))


def _change(
    change: Callable[[PivCard, bytes, bytes], None],
    card: PivCard,
    secret: SecretChange,
    *,
    new_first: bool,
) -> None:
    """Whichever of the two is on the card now; the other costs a try, which success gives back."""
    first, second = (secret.new, secret.old) if new_first else (secret.old, secret.new)
    try:
        change(card, first, secret.new)
    except PinIncorrectError as error:
        if not secret.begun or (error.tries_left or 0) < FLOOR:
            raise _not_ours(error) from error
    else:
        return
    try:
        change(card, second, secret.new)
    except PinIncorrectError as error:
        raise _not_ours(error) from error


def _not_ours(error: PinIncorrectError) -> TokenSpoiledError:
    return TokenSpoiledError(
        f"{error}: the card has neither its factory's secret nor the one of this job",
        cause=error.cause,
        next_step="Destroy it, and find out who had it.",
    )


def _dead(what: str, attempt: Callable[[], None]) -> None:
    try:
        attempt()
    except PinIncorrectError:
        return
    raise TokenSpoiledError(f"the card still takes its factory's {what}")


def _use_up(card: PivCard) -> None:
    for ins, reference, size in (
        (Ins.VERIFY, PivReference.PIN, 1),
        (Ins.CHANGE_REFERENCE_DATA, PivReference.PUK, 2),
    ):
        for guess in range(16):  # more tries than a counter of one nibble can have
            wrong = str(90_000_000 + guess).encode() * size
            response = card.channel.send(Command(ins, 0x00, reference, wrong))
            error = pin_error(response, reference.name)
            if not isinstance(error, PinIncorrectError) or error.tries_left == 0:
                break


def _key(spki: bytes) -> PublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CardDataError("the public key in the journal cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise CardForeignError("the key is neither an EC nor an RSA key")
    return key


def _curved(spki: bytes) -> ec.EllipticCurvePublicKey:
    key = _key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise MechanismUnsupportedError("keys to agree with are of an elliptic curve")
    return key
