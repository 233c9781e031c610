"""How each service is asked for signatures, and how its answers are read."""

from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Dialect:
    """One service's words for "sign these digests"."""

    status: int
    body: Callable[[list[bytes]], dict[str, Any]]
    signatures: Callable[[dict[str, Any]], list[str]]
    raw: Callable[[str], bytes]  # one signature of an answer → r || s

    def read(self, answer: bytes) -> list[str]:
        """Return the signatures of an answer. Raises `ValueError` if there are none."""
        try:
            return self.signatures(orjson.loads(answer))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no signatures in {answer[:200]!r}") from error


def _unpadded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _openbao_body(digests: list[bytes]) -> dict[str, Any]:
    how = {"prehashed": True, "hash_algorithm": "sha2-256", "marshaling_algorithm": "jws"}
    items = [{"input": b64encode(digest).decode()} for digest in digests]
    return {**items[0], **how} if len(items) == 1 else {"batch_input": items, **how}


def _openbao_signatures(answer: dict[str, Any]) -> list[str]:
    data = answer["data"]
    return [one["signature"] for one in data.get("batch_results") or [data]]


KEYVAULT = Dialect(
    status=201,
    body=lambda digests: {"digests": [b64encode(digest).decode() for digest in digests]},
    signatures=lambda answer: list(answer["signatures"]),
    raw=lambda text: _unpadded(text.replace("+", "-").replace("/", "_").rstrip("=")),
)
OPENBAO = Dialect(
    status=200,
    body=_openbao_body,
    signatures=_openbao_signatures,
    raw=lambda text: _unpadded(text.rpartition(":")[2]),
)
DIALECTS = {"keyvault": KEYVAULT, "openbao": OPENBAO}
