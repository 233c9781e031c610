"""One table from CKR code to our error: what happened, who can help, what to do next."""

from typing import NamedTuple

from pkcs11 import exceptions as p11

from hsm import errors as hsm

WAIT = "Wait; the process around the device replaces it. If this lasts, look at the HSM."
LIST = "Ask the token for its mechanisms: keyvault doctor lists what works."
REOPEN = "Open the device again in a fresh process."


class Row(NamedTuple):
    number: int
    name: str
    raised: type[p11.PKCS11Error] | None
    error: type[hsm.HsmError]
    message: str
    next_step: str = ""


def _lost(number: int, name: str, raised: type[p11.PKCS11Error] | None) -> Row:
    return Row(number, name, raised, hsm.DeviceUnavailableError, "the HSM session is lost", REOPEN)


def _unsupported(number: int, name: str, raised: type[p11.PKCS11Error]) -> Row:
    return Row(
        number, name, raised, hsm.MechanismUnsupportedError, "the module cannot do this", LIST
    )


def _refused(number: int, name: str, raised: type[p11.PKCS11Error]) -> Row:
    return Row(number, name, raised, hsm.DataInvalidError, "the device refused the data")


def _unusable(number: int, name: str, raised: type[p11.PKCS11Error]) -> Row:
    return Row(number, name, raised, hsm.KeyUnusableError, "the key exists, but not for this use")


def _gone(number: int, name: str, raised: type[p11.PKCS11Error]) -> Row:
    return Row(
        number,
        name,
        raised,
        hsm.KeyNotFoundError,
        "the key is no longer on the token",
        "Reconcile the inventory with the token.",
    )


def _busy(number: int, name: str, raised: type[p11.PKCS11Error]) -> Row:
    return Row(
        number, name, raised, hsm.DeviceUnavailableError, "the device failed this call", WAIT
    )


def _full(number: int, name: str, raised: type[p11.PKCS11Error], what: str) -> Row:
    return Row(
        number, name, raised, hsm.DeviceFullError, what, "Free room on the device, then ask again."
    )


def _pin(number: int, name: str, raised: type[p11.PKCS11Error], what: str) -> Row:
    return Row(
        number,
        name,
        raised,
        hsm.PinIncorrectError,
        what,
        "Give the right PIN. Nothing tries again by itself, for every guess costs a try.",
    )


def _state(number: int, name: str, raised: type[p11.PKCS11Error], what: str, step: str) -> Row:
    return Row(number, name, raised, hsm.HsmError, what, step)


TABLE = (
    _full(0x02, "CKR_HOST_MEMORY", p11.HostMemory, "the host has no memory for the module"),
    Row(
        0x03,
        "CKR_SLOT_ID_INVALID",
        p11.SlotIDInvalid,
        hsm.TokenNotFoundError,
        "there is no such slot",
        "List the tokens of the module and correct the URI.",
    ),
    _busy(0x05, "CKR_GENERAL_ERROR", p11.GeneralError),
    _busy(0x06, "CKR_FUNCTION_FAILED", p11.FunctionFailed),
    _unsupported(0x07, "CKR_ARGUMENTS_BAD", p11.ArgumentsBad),
    _unsupported(0x10, "CKR_ATTRIBUTE_READ_ONLY", p11.AttributeReadOnly),
    _unusable(0x11, "CKR_ATTRIBUTE_SENSITIVE", p11.AttributeSensitive),
    _unsupported(0x12, "CKR_ATTRIBUTE_TYPE_INVALID", p11.AttributeTypeInvalid),
    _unsupported(0x13, "CKR_ATTRIBUTE_VALUE_INVALID", p11.AttributeValueInvalid),
    _refused(0x20, "CKR_DATA_INVALID", p11.DataInvalid),
    _refused(0x21, "CKR_DATA_LEN_RANGE", p11.DataLenRange),
    _lost(0x30, "CKR_DEVICE_ERROR", p11.DeviceError),
    _full(0x31, "CKR_DEVICE_MEMORY", p11.DeviceMemory, "the token is full"),
    _lost(0x32, "CKR_DEVICE_REMOVED", p11.DeviceRemoved),
    _refused(0x40, "CKR_ENCRYPTED_DATA_INVALID", p11.EncryptedDataInvalid),
    _refused(0x41, "CKR_ENCRYPTED_DATA_LEN_RANGE", p11.EncryptedDataLenRange),
    _busy(0x50, "CKR_FUNCTION_CANCELED", p11.FunctionCancelled),
    _unsupported(0x54, "CKR_FUNCTION_NOT_SUPPORTED", p11.FunctionNotSupported),
    _gone(0x60, "CKR_KEY_HANDLE_INVALID", p11.KeyHandleInvalid),
    _unsupported(0x62, "CKR_KEY_SIZE_RANGE", p11.KeySizeRange),
    _unusable(0x63, "CKR_KEY_TYPE_INCONSISTENT", p11.KeyTypeInconsistent),
    _unusable(0x67, "CKR_KEY_INDIGESTIBLE", p11.KeyIndigestible),
    _unsupported(0x69, "CKR_KEY_NOT_WRAPPABLE", p11.KeyNotWrappable),
    _unusable(0x6A, "CKR_KEY_UNEXTRACTABLE", p11.KeyUnextractable),
    _unsupported(0x70, "CKR_MECHANISM_INVALID", p11.MechanismInvalid),
    _unsupported(0x71, "CKR_MECHANISM_PARAM_INVALID", p11.MechanismParamInvalid),
    _gone(0x82, "CKR_OBJECT_HANDLE_INVALID", p11.ObjectHandleInvalid),
    # One thread makes one call at a time: an operation that is active now will never be finished.
    _lost(0x90, "CKR_OPERATION_ACTIVE", p11.OperationActive),
    _busy(0x91, "CKR_OPERATION_NOT_INITIALIZED", p11.OperationNotInitialized),
    _pin(0xA0, "CKR_PIN_INCORRECT", p11.PinIncorrect, "the token refused the PIN"),
    _pin(0xA1, "CKR_PIN_INVALID", p11.PinInvalid, "the PIN has characters the token refuses"),
    _pin(0xA2, "CKR_PIN_LEN_RANGE", p11.PinLenRange, "the PIN is too short or too long"),
    _pin(0xA3, "CKR_PIN_EXPIRED", p11.PinExpired, "the PIN has expired"),
    Row(
        0xA4,
        "CKR_PIN_LOCKED",
        p11.PinLocked,
        hsm.PinLockedError,
        "the PIN is locked",
        "The security officer of the token sets a new user PIN.",
    ),
    _lost(0xB0, "CKR_SESSION_CLOSED", p11.SessionClosed),
    _full(0xB1, "CKR_SESSION_COUNT", p11.SessionCount, "the token has no session left"),
    _lost(0xB3, "CKR_SESSION_HANDLE_INVALID", p11.SessionHandleInvalid),
    _refused(0xC0, "CKR_SIGNATURE_INVALID", p11.SignatureInvalid),
    _refused(0xC1, "CKR_SIGNATURE_LEN_RANGE", p11.SignatureLenRange),
    _unsupported(0xD0, "CKR_TEMPLATE_INCOMPLETE", p11.TemplateIncomplete),
    _unsupported(0xD1, "CKR_TEMPLATE_INCONSISTENT", p11.TemplateInconsistent),
    _lost(0xE0, "CKR_TOKEN_NOT_PRESENT", p11.TokenNotPresent),
    _lost(0xE1, "CKR_TOKEN_NOT_RECOGNIZED", p11.TokenNotRecognised),
    _state(
        0xE2,
        "CKR_TOKEN_WRITE_PROTECTED",
        p11.TokenWriteProtected,
        "the token is write-protected",
        "Use a token that can be written, or keys that it has already.",
    ),
    _gone(0xF0, "CKR_UNWRAPPING_KEY_HANDLE_INVALID", p11.UnwrappingKeyHandleInvalid),
    _unusable(0xF2, "CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT", p11.UnwrappingKeyTypeInconsistent),
    _state(
        0x100,
        "CKR_USER_ALREADY_LOGGED_IN",
        p11.UserAlreadyLoggedIn,
        "this process is logged in to the token already",
        "Use the device that is open; a PKCS#11 login belongs to the process.",
    ),
    _lost(0x101, "CKR_USER_NOT_LOGGED_IN", p11.UserNotLoggedIn),
    _pin(
        0x102,
        "CKR_USER_PIN_NOT_INITIALIZED",
        p11.UserPinNotInitialized,
        "the token has no user PIN yet",
    ),
    _state(
        0x104,
        "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
        p11.AnotherUserAlreadyLoggedIn,
        "another user is logged in to the token",
        "Close that login first.",
    ),
    _refused(0x110, "CKR_WRAPPED_KEY_INVALID", p11.WrappedKeyInvalid),
    _refused(0x112, "CKR_WRAPPED_KEY_LEN_RANGE", p11.WrappedKeyLenRange),
    _gone(0x113, "CKR_WRAPPING_KEY_HANDLE_INVALID", p11.WrappingKeyHandleInvalid),
    _unusable(0x115, "CKR_WRAPPING_KEY_TYPE_INCONSISTENT", p11.WrappingKeyTypeInconsistent),
    _refused(0x130, "CKR_DOMAIN_PARAMS_INVALID", p11.DomainParamsInvalid),
    _lost(0x190, "CKR_CRYPTOKI_NOT_INITIALIZED", None),
    _refused(0x1B9, "CKR_PUBLIC_KEY_INVALID", p11.PublicKeyInvalid),
)
BY_NUMBER = {row.number: row for row in TABLE}
BY_CLASS = {row.raised: row for row in TABLE if row.raised}
LOST = frozenset(row.name for row in TABLE if row.message == "the HSM session is lost")


def of_code(number: int) -> hsm.HsmError:
    """The error for a CK_RV that is not CKR_OK."""
    row = BY_NUMBER.get(number)
    if row is None:
        return hsm.HsmError(f"the module answered 0x{number:X}", cause=f"0x{number:X}")
    return _made(row)


def of_exception(error: p11.PKCS11Error) -> hsm.HsmError:
    """The error for what python-pkcs11 raised."""
    row = BY_CLASS.get(type(error))
    if row is not None:
        return _made(row)
    if "not initialized" in str(error):
        return of_code(0x190)
    return hsm.HsmError(f"the module failed: {error}", cause=type(error).__name__)


def _made(row: Row) -> hsm.HsmError:
    return row.error(f"{row.message} ({row.name})", cause=row.name, next_step=row.next_step)
