"""A maker of cards: its authority, and the attestation key that it puts into each card."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.cards.simulator.ber import tlv

ATTESTER_OBJECT = 0x5FFF01
SERIAL = x509.ObjectIdentifier("1.3.6.1.4.1.41482.3.7")
DAY = timedelta(days=1)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _built(subject: str, issuer: str, key: ec.EllipticCurvePublicKey, days: int):
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + days * DAY)
    )


@dataclass
class Attester:
    """What a card has of its maker. `days` is how long its statements hold from now on."""

    certificate: bytes
    key: ec.EllipticCurvePrivateKey
    days: int = 3_650

    def attest(self, key: ec.EllipticCurvePublicKey, slot: int, serial: int) -> bytes:
        built = _built(f"attestation {slot:x}", "attester of a card", key, self.days)
        whole = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
        number = x509.UnrecognizedExtension(SERIAL, tlv(0x02, whole))
        signed = built.add_extension(number, critical=False).sign(self.key, hashes.SHA256())
        return signed.public_bytes(Encoding.DER)


@dataclass
class Maker:
    key: ec.EllipticCurvePrivateKey = field(default_factory=_key)

    def __post_init__(self) -> None:
        built = _built("a maker", "a maker", self.key.public_key(), 9_000)
        is_one = x509.BasicConstraints(ca=True, path_length=None)
        built = built.add_extension(is_one, critical=True)
        self.certificate = built.sign(self.key, hashes.SHA256())

    def attester(self, *, authority: bool = True, days: int = 3_650) -> Attester:
        """For one card. Without `authority` its certificate is one that may certify nothing."""
        key = _key()
        built = _built("attester of a card", "a maker", key.public_key(), days)
        constraint = x509.BasicConstraints(ca=authority, path_length=0 if authority else None)
        signed = built.add_extension(constraint, critical=True).sign(self.key, hashes.SHA256())
        return Attester(signed.public_bytes(Encoding.DER), key, days)


MAKER = Maker()
