"""Secrets that are split: enough shares give them back, and nothing else ever gives another."""

from itertools import combinations
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from shamir_mnemonic.wordlist import WORDLIST

from keyvault import sealed, splitting
from keyvault.domain.backups import (
    SHARE_MOVES,
    Share,
    ShareState,
    check_sharing,
)
from keyvault.domain.errors import InvalidInputError, ShareInvalidError, ShareStateError
from keyvault.signatures import spki_der
from tests.unit.officers import NOW

SECRETS = st.binary(min_size=32, max_size=32)
SIZES = st.tuples(st.integers(2, 4), st.integers(0, 2)).map(lambda n: (n[0], n[0] + 1 + n[1]))


@settings(max_examples=15, deadline=None)
@given(SECRETS, SIZES, st.randoms(use_true_random=False))
def test_any_so_many_shares_give_the_secret_back(secret, size, random):
    threshold, count = size
    shares = splitting.split(secret, threshold, count)
    chosen = random.choice(list(combinations(shares, threshold)))
    assert splitting.joined(random.sample(chosen, threshold)) == secret
    parts = [splitting.part_of(one) for one in shares]
    assert [part.number for part in parts] == list(range(1, count + 1))
    assert {(part.share_set, part.threshold) for part in parts} == {(parts[0].share_set, threshold)}
    assert len({splitting.fingerprint(one) for one in shares}) == count
    with pytest.raises(ShareInvalidError):
        splitting.joined(chosen[:-1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, splitting.WORDS - 1), st.sampled_from(WORDLIST), SECRETS)
def test_a_share_with_another_word_is_refused_and_never_quoted(at, word, secret):
    shares = splitting.split(secret, 2, 3)
    words = shares[0].split()
    if words[at] == word:
        return
    changed = " ".join([*words[:at], word, *words[at + 1 :]])
    with pytest.raises(ShareInvalidError) as refused:
        splitting.part_of(changed)
    assert str(refused.value) == "a word of the share is wrong"


@settings(max_examples=10, deadline=None)
@given(SECRETS, SECRETS)
def test_shares_of_two_sets_give_nothing(one, other):
    first, second = splitting.split(one, 2, 3), splitting.split(other, 2, 3)
    with pytest.raises(ShareInvalidError):
        splitting.joined([first[0], second[1]])


@pytest.mark.parametrize("words", ["", "academic", "x" * 2_000, "academic " * 33, "é" * 20])
def test_what_is_no_share_is_refused(words):
    with pytest.raises(ShareInvalidError):
        splitting.part_of(words)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.integers(0, 10_000), st.integers(1, 255))
def test_what_was_sealed_opens_for_its_reader_and_purpose_alone(secret, at, flip):
    reader, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    box = sealed.seal(spki_der(reader.public_key()), secret, b"purpose")
    assert sealed.opened(reader, box, b"purpose") == secret
    altered = bytearray(box)
    altered[at % len(box)] ^= flip
    for key, what, context in (
        (other, box, b"purpose"),
        (reader, box, b"another"),
        (reader, bytes(altered), b"purpose"),
        (reader, box[:-1], b"purpose"),
    ):
        with pytest.raises(InvalidInputError):
            sealed.opened(key, what, context)


@pytest.mark.parametrize(("threshold", "count"), [(1, 3), (3, 3), (2, 2), (2, 17), (0, 3)])
def test_no_one_person_and_no_one_loss_decides(threshold, count):
    with pytest.raises(InvalidInputError):
        check_sharing(threshold, tuple(f"p{at}" for at in range(count)))


def test_nobody_holds_two_shares():
    with pytest.raises(InvalidInputError, match="two shares"):
        check_sharing(2, ("bob", "carol", "bob"))


@pytest.mark.parametrize("old", ShareState)
@pytest.mark.parametrize("new", ShareState)
def test_a_share_takes_its_arrows_and_no_other(old, new):
    share = Share(UUID(int=1), 1, "bob", "key", b"box", "f", old, NOW, bag="17")
    if new in SHARE_MOVES[old]:
        assert share.to(new, NOW).state is new
    else:
        with pytest.raises(ShareStateError):
            share.to(new, NOW)
