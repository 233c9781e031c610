"""Two keys on one card: slot 9A opens sessions, slot 9C decides, at the desk and at a genesis."""

import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cli.local.officers import officer
from hsm.pcsc.credential import PivCredential
from hsm.pcsc.piv import PivSlot
from keyvault.domain.approvals import Approval
from keyvault.domain.people import thumbprint
from keyvault.domain.times import day_text
from keyvault.settings import Settings
from keyvault.signatures import spki_der
from keyvault.store.unit_of_work import Database
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import CERTIFICATES, personalised
from tests.cards.simulator.piv import PIN
from tests.stack import PASSPHRASE
from tests.surface.carded import PERSON, READER, SHOW, approvals_of, sent_pins, used_keys
from tests.surface.desk import Desk, keyvault, spoken


def without_9a(own):
    """The same card as its holder has it whose issuer left 9A empty."""
    applet = personalised()
    applet.keys, applet.objects = dict(own.application.keys), dict(own.application.objects)
    del applet.keys[0x9A], applet.objects[CERTIFICATES[0x9A]]
    return Card(applet)


def with_rsa_in_9a(own):
    applet, other = without_9a(own).application, personalised(rsa_slots=(0x9A,))
    applet.keys[0x9A] = other.keys[0x9A]
    applet.objects[CERTIFICATES[0x9A]] = other.objects[CERTIFICATES[0x9A]]
    return Card(applet)


def test_a_card_with_9c_alone_does_everything_with_it(stack, desk, virtual, own, order, tmp_path):
    assert desk.session.exists()  # its person is registered
    virtual.card = without_9a(own)
    only = Desk(tmp_path, PERSON, None, PIN.decode())
    login = only.login(stack.url, stack.ca)
    assert login.status == 0, login.err
    word = "slot 9A of the card holds no certificate: slot 9C logs in, too"
    assert word in login.err
    approved = only.approve(order)
    assert approved.status == 0, approved.err
    assert used_keys(virtual.card) == [0x9C, 0x9C]
    shown = keyvault(*SHOW, "--out", "x.pub.pem", cwd=tmp_path)
    assert word in shown.err
    assert not {"login_fingerprint", "login_public_key"} & set(shown.json)
    assert [path.name for path in tmp_path.glob("*.pem")] == ["x.pub.pem"]


def test_a_9a_that_is_not_of_p256_is_told_of_and_left_alone(stack, desk, virtual, own, tmp_path):
    assert desk.session.exists()
    virtual.card = with_rsa_in_9a(own)
    frank = Desk(tmp_path, PERSON, None, PIN.decode())
    refused = frank.login(stack.url, stack.ca, "--slot", "9a")
    assert (refused.status, refused.error["code"]) == (65, "card-foreign")
    assert "slot 9A holds a key of RSA-2048" in refused.error["message"]
    assert sent_pins(virtual.card) == []
    login = frank.login(stack.url, stack.ca)
    assert login.status == 0, login.err
    assert "with keys of P-256: slot 9C logs in, too" in login.err
    assert used_keys(virtual.card) == [0x9C]


def test_a_9a_that_was_never_registered_logs_in_with_9c_by_hand(
    stack, desk, virtual, own, tmp_path
):
    """As everybody does who was registered with 9C alone."""
    assert desk.session.exists()
    applet, other = without_9a(own).application, personalised()
    applet.keys[0x9A] = other.keys[0x9A]
    applet.objects[CERTIFICATES[0x9A]] = other.objects[CERTIFICATES[0x9A]]
    virtual.card = Card(applet)
    by_9c = Desk(tmp_path, PERSON, None, PIN.decode())
    refused = by_9c.login(stack.url, stack.ca)
    assert (refused.status, refused.error["code"]) == (77, "not-authenticated")
    assert "--slot 9c" in refused.error["next_step"]
    login = by_9c.login(stack.url, stack.ca, "--slot", "9c")
    assert login.status == 0, login.err
    assert used_keys(virtual.card) == [0x9A, 0x9C]


def test_what_9a_signs_is_no_approval(stack, desk, virtual, order, tmp_path):
    """Whoever bends the command, so that the card signs an approval with 9A, is refused."""
    request, signed = tmp_path / "request.json", tmp_path / "approval.json"
    request.write_text(json.dumps(desk.ask("approvals", "show", order)))
    words = ("approvals", "approve", "--file", str(request), "--out", str(signed), "--yes")
    done = desk.keyvault(*words, "--passphrase-fd", "0", typed=desk.passphrase)
    assert done.status == 0, done.err
    credential = PivCredential.of_card(READER, PivSlot.AUTHENTICATION, lambda _: PIN)
    bent = json.loads(signed.read_text())
    unsigned = replace(
        Approval.read(bent["approval"]), credential=thumbprint(credential.spki), signature=b""
    )
    document = json.loads(request.read_text())["document"]
    signature = credential.sign(unsigned.message(document))
    bent["approval"] = replace(unsigned, signature=signature).document()
    signed.write_text(json.dumps(bent))
    refused = desk.keyvault("approvals", "submit", str(signed), "--json")
    assert refused.error["code"] == "approval-invalid"
    assert "signed with a key that only logs in" in refused.error["message"]
    assert approvals_of(stack, order) == []
    assert used_keys(virtual.card) == [0x9C, 0x9A]


@pytest.mark.soak
def test_a_file_that_only_logs_in_signs_no_decision(stack, desk, virtual, order, tmp_path):
    """Nor does it stand in the way of the card that does."""
    assert virtual.card.atr
    fresh, secret = tmp_path / "door.key", f"{PASSPHRASE.decode()}\n"
    spoken("credential", "create", "--out", str(fresh), "--passphrase-fd", "0", typed=secret)
    registrar = Desk(stack.folder, "alice", stack.folder / "alice.key", PASSPHRASE.decode())
    assert registrar.login(stack.url, stack.ca).status == 0
    public = str(tmp_path / "door.pub.pem")
    words = ("people", "add-key", PERSON, "--public-key", public, "--login-only")
    stack.carry_out(registrar.ask(*words))
    assert "software key, only to log in" in registrar.keyvault("people", "show", PERSON).out
    door = Desk(tmp_path, PERSON, fresh, PASSPHRASE.decode())
    assert door.login(stack.url, stack.ca).status == 0
    refused = door.approve(order)
    assert refused.status == 65
    assert "not one that only logs in" in refused.error["next_step"]
    words = ("approvals", "approve", order, "--card", "--yes", "--passphrase-fd", "0")
    by_card = door.keyvault(*words, typed=desk.passphrase)
    assert by_card.status == 0, by_card.err
    assert used_keys(virtual.card) == [0x9C]


# The genesis -------------------------------------------------------------------------------


@pytest.fixture
def officers(tmp_path):
    """Two officers with files; whoever founds adds the one with a card."""
    for name in ("bob", "carol"):
        words = ("credential", "create", "--out", f"{name}.key", "--passphrase-fd", "0")
        spoken(*words, typed=f"{PASSPHRASE.decode()}\n", cwd=tmp_path)
    specs = [f"{named(name)},credential={name}.key" for name in ("bob", "carol")]
    return ["init", "--folder", "s", "--site", "keyvault.test", "--yes"], specs


def spki_of(card, slot):
    return spki_der(card.application.keys[slot].public_key())


def genesis_of(folder):
    settings = Settings.load(folder / "keyvault.toml")
    with Database(settings.database, node=settings.node).reading() as work:
        return work.authority.records()[0].request


def named(officer):
    screened = f"reviewed={day_text(datetime.now(UTC))},reference=HR-{officer}"
    return f"id={officer},name={officer.title()},{screened}"


def founded(officers, spec, cwd):
    words, others = officers
    given = [word for one in (spec, *others) for word in ("--officer", one)]
    secrets = f"{PIN.decode()}\n" + f"{PASSPHRASE.decode()}\n" * 2
    return keyvault(*words, *given, "--passphrase-fd", "0", typed=secrets, cwd=cwd)


def test_an_officer_signs_the_genesis_by_card(virtual, officers, tmp_path):
    done = founded(officers, f"{named('alice')},card={READER}", tmp_path)
    assert done.status == 0, done.err
    assert "alice has signed the genesis" in done.err
    assert len(sent_pins(virtual.card)) == 1
    assert used_keys(virtual.card) == [0x9C]
    alice = genesis_of(tmp_path / "s")["officers"][0]
    for name, slot, only in (("credential", 0x9C, False), ("login", 0x9A, True)):
        spki = b64encode(spki_of(virtual.card, slot)).decode()
        expected = {"spki": spki, "assurance": "card", "login_only": only}
        assert alice[name] == expected


def test_an_officers_keys_may_come_as_files(virtual, tmp_path):
    spoken("credential", "show", "--card", "--out", "alice.pub.pem", cwd=tmp_path)
    files = f"public={tmp_path}/alice.pub.pem,login={tmp_path}/alice.login.pub.pem"
    spec, now = f"{named('alice')},card=Reader that is not here,{files}", datetime.now(UTC)
    found = officer(spec, 0, "keyvault.test", now).person
    keys = [spki_of(virtual.card, slot) for slot in (0x9C, 0x9A)]
    assert [one.spki for one in found.credentials] == keys
    assert [one.login_only for one in found.credentials] == [False, True]


def test_another_card_than_the_officers_founds_nothing(virtual, officers, tmp_path):
    spoken("credential", "show", "--card", "--out", "alice.pub.pem", cwd=tmp_path)
    stranger = virtual.card = Card(personalised())
    done = founded(officers, f"{named('alice')},card={READER},public=alice.pub.pem", tmp_path)
    assert done.status == 65
    assert "another key than the enrolled one" in done.err
    assert sent_pins(stranger) == []
    assert not (tmp_path / "s" / "keyvault.toml").exists()
