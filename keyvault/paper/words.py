"""Text by strangers, made fit to be printed: what is there is seen, and nothing else happens."""

import re
import unicodedata
from collections.abc import Container

# Marks that reorder or hide what stands beside them, controls, private use and half characters.
_UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\uffff\ud800-\udfff\ue000-\uf8ff\U000e0000-\U0010ffff]"
)


def seen(text: str) -> str:
    """Return the text with each unseen character named, such as [U+202E]; line feeds stay."""
    return _UNSEEN.sub(lambda found: _named(found[0]), text.replace("\r\n", "\n"))


def within(text: str, glyphs: Container[int]) -> str:
    """Return the text with each character named that a font has no glyph for."""
    return "".join(c if c == "\n" or ord(c) in glyphs else _named(c) for c in text)


def runs_leftward(text: str) -> bool:
    """Whether something in it is written from right to left."""
    return any(unicodedata.bidirectional(c) in {"R", "AL"} for c in text)


def _named(character: str) -> str:
    return " " if character == "\t" else f"[U+{ord(character):04X}]"
