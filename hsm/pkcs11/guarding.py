"""What stands around every call of a device: it is alive, and what fails has our words."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from pkcs11.exceptions import PKCS11Error

from hsm.errors import HsmError
from hsm.pkcs11.errors import of_exception


class Guarded(Protocol):
    def alive(self) -> None:
        """Raise `DeviceUnavailableError` once the session is lost."""

    def noted(self, error: HsmError) -> HsmError:
        """Draw the conclusions from an error, which is returned."""


D = TypeVar("D", bound=Guarded)
P = ParamSpec("P")
R = TypeVar("R")


def guarded(method: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """Refuse calls on a dead device, and turn a CKR code into an error of ours."""

    @wraps(method)
    def call(self: D, *args: P.args, **kwargs: P.kwargs) -> R:
        self.alive()
        try:
            return method(self, *args, **kwargs)
        except PKCS11Error as error:
            raise self.noted(of_exception(error)) from error
        except HsmError as error:
            self.noted(error)
            raise

    return cast("Callable[Concatenate[D, P], R]", call)
