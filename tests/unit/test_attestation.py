"""A maker's word about a key: believed from the maker that is pinned, about this key and card."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.errors import TokenSpoiledError
from keyvault.operations import attestation
from keyvault.signatures import spki_der
from tests.cards.simulator.maker import MAKER, Attester, Maker

KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
OTHER = ec.generate_private_key(ec.SECP256R1()).public_key()
SERIAL = 4_026_531_840  # its highest bit is set: the INTEGER has a byte more
CARD = MAKER.attester()


def chain(card: Attester = CARD, key: ec.EllipticCurvePublicKey = KEY, serial: int = SERIAL):
    return [card.attest(key, 0x9C, serial), card.certificate]


def checked(given, makers=(MAKER.certificate,), serial: str = str(SERIAL)) -> None:
    attestation.check(spki_der(KEY), serial, given, makers, datetime.now(UTC))


def test_a_statement_that_leads_to_the_pinned_maker_is_believed():
    checked(chain())
    checked(chain(), serial="")  # a model whose cards do not tell their number
    checked(chain(), makers=[Maker().certificate, MAKER.certificate])
    checked([Attester(b"", MAKER.key).attest(KEY, 0x9C, SERIAL)], makers=())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (chain(Maker().attester()), "no maker"),
        (chain()[:1], "no maker"),
        ([chain()[0], MAKER.attester().certificate], "no maker"),
        (chain(MAKER.attester(authority=False)), "no maker"),
        (chain(MAKER.attester(days=-1)), "out of date"),
        (chain(replace(CARD, days=-1)), "out of date"),
        (chain(key=OTHER), "another key"),
        (chain(serial=7), "of card 7"),
        ([b"\x30\x00", CARD.certificate], "cannot be read"),
        ([b"", b""], "cannot be read"),
        ([chain()[0].replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x45", 1)], "read"),
    ],
    ids=[
        *("another-maker", "no-attester", "another-attester", "attester-is-no-authority"),
        *("attester-is-stale", "statement-is-stale", "another-key", "another-card"),
        *("garbage", "nothing", "version-69"),
    ],
)
def test_any_other_is_refused_with_what_is_wrong(given, why):
    with pytest.raises(TokenSpoiledError, match=why):
        checked(given)


def test_without_a_pinned_maker_the_key_and_the_card_are_compared_all_the_same():
    checked(chain(Maker().attester()), makers=())
    with pytest.raises(TokenSpoiledError, match="another key"):
        checked(chain(key=OTHER), makers=())
