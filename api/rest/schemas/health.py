"""Health on the wire."""

from typing import Literal

from api.rest.schemas.common import Wire
from keyvault.operations.health import Readiness


class AliveOut(Wire):
    alive: Literal[True] = True


class CheckOut(Wire):
    """One part. Reason and next step are told to known callers only."""

    name: str
    ok: bool
    reason: str = ""
    next_step: str = ""


class ReadyOut(Wire):
    ready: bool
    checks: list[CheckOut]

    @classmethod
    def of(cls, readiness: Readiness, *, told: bool) -> "ReadyOut":
        """Translate; without `told` nothing but which part it is."""
        checks = [
            CheckOut(
                name=check.name,
                ok=check.ok,
                reason=check.reason if told else "",
                next_step=check.next_step if told else "",
            )
            for check in readiness.checks
        ]
        return cls(ready=readiness.ready, checks=checks)
