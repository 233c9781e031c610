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
    retry_after = 1.0  # seconds until asking again makes sense


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
    """The token refused the PIN. A wrong guess costs a try, so nobody retries.

    `tries_left` is what the token says is left; None where it does not say.
    """

    kind = ErrorKind.OPERATOR
    code = "hsm-pin-incorrect"

    def __init__(
        self,
        message: str,
        *,
        tries_left: int | None = None,
        cause: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.tries_left = tries_left


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


class CardError(HsmError):
    """A reader or a card in it failed. `cause` is the PC/SC code or the status word."""

    kind = ErrorKind.OPERATOR
    code = "card-error"


class PcscUnavailableError(CardError):
    """The PC/SC service is down, was restarted or does not answer; a new connection may work."""

    kind = ErrorKind.TRANSIENT
    code = "card-service-unavailable"


class ReaderNotFoundError(CardError):
    """No reader has this name."""

    code = "card-reader-not-found"


class ReaderBusyError(CardError):
    """Another program holds the card."""

    code = "card-reader-busy"


class CardAbsentError(CardError):
    """There is no card in the reader."""

    code = "card-absent"


class CardRemovedError(CardError):
    """The card was pulled or reset. Whether it carried out the last command is not known."""

    code = "card-removed"


class CardMuteError(CardError):
    """The card overran its deadline. Whether it carried out the last command is not known."""

    code = "card-mute"


class CardDataError(CardError):
    """The card answered something that its standard does not allow."""

    code = "card-data-invalid"


class CardRefusedError(CardError):
    """The card answered a command with a status word that says no. `cause` is the word in hex."""

    code = "card-refused"


class CardObjectMissingError(CardRefusedError):
    """The card has no such application, data object or key."""

    code = "card-object-missing"


class CardForeignError(CardError):
    """Another card than the enrolled one, or not the key that was asked for."""

    code = "card-foreign"


class TokenSpoiledError(CardError):
    """The token is in a state that no issue can go on from: it is destroyed, never delivered."""

    code = "token-spoiled"


# What a desk tells of its token as it is; to whoever asked, all else is a token that was pulled.
OF_TOKENS = (CardError, MechanismUnsupportedError, PinIncorrectError)


def told(error: HsmError) -> dict[str, str]:
    """Write an error for a pipe to another process of ours: class, message, cause, next step."""
    return {
        "error": type(error).__name__,
        "message": str(error),
        "cause": error.cause,
        "next_step": error.next_step,
    }


def restored(answer: dict[str, str]) -> HsmError:
    """Return the error that `told` wrote; what else it carried, such as tries left, is lost."""
    kind: type[HsmError] = globals()[answer["error"]]
    return kind(answer["message"], cause=answer["cause"], next_step=answer["next_step"])
