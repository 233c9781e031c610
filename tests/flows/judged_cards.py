"""A card that a service has issued, in the hands of OpenSC, OpenSSL and somebody with a reader."""

import os
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hsm.pcsc import containers, contents
from tests.carding import Carding
from tests.cards.bench import NAMES
from tests.cards.simulator.card import Card
from tests.stack import Document, ok
from tests.surface.desk import keyvault

MODULE = next(Path("/usr/lib").glob("*-linux-gnu/opensc-pkcs11.so"))
SECURITY_OBJECT = "2.16.840.1.101.3.7.2.144.0"  # as SP 800-73-4 part 1, table 3 names it
CAPABILITIES = 0x5FC107


def judged(carding: Carding, token: Document, card: Card, folder: Path) -> None:
    """What OpenSC reads is what OpenSSL verifies; a byte that is changed is told at any desk."""
    root, issuing = _authorities(carding)
    (folder / "trusted.pem").write_bytes(root + issuing)
    (folder / "issuing.pem").write_bytes(issuing)
    _by_openssl(_read_by_opensc(folder), card, folder)
    trusted = str(folder / "issuing.pem")
    lists = [f"--crl={each}" for each in _lists(carding, folder)]
    words = ("desk", "check", "--trust", trusted, *lists, "--reader", NAMES[0], "--json")
    good = keyvault(*words)
    assert good.status == 0, good.err
    assert "the signer is on no list that you gave" in good.err
    assert (good.json["token"], good.json["signer"]) == (token["id"], "CN=A signer of cards")
    objects = card.application.objects
    kept = objects[CAPABILITIES]
    objects[CAPABILITIES] = kept[:9] + bytes((kept[9] ^ 1,)) + kept[10:]
    told = keyvault(*words)
    assert (told.status, told.error["code"]) == (os.EX_DATAERR, "card-changed")
    assert "card capability container" in told.error["message"]
    objects[CAPABILITIES] = kept


def _authorities(carding: Carding) -> list[bytes]:
    """The root, then whom it certified."""
    client = carding.issuer.client()
    keys = [one["key"] for one in ok(client.get("/v1/ca"))["items"]]
    ders = [client.get(f"/v1/ca/{key}/certificate").content for key in keys]
    read = map(x509.load_der_x509_certificate, ders)
    ordered = sorted(read, key=lambda one: one.issuer != one.subject)
    return [each.public_bytes(Encoding.PEM) for each in ordered]


def _lists(carding: Carding, folder: Path) -> list[Path]:
    """What each of our authorities revoked."""
    client = carding.issuer.client()
    keys = [one["key"] for one in ok(client.get("/v1/ca"))["items"]]
    files = [folder / f"{key}.crl" for key in keys]
    for key, file in zip(keys, files, strict=True):
        file.write_bytes(client.get(f"/v1/ca/{key}/crl").content)
    return files


def _read_by_opensc(folder: Path) -> bytes:
    environment = os.environ | {"HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    command = ["pkcs11-tool", "--module", str(MODULE), "--read-object", "--type", "data"]
    command += ["--application-id", SECURITY_OBJECT, "-o", "sealed"]
    subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, timeout=60, check=True
    )
    return (folder / "sealed").read_bytes()


def _by_openssl(read: bytes, card: Card, folder: Path) -> None:
    """The object comes in its wrapping (53); who signed it is told by the card's identity."""
    content = card.application.objects[0x5FC106]
    assert read.endswith(content)
    _, signature = containers.chuid_parts(card.application.objects[0x5FC102])
    [signer] = contents.read_statement(signature).certificates
    pem = x509.load_der_x509_certificate(signer).public_bytes(Encoding.PEM)
    (folder / "signer.pem").write_bytes(pem)
    (folder / "signed").write_bytes(containers.security_parts(content)[1])
    words = ["openssl", "cms", "-verify", "-inform", "DER", "-binary", "-in", "signed"]
    words += ["-certfile", "signer.pem", "-CAfile", "trusted.pem", "-purpose", "any"]
    subprocess.run([*words, "-out", "hashes"], cwd=folder, capture_output=True, check=True)
