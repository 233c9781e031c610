"""Sign a step in the life of a token: what is signed is written here, from what is shown here."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from cli.confirm import confirm
from cli.desk.signing import Place, place_of
from cli.output import answer, facts, say
from cli.passphrases import Secrets
from cli.remote import log
from cli.remote.client import Server
from cli.remote.screens import Pairs
from cli.state import Session, open_session
from keyvault.domain.canonical import Document
from keyvault.domain.documents import document_of
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import thumbprint
from keyvault.domain.statements import Countersigned, Said, Signed, Statement
from keyvault.domain.times import text_of
from keyvault.signatures import Credential

_PATH = "/v1/tokens"


@dataclass(frozen=True, slots=True)
class How:
    """How somebody signs at this call. `place` is None for that of the login."""

    session: Path | None
    passphrase_fd: int | None = None
    yes: bool = False
    place: Place | None = None


def sign(
    said: Said, how: How, token: UUID | None = None, second: str = "", keys: Collection[bytes] = ()
) -> None:
    """Write a statement, show it, sign it and hand it in. `keys` sign instead of one's own."""
    here = open_session(how.session)
    server = Server.of(here)
    done = server.post(
        f"{_PATH}/statements", signed(here, server, said, how, token, second, keys).document()
    )
    told(done)


def signed(
    here: Session,
    server: Server,
    said: Said,
    how: How,
    token: UUID | None = None,
    second: str = "",
    keys: Collection[bytes] = (),
) -> Signed:
    """The statement with its signature, after its screen was read."""
    there = server.get(f"{_PATH}/{token}") if token else None
    challenge = _challenge(server, here)
    pairs = [*_about(there), *_words(said), ("signs beside you", second or "nobody")]
    confirm(f"sign as {here.person}: {said.name}", pairs, yes=how.yes)
    signer = _signer(here, server, how, keys)
    statement = Statement(
        *(uuid4(), challenge["origin"], said, token, there["version"] if there else 0),
        person=here.person,
        credential=thumbprint(signer.spki),
        second=second,
        challenge=challenge["challenge"],
        at=text_of(datetime.now(UTC)),
    )
    return Signed(statement, signer.sign(statement.message()))


def countersign(statement: UUID, how: How) -> None:
    """Read what the first person signed, and sign all of it."""
    here = open_session(how.session)
    server = Server.of(here)
    item = server.get(f"{_PATH}/statements/{statement}")
    first = Signed.read(item)
    said = first.statement
    if said.id != statement or said.second != here.person:
        raise InvalidInputError("this statement is another one, or waits for somebody else")
    there = server.get(f"{_PATH}/{said.token}") if said.token else None
    challenge = _challenge(server, here)
    pairs = [("signed by", said.person), *_about(there), *_words(said.said)]
    confirm(f"sign as {here.person}, beside {said.person}: {said.said.name}", pairs, yes=how.yes)
    signer = _signer(here, server, how, ())
    unsigned = Countersigned(
        person=here.person,
        credential=thumbprint(signer.spki),
        challenge=challenge["challenge"],
        at=text_of(datetime.now(UTC)),
    )
    signature = signer.sign(unsigned.message(first))
    body = Countersigned(**unsigned.fields(), signature=signature).document()
    told(server.post(f"{_PATH}/statements/{statement}/signatures", body))


def told(done: Document) -> None:
    """Say what became of a statement."""
    said = done["statement"]
    if done["state"] == "open":
        say(f"signed; {said['second']} signs now: keyvault tokens confirm {said['id']}")
    else:
        say(f"done: {said['step']}")
        if said["step"] in _AFTER:
            say(f"next: {_AFTER[said['step']].format(token=said['token'], statement=said['id'])}")
    answer(done, facts([("statement", said["id"]), ("state", done["state"])]))


# What somebody does after a step, for who has just taken it.
_AFTER = {
    "take-in": "they are in stock: keyvault tokens list --state stock",
    "nominate": "a registrar gives one: keyvault tokens allocate TOKEN --nomination {statement}",
    "allocate": "an issuer orders it: keyvault issuing order {token}",
    "dispatch": "when it has arrived: keyvault tokens deliver {token}",
    "deliver": "its holder begins: keyvault tokens activate {token} --card",
    "release": "an issuer does it: keyvault desk unblock {token} --release {statement}",
    "give-back": "wipe it, then destroy it before a witness: keyvault desk wipe {token}",
}


def _signer(here: Session, server: Server, how: How, keys: Collection[bytes]) -> Credential:
    own = keys or log.deciding(log.look(server, here).authority, here.person)
    place = how.place or place_of(here.credential)
    return place.to_decide(Secrets(how.passphrase_fd), own)


def _challenge(server: Server, here: Session) -> Document:
    """The log as it stands, which has to be the one that was seen here before."""
    view = log.look(server, here)
    log.keep(here, view)
    return server.post("/v1/login/challenges")


def _about(token: Document | None) -> Pairs:
    if token is None:
        return []
    names = ("serial", "model", "state", "holder", "custodian", "place", "seal")
    return [("token", token["id"]), *((name, token[name]) for name in names if token[name])]


def _words(said: Said) -> Pairs:
    words = document_of(said)
    return [(name.replace("_", " "), value) for name, value in words.items() if value is not None]
