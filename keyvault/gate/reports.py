"""Signed reports: the evidence key signs the attributes of a CMS signature, and its certificate."""

from datetime import UTC, datetime, timedelta

from asn1crypto.cms import CMSAttributes  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.x509.oid import NameOID

from hsm.device import Device
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.keys import service_key_id
from keyvault.gate.services import EVIDENCE, sign_p256
from keyvault.gate.sessions import issued, p256_key

ATTRIBUTES_LIMIT = 8_192  # bytes
LIFE = timedelta(days=3650)
USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
NEEDED = {"content_type", "message_digest"}  # RFC 5652, section 11


def certificate(device: Device, origin: str) -> bytes:
    """Return a certificate (DER) of the evidence key by itself: readers of PDF want one.

    Nothing rests on it but the key, which the genesis names.
    """
    key = p256_key(device.public_key(service_key_id(EVIDENCE)))
    now = datetime.now(UTC)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "keyvault evidence"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, origin[:64]),
        ]
    )
    begin = now - timedelta(days=1)
    builder = (
        x509.CertificateBuilder(name, name, key, x509.random_serial_number(), begin, now + LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(USAGE, critical=True)
    )
    return issued(device, builder, EVIDENCE)


def sign(device: Device, attributes: bytes) -> bytes:
    """Sign the signed attributes of a CMS signature (RFC 5652, section 5.4): DER.

    They are a SET, which neither a manifest nor a certificate is: this signature is none of theirs.
    """
    if len(attributes) > ATTRIBUTES_LIMIT:
        raise InvalidInputError(f"signed attributes are at most {ATTRIBUTES_LIMIT} bytes long")
    try:
        kinds = {item["type"].native for item in CMSAttributes.load(attributes, strict=True)}
    except (ValueError, TypeError) as error:
        raise InvalidInputError("these are no signed attributes") from error
    if not kinds >= NEEDED:
        raise InvalidInputError("these signed attributes lack what every signature has")
    return sign_p256(device, EVIDENCE, attributes)
