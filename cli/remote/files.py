"""Sign and check files, such as thresholds of anomalies, with a token or with a key of ours."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from hashlib import sha256, sha384
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given, place_of
from cli.output import answer, facts, say
from cli.passphrases import PassphraseFd, Secrets
from cli.remote.client import CaFile, Server, ServerUrl
from cli.remote.given import bytes_of
from cli.remote.uses import _ACCESS, Certificate, KeyId, PrivateKey, der_of
from cli.state import SessionDir, open_session
from hsm.types import Algorithm, Mechanism
from keyvault.domain import pem
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.operations import cms
from keyvault.signatures import spki_of_certificate

app = group("Sign and check files.")
PIECE = 1_048_576  # bytes of a file that are read at once

FilePath = Annotated[Path, typer.Argument(metavar="FILE", help="The file, of any size.")]
Certificates = Annotated[
    list[Path],
    typer.Option("--certificate", metavar="FILE", help="The signer's, then who issued it (PEM)."),
]
SignaturePath = Annotated[
    Path | None, typer.Option("--signature", metavar="FILE", help="Default: FILE.p7s.")
]


@command(app, "sign", "keyvault files sign thresholds.csv --card --certificate own.pem")
def sign(
    file: FilePath,
    certificate: Certificates,
    out: SignaturePath = None,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Sign a file; the signature is FILE.p7s.

    It is detached CMS, which `openssl cms -verify` checks, too.
    """
    chain = [_der(path) for path in certificate]
    here, digests = open_session(session), _digests(file)
    server = Server.of(here)
    words = cms.attributes(digests, chain[0], datetime.now(UTC))
    place = given(credential, card, reader)
    at = place or place_of(here.credential)
    signer = at.to_decide(Secrets(passphrase_fd), [spki_of_certificate(chain[0])])
    made = cms.assemble(words, chain, signer.sign(words))
    target = out or file.with_name(f"{file.name}.p7s")
    _told(server, "signed", file, digests, made)
    target.write_bytes(made)
    say(f"the signature is in {target}")


@command(app, "sign-by-key", f"keyvault files sign-by-key FILE KEY --certificate C {_ACCESS}")
def sign_by_key(
    file: FilePath,
    key: KeyId,
    chain: Annotated[
        list[Path],
        typer.Option("--signer", metavar="FILE", help="The key's certificate, then its issuer's."),
    ],
    server: ServerUrl,
    ca: CaFile,
    certificate: Certificate,
    private_key: PrivateKey,
    out: SignaturePath = None,
) -> None:
    """Sign a file with a key in the HSM, as a system.

    The signature is checked here before it is written: under the first certificate, for its usage,
    and that the next one issued it.
    """
    door = Server(server, ca, (certificate, private_key))
    certificates, digests = _chain(chain), _digests(file)
    now = datetime.now(UTC)
    words = cms.attributes(digests, certificates[0], now)
    made = cms.assemble(words, certificates, _by_key(door, key, words))
    found = cms.check(made, digests, certificates[1:], now)
    target = out or file.with_name(f"{file.name}.p7s")
    target.write_bytes(made)
    say(f"the signature is in {target}")
    told: Document = {"subject": found.subject, "file": str(target)}
    answer(told, facts(told.items()))


def _chain(paths: list[Path]) -> list[bytes]:
    if len(paths) == 1:
        raise InvalidInputError("give the issuer's certificate, too, by a second --signer")
    return [_der(path) for path in paths]


def _by_key(door: Server, key: UUID, words: bytes) -> bytes:
    algorithm = Algorithm(door.get(f"/v1/keys/{key}")["algorithm"])
    hashed = (sha384 if algorithm is Algorithm.EC_P384 else sha256)(words).digest()
    body: Document = {"digest": b64encode(hashed).decode()}
    if algorithm.startswith("RSA"):
        body["mechanism"] = str(Mechanism.RSA_PKCS1_SHA256)
    elif not algorithm.startswith("EC-"):
        raise InvalidInputError(f"files are signed by EC and RSA keys, not {algorithm}")
    return der_of(
        b64decode(door.post(f"/v1/keys/{key}/signatures", body)["signatures"][0]), algorithm
    )


@command(app, "verify", "keyvault files verify thresholds.csv --trust root.pem")
def verify(
    file: FilePath,
    signature: SignaturePath = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option("--trust", metavar="FILE", help="Roots to believe (PEM); without a server."),
    ] = None,
    session: SessionDir = None,
) -> None:
    """Check a signed file, at the server or here.

    The server knows what is revoked; --trust asks nobody.
    """
    made = bytes_of(signature or file.with_name(f"{file.name}.p7s"))
    digests = _digests(file)
    if trust:
        found = cms.check(made, digests, [_der(path) for path in trust], datetime.now(UTC))
        say("the signature is good; whether it was revoked meanwhile was not asked")
        told: Document = {"subject": found.subject, "signed_at": str(found.signed_at)}
        answer(told, facts(told.items()))
        return
    _told(Server.of(open_session(session)), "verified", file, digests, made)


def _told(server: Server, act: str, file: Path, digests: cms.Digests, made: bytes) -> None:
    body = {"name": file.name, "sha256": digests.sha256.hex(), "sha384": digests.sha384.hex()}
    body["signature"] = b64encode(made).decode()
    done = server.post(f"/v1/files/{act}", body)
    names = ("subject", "serial", "signed_at")
    answer(done, facts([(name.replace("_", " "), done[name]) for name in names]))


def _digests(file: Path) -> cms.Digests:
    first, second = sha256(), sha384()
    with file.open("rb") as data:
        while piece := data.read(PIECE):
            first.update(piece)
            second.update(piece)
    return cms.Digests(first.digest(), second.digest())


def _der(path: Path) -> bytes:
    return pem.der_of(bytes_of(path), pem.CERTIFICATE)
