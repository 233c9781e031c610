"""People at a desk with a card in a virtual reader: what tests of the command share."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.pcsc.reader import wait_for_card
from keyvault.domain.times import day_text
from keyvault.operations.genesis import DUTY
from tests.cards.bench import NAMES, Bench
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import personalised
from tests.cards.simulator.hostile import GENERAL_AUTHENTICATE, VERIFY
from tests.cards.simulator.piv import PIN
from tests.stack import PASSPHRASE, ok
from tests.surface.desk import Desk, spoken

READER = NAMES[0]
PERSON = "frank"
SHOW = ("credential", "show", "--card", "--json")


@pytest.fixture(scope="module")
def bench():
    """Not the one of tests/cards: one process has one way to PC/SC at a time."""
    with Bench() as bench:
        yield bench


@pytest.fixture(scope="module")
def _slot(bench):
    virtual = bench.insert(Card(personalised()))
    assert wait_for_card(READER, seconds=10)
    return virtual


@pytest.fixture(scope="module")
def own(_slot):
    """The card of the one who was registered with it."""
    return _slot.card


@pytest.fixture
def virtual(_slot, own):
    """The reader with that card in it, all tries left and its log of APDUs empty.

    Afterwards it is in again: a fixture of the module is made before the next test's own.
    """
    own.application.pin.left = 3
    own.log.clear()
    yield _slot
    _slot.card = own


@pytest.fixture(scope="module")
def desk(stack, own, tmp_path_factory):
    """Registered in one request by the two keys that the card shows, and logged in by card."""
    folder = tmp_path_factory.mktemp("desk")
    public, logs_in = folder / "frank.pub.pem", folder / "frank.login.pub.pem"
    spoken("credential", "show", "--card", "--out", str(public))
    assert (public.read_bytes(), logs_in.read_bytes()) == (pem_of(own, 0x9C), pem_of(own, 0x9A))
    keys = ("--public-key", str(public), "--login-key", str(logs_in))
    desks = Desk(stack.folder, "alice", stack.folder / "alice.key", PASSPHRASE.decode())
    assert desks.login(stack.url, stack.ca).status == 0
    words = ("people", "register", PERSON, "--name", "Frank Fir", "--role", "key-approver")
    place = ("--organisation", "Acme Energy", "--site", "Leeds", "--assurance", "card")
    screened = ("--reviewed", day_text(datetime.now(UTC)), "--reference", "HR-frank")
    stack.carry_out(desks.ask(*words, *place, *screened, *keys))
    desk = Desk(folder, PERSON, None, PIN.decode())
    login = desk.login(stack.url, stack.ca, "--genesis", stack.settings.genesis)
    assert login.status == 0, login.err
    (folder / "duty").write_text(DUTY)
    words = ("duties", "acknowledge", "keeping-keys", "--file", str(folder / "duty"), "--yes")
    given = desk.keyvault(*words, "--passphrase-fd", "0", typed=desk.passphrase)
    assert given.status == 0, given.err
    yield desk
    stack.carry_out(desks.ask("people", "remove", PERSON, "--reason", "has left"))


@pytest.fixture
def order(stack):
    return stack.order(label="ordered for a card")["id"]


def sent_pins(card):
    return [apdu for apdu in card.log if apdu[1] == VERIFY and len(apdu) > 5]


def used_keys(card):
    """Which key references signed (P2 of GENERAL AUTHENTICATE), one after another."""
    return [apdu[3] for apdu in card.log if apdu[1] == GENERAL_AUTHENTICATE]


def pem_of(card, slot):
    key = card.application.keys[slot].public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def approvals_of(stack, order):
    return ok(stack.person("bob").client().get(f"/v1/requests/{order}"))["approvals"]
