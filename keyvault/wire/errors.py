"""Errors on the wire: the class is found again by its code, so `except` works across processes."""

from collections.abc import Iterator
from typing import Any

from hsm.errors import HsmError
from keyvault.domain.errors import VaultError

INTERNAL = "internal"


class RemoteError(VaultError):
    """The other process failed in a way that has no class here. It wrote down why."""

    code = INTERNAL

    def __init__(self, message: str, *, code: str = INTERNAL, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.code = code


def document_of(error: Exception) -> dict[str, str]:
    """Write an error for the wire. What is not one of ours says nothing but its kind."""
    if not isinstance(error, HsmError | VaultError):
        return {
            "code": INTERNAL,
            "message": f"the call failed with {type(error).__name__}",
            "cause": "",
            "next_step": "see the log of the process that was called",
            "kind": "",
        }
    return {
        "code": error.code,
        "message": str(error),
        "cause": getattr(error, "cause", ""),
        "next_step": error.next_step,
        "kind": str(getattr(error, "kind", "")),
    }


def error_of(document: dict[str, Any]) -> Exception:
    """Read what `document_of` wrote, as an instance of the class that has the code."""
    message, next_step = str(document["message"]), str(document["next_step"])
    known = _CLASSES.get(document["code"])
    if known is None:
        return RemoteError(message, code=str(document["code"]), next_step=next_step)
    if issubclass(known, HsmError):
        return known(message, cause=str(document["cause"]), next_step=next_step)
    return known(message, next_step=next_step)


Known = type[HsmError] | type[VaultError]


def _family(base: Known) -> Iterator[Known]:
    yield base
    for child in base.__subclasses__():
        yield from _family(child)


# Surfaces derive errors of their own, which no other process knows and none may take a code from.
_CLASSES = {
    kind.code: kind
    for base in (HsmError, VaultError)
    for kind in _family(base)
    if kind.__module__ == base.__module__
}
