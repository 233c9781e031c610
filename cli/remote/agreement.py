"""Keys for messages, at a terminal: to see whether we and a device derive the same."""

from base64 import b64decode, b64encode
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from cli.command import command, group
from cli.errors import EvidenceError
from cli.output import answer, say
from cli.remote.client import CaFile, Server, ServerUrl
from cli.remote.uses import Certificate, KeyId, PrivateKey
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.gbcs import CellUsage, eui64

app = group("Agree with devices on keys for messages.")
_ACCESS = "--server https://localhost:8443 --ca server.pem --certificate me.pem --key me.key"
_WITH = "--peer meter.pem --device 00DB1234567890A0 --counter 0000000000000001"


class Doing(StrEnum):
    """What is done with the agreed key."""

    MAC = "mac"
    CHECK = "check"
    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"


Device = Annotated[str, typer.Option(metavar="EUI64", help="The device that we agree with.")]
Counter = Annotated[str, typer.Option(metavar="HEX", help="Originator counter: 16 hex digits.")]
Aad = Annotated[Path | None, typer.Option(metavar="FILE", help="What is authenticated besides.")]
HexMac = Annotated[str | None, typer.Option(metavar="HEX", help="With check: the MAC, in hex.")]


@command(
    app,
    "agree",
    f"keyvault keys agree KEY mac --file message.bin {_WITH} {_ACCESS}",
    f"keyvault keys agree KEY check --file response.bin --mac HEX {_WITH} {_ACCESS}",
    f"keyvault keys agree KEY decrypt --file attribute.bin {_WITH} {_ACCESS}",
)
def agree(
    key: KeyId,
    do: Annotated[Doing, typer.Argument(metavar="mac|check|encrypt|decrypt")],
    peer: Annotated[Path, typer.Option(metavar="FILE", help="Its key or certificate (PEM).")],
    device: Device,
    counter: Counter,
    file: Annotated[Path, typer.Option(metavar="FILE", help="The data.")],
    server: ServerUrl,
    ca: CaFile,
    certificate: Certificate,
    private_key: PrivateKey,
    aad: Aad = None,
    mac: HexMac = None,
    top_up: Annotated[bool, typer.Option("--top-up", help="For a top-up code.")] = False,
) -> None:
    """MAC or encrypt a message to a device, or check or decrypt one of its own.

    The counter of a message of ours has to be reserved first. Everything is logged.
    """
    party = "recipient" if do in (Doing.MAC, Doing.ENCRYPT) else "originator"
    body = {"peer": _text(_spki(peer)), party: eui64(device), "counter": counter.upper()}
    data = file.read_bytes()
    body |= _data(do, data, None if aad is None else aad.read_bytes(), mac)
    if top_up:
        body["cell_usage"] = str(CellUsage.TOP_UP)
    door = Server(server, ca, (certificate, private_key))
    _answer(do, door.post(f"/v1/keys/{key}/{_PATHS[do]}", body))


_PATHS = {
    Doing.MAC: "agreed-macs",
    Doing.CHECK: "agreed-mac-checks",
    Doing.ENCRYPT: "agreed-encryptions",
    Doing.DECRYPT: "agreed-decryptions",
}
_RESULTS = {Doing.MAC: "mac", Doing.ENCRYPT: "ciphertext", Doing.DECRYPT: "plaintext"}


def _data(do: Doing, data: bytes, aad: bytes | None, mac: str | None) -> Document:
    more: Document = {} if aad is None else {"aad": _text(aad)}
    if do is Doing.ENCRYPT:
        return {"plaintext": _text(data), **more}
    if do is Doing.DECRYPT:
        return {"ciphertext": _text(data), **more}
    if more:
        raise InvalidInputError("a MAC is over --file alone: it holds all that is authenticated")
    if do is Doing.MAC:
        return {"data": _text(data)}
    try:
        return {"data": _text(data), "mac": _text(bytes.fromhex(mac or ""))}
    except ValueError as error:
        raise InvalidInputError("--mac is the MAC in hex") from error


def _answer(do: Doing, made: Document) -> None:
    if do is Doing.CHECK:
        answer(made, "good" if made["valid"] else "bad")
        if not made["valid"]:
            raise EvidenceError("the MAC is not valid for this message, key and device")
        return
    say(f"event {made['event']['index']} of the log says so")
    result = b64decode(made[_RESULTS[do]]).hex()
    answer({"result": result, "event": made["event"]}, result)


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _spki(path: Path) -> bytes:
    """The public key in a PEM file, which may be a certificate."""
    pem = path.read_bytes()
    try:
        certificate = b"-----BEGIN CERTIFICATE-----" in pem
        key = x509.load_pem_x509_certificate(pem).public_key() if certificate else None
        public = key or load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInputError(f"{path} holds no public key in PEM") from error
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
