"""A PKCS#11 token at its holder's: what they sign and open with, and whose PIN they choose.

Each question is a process of its own, as it is for an issuer; nothing stays logged in.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.errors import (
    CardDataError,
    CardForeignError,
    CardObjectMissingError,
    CardRefusedError,
    PinIncorrectError,
)
from hsm.modules import ask as ask_module
from hsm.modules import module_of
from hsm.pcsc.piv import PivSlot
from hsm.pcsc.token import piv_slot
from hsm.tokens import SecretChange, Secrets, TokenSlot
from hsm.uri import parse
from hsm.usb import Ask, Call, Pkcs11Token, UsbReader, b64

SCHEME = "pkcs11:"
HELD = frozenset({"token-identify", "token-takes", "token-officer"})
AskPin = Callable[[], bytes]


class HeldToken(UsbReader):
    """The token, before its holder, while a service works on it from elsewhere.

    `choose` asks the holder for a PIN: (is it new?). As with `hsm.pcsc.holder.HeldCard`, what is
    typed goes to the token and nowhere else, and is kept while this object lives.
    """

    def __init__(
        self, path: str, label: str, choose: Callable[[bool], bytes], ask: Ask = ask_module
    ) -> None:
        super().__init__(path, ask)
        self._label = label
        self._choose = choose
        self._pin = b""

    def call(self, call: Call) -> Call:
        """Pass on what recognises the token and sets its PINs. Raises `CardDataError` at others."""
        if call.get("do") not in HELD or call.get("label") != self._label:
            raise CardDataError(
                f"the server asked for {str(call.get('do'))[:40]} while its holder has the token",
                next_step="Take the token out, and tell whoever runs the service.",
            )
        return super().call(call)

    def own_pin(self, given: bytes) -> None:
        """Replace `given` by the holder's own PIN; if it is empty, give the token theirs.

        Raises `CardRefusedError` where they chose the one that they were given, and
        `PinIncorrectError`, which spends a try.
        """
        if given:
            self.change_pin(given, self._choose(True))
            return
        self._pin = self._pin or self._choose(False)
        if not self.own_call("takes", self._label, pin=b64(self._pin), last=True)["right"]:
            self._pin = b""
            raise PinIncorrectError(
                "the token refused the PIN", next_step="Begin again, and give the right one."
            )

    def change_pin(self, old: bytes, new: bytes) -> None:
        """C_SetPIN. Raises as `own_pin` does."""
        if new == old:
            raise CardRefusedError(
                "this is the PIN that the token has now", next_step="Choose another one."
            )
        self.own_call("set-pin", self._label, pin=b64(old), new=b64(new))
        self._pin = new


class UsbKeys:
    """What is on the one token of ours in a module: its id, and the P-256 key in each slot."""

    def __init__(self, path: str, label: str = "", ask: Ask = ask_module) -> None:
        """Raises `CardForeignError` where there is none, or more than one."""
        self.reader = UsbReader(path, ask)
        found = self.reader.own_call("read", label)
        self.label = str(found["label"])
        self.last = bool(found["last"])  # one try of its PIN is left
        self._certificates: Mapping[str, str] = found["certificates"]

    @classmethod
    def of_uri(cls, uri: str, ask: Ask = ask_module) -> "UsbKeys":
        """`uri` names the module and, where there are several, the token (RFC 7512)."""
        wanted = parse(uri)
        return cls(module_of(wanted), wanted.token, ask)

    def key(self, slot: TokenSlot) -> bytes:
        """SPKI. Raises `CardObjectMissingError`, `CardForeignError` at one not of P-256."""
        found = self._certificates.get(slot)
        if found is None:
            raise CardObjectMissingError(
                f"the token has no certificate for {slot}",
                next_step="Use the token that you were given for this.",
            )
        try:
            key = x509.load_der_x509_certificate(b64decode(found)).public_key()
        except ValueError as error:
            raise CardDataError("the token's certificate cannot be read") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size != 256:  # noqa: PLR2004  (P-256)
            raise CardForeignError(
                f"{slot} holds a key that is not of P-256, and people sign with keys of P-256"
            )
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def credential(self, slot: TokenSlot, ask_pin: AskPin) -> "UsbCredential":
        return UsbCredential(self, slot, ask_pin)


class UsbCredential:
    """Signs and agrees with one slot; each time is a login of its own, with its own PIN.

    The token is found by its id, and what it signs is checked under the key that it showed before
    the PIN was asked for.
    """

    def __init__(self, keys: UsbKeys, slot: TokenSlot, ask_pin: AskPin) -> None:
        self.spki = keys.key(slot)
        self._slot = slot
        self._ask_pin = ask_pin
        self._token = Pkcs11Token(keys.reader.call, UUID(hex=keys.label), [], self._secrets)

    @property
    def slot(self) -> PivSlot:
        return piv_slot(self._slot)

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, in DER. Raises `PinIncorrectError`, `IntegrityError`, `CardError`."""
        return self._token.sign(self._slot, self.spki, message, self._secrets())

    def agree(self, peer: bytes) -> bytes:
        """ECDH with `peer` (P-256, SPKI): Z, 32 bytes. Opens what was sealed to slot 9D."""
        return self._token.agree(self._slot, self.spki, peer, self._secrets())

    def _secrets(self) -> Secrets:
        pin = self._ask_pin()
        return Secrets(SecretChange(pin, pin), SecretChange(b"", b""))
