"""A PKCS#11 token as a credential token that is issued: what `hsm.tokens` asks, by C_ calls.

The calls are made elsewhere: in a process of its own beside the token, which `ask` reaches. Here
is what is decided. A token's PIN and SO-PIN are ours from the moment that it is initialised.
"""

import tomllib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm.errors import (
    OF_TOKENS,
    CardDataError,
    CardForeignError,
    CardRefusedError,
    CardRemovedError,
    DataInvalidError,
    HsmError,
    IntegrityError,
    PinIncorrectError,
    PinLockedError,
    TokenSpoiledError,
)
from hsm.modules import ask as ask_module
from hsm.pcsc.apdu import TransmissionProtocol
from hsm.pcsc.profiles import OWN
from hsm.tokens import (
    UNSIGNED,
    IssuerSignatures,
    SecretChange,
    Secrets,
    TokenFacts,
    TokenSlot,
    check_agreement,
)

Call = dict[str, Any]
Ask = Callable[[Call], Call]
CALLS = frozenset(
    f"token-{name}"
    for name in (
        *("identify", "take-over", "make-key", "sign", "agree", "load", "check"),
        *("takes", "officer", "wipe"),
    )
)
CALL_LIMIT = 65_536  # characters of one call


@dataclass(frozen=True, slots=True)
class UsbProfile:
    """One model. `model` is CK_TOKEN_INFO's manufacturer and model.

    `so_pin` and `label` are the maker's, where tokens come initialised. `serial` says that the
    module tells a serial number that stays when the token is initialised.
    """

    name: str
    title: str
    model: str
    so_pin: str = ""
    label: str = ""
    serial: bool = False
    certificate: str = ""  # number of its FIPS 140 certificate

    def __repr__(self) -> str:
        return f"UsbProfile({self.name!r})"


def load(path: Path | None = None) -> list[UsbProfile]:
    """The operator's models and behind them the house's own. Raises `DataInvalidError`."""
    try:
        files = [OWN] if path is None else [path, OWN]
        tables = [t for f in files for t in tomllib.loads(f.read_text()).get("token", [])]
        return [UsbProfile(**table) for table in tables]
    except (OSError, ValueError, TypeError) as error:
        raise DataInvalidError(f"{path or OWN} does not describe tokens: {error}") from error


class Pkcs11Token:
    """One token. `secrets` are its PIN and SO-PIN as they are to be, whatever it has now."""

    def __init__(
        self, ask: Ask, token: UUID, profiles: list[UsbProfile], secrets: Callable[[], Secrets]
    ) -> None:
        self._ask = ask
        self._token = token
        self._profiles = profiles
        self._secrets = secrets

    def identify(self) -> TokenFacts:
        found = self._call("identify")
        model = str(found["model"])
        profile = next((each for each in self._profiles if each.model == model), None)
        if profile is None:
            raise CardForeignError(
                f"no profile fits this token: {model[:80]!r}",
                next_step="Issue a model that is known, or have a profile of this one written.",
            )
        self._profile = profile
        ours = found["label"] == self._token.hex
        serial = str(found["serial"]) if profile.serial else ""
        guid = self._token.hex if ours else ""
        return TokenFacts(profile.name, serial, guid, certificate=profile.certificate)

    def take_over(self, *, begun: bool, taken: bool) -> str:
        if taken:  # it was found by our label, and the SO-PIN has to be ours
            return self._still_ours()
        if not begun and self._is_ours():
            raise TokenSpoiledError("the token has this name already, and no job gave it to it")
        profile, secrets = self._profile, self._secrets()
        self._call(
            "take-over",
            so_pin=b64(secrets.puk.new),
            pin=b64(secrets.pin.new),
            factory=b64(profile.so_pin.encode()),
        )
        return "own SO-PIN"

    def _still_ours(self) -> str:
        if not self._is_ours() or not self._officer_is(self._secrets().puk.new):
            raise CardForeignError(
                "this is not the token that this job initialised",
                next_step="Put in the token that this job began with.",
            )
        return "own SO-PIN"

    def _is_ours(self) -> bool:
        return bool(self._call("identify")["label"] == self._token.hex)

    def _officer_is(self, so_pin: bytes) -> bool:
        return bool(self._call("check", so_pin=b64(so_pin))["right"])

    def make_key(self, slot: TokenSlot, algorithm: str) -> bytes:
        made = self._call("make-key", **self._about(slot), algorithm=algorithm)
        return b64decode(made["spki"])

    def attest(self, slot: TokenSlot) -> tuple[bytes, ...]:  # noqa: ARG002  (PKCS#11 has no such thing)
        return ()

    def sign(self, slot: TokenSlot, spki: bytes, message: bytes, secrets: Secrets) -> bytes:
        key = load_der_public_key(spki)
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise CardForeignError("the key is neither an EC nor an RSA key")
        bits = f"EC-P{key.key_size}" if isinstance(key, ec.EllipticCurvePublicKey) else "RSA-2048"
        hashed = hashes.Hash(_hash_of(key))
        hashed.update(message)
        digest = b64(hashed.finalize())
        answer = self._call("sign", **self._about(slot, secrets), digest=digest, algorithm=bits)
        raw = b64decode(answer["signature"])
        try:
            return _checked(key, raw, message)
        except InvalidSignature:
            raise IntegrityError("the token's signature is not of this message") from None

    def agree(self, slot: TokenSlot, spki: bytes, peer: bytes, secrets: Secrets) -> bytes:  # noqa: ARG002  (its caller holds what comes out against it)
        return b64decode(self._call("agree", **self._about(slot, secrets), peer=b64(peer))["z"])

    @property
    def signed_room(self) -> int:
        return 0  # what SP 800-73-4 has signed is an object of a PIV card

    def load(
        self,
        guid: bytes,  # noqa: ARG002  (its label is its name)
        certificates: Mapping[TokenSlot, bytes],
        signed: IssuerSignatures = UNSIGNED,  # noqa: ARG002  (as `signed_room` says)
    ) -> dict[str, str]:
        hashed = {}
        for slot, certificate in certificates.items():
            subject = x509.load_der_x509_certificate(certificate).subject.public_bytes()
            about = {**self._about(slot), "subject": b64(subject)}
            found = self._call("load", **about, certificate=b64(certificate))["found"]
            if found != [b64(certificate)]:
                raise TokenSpoiledError("the token gives back another certificate than was written")
            hashed[str(slot)] = sha256(certificate).hexdigest()
        return hashed

    def secure(self, secrets: Secrets) -> None:
        """Both have been ours since the token was initialised: only look that it is so."""
        if not self._officer_is(secrets.puk.new):
            raise TokenSpoiledError("the token does not take the SO-PIN that it was given")

    def prove(
        self, secrets: Secrets, keys: Mapping[TokenSlot, bytes], nonce: bytes
    ) -> dict[TokenSlot, bytes]:
        signed: dict[TokenSlot, bytes] = {}
        for slot, spki in keys.items():
            if slot is TokenSlot.KEY_MANAGEMENT:
                self._prove_agreement(slot, spki, secrets)
                continue
            signed[slot] = self.sign(slot, spki, nonce, secrets)
        factory = self._profile.so_pin.encode()
        if factory and self._officer_is(factory):
            raise TokenSpoiledError("the token still takes its factory's SO-PIN")
        if factory and not self._officer_is(secrets.puk.new):
            raise TokenSpoiledError("the token does not take the SO-PIN that it was given")
        return signed

    def _prove_agreement(self, slot: TokenSlot, spki: bytes, secrets: Secrets) -> None:
        check_agreement(spki, lambda peer: self.agree(slot, spki, peer, secrets))

    # A finished one

    def recognise(self, model: object, serial: object) -> None:
        """Raise `CardForeignError` unless this is the token as it was issued.

        By its label, which is its id: PKCS#11 has no challenge that a token would answer before
        a PIN is given to it.
        """
        found = self.identify()
        if (found.guid, found.model, found.serial) != (self._token.hex, model, serial):
            raise CardForeignError("this is another token", next_step="Put in the right one.")

    @property
    def factory_pin(self) -> bytes:
        return b""

    def takes(self, pin: bytes) -> bool:
        return bool(self._call("takes", pin=b64(pin), last=False)["right"])

    def prove_pin_dead(self, given: Mapping[str, bytes], own: Callable[[], None]) -> None:
        for name, pin in given.items():
            if pin and self.takes(pin):
                raise CardRefusedError(
                    f"the token still takes {name}", next_step="Choose another PIN, once more."
                )
            own()

    def unblock(self, puk: SecretChange, pin: bytes) -> None:
        self._officer(puk, pin)

    def unblock_by(self, puk: bytes, pin: bytes) -> None:
        self._officer(SecretChange(puk, puk), pin)

    def replace_puk(self, puk: SecretChange) -> None:
        self._officer(puk)

    def _officer(self, so_pin: SecretChange, pin: bytes = b"") -> None:
        """The new SO-PIN can only be there after a first try; then the two take turns."""
        there = [so_pin.old, so_pin.new] if so_pin.begun else [so_pin.old]
        if so_pin.begun % 2:
            there.reverse()
        about = {"so_pin": b64(so_pin.new), "pin": b64(pin)}
        try:
            self._call("officer", there=list(map(b64, there)), **about)
        except PinLockedError:
            raise
        except PinIncorrectError as error:
            raise TokenSpoiledError(
                f"{error}: the token has not the SO-PIN that it was given",
                cause=error.cause,
                next_step="Destroy it, and find out who had it.",
            ) from error

    def wipe(self) -> None:
        """C_InitToken, by the SO-PIN; its label stays, so that it can still be told from others."""
        found = self._call("wipe", so_pin=b64(self._secrets().puk.new))
        if found["left"] or found["pin"]:
            raise CardRefusedError(
                f"{found['left']} objects are on the token after it was initialised",
                next_step="Destroy it before a witness without that, and tell its supplier.",
            )

    def _about(self, slot: TokenSlot, secrets: Secrets | None = None) -> Call:
        key_id = uuid5(self._token, slot).bytes
        pin = (secrets or self._secrets()).pin.new  # there is one PIN from the start
        return {"slot": str(slot), "key_id": b64(key_id), "pin": b64(pin)}

    def _call(self, name: str, **more: object) -> Call:
        makers = [each.label for each in self._profiles if each.label]
        about = {"do": f"token-{name}", "label": self._token.hex, "makers": makers}
        return self._ask({**about, **more})


class UsbReader:
    """What a desk lends for a PKCS#11 token: its module, one call at a time."""

    atr = b""
    protocol = TransmissionProtocol.T1

    def __init__(self, path: str, ask: Ask = ask_module) -> None:
        self._path = path
        self._ask = ask

    def call(self, call: Call) -> Call:
        return self._made(lambda: carry(self._path, call, self._ask))

    def _made(self, make: Callable[[], Call]) -> Call:
        try:
            return make()
        except OF_TOKENS:
            raise
        except HsmError as error:  # the token is out, or its module ended: the job can go on
            raise CardRemovedError(f"the token failed: {error}", cause=error.cause) from error

    def own_call(self, name: str, label: str, **more: object) -> Call:
        """A call of who sits here, which no service can ask for."""
        about = {"do": f"token-{name}", "label": label, "path": self._path}
        return self._made(lambda: self._ask({**about, **more}))

    def transmit(self, apdu: bytes, seconds: float) -> bytes:
        raise CardDataError(f"a PKCS#11 token takes no APDU ({len(apdu)} bytes, {seconds} s)")

    def reset(self) -> None:
        """Nothing stays logged in."""


def carry(path: str, call: Call, ask: Ask = ask_module) -> Call:
    """Make one call on the token beside this process: what a desk does, and no more than that."""
    if call.get("do") not in CALLS or "path" in call or len(str(call)) > CALL_LIMIT:
        raise DataInvalidError("the server asked for something that this desk does not do")
    return ask({**call, "path": path})


def _checked(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, raw: bytes, message: bytes
) -> bytes:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
        return raw
    half = len(raw) // 2
    r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    signature = encode_dss_signature(r, s)
    key.verify(signature, message, ec.ECDSA(_hash_of(key)))
    return signature


def _hash_of(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> hashes.HashAlgorithm:
    """With P-384 SHA-384, with all others SHA-256, as cards have it."""
    is_p384 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
    return hashes.SHA384() if is_p384 else hashes.SHA256()


def b64(data: bytes) -> str:
    """As the JSON of a call carries bytes."""
    return b64encode(data).decode()
