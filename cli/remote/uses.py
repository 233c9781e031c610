"""Using keys as a DCC system does: its own client certificate, no session."""

import hashlib
from base64 import b64decode, b64encode
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from cli.command import command, group
from cli.errors import EvidenceError
from cli.output import answer, say
from cli.remote.client import CaFile, Server, ServerUrl
from hsm.types import Algorithm, Mechanism
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError

app = group("Use keys.")
_ACCESS = "--server https://localhost:8443 --ca server.pem --certificate me.pem --key me.key"


KeyId = Annotated[UUID, typer.Argument(metavar="KEY", help="Id of the key.")]
Payload = Annotated[Path, typer.Option("--file", metavar="FILE", help="What is or was signed.")]
Certificate = Annotated[
    Path, typer.Option(metavar="FILE", help="The system's enrolled certificate (PEM).")
]
PrivateKey = Annotated[Path, typer.Option("--key", metavar="FILE", help="Its private key (PEM).")]
RsaScheme = Annotated[
    Mechanism | None, typer.Option(metavar="NAME", help="For RSA. Default: RSA-PSS-SHA256.")
]


class SignatureForm(StrEnum):
    """ECDSA only: r || s as GBCS wants it, or the DER that OpenSSL reads."""

    RAW = "raw"
    DER = "der"


Form = Annotated[SignatureForm, typer.Option("--format", help="ECDSA: r || s, or DER.")]


@command(
    app,
    "sign",
    f"keyvault keys sign KEY --file payload.bin --format der --out signature.der {_ACCESS}",
)
def sign(
    key: KeyId,
    file: Payload,
    server: ServerUrl,
    ca: CaFile,
    certificate: Certificate,
    private_key: PrivateKey,
    mechanism: RsaScheme = None,
    form: Form = SignatureForm.RAW,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it here.")] = None,
) -> None:
    """Sign a file, as a system that may also read the key.

    The hash is made here; only Ed25519 sends the file itself.
    """
    door = Server(server, ca, (certificate, private_key))
    algorithm = Algorithm(door.get(f"/v1/keys/{key}")["algorithm"])
    body = _signable(algorithm, file.read_bytes(), mechanism)
    signed = door.post(f"/v1/keys/{key}/signatures", body)
    signature = b64decode(signed["signatures"][0])
    if form is SignatureForm.DER:
        signature = der_of(signature, algorithm)
    event = signed["event"]
    say(f"signed; event {event['index']} of the log says so")
    if out is not None:
        out.write_bytes(signature)
    value = {"signature": b64encode(signature).decode(), "format": str(form), "event": event}
    answer({**value, "file": str(out) if out else None}, str(out or value["signature"]))


@command(
    app,
    "verify",
    f"keyvault keys verify KEY --file payload.bin --signature signature.bin {_ACCESS}",
)
def verify(
    key: KeyId,
    file: Payload,
    signature: Annotated[Path, typer.Option(metavar="FILE", help="The signature.")],
    server: ServerUrl,
    ca: CaFile,
    certificate: Certificate,
    private_key: PrivateKey,
    mechanism: RsaScheme = None,
    form: Form = SignatureForm.RAW,
) -> None:
    """Ask whether a signature is good; a bad one ends with EX_DATAERR."""
    door = Server(server, ca, (certificate, private_key))
    algorithm = Algorithm(door.get(f"/v1/keys/{key}")["algorithm"])
    given = signature.read_bytes()
    if form is SignatureForm.DER:
        given = raw_of(given, algorithm)
    body = _signable(algorithm, file.read_bytes(), mechanism)
    body["signature"] = b64encode(given).decode()
    verdict = door.post(f"/v1/keys/{key}/verifications", body)
    answer(verdict, "good" if verdict["valid"] else "bad")
    if not verdict["valid"]:
        raise EvidenceError("the signature is not valid for this file and key")


def _signable(algorithm: Algorithm, data: bytes, mechanism: Mechanism | None) -> Document:
    if algorithm is Algorithm.ED25519:
        return {"message": b64encode(data).decode()}
    hashed = hashlib.sha384 if algorithm is Algorithm.EC_P384 else hashlib.sha256
    body: Document = {"digest": b64encode(hashed(data).digest()).decode()}
    return body if mechanism is None else {**body, "mechanism": str(mechanism)}


_COORDINATE = {Algorithm.EC_P256: 32, Algorithm.EC_P384: 48}  # bytes of r and of s


def der_of(signature: bytes, algorithm: Algorithm) -> bytes:
    """Write r || s as ECDSA-Sig-Value (RFC 3279). Other signatures have one form only."""
    size = _COORDINATE.get(algorithm)
    if size is None:
        return signature
    if len(signature) != 2 * size:
        raise InvalidInputError(f"an {algorithm} signature has {2 * size} bytes")
    return encode_dss_signature(
        int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    )


def raw_of(signature: bytes, algorithm: Algorithm) -> bytes:
    """The reverse of `der_of`. Raises `InvalidInputError`."""
    size = _COORDINATE.get(algorithm)
    if size is None:
        return signature
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    except (ValueError, OverflowError) as error:
        raise InvalidInputError("not an ECDSA signature in DER") from error
