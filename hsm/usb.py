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
    CardDataError,
    CardError,
    CardForeignError,
    CardRemovedError,
    DataInvalidError,
    HsmError,
    IntegrityError,
    MechanismUnsupportedError,
    TokenSpoiledError,
)
from hsm.modules import ask as ask_module
from hsm.pcsc.apdu import TransmissionProtocol
from hsm.pcsc.profiles import OWN
from hsm.tokens import Secrets, TokenFacts, TokenSlot

Call = dict[str, Any]
Ask = Callable[[Call], Call]
CALLS = frozenset(
    f"token-{name}"
    for name in ("identify", "take-over", "make-key", "sign", "load", "check", "wipe")
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
            so_pin=_text(secrets.puk.new),
            pin=_text(secrets.pin.new),
            factory=_text(profile.so_pin.encode()),
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
        return bool(self._call("check", so_pin=_text(so_pin))["right"])

    def make_key(self, slot: TokenSlot, algorithm: str) -> bytes:
        made = self._call("make-key", **self._about(slot), algorithm=algorithm)
        return b64decode(made["spki"])

    def attest(self, slot: TokenSlot) -> tuple[bytes, ...]:  # noqa: ARG002  (PKCS#11 has no such thing)
        return ()

    def sign(self, slot: TokenSlot, spki: bytes, message: bytes, secrets: Secrets) -> bytes:  # noqa: ARG002  (there is one PIN from the start)
        key = load_der_public_key(spki)
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise CardForeignError("the key is neither an EC nor an RSA key")
        bits = f"EC-P{key.key_size}" if isinstance(key, ec.EllipticCurvePublicKey) else "RSA-2048"
        digest = _text(sha256(message).digest())
        answer = self._call("sign", **self._about(slot), digest=digest, algorithm=bits)
        raw = b64decode(answer["signature"])
        try:
            return _checked(key, raw, message)
        except InvalidSignature:
            raise IntegrityError("the token's signature is not of this message") from None

    def agree(self, slot: TokenSlot, spki: bytes, peer: bytes, secrets: Secrets) -> bytes:  # noqa: ARG002  (as below)
        raise MechanismUnsupportedError(
            f"keys to agree with ({slot}) are made on PIV cards alone",
            next_step="Leave 9D out of the order.",
        )

    def load(self, guid: bytes, certificates: Mapping[TokenSlot, bytes]) -> dict[str, str]:  # noqa: ARG002  (its label is its name)
        hashed = {}
        for slot, certificate in certificates.items():
            subject = x509.load_der_x509_certificate(certificate).subject.public_bytes()
            about = {**self._about(slot), "subject": _text(subject)}
            found = self._call("load", **about, certificate=_text(certificate))["found"]
            if found != [_text(certificate)]:
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
        signed = {slot: self.sign(slot, spki, nonce, secrets) for slot, spki in keys.items()}
        factory = self._profile.so_pin.encode()
        if factory and self._officer_is(factory):
            raise TokenSpoiledError("the token still takes its factory's SO-PIN")
        if factory and not self._officer_is(secrets.puk.new):
            raise TokenSpoiledError("the token does not take the SO-PIN that it was given")
        return signed

    def wipe(self) -> None:
        self._call("wipe", so_pin=_text(self._secrets().puk.new))

    def _about(self, slot: TokenSlot) -> Call:
        key_id = uuid5(self._token, slot).bytes
        pin = self._secrets().pin.new
        return {"slot": str(slot), "key_id": _text(key_id), "pin": _text(pin)}

    def _call(self, name: str, **more: object) -> Call:
        makers = [each.label for each in self._profiles if each.label]
        about = {"do": f"token-{name}", "label": self._token.hex, "makers": makers}
        return self._ask({**about, **more})


class UsbReader:
    """What a desk lends for a PKCS#11 token: its module, one call at a time."""

    atr = b""
    protocol = TransmissionProtocol.T1

    def __init__(self, path: str) -> None:
        self._path = path

    def call(self, call: Call) -> Call:
        try:
            return carry(self._path, call)
        except CardError:
            raise
        except HsmError as error:  # the token is out, or its module ended: the job can go on
            raise CardRemovedError(f"the token failed: {error}", cause=error.cause) from error

    def transmit(self, apdu: bytes, seconds: float) -> bytes:
        raise CardDataError(f"a PKCS#11 token takes no APDU ({len(apdu)} bytes, {seconds} s)")

    def reset(self) -> None:
        """Nothing stays logged in."""


def carry(path: str, call: Call) -> Call:
    """Make one call on the token beside this process: what a desk does, and no more than that."""
    if call.get("do") not in CALLS or "path" in call or len(str(call)) > CALL_LIMIT:
        raise DataInvalidError("the server asked for something that this desk does not do")
    return ask_module({**call, "path": path})


def _checked(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, raw: bytes, message: bytes
) -> bytes:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
        return raw
    half = len(raw) // 2
    r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    signature = encode_dss_signature(r, s)
    key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    return signature


def _text(data: bytes) -> str:
    return b64encode(data).decode()
