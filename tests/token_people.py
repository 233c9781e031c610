"""People who sign about tokens, and a token whose keys a test can use."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric import ec

from keyvault.domain.commands import CertifyAuthority
from keyvault.domain.people import thumbprint
from keyvault.domain.statements import (
    Activate,
    Allocate,
    Countersigned,
    Deliver,
    Dispatch,
    Nominate,
    Said,
    Signed,
    Statement,
    TakeIn,
)
from keyvault.domain.times import day_text, text_of
from keyvault.domain.token_profiles import possession
from keyvault.domain.tokens import TokenKind
from keyvault.operations import ca, people, tokens
from keyvault.operations.vault import Vault
from keyvault.signatures import ALGORITHM, spki_der
from tests.stack import Document, Someone, Stack, in_days, ok

PEOPLE = {
    "ivan": ("token-issuer",),
    "sofia": ("senior-responsible-officer",),
    "wendy": ("witness",),
    "erin": ("token-holder",),
    "rita": ("registrar",),
}
PATH = "/v1/tokens/statements"
DUTIES = "I keep it to myself"


def joined(stack: Stack) -> None:
    for name, roles in PEOPLE.items():
        stack.register(name, *roles)


class Key:
    """A key on a token, which a test may use."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.spki = spki_der(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message, ALGORITHM)


def statement(
    who: Someone, said: Said, token: str = "", second: str = "", key: Any = None
) -> Signed:
    """What somebody signs about a token as it stands."""
    signer, client = key or who.credential, who.client()
    challenge = ok(client.post("/v1/login/challenges"))
    version = ok(client.get(f"/v1/tokens/{token}"))["version"] if token else 0
    made = Statement(
        id=uuid4(),
        origin=challenge["origin"],
        said=said,
        token=UUID(token) if token else None,
        version=version,
        person=who.id,
        credential=thumbprint(signer.spki),
        second=second,
        challenge=challenge["challenge"],
        at=text_of(datetime.now(UTC)),
    )
    return Signed(made, signer.sign(made.message()))


def says(who: Someone, said: Said, token: str = "", second: str = "", key: Any = None):
    """Hand in a statement and return the answer."""
    signed = statement(who, said, token, second, key)
    return who.client().post(PATH, json=signed.document())


def confirms(who: Someone, item: Document):
    """Sign beside the first person."""
    challenge = ok(who.client().post("/v1/login/challenges"))
    unsigned = Countersigned(
        who.id, thumbprint(who.credential.spki), challenge["challenge"], text_of(datetime.now(UTC))
    )
    first = Signed.read(item)
    second = replace(unsigned, signature=who.credential.sign(unsigned.message(first)))
    path = f"{PATH}/{first.statement.id}/signatures"
    return who.client().post(path, json=second.document())


def both(first: Someone, other: Someone, said: Said, token: str = "", key: Any = None) -> Document:
    return ok(confirms(other, ok(says(first, said, token, other.id, key))))


def in_stock(stack: Stack, *serials: str, place: str = "safe 1") -> list[str]:
    """Take tokens into stock and return their ids."""
    said = TakeIn(TokenKind.PIV_CARD, "PIV-A", "B-1", "Acme Cards", "S-1", place, serials)
    ivan = stack.person("ivan")
    both(ivan, stack.person("wendy"), said)
    client = ivan.client()
    found = [ok(client.get("/v1/tokens", params={"serial": s}))["items"][0] for s in serials]
    return [one["id"] for one in found]


def allocated(stack: Stack, token: str, holder: str = "erin", **more: Any) -> None:
    named = Nominate(holder, more.pop("purpose", "aro"), "default", "a new officer", **more)
    nomination = ok(says(stack.person("sofia"), named))["statement"]["id"]
    ok(says(stack.person("rita"), Allocate(UUID(nomination), "RA-17"), token))


def authorities(stack: Stack) -> tuple[str, str]:
    """A root and an authority that issues, each made by approval; both are active."""
    made: list[str] = []
    for title in ("Example Root", "Example Issuing"):
        key = stack.order_key(label=title, protect_days=7000, process_days=7000)
        parent = UUID(made[0]) if made else None
        days = 7000 if parent is None else 3000
        command = CertifyAuthority(UUID(key), parent, title, days, "for tokens")
        stack.carry_out(stack.ask(command))
        stack.change(key, "activations")
        made.append(key)
    return made[0], made[1]


def revoked(stack: Stack, serial: str, reason: str) -> None:
    """A certificate of ours, by the registrar."""
    path = f"/v1/ca/certificates/{serial}/revocations"
    ok(stack.person("rita").client().post(path, json={"reason": reason}))


def personalised(vault: Vault, stack: Stack, token: str) -> tuple[Key, Key, dict[str, bytes]]:
    """What an issuing job does at the end: keys in 9A and 9C with their certificates."""
    who, job = principal(vault, stack.person("ivan")), uuid4()
    tokens.begin(vault, who, UUID(token), job)
    keys, made = {"9A": Key(), "9C": Key()}, {}
    for slot, key in keys.items():
        proof = key.sign(possession(str(job), slot, key.spki))
        asked = (UUID(token), slot, key.spki, proof, job)
        made[slot] = ca.issue_token_certificate(vault, who, *asked)
        assert ca.issue_token_certificate(vault, who, *asked) == made[slot]
    spkis = {slot: key.spki for slot, key in keys.items()}
    tokens.personalised(vault, who, UUID(token), job, spkis, {"firmware": "1.0"})
    return keys["9A"], keys["9C"], made


def principal(vault: Vault, who: Someone):
    """Whom a session of theirs stands for."""
    certificate, _ = who.log_in()
    return people.identify(vault, _der(certificate))


def _der(path: Path) -> bytes:

    return PEM_cert_to_DER_cert(path.read_text())


def delivered(stack: Stack, token: str, holder: str = "erin") -> None:
    due = day_text(in_days(3))
    ok(says(stack.person("ivan"), Dispatch("BAG-1", "ACME 7", "on the way", due), token))
    said = Deliver("RA-17", "BAG-1", "Leeds")
    both(stack.person("rita"), stack.person(holder), said, token)


def activated(stack: Stack, token: str, key: Key, holder: str = "erin") -> None:
    both(stack.person(holder), stack.person("rita"), Activate(DUTIES), token, key)
