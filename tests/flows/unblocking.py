"""Cards that their holders have unblocked before them, far from any station."""

from hsm.pcsc.reader import wait_for_card
from tests.carding import OWN_PIN, Carding
from tests.cards.bench import NAMES, Bench
from tests.cards.personalising import PulledAt, Puller
from tests.cards.simulator.card import Card
from tests.cards.simulator.models import FACTORY_PUK
from tests.cards.simulator.secure import Between, SecureCard
from tests.flows import canaries
from tests.stack import Document, ok
from tests.surface.desk import Desk

UNBLOCK, PUT_KEY, BEGIN_CHANNEL = 0x2C, 0xD8, 0x50


def blocked(carding: Carding, card: Card, token: Document) -> Document:
    """The card is its holder's, and blocked; what a session asks that two people let unblock it."""
    carding.activated(token["serial"], card)
    card.application.pin.left = 0
    carding.stop(token["serial"], "block-pin")
    return {"service": "unblock", "statement": carding.released(token["serial"])}


def concerns(carding: Carding, token: Document) -> list[str]:
    found = ok(carding.issuer.client().get("/v1/tokens/concerns"))["items"]
    return [one["concern"] for one in found if one["token"]["id"] == token["id"]]


def by_its_puk(carding: Carding, card: Card, token: Document) -> None:
    """In clear: the PUK was seen, and the next station gives the card another."""
    (job,) = carding.order(token)
    carding.insert(job, card)
    asked, applet = blocked(carding, card, token), card.application
    used = applet.puk.value
    ended = carding.at_home(token, Puller(card, 8, executed=True), **asked)
    assert ended["code"] == "card-removed"
    ended = carding.at_home(token, card, **asked)
    assert ended["do"] == "done", ended
    assert (applet.pin.value, applet.pin.left) == (OWN_PIN, applet.pin.limit)
    assert applet.puk.value == used
    assert carding.token(token["serial"])["state"] == "active"
    assert concerns(carding, token) == ["puk-spent"]
    ended = carding.serve(token, PulledAt(card, 0x24), service="rotate-puk")
    assert ended["code"] == "card-removed"
    assert carding.serve(token, card, service="rotate-puk")["do"] == "done"
    assert applet.puk.value not in (used, FACTORY_PUK)
    assert concerns(carding, token) == []


def through_its_channel(carding: Carding, card: SecureCard, token: Document, desk: Desk) -> None:
    """By the command line at a real pcscd: nobody saw the PUK, and nothing is left to do."""
    (job,) = carding.order(token)
    assert carding.insert(job, PulledAt(card, PUT_KEY))["code"] == "card-removed"
    assert carding.insert(job, card)["standing"] == "done"
    asked, applet, puk = blocked(carding, card, token), card.application, card.application.puk.value
    denying = Between(card, {BEGIN_CHANNEL: lambda _: b"\x6d\0"})
    assert carding.at_home(token, denying, **asked)["code"] == "card-foreign"
    assert carding.at_home(token, PulledAt(card, UNBLOCK), **asked)["code"] == "card-removed"
    with Bench() as bench:
        bench.insert(card)
        assert wait_for_card(NAMES[0], seconds=10)
        own = ("--reader", NAMES[0], "--passphrase-fd", "0", "--json")
        words = ("desk", "unblock", token["id"], "--release", asked["statement"], *own)
        ended = desk.keyvault(*words, typed=f"{OWN_PIN.decode()}\n")
    assert ended.status == 0, ended.err
    assert (applet.pin.value, applet.pin.left) == (OWN_PIN, applet.pin.limit)
    assert applet.puk.value == puk
    assert carding.token(token["serial"])["state"] == "active"
    assert concerns(carding, token) == []
    assert {apdu[0] for apdu in card.log if apdu[1] == UNBLOCK} == {0x04}
    assert not any(puk in apdu for apdu in card.log)
    [keys] = card.domain.sets.values()
    canaries.assert_nowhere(carding.stack, keys.enc, keys.mac, keys.dek, puk)
