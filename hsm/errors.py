"""What goes wrong at a device, sorted by what its catcher may do about it."""

from enum import StrEnum


class ErrorKind(StrEnum):
    TRANSIENT = "transient"  # may work again without anybody's help
    OPERATOR = "operator"  # somebody can put it right, then it works
    PERMANENT = "permanent"  # the same call will never work


class HsmError(Exception):
    """A device refused or failed. `cause` is the CKR name, `next_step` a sentence for people."""

    kind = ErrorKind.PERMANENT
    code = "hsm-error"

    def __init__(self, message: str, *, cause: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.cause = cause
        self.next_step = next_step


class DeviceUnavailableError(HsmError):
    """The module is down, was cut off or lost its session; a new session may work."""

    kind = ErrorKind.TRANSIENT
    code = "hsm-unavailable"


class DeviceTimeoutError(DeviceUnavailableError):
    """A call overran its deadline, and the process that made it was killed."""

    code = "hsm-timeout"


class DeviceFullError(HsmError):
    kind = ErrorKind.OPERATOR
    code = "hsm-full"


class TokenNotFoundError(HsmError):
    """No token matches the PKCS#11 URI."""

    kind = ErrorKind.OPERATOR
    code = "hsm-token-not-found"


class PinIncorrectError(HsmError):
    """The token refused the PIN. A wrong guess costs a try, so nobody retries."""

    kind = ErrorKind.OPERATOR
    code = "hsm-pin-incorrect"


class PinLockedError(PinIncorrectError):
    code = "hsm-pin-locked"


class MechanismUnsupportedError(HsmError):
    """The module lacks the mechanism or key size; the message lists what works."""

    code = "hsm-mechanism-unsupported"


class KeyNotFoundError(HsmError):
    code = "hsm-key-not-found"


class KeyUnusableError(HsmError):
    """The key exists, but not for this use."""

    code = "hsm-key-unusable"


class KeyExistsError(HsmError):
    """An object with this CKA_ID is on the token already."""

    code = "hsm-key-exists"


class DataInvalidError(HsmError):
    """The data, tag, wrapped blob or public point was refused."""

    code = "hsm-data-invalid"


class IntegrityError(HsmError):
    """The device answered wrongly: a bad signature, an attribute that differs, a failed MAC."""

    kind = ErrorKind.OPERATOR
    code = "hsm-integrity"


class UriError(HsmError):
    """Not a PKCS#11 URI of RFC 7512, or one without a driver."""

    code = "hsm-uri"
