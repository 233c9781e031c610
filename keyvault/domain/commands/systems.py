"""Changes of systems: the API's clients, each enrolled by approval."""

from dataclasses import dataclass

from keyvault.domain.commands.base import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import check_id
from keyvault.domain.times import time_of

MAX_OVERLAP_HOURS = 90 * 24


@dataclass(frozen=True, slots=True)
class EnrolSystem(Command):
    """Pin a DCC system's client certificate and say what it may do, in the request's scope.

    `certificate` and `issuer` are in DER; they are the same where it signed itself. Whoever shows
    a certificate of that key, signed by that issuer's key, is the system, until `until`.
    `keys` names key ids, or is ("*",) for every key of the scope.
    """

    name = "enrol-system"
    system: str
    full_name: str
    certificate: bytes
    issuer: bytes
    actions: tuple[str, ...]
    keys: tuple[str, ...]
    until: str

    def __post_init__(self) -> None:
        check_id(self.system)
        time_of(self.until)


@dataclass(frozen=True, slots=True)
class RotateSystem(Command):
    """Give a system its next certificate; the one before counts for `overlap_hours` more."""

    name = "rotate-system"
    system: str
    certificate: bytes
    issuer: bytes
    overlap_hours: int
    until: str

    def __post_init__(self) -> None:
        time_of(self.until)
        if self.overlap_hours > MAX_OVERLAP_HOURS:
            raise InvalidInputError(f"certificates overlap for at most {MAX_OVERLAP_HOURS} hours")


@dataclass(frozen=True, slots=True)
class RevokeSystem(Command):
    """A system that is lost, stolen or gone. One signature is enough."""

    name = "revoke-system"
    system: str
    reason: str
