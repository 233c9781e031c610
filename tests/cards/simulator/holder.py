"""A card as its holder gets it: keys, certificates, CHUID and discovery object in place."""

import uuid
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.cards.simulator.ber import tlv
from tests.cards.simulator.piv import AID, DISCOVERY, PRINTED, Applet, Key

CHUID = 0x5FC102
CERTIFICATES = {0x9A: 0x5FC105, 0x9C: 0x5FC10A, 0x9D: 0x5FC10B, 0x9E: 0x5FC101}
PIN_OF_APPLICATION_ONLY = bytes.fromhex("4000")
FASC_N = bytes.fromhex("D4E739DA739CED39CE739D836858210842108421C842108421384210C3F5")[:25]


def personalised(*, rsa_slots: tuple[int, ...] = (), name: str = "A. Holder") -> Applet:
    """P-256 keys in 9A, 9C, 9D and 9E, or RSA-2048 where asked."""
    applet = Applet()
    for slot, where in CERTIFICATES.items():
        key: Key = (
            rsa.generate_private_key(65_537, 2048)
            if slot in rsa_slots
            else ec.generate_private_key(ec.SECP256R1())
        )
        applet.keys[slot] = key
        applet.objects[where] = container(certificate(key, f"{name} {slot:X}"))
    applet.objects[CHUID] = chuid()
    applet.objects[DISCOVERY] = tlv(0x4F, AID) + tlv(0x5F2F, PIN_OF_APPLICATION_ONLY)
    applet.objects[PRINTED] = tlv(0x01, name.encode())
    return applet


def container(der: bytes, info: bytes = b"\0") -> bytes:
    return tlv(0x70, der) + tlv(0x71, info) + tlv(0xFE)


def chuid() -> bytes:
    return (
        tlv(0x30, FASC_N)
        + tlv(0x34, uuid.uuid4().bytes)
        + tlv(0x35, b"20351231")
        + tlv(0x3E)
        + tlv(0xFE)
    )


def certificate(key: Key, name: str) -> bytes:
    """Self-signed: who issued it is no card's business."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(
            x509.KeyUsage(True, True, *[False] * 7),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(Encoding.DER)
