"""What a gate said no to, kept until somebody writes it into the log: a gate writes no events.

Whoever owns the web process would not write down what they tried at the gate behind it. The
newest are told to whoever asks for the gate's status; the clerk asks, and makes events of them.
"""

import secrets
from collections import deque
from datetime import UTC, datetime
from typing import Any

from hsm.errors import HsmError
from keyvault.domain.canonical import Document
from keyvault.domain.errors import VaultError
from keyvault.domain.times import text_of

KEPT = 32  # refusals; of those before, the count alone is left
_SHOWN = 200  # characters of a reason
_ID = 64  # characters of what it was about


class Refusals:
    """The newest refusals of one worker, numbered from 1. `boot` names the worker's life."""

    def __init__(self) -> None:
        self._boot = secrets.token_hex(8)
        self._count = 0
        self._newest: deque[Document] = deque(maxlen=KEPT)

    def note(self, method: str, arguments: tuple[Any, ...], error: VaultError | HsmError) -> None:
        """Remember a refusal. What was sent is told by its id alone, and cut short."""
        self._count += 1
        self._newest.append(
            {
                "number": self._count,
                "method": method,
                "about": _about(arguments),
                "code": error.code,
                "reason": str(error)[:_SHOWN],
                "at": text_of(datetime.now(UTC)),
            }
        )

    def document(self) -> Document:
        return {"boot": self._boot, "count": self._count, "newest": list(self._newest)}


def _about(arguments: tuple[Any, ...]) -> str:
    """Name the key, request or person that a call was about, as far as it says."""
    first = arguments[0] if arguments else ""
    if isinstance(first, bytes):
        return first[: _ID // 2].hex()
    if isinstance(first, dict):
        first = first.get("id") or first.get("person") or ""
    return first[:_ID] if isinstance(first, str) and first.isprintable() else ""
