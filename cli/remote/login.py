"""Login: a person's credential delegates to a key that lives for some hours in this folder."""

import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cli.command import command, group
from cli.desk.signing import CredentialFile, LoginCard, ReaderName, Slot, given, needed
from cli.errors import ProblemError, ServerUnreachableError
from cli.output import answer, facts, grouped, say
from cli.passphrases import PassphraseFd, Secrets
from cli.remote.client import CaFile, Server, ServerUrl, connect
from cli.remote.log import View, deciding, keep, look
from cli.remote.standing import about_grants
from cli.state import (
    Session,
    SessionDir,
    end_session,
    folder_of,
    keep_session,
    open_session,
    remembered,
    write_private,
)
from hsm.pcsc.piv import PivSlot
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import NotAuthenticatedError, VaultError
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of
from keyvault.signatures import Credential, spki_der

app = group("Log in and out.")


def sha256_noted(text: str) -> str:
    """Read a SHA-256 as people note it, in groups, too: a slip of the pen is no forged log."""
    digits = "".join(text.split()).lower()
    if digits and not re.fullmatch("[0-9a-f]{64}", digits):
        raise typer.BadParameter(f"{text!r} is no SHA-256: 64 hexadecimal digits")
    return digits


LOGIN_CONTEXT = "keyvault-login-v1"
Hours = Annotated[int, typer.Option(min=1, max=24, help="Life of the session at most.")]
GenesisHash = Annotated[
    str,
    typer.Option(
        metavar="HEX",
        parser=sha256_noted,
        help="SHA-256 of the genesis record you were given.",
    ),
]


@command(
    app,
    "login",
    "keyvault login --server https://localhost:8443 --ca server.pem"
    " --person alice --credential alice.key",
    "keyvault login --server https://localhost:8443 --ca server.pem --person alice --card",
)
def login(
    server: ServerUrl,
    ca: CaFile,
    person: Annotated[str, typer.Option(metavar="ID", help="Your id, such as alice.")],
    credential: CredentialFile = None,
    card: LoginCard = False,
    reader: ReaderName = None,
    slot: Slot = None,
    hours: Hours = 8,
    genesis: GenesisHash = "",
    session: SessionDir = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Log in for some hours: a short-lived key is made here and your credential signs for it.

    A card signs with slot 9A here, and with 9C whatever you decide later.
    """
    place, door = needed(given(credential, card, reader)), Server(server, ca)
    signer, folder = place.to_log_in(Secrets(passphrase_fd), slot), folder_of(session)
    challenge = door.post("/v1/login/challenges")
    key = ec.generate_private_key(ec.SECP256R1())
    opened = _present(door, _delegation(person, signer, key, challenge, hours), signer)
    until, origin = str(opened["not_after"]), str(challenge["origin"])
    here = Session(folder, server, person, str(place), origin, until, [])
    _keep(here, ca, key, str(opened["certificate"]))
    view = _checked(here, genesis)
    keys = [b64encode(key).decode() for key in deciding(view.authority, person)]
    keep_session(replace(here, deciding=keys))
    _answer(here, view.genesis)


def _checked(here: Session, genesis: str) -> View:
    """Hold the log against what is trusted. A session with a log that is not is no session."""
    if not genesis and remembered(here.folder, here.origin) is None:
        say("this log is seen for the first time: compare the genesis hash with your officers")
    try:
        view = look(Server.of(here), here, genesis)
    except VaultError:
        end_session(here)
        raise
    keep(here, view)
    return view


@command(app, "logout", "keyvault logout")
def logout(session: SessionDir = None) -> None:
    """End the session at the server and forget its key."""
    here = open_session(session)
    try:
        Server.of(here).delete("/v1/login/session")
    except (ProblemError, ServerUnreachableError) as error:
        say(f"the server was not told: {error}")
    end_session(here)
    say(f"logged out {here.person}")


@command(app, "whoami", "keyvault whoami --json")
def whoami(session: SessionDir = None) -> None:
    """Say who the server takes this session for, what counts now, and what is dormant and why."""
    me = connect(session).get("/v1/whoami")
    lists = ("grants", "acknowledged")
    plain = [(name, value) for name, value in me.items() if name not in lists]
    answer(me, facts([*plain, *about_grants(me["grants"])]))


def _delegation(
    person: str,
    signer: Credential,
    key: ec.EllipticCurvePrivateKey,
    challenge: Document,
    hours: int,
) -> Document:
    now = datetime.now(UTC)
    return {
        "ctx": LOGIN_CONTEXT,
        "origin": challenge["origin"],
        "person": person,
        "credential": thumbprint(signer.spki),
        "session_spki": b64encode(spki_der(key.public_key())).decode(),
        "challenge": challenge["challenge"],
        "issued_at": text_of(now),
        "not_after": text_of(now + timedelta(hours=hours)),
    }


def _present(door: Server, delegation: Document, signer: Credential) -> Document:
    signature = b64encode(signer.sign(canonical(delegation))).decode()
    try:
        return door.post("/v1/login/sessions", {"delegation": delegation, "signature": signature})
    except ProblemError as error:
        if error.code == NotAuthenticatedError.code and not error.next_step:
            own = grouped(thumbprint(signer.spki))
            error.next_step = f"see that you are registered with this key, or use your own: {own}"
            if getattr(signer, "slot", None) is PivSlot.AUTHENTICATION:
                error.next_step += "; until slot 9A is registered too, add --slot 9c"
        raise


def _keep(here: Session, ca: Path, key: ec.EllipticCurvePrivateKey, certificate: str) -> None:
    certificate_path, key_path = here.pair
    write_private(
        key_path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),  # lives some hours, in a folder of mode 0700
        ),
    )
    write_private(certificate_path, certificate.encode())
    write_private(here.ca, ca.read_bytes())
    keep_session(here)


def _answer(here: Session, genesis: str) -> None:
    say(f"logged in as {here.person} until {here.until}")
    value = {
        "person": here.person,
        "server": here.server,
        "origin": here.origin,
        "until": here.until,
        "genesis": genesis,
        "session": str(here.folder),
    }
    answer(value, facts({**value, "genesis": grouped(genesis)}.items()))
