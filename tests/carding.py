"""A service that issues tokens: authorities, masters, stations, and the people it takes.

carding = Carding.on(stack)           # the stack has been started
token = carding.allocated("1234")     # in stock, nominated, vetted
job = carding.order(token)
outcome = carding.insert(job, card)   # a simulated card, at a desk without a reader
"""

import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from cli.desk.relaying import relay
from hsm.pcsc.holder import HeldCard
from keyvault.domain.commands import CertifyAuthority, CertifySigner, Command
from keyvault.domain.people import Role, thumbprint
from keyvault.domain.statements import (
    Activate,
    Allocate,
    Countersigned,
    Deliver,
    Dispatch,
    Nominate,
    Release,
    Said,
    Signed,
    Statement,
    TakeIn,
)
from keyvault.domain.times import day_text, text_of
from keyvault.domain.tokens import TokenKind
from keyvault.signatures import Credential, spki_der
from keyvault.supervisor import part
from tests.cards.simulator.in_process import InProcess
from tests.cards.simulator.maker import MAKER
from tests.cards.simulator.vpcd import CardSide
from tests.stack import Document, Someone, Stack, in_days, ok

STATIONS = ("leeds-1", "leeds-2")
PATIENCE = 60.0  # seconds, on a machine with much else to do
OWN_PIN = b"482913"  # that a holder types


class Desk:
    """What a desk's program calls, over an HTTP client of a test."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def post(self, path: str, body: Document | None = None) -> Document:
        answer: Document = ok(self._client.post(path, json=body or {}))
        return answer

    def delete(self, path: str) -> None:
        self._client.delete(path)


class Roaming(Desk):
    """A desk whose every message is a connection of its own, so that any worker gets it."""

    def post(self, path: str, body: Document | None = None) -> Document:
        once = {"connection": "close"}
        answer: Document = ok(self._client.post(path, json=body or {}, headers=once))
        return answer


class Inserted(InProcess):
    """A simulated card in a reader that is not there."""

    def __init__(self, card: CardSide) -> None:
        super().__init__(card)
        self.atr = card.atr
        card.reset()


def held(card: CardSide, pin: bytes) -> HeldCard:
    reader = Inserted(card)
    return HeldCard(reader, card.atr, lambda _: pin)


@dataclass
class Carding:
    stack: Stack
    issuer: Someone  # makes tokens
    witness: Someone
    holder: Someone
    senior: Someone  # nominates

    @classmethod
    def on(cls, stack: Stack, profiles: str = "") -> "Carding":
        """Give a started stack all that issuing takes. The gate and the api start again."""
        _, issuing = authorities(stack)
        signer = _certified(stack, CertifySigner, "A signer of cards", UUID(issuing))
        secret = {"algorithm": "AES-256", "key_class": "critical"}
        master = stack.active_key(**secret, usage="mac", label="card master 1")
        seal = stack.active_key(**secret, usage="encrypt", label="PINs and PUKs")
        stations = "".join(
            f"[[issuing.stations]]\nname = '{name}'\ntrusted = true\n" for name in STATIONS
        )
        makers = stack.folder / "makers.pem"
        makers.write_bytes(MAKER.certificate.public_bytes(Encoding.PEM))
        file = f"signer = '{signer}'\nattesters = '{makers}'\n"
        file += f"profiles = '{profiles}'\n" if profiles else ""
        served = _served(stack)
        for name in reversed(served):
            stack.stop(name)
        stack.configure(
            tables=f"[issuing]\nmasters = ['{master}']\nseal = '{seal}'\n{file}{stations}"
        )
        stack.start(*served)
        return cls(
            stack,
            stack.register("erin", Role.TOKEN_ISSUER),
            stack.register("wendy", Role.WITNESS),
            stack.register("harry", Role.TOKEN_HOLDER, Role.KEY_APPROVER),
            stack.register("sam", Role.SENIOR_RESPONSIBLE_OFFICER),
        )

    def new_master(self) -> None:
        """Another master behind those there are. The gate and the api start again."""
        stack = self.stack
        order = {"algorithm": "AES-256", "key_class": "critical", "usage": "mac"}
        master = stack.active_key(**order, label="card master 2")
        served = _served(stack)
        for name in reversed(served):
            stack.stop(name)
        text = stack.config.read_text()
        stack.config.write_text(text.replace("']\nseal", f"', '{master}']\nseal"))
        stack.configure()
        stack.start(*served)

    # Statements

    def says(
        self, who: Someone, said: Said, token: Document | None = None, second: Someone | None = None
    ) -> Document:
        """Sign a statement, and have its second signer sign it too."""
        door = ok(self.stack.client().post("/v1/login/challenges"))
        statement = Statement(
            id=uuid4(),
            origin=door["origin"],
            said=said,
            token=UUID(token["id"]) if token else None,
            version=token["version"] if token else 0,
            person=who.id,
            credential=thumbprint(who.credential.spki),
            second=second.id if second else "",
            challenge=door["challenge"],
            at=text_of(datetime.now(UTC)),
        )
        signed = Signed(statement, who.credential.sign(statement.message()))
        record = ok(who.client().post("/v1/tokens/statements", json=signed.document()))
        return record if second is None else self.seconds(second, signed)

    def seconds(self, who: Someone, first: Signed) -> Document:
        """Sign all of what somebody signed first."""
        door = ok(self.stack.client().post("/v1/login/challenges"))
        own = thumbprint(who.credential.spki)
        now = text_of(datetime.now(UTC))
        unsigned = Countersigned(who.id, own, door["challenge"], now)
        signature = who.credential.sign(unsigned.message(first))
        body = replace(unsigned, signature=signature).document()
        path = f"/v1/tokens/statements/{first.statement.id}/signatures"
        return ok(who.client().post(path, json=body))

    def token(self, serial: str) -> Document:
        client = self.issuer.client()
        (found,) = ok(client.get("/v1/tokens", params={"serial": serial}))["items"]
        return found

    def allocated(
        self, serial: str, *, kind: TokenKind = TokenKind.PIV_CARD, profile: str = "cct"
    ) -> Document:
        """A token from delivery to allocation, for harry."""
        delivery = TakeIn(kind, "a model", "B-1", "a supplier", "seal 7", "safe 1", (serial,))
        self.says(self.issuer, delivery, second=self.witness)
        bob = self.stack.person("bob")
        named = Nominate(self.holder.id, f"opens door {serial}", profile, "he is our ARO")
        nomination = self.says(self.senior, named)["statement"]["id"]
        self.says(bob, Allocate(UUID(nomination), "ID-4711"), self.token(serial))
        return self.token(serial)

    # Jobs

    def order(self, *tokens: Document, **more: object) -> list[Document]:
        body = {"tokens": [each["id"] for each in tokens], **more}
        return list(ok(self.issuer.client().post("/v1/issuing/jobs", json=body))["jobs"])

    def job(self, job: Document) -> Document:
        return ok(self.issuer.client().get(f"/v1/issuing/jobs/{job['id']}"))

    def insert(self, job: Document, card: Any, station: str = STATIONS[0]) -> Document:
        """One insertion at a desk; the service's last word about it."""
        desk, path = Desk(self.issuer.client()), f"/v1/issuing/jobs/{job['id']}"
        reader = card if hasattr(card, "call") else Inserted(card)
        return relay(desk, path, station, reader, lambda _: None)

    def serve(self, token: Document, card: Any, pin: bytes = OWN_PIN, **asked: object) -> Document:
        """A finished token in the reader of a station, with its holder there to type a PIN."""
        desk, path = Desk(self.issuer.client()), f"/v1/issuing/tokens/{token['id']}"
        plain = Inserted if asked["service"] != "unblock" else lambda card: held(card, pin)
        reader = card if hasattr(card, "call") else plain(card)
        return relay(desk, path, STATIONS[0], reader, lambda _: None, asked)

    def at_home(
        self, token: Document, card: Any, pin: bytes = OWN_PIN, **asked: object
    ) -> Document:
        """The token in a reader of its holder's own, who is logged in."""
        desk, path = Desk(self.holder.client()), f"/v1/tokens/{token['id']}"
        reader = card if hasattr(card, "call") else held(card, pin)
        return relay(desk, path, "", reader, lambda _: None, asked)

    def refused(self, token: Document, card: CardSide, **asked: object) -> Document:
        """The problem that a session is refused with."""
        body = {"station": STATIONS[0], "atr": card.atr.hex(), "protocol": 2, **asked}
        path = f"/v1/issuing/tokens/{token['id']}/sessions"
        return dict(self.issuer.client().post(path, json=body).json())

    def noticed(self, station: str, state: str) -> Callable[[], None]:
        """What waits until the service knows this of the reader at a station."""
        client = self.stack.register(f"looks-{uuid4().hex[:8]}", Role.WITNESS).client()

        def wait() -> None:
            deadline, found = time.monotonic() + PATIENCE, ""
            while found != state:
                items = ok(client.get("/v1/issuing/stations"))["items"]
                [found] = [one["state"] for one in items if one["name"] == station]
                assert time.monotonic() < deadline, found
                time.sleep(0.2)

        return wait

    # Afterwards

    def delivered(self, serial: str) -> None:
        """Sent, and handed over against a receipt."""
        due = day_text(in_days(3))
        self.says(self.issuer, Dispatch("seal 9", "courier", "Leeds", due), self.token(serial))
        handed = Deliver("passport seen", "seal 9", "Leeds")
        self.says(self.stack.person("bob"), handed, self.token(serial), second=self.holder)

    def activated(self, serial: str, card: Any) -> None:
        """Sent, delivered, and activated with the card's own key."""
        self.delivered(serial)
        self.activate(serial, card)

    def activate(self, serial: str, card: Any) -> None:
        """With the card's own key, over the log as it is now."""
        self.activate_by(serial, CardKey(card.application.keys[0x9C]))

    def activate_by(self, serial: str, key: Credential) -> None:
        signer = copy(self.holder)
        signer.credential = key
        said, bob = Activate("I keep them apart"), self.stack.person("bob")
        self.says(signer, said, self.token(serial), second=bob)

    def stop(self, serial: str, step: str) -> None:
        path = f"/v1/tokens/{self.token(serial)['id']}/stops"
        body = {"step": step, "reason": "for a test"}
        ok(self.holder.client().post(path, json=body))

    def released(self, serial: str) -> str:
        """Two people let a blocked token be unblocked: the id of what they signed."""
        said = Release("ID-4711", "forgot it")
        bob = self.stack.person("bob")
        record = self.says(bob, said, self.token(serial), second=self.witness)
        return str(record["statement"]["id"])


class CardKey:
    """The key of a simulated card, as what signs."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.spki = spki_der(key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


def authorities(stack: Stack) -> tuple[str, str]:
    """A root, and what it certified to issue: their ids."""
    root = _certified(stack, CertifyAuthority, "A root", None)
    return root, _certified(stack, CertifyAuthority, "An issuing authority", UUID(root))


def _certified(stack: Stack, kind: Callable[..., Command], title: str, parent: UUID | None) -> str:
    key = stack.order_key(key_class="critical", label=title, protect_days=3650, process_days=3650)
    wanted = kind(UUID(key), parent, title, 1800, "for a test")
    stack.carry_out(stack.ask(wanted))
    stack.change(key, "activations")
    return key


def _served(stack: Stack) -> list[str]:
    """What reads the settings of issuing: every gate of the keys and every api."""
    settings = stack.settings
    gates = [part("gate", number) for number in range(1, settings.keys.workers + 1)]
    return [*gates, *(part("api", number) for number in range(1, settings.api.workers + 1))]
