"""Secrets split among people and put together again: SLIP-39, m of n, words with a checksum.

Any m shares give the secret; fewer tell nothing about it. A word that was changed, and shares of
another set, are refused: each share has a checksum, and the secret has a digest within its shares.
The library's own arithmetic is the reference implementation of SLIP-39; none of it is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from shamir_mnemonic import (  # type: ignore[import-untyped]  # it has no annotations
    MnemonicError,
    combine_mnemonics,
    generate_mnemonics,
)
from shamir_mnemonic.share import Share  # type: ignore[import-untyped]  # nor has this

from keyvault.domain.errors import ShareInvalidError

WORDS = 33  # of a share of 32 bytes
LIMIT = 1_024  # characters of a share
AGAIN = "compare every word with the paper, and enter the share again"


@dataclass(frozen=True, slots=True)
class Part:
    """What a share says of itself; nothing of it is secret."""

    share_set: int
    number: int  # from 1 on
    threshold: int


def split(secret: bytes, threshold: int, count: int) -> list[str]:
    """Return `count` shares, `threshold` of which give the secret of 32 bytes."""
    [words] = generate_mnemonics(1, [(threshold, count)], secret, iteration_exponent=0)
    return list(words)


def part_of(words: str) -> Part:
    """Read what a share says of itself. Raises `ShareInvalidError` where a word is wrong."""
    if len(words) > LIMIT:
        raise ShareInvalidError("this is longer than any share", next_step=AGAIN)
    try:
        share = Share.from_mnemonic(words)
    except (MnemonicError, ValueError) as error:  # its text may quote a word: it stays here
        raise ShareInvalidError("a word of the share is wrong", next_step=AGAIN) from error
    if len(words.split()) != WORDS or share.group_count != 1:
        raise ShareInvalidError("this is no share of a backup key", next_step=AGAIN)
    return Part(share.identifier, share.index + 1, share.member_threshold)


def fingerprint(words: str) -> str:
    """Tell shares apart: 8 hex digits that give nothing away of 256 random bits."""
    return sha256(b"keyvault-share-fingerprint-v1\n" + words.encode()).hexdigest()[:8]


def joined(shares: Sequence[str]) -> bytes:
    """Put exactly as many shares together as it takes. Raises `ShareInvalidError`."""
    try:
        return bytes(combine_mnemonics(list(shares)))
    except (MnemonicError, ValueError) as error:
        raise ShareInvalidError(
            "these shares do not belong together", next_step="find out which one is of another set"
        ) from error
