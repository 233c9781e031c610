"""A time stamping authority for tests and closed sites. It is not independent, and says so.

Its name, in every token's certificate, tells that its time is the site's own. It answers by
`openssl ts -reply` with a key of its own, which is no key of the service.
"""

import logging
import os
import subprocess
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keyvault import durable
from keyvault.domain.errors import InvalidInputError

REQUEST_LIMIT = 4_096  # bytes: a request is some sixty
PATIENCE = 10.0  # seconds for a caller to send it, and for openssl to answer
LABEL = "LOCAL time, not independent"
YEARS = 10
_CONFIG = """\
[ tsa ]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = {policy}
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = no
tsa_name = yes
ess_cert_id_chain = no
"""
log = logging.getLogger("tsa")


def create(folder: Path, name: str) -> Path:
    """Make an authority in a new folder; return its root certificate, for whoever verifies.

    The root's key is used once and kept nowhere. Raises `InvalidInputError` if one is there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InvalidInputError(f"{folder} is not empty and is left alone")
    root_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate(f"{name} root, {LABEL}", root_key, root_key, None)
    own = _certificate(f"{name}, {LABEL}", own_key, root_key, root)
    files = {
        "ca.pem": root.public_bytes(serialization.Encoding.PEM),
        "tsa.pem": own.public_bytes(serialization.Encoding.PEM),
        "tsa.key": own_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        "tsa.cnf": _CONFIG.format(policy=f"2.25.{uuid4().int >> 64}").encode(),
        "serial": b"01\n",
    }
    for file, content in files.items():
        durable.create(folder / file, content)
    return folder / "ca.pem"


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(root=issuer is None), critical=True)
    )
    if issuer is not None:
        builder = _of_authority(builder, signer)
    return builder.sign(signer, hashes.SHA256())


def _of_authority(
    builder: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """RFC 3161, 2.3: for this purpose alone, and that is critical."""
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    return builder.add_extension(own, critical=False).add_extension(purpose, critical=True)


def _usage(*, root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=root,
        crl_sign=root,
        encipher_only=False,
        decipher_only=False,
    )


class LocalAuthority(ThreadingHTTPServer):
    """Answers RFC 3161 over HTTP. One openssl at a time, since they share a file of serials."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        if not (folder / "tsa.cnf").is_file():
            raise InvalidInputError(
                f"{folder} holds no authority", next_step="run: keyvault tsa init"
            )
        self._folder = folder.resolve()
        self._lock = Lock()
        super().__init__(address, _Handler)

    def reply(self, request: bytes) -> bytes:
        """Return a TimeStampResp. Raises `OSError`, also where openssl will not have it."""
        with self._lock, TemporaryDirectory(prefix="tsa-") as name:
            query, answer = Path(name) / "query", Path(name) / "answer"
            query.write_bytes(request)
            line = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-section", "tsa"]
            done = subprocess.run(  # noqa: S603  (fixed words, and files of ours)
                [*line, "-queryfile", query, "-out", answer],
                cwd=self._folder,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            if done.returncode:
                raise OSError("openssl refuses the request")
            return answer.read_bytes()


class _Handler(BaseHTTPRequestHandler):
    server: LocalAuthority
    timeout = PATIENCE
    server_version, sys_version = "keyvault-tsa", ""

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or not 0 < int(length) <= REQUEST_LIMIT:
            self.send_error(400, "a request has up to 4096 bytes")
            return
        try:
            answer = self.server.reply(self.rfile.read(int(length)))
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("no token given: %s", error)
            self.send_error(400, "no request of RFC 3161")
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's name)
        """Say nothing of each call."""
