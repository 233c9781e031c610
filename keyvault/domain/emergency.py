"""Sealed codes: how somebody without their token stops a key, and can do nothing else.

A code is 128 random bits, made for one person, kept in a sealed envelope, and used once. The
service keeps its SHA-256 alone.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

CONTEXT = b"keyvault-emergency-v1\n"
SIZE = 16  # bytes
GROUP = 4  # letters
MAX_DAYS = 400
_SIMILAR = str.maketrans({"0": "O", "1": "I", "8": "B"})  # base32 has none of these digits


class Stop(StrEnum):
    SUSPEND = "suspend"
    COMPROMISE = "compromise"


@dataclass(frozen=True, slots=True)
class EmergencyCode:
    """What is kept of a code. `use` says what came of it, empty while it is sealed."""

    id: UUID
    person: str
    verifier: str  # SHA-256, hex
    made_at: datetime
    until: datetime
    used_at: datetime | None = None
    use: str = ""


def fresh() -> str:
    """Make a code: 26 letters and digits of base32, in groups for a hand to copy."""
    text = base64.b32encode(secrets.token_bytes(SIZE)).decode().rstrip("=")
    return "-".join(text[at : at + GROUP] for at in range(0, len(text), GROUP))


def verifier_of(code: str) -> str:
    """The SHA-256 that a code is known by, however it was typed."""
    plain = "".join(c for c in code.upper() if c.isascii() and c.isalnum()).translate(_SIMILAR)
    return sha256(CONTEXT + plain.encode()).hexdigest()


def id_of(verifier: str) -> UUID:
    """The name of a code, which tells nothing of it."""
    return UUID(verifier[:32])
