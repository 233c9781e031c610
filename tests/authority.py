"""A certificate authority for tests: what it issues from our requests, right or wrong."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


def usage(*names: str) -> x509.KeyUsage:
    """A key usage with just these bits."""
    known = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in names for name in known})


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass
class Authority:
    """A root, or with `parent` what it has certified."""

    name: x509.Name
    parent: "Authority | None" = None
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """A root and an issuing authority under it."""
        root = cls(named("Test root"))
        return root, cls(named("Test issuing authority"), root)

    def certificate(self, days: int = 3_000) -> bytes:
        issuer = self.parent or self
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer.name, self.name, self.key.public_key(), x509.random_serial_number(),
            now - DAY, now + days * DAY,
        )  # fmt: skip
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        builder = builder.add_extension(usage("key_cert_sign"), critical=True)
        made = builder.sign(issuer.key, hashes.SHA256())
        return made.public_bytes(Encoding.DER)

    def issue(self, request: bytes, **changes: Any) -> bytes:
        """Issue what a request asks for, but for the changes: subject, public_key, extensions
        (with whether each is critical), issuer, not_before, not_after, signer."""
        csr = x509.load_der_x509_csr(request)
        now = datetime.now(UTC)
        asked = [(each.value, each.critical) for each in csr.extensions]
        builder = x509.CertificateBuilder(
            changes.get("issuer", self.name),
            changes.get("subject", csr.subject),
            changes.get("public_key", csr.public_key()),
            x509.random_serial_number(),
            changes.get("not_before", now - DAY),
            changes.get("not_after", now + 365 * DAY),
        )
        for value, critical in changes.get("extensions", asked):
            builder = builder.add_extension(value, critical)
        made = builder.sign(changes.get("signer", self.key), hashes.SHA256())
        return made.public_bytes(Encoding.DER)


def changed(name: x509.Name, oid: x509.ObjectIdentifier, value: str | bytes) -> x509.Name:
    """The same name with one attribute changed."""
    return x509.Name(
        x509.NameAttribute(each.oid, value, each._type) if each.oid == oid else each  # noqa: SLF001  (bit strings have no other door)
        for each in name
    )
