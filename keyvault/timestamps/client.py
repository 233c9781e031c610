"""Asking a time stamping authority, and believing it only when two programs do.

A token is kept when `openssl ts` and rfc3161-client both accept it: each has had errors of its
own. What comes from outside is capped before anybody parses it.
"""

import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from keyvault.domain.clocks import beyond_ms
from keyvault.domain.errors import VaultError
from keyvault.domain.times import milliseconds
from keyvault.outside import Place
from keyvault.settings import AuthoritySettings

LIMIT = 65_536  # bytes of a reply
OPENSSL_PATIENCE = 10.0  # seconds
_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
_SUCCESS = 200


class TimeStampError(VaultError):
    """No token came that both programs believe. Trying again later may help."""

    code = "time-stamp-refused"


@dataclass(frozen=True, slots=True)
class Token:
    """A reply that holds. `beyond_ms` is how far its time is from this host's clock."""

    reply: bytes
    stamped_at: datetime
    beyond_ms: int


def ask(authority: AuthoritySettings, data: bytes) -> Token:
    """Have the SHA-256 of `data` stamped. Raises `TimeStampError`."""
    request = (
        TimestampRequestBuilder()
        .data(data)
        .hash_algorithm(HashAlgorithm.SHA256)
        .cert_request(cert_request=True)
        .nonce(nonce=True)
        .build()
    )
    asked = time.time_ns() // 1_000_000
    reply = _posted(authority, request.as_bytes())
    answered = time.time_ns() // 1_000_000
    answer = checked(authority, reply, data, request.nonce)
    info = answer.tst_info
    accuracy = (getattr(info.accuracy, "seconds", 0) or 0) * 1_000  # a token may have none
    beyond = beyond_ms(milliseconds(info.gen_time), asked, answered, accuracy)
    return Token(reply, info.gen_time, beyond)


def _posted(authority: AuthoritySettings, request: bytes) -> bytes:
    place = Place(authority.url, authority.tls_ca, authority.timeout, LIMIT)
    try:
        status, reply = place.post(request, _HEADERS)
    except OSError as error:
        raise TimeStampError(
            f"{authority.name} gives no answer ({type(error).__name__})",
            next_step="see that its URL is right and reachable",
        ) from error
    if status != _SUCCESS:
        raise TimeStampError(f"{authority.name} answered with status {status}")
    return reply


def checked(
    authority: AuthoritySettings, reply: bytes, data: bytes, nonce: int | None = None
) -> TimeStampResponse:
    """Return the reply, read, if both programs believe it. Raises `TimeStampError`."""
    answer = _by_client(authority, reply, data, nonce)
    _by_openssl(authority.ca, reply, data, answer.tst_info.gen_time)
    return answer


def _by_client(
    authority: AuthoritySettings, reply: bytes, data: bytes, nonce: int | None
) -> TimeStampResponse:
    roots = _certificates(authority.ca)
    policy = x509.ObjectIdentifier(authority.policy) if authority.policy else None
    pinned = _certificates(authority.certificate)[0] if authority.certificate else None
    builder = VerifierBuilder(policy_id=policy, tsa_certificate=pinned, nonce=nonce, roots=roots)
    try:
        answer = decode_timestamp_response(reply)
        builder.build().verify(answer, sha256(data).digest())
    except (VerificationError, ValueError) as error:
        raise TimeStampError(f"rfc3161-client refuses the token of {authority.name}") from error
    return answer


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TimeStampError(f"cannot read the certificates in {path.name}") from error


def _by_openssl(ca: Path, reply: bytes, data: bytes, at: datetime) -> None:
    with TemporaryDirectory(prefix="tsa-") as name:
        folder = Path(name)
        (folder / "reply").write_bytes(reply)
        (folder / "data").write_bytes(data)
        line = ["openssl", "ts", "-verify", "-in", "reply", "-data", "data", "-CAfile", str(ca)]
        line += ["-attime", str(int(at.timestamp()))]
        try:
            done = subprocess.run(  # noqa: S603  (fixed words, and files of ours)
                line, cwd=folder, capture_output=True, timeout=OPENSSL_PATIENCE, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TimeStampError("openssl ts could not be asked") from error
    if done.returncode or b"Verification: OK" not in done.stdout + done.stderr:
        raise TimeStampError("openssl ts refuses the token")
