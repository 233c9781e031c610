"""A USB token from its order until it is wiped: each step is a call, and asserts what it says."""

from base64 import b64decode
from dataclasses import dataclass
from uuid import uuid4

import pytest
from cryptography import x509

from hsm.errors import CardObjectMissingError
from hsm.tokens import TokenSlot
from hsm.uri import Pkcs11Uri
from hsm.usb import Ask, UsbReader
from hsm.usb_holder import HeldToken, UsbKeys
from keyvault import sealed
from keyvault.domain.commands import EnrolCredential
from keyvault.domain.people import Assurance, Credential
from keyvault.domain.statements import GiveBack, Signed
from keyvault.domain.tokens import TokenKind
from tests import devices
from tests.carding import STATIONS, Carding
from tests.cards.usb import Stick, pulled_at
from tests.flows import canaries
from tests.flows.at_desks import logged_in
from tests.stack import Document, ok
from tests.surface.desk import Desk, keyvault

OWN = b"my own PIN"
NEW = b"another of mine"
AT = ("--station", STATIONS[0])
CHOOSING = 4  # calls of a session that goes on where a PIN was chosen


@dataclass
class UsbLife:
    carding: Carding
    stick: Stick
    holder: Desk
    issuer: Desk
    token: Document

    @classmethod
    def of(cls, carding: Carding, stick: Stick) -> "UsbLife":
        desks = (logged_in(carding, each) for each in (carding.holder, carding.issuer))
        kind, serial = TokenKind.PKCS11, f"USB-{uuid4().hex[:8]}"
        token = carding.allocated(serial, kind=kind, profile="with-agreement")
        return cls(carding, stick, *desks, token)

    def lived(self) -> None:
        steps = self.made, self.chosen, self.activated, self.opens, self.changed, self.logs_in
        for step in (*steps, self.unblocked, self.unblocked_at_a_station):
            step()
        self.wiped()
        names = ("pin", "so_pin", "new")
        asked = {call[name] for call in self.stick.log for name in names if call.get(name)}
        secrets = [b'"%b"' % b64decode(each) for each in asked]
        canaries.assert_nowhere(self.carding.stack, OWN, NEW, *secrets)

    @property
    def serial(self) -> str:
        return str(self.token["serial"])

    @property
    def uri(self) -> str:
        label = self.token["id"].replace("-", "")
        return str(Pkcs11Uri(token=label, module_path=devices.SOFTHSM))

    @property
    def by_token(self) -> Desk:
        """What its holder signs with is the token."""
        return Desk(self.stick.settings.parent, self.holder.person, None, NEW.decode())

    def keys(self) -> UsbKeys:
        return UsbKeys.of_uri(self.uri, self.stick.ask)

    def now(self) -> Document:
        return self.carding.token(self.serial)

    # In the reader

    def made(self) -> None:
        """With a key to agree with, a PIN that nobody knows, and no mailer; at the second order."""
        (given_up,) = self.carding.order(self.token)
        half = UsbReader(devices.SOFTHSM, pulled_at(self.stick.ask, 8, executed=True))
        assert self.carding.insert(given_up, half)["code"] == "card-removed"
        path = f"/v1/issuing/jobs/{given_up['id']}/abandonment"
        ok(self.carding.issuer.client().post(path, json={"reason": "it was dropped"}))
        (job,) = self.carding.order(self.token, pin_route="activation")
        ended = self.carding.insert(job, self._lent())
        assert (ended["do"], ended["standing"]) == ("done", "done"), ended
        made = self.carding.job(job)["certificates"]
        assert set(made) == {"9A", "9C", "9D"}
        usage = x509.load_der_x509_certificate(b64decode(made["9D"])).extensions
        found = usage.get_extension_for_class(x509.KeyUsage).value
        assert (found.key_agreement, found.digital_signature) == (True, False)
        bob = self.carding.stack.person("bob").client()
        refused = bob.post(f"/v1/issuing/jobs/{job['id']}/mailer")
        assert refused.json()["code"] == "issue-state"

    def chosen(self) -> None:
        """Pulled at each call, before and after it; then by the holder's own command line."""
        self.carding.delivered(self.serial)
        asked = {"service": "choose-pin"}
        for at in range(1, CHOOSING + 1):
            for executed in (False, True):
                ended = self._at_home(OWN, pulled_at(self.stick.ask, at, executed=executed), asked)
                assert ended["code"] == "card-removed", (at, ended)
        said = self._typed(self.holder, "choose-pin", pins=(OWN,))
        assert "keyvault tokens activate" in said
        assert self.now()["facts"]["pin_chosen"]

    def activated(self) -> None:
        """By the token's own signature, from the holder's command line; bob confirms."""
        words = ("tokens", "activate", self.token["id"], "--with", "bob")
        own = ("--card", "--reader", self.uri, "--passphrase-fd", "0", "--yes", "--json")
        done = self.holder.keyvault(*words, *own, typed=f"{OWN.decode()}\n")
        assert done.status == 0, done.err
        self.carding.seconds(self.carding.stack.person("bob"), Signed.read(done.json))
        assert self.now()["state"] == "active"

    def opens(self) -> None:
        opener = self.keys().credential(TokenSlot.KEY_MANAGEMENT, lambda: OWN)
        box = sealed.seal(opener.spki, b"a share", b"for a test")
        assert sealed.opened_by(opener.agree, opener.spki, box, b"for a test") == b"a share"

    def changed(self) -> None:
        """The PIN, by its holder: no server hears of it."""
        own = ("--module", devices.SOFTHSM, "--passphrase-fd", "0", "--json")
        typed = b"\n".join((OWN, NEW, b"")).decode()
        ended = keyvault("desk", "pin", *own, typed=typed)
        assert ended.status == 0, ended.err
        assert self.keys().credential(TokenSlot.SIGNATURE, lambda: NEW).sign(b"x")

    def logs_in(self) -> None:
        """By the holder's command line, with 9A: enrolled for it, it decides nothing."""
        stack, spki = self.carding.stack, self.keys().key(TokenSlot.AUTHENTICATION)
        own = Credential(spki, Assurance.SOFTWARE, login_only=True)
        reader = ("--reader", self.uri, "--genesis", stack.settings.genesis)
        refused = self.by_token.login(stack.url, stack.ca, *reader)
        assert refused.error["code"] == "not-authenticated", refused.err
        stack.carry_out(stack.ask(EnrolCredential(self.holder.person, own)))
        opened = self.by_token.login(stack.url, stack.ca, *reader)
        assert opened.status == 0, opened.err
        assert self.by_token.ask("whoami")["id"] == self.holder.person

    def unblocked(self) -> None:
        """Before the holder, which spends the SO-PIN; it is replaced at a station."""
        self.carding.stop(self.serial, "block-pin")
        asked = {"service": "unblock", "statement": self.carding.released(self.serial)}
        for at in (2, 3):
            ended = self._at_home(NEW, pulled_at(self.stick.ask, at, executed=True), asked)
            assert ended["code"] == "card-removed", ended
        self._typed(self.holder, "unblock", "--release", asked["statement"], pins=(NEW,))
        assert self.now()["state"] == "active"
        assert "puk-spent" in self._concerns()
        ended = self._serve("rotate-puk", pulled_at(self.stick.ask, 2, executed=True))
        assert ended["code"] == "card-removed", ended
        self._typed(self.issuer, "rotate-puk", *AT)
        assert "puk-spent" not in self._concerns()
        assert self._refused("rekey")["code"] == "issue-state"

    def unblocked_at_a_station(self) -> None:
        """The SO-PIN is replaced in the same session."""
        self.carding.stop(self.serial, "block-pin")
        asked = {"service": "unblock", "statement": self.carding.released(self.serial)}
        for ask in (pulled_at(self.stick.ask, 2, executed=True), self.stick.ask):
            ended = self.carding.serve(self.token, self._held(OWN, ask), **asked)
        assert ended["do"] == "done", ended
        assert self.now()["state"] == "active"
        assert "puk-spent" not in self._concerns()

    def wiped(self) -> None:
        """With what its holder signed when they gave it back: nothing of it is left."""
        carding = self.carding
        assert self._refused("wipe")["code"] == "issue-state"
        body = {"step": "revoke", "reason": "the end of a test"}
        bob = carding.stack.person("bob").client()
        ok(bob.post(f"/v1/tokens/{self.token['id']}/stops", json=body))
        back = GiveBack("Leeds", "seal 1", "whole")
        carding.says(carding.issuer, back, self.now(), second=carding.holder)
        ended = self._serve("wipe", pulled_at(self.stick.ask, 2, executed=True))
        assert ended["code"] == "card-removed", ended
        self._typed(self.issuer, "wipe", *AT)
        with pytest.raises(CardObjectMissingError):
            self.keys().key(TokenSlot.SIGNATURE)
        ended = self.by_token.keyvault("whoami", "--json")
        assert ended.error["code"] == "not-authenticated", ended.err

    # What a desk lends

    def _typed(self, desk: Desk, verb: str, *words: str, pins: tuple[bytes, ...] = ()) -> str:
        """A command of a desk about this token, as a process; what it said to who typed it."""
        typed = b"".join(pin + b"\n" for pin in pins).decode()
        reading = ("--passphrase-fd", "0") if pins else ()
        own = ("--module", devices.SOFTHSM, *reading, "--json")
        ended = desk.keyvault("desk", verb, self.token["id"], *words, *own, typed=typed)
        assert ended.status == 0, ended.err
        return ended.err

    def _lent(self) -> UsbReader:
        return UsbReader(devices.SOFTHSM, self.stick.ask)

    def _held(self, pin: bytes, ask: Ask) -> HeldToken:
        label = self.token["id"].replace("-", "")
        return HeldToken(devices.SOFTHSM, label, lambda _: pin, ask)

    def _at_home(self, pin: bytes, ask: Ask, asked: Document) -> Document:
        return self.carding.at_home(self.token, self._held(pin, ask), **asked)

    def _serve(self, service: str, ask: Ask) -> Document:
        reader = UsbReader(devices.SOFTHSM, ask)
        return self.carding.serve(self.token, reader, service=service)

    def _refused(self, service: str) -> Document:
        body = {"station": STATIONS[0], "atr": "", "protocol": 2, "service": service}
        path = f"/v1/issuing/tokens/{self.token['id']}/sessions"
        return dict(self.carding.issuer.client().post(path, json=body).json())

    def _concerns(self) -> set[str]:
        found = ok(self.carding.issuer.client().get("/v1/tokens/concerns"))["items"]
        return {one["concern"] for one in found if one["token"]["id"] == self.token["id"]}
