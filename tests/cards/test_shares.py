"""A share whose key is in slot 9D of its holder's card: it opens there, and nowhere else."""

from uuid import uuid4

import pytest

from cli.desk.shares import ShareCard, open_envelope, read_holder, state
from cli.passphrases import Secrets
from hsm.errors import PinIncorrectError
from hsm.pcsc.piv import PivSlot
from keyvault import sealed, splitting
from keyvault.domain.backups import SHARE_CONTEXT
from keyvault.domain.canonical import canonical
from keyvault.domain.errors import InvalidInputError, ShareInvalidError
from keyvault.domain.people import thumbprint
from keyvault.domain.shareholding import statement
from keyvault.signatures import SoftwareCredential, spki_der, verify
from tests.cards.bench import NAMES
from tests.cards.simulator.card import Card
from tests.cards.simulator.piv import PIN
from tests.cards.simulator.vpcd import VirtualCard
from tests.stack import _lines

KEY = uuid4()


def typed(pin: bytes = PIN) -> Secrets:
    return Secrets(_lines(pin, 1))


def envelope(spki: bytes, words: str, holder: str = "bob") -> bytes:
    told = {"backup_key": str(KEY), "holder": holder, "words": words}
    return sealed.seal(spki, canonical(told), SHARE_CONTEXT + KEY.bytes)


def test_a_share_that_is_sealed_to_a_card_opens_with_its_pin_and_with_no_other_card(
    virtual: VirtualCard, tmp_path
) -> None:
    card: Card = virtual.card
    signer = SoftwareCredential.create(tmp_path / "bob.key", b"passphrase of a test")
    own = ShareCard(NAMES[0])
    spki = own.spki(typed())
    assert spki == spki_der(card.application.keys[PivSlot.KEY_MANAGEMENT].public_key())
    holder = read_holder(state(tmp_path / "bob", spki, signer, "bob", "keyvault.test/log"))
    assert holder.spki == spki
    assert holder.credential == thumbprint(signer.spki)
    assert verify(signer.spki, holder.signature, statement("keyvault.test/log", holder))

    words = splitting.split(bytes(32), 2, 3)[0]
    box = envelope(spki, words)
    assert open_envelope(KEY, box, own, typed(), "bob").words == words
    with pytest.raises(PinIncorrectError):
        open_envelope(KEY, box, own, typed(b"000000"), "bob")
    with pytest.raises(ShareInvalidError):
        open_envelope(KEY, envelope(spki, words, "eve"), own, typed(), "bob")
    other = spki_der(card.application.keys[PivSlot.SIGNATURE].public_key())
    for wrong in (envelope(other, words), box[:-1], b""):
        with pytest.raises(InvalidInputError):
            open_envelope(KEY, wrong, own, typed(), "bob")
