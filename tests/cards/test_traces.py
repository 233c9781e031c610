"""What is kept of an issue has no secret in it, wherever it stops and whatever the card says."""

import json
import re
from collections.abc import Callable

import pytest

from hsm.pcsc import tlv
from hsm.pcsc.apdu import GET_RESPONSE
from hsm.pcsc.piv import AID, Ins, Tag
from hsm.pcsc.trace import Trace
from keyvault.domain.issuing import Standing
from tests.cards.personalising import OWN, PIN, PUK, Here, Puller, new_job, relayed
from tests.cards.simulator.models import FACTORY_PIN, FACTORY_PUK, MODELS, table_of
from tests.cards.simulator.vpcd import CardSide

SECRETS = (PIN, PUK, FACTORY_PIN, FACTORY_PUK, OWN)
PINS = frozenset({Ins.VERIFY, Ins.CHANGE_REFERENCE_DATA})
TELLING = PINS | {Ins.GENERAL_AUTHENTICATE, 0xFF}  # 0xFF sets a management key
Echo = Callable[[bytes, bytes, bytes], bytes]  # of the command, what was told, the honest answer
SHOWN = {
    "data": rf"|{AID.hex().upper()}|5C(01..|02.{{4}}|03.{{6}})",
    "header": r"|[0-9A-F]{8}",
    "status": r"|[0-9A-F]{4}",
    "about": r"|PIN|PUK|9[A-E]|5F[C-F].{3}|7E",
    "error": r"|[a-z-]{1,40}",
    "what": r"[A-Za-z ]{5,40}",
}
MODELS_HERE = ("yubico", "strict-3des-t0")


class Parrot:
    """A card that says again what these instructions told it: `echo` makes its answers."""

    def __init__(self, card: CardSide, echo: Echo, telling: frozenset[int]) -> None:
        self.card, self.atr = card, card.atr
        self._echo, self._telling, self.told = echo, telling, b""

    def reset(self) -> None:
        self.card.reset()

    def process(self, apdu: bytes) -> bytes:
        if apdu[1] in self._telling and len(apdu) > 5:
            self.told = apdu[5:]
        return self._echo(apdu, self.told, self.card.process(apdu))


def _in_name(apdu: bytes, told: bytes, honest: bytes) -> bytes:
    if apdu[1] != Ins.SELECT or not told:
        return honest
    aid, name = tlv.encode(Tag.APPLICATION_AID, AID), tlv.encode(Tag.APPLICATION_LABEL, told[:40])
    return tlv.encode(Tag.APPLICATION, aid + name) + b"\x90\x00"


def _in_object(apdu: bytes, told: bytes, honest: bytes) -> bytes:
    asked = told and apdu[1] == Ins.GET_DATA
    return tlv.encode(Tag.DATA, told) + b"\x90\x00" if asked else honest


def _in_status(apdu: bytes, told: bytes, honest: bytes) -> bytes:
    return told[:2] if told and apdu[1] in TELLING - {0xFF} else honest


def _behind_status(apdu: bytes, told: bytes, honest: bytes) -> bytes:
    return told + honest if apdu[1] in TELLING else honest


def _to_everything(_: bytes, told: bytes, honest: bytes) -> bytes:
    return told + b"\x90\x00" if told else honest


def _by_fetching(apdu: bytes, told: bytes, honest: bytes) -> bytes:
    if told and apdu[1] == GET_RESPONSE:
        return told[:16] + b"\x90\x00"
    return b"\x61\x10" if told else honest


PARROTS = (_in_name, _in_object, _in_status, _behind_status, _to_everything, _by_fetching)


def harmless(kept: Trace, house: Here) -> None:
    """Every value is of a form that holds no secret; none of them is in what the log is told."""
    assert kept.exchanges
    for each in kept.exchanges:
        document = each.document()
        for name, form in SHOWN.items():
            assert re.fullmatch(form, document[name]), (name, document)
    words = [house.told, house.job.facts.get("cause", ""), kept.last()]
    text = json.dumps([[each.document() | {"at": 0} for each in kept.exchanges], words]).lower()
    for secret in SECRETS:
        assert secret.hex() not in text
        assert secret.decode("latin-1") not in text


@pytest.mark.parametrize("model", MODELS_HERE)
def test_no_secret_of_an_issue_is_in_its_trace_wherever_the_card_is_pulled(tmp_path, model):
    table, clean, house = table_of(model, tmp_path), MODELS[model].make(), Here(new_job())
    whole = relayed(clean, table, house)
    assert house.job.standing is Standing.DONE
    assert [bytes.fromhex(e.header) for e in whole.exchanges if e.header] == [
        apdu[:4] for apdu in clean.log
    ]  # nothing is left out
    harmless(whole, house)
    for at in range(1, len(clean.log) + 1, 9):
        card, house = MODELS[model].make(), Here(new_job())
        kept = relayed(Puller(card, at, executed=True), table, house)
        harmless(kept, house)
        last = kept.last()
        assert (last["status"], last["error"]) == ("", "card-removed")
        harmless(relayed(card, table, house), house)


@pytest.mark.parametrize("telling", [PINS, TELLING], ids=["pins", "all"])
@pytest.mark.parametrize("echo", PARROTS)
def test_a_card_that_says_again_what_it_was_told_brings_nothing_into_a_trace(
    tmp_path, echo, telling
):
    table, house = table_of("yubico", tmp_path), Here(new_job())
    card = Parrot(MODELS["yubico"].make(), echo, telling)
    for _ in range(3):
        harmless(relayed(card, table, house), house)
        if house.job.standing is not Standing.INTERRUPTED:
            break
    assert card.told
