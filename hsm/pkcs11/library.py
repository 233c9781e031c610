"""Loading, initialising and leaving a PKCS#11 library; slots, tokens, login.

python-pkcs11 lacks C_InitToken, initialises with NULL, keeps a PIN as an immutable string and
leaks the session of a failed login. These few calls therefore go through the function list
of the module itself; everything else goes through python-pkcs11.
"""

import atexit
import ctypes
from contextlib import suppress
from typing import Any

from pkcs11 import Attribute, _pkcs11
from pkcs11 import Mechanism as Ckm
from pkcs11.constants import SlotFlag, TokenFlag
from pkcs11.exceptions import PKCS11Error

from hsm.errors import HsmError, PinIncorrectError, PinLockedError, TokenNotFoundError
from hsm.pkcs11.errors import of_code, of_exception
from hsm.pkcs11.objects import mapper
from hsm.uri import Pkcs11Uri

CKF_OS_LOCKING_OK = 0x2
CKF_SERIAL_RW = 0x4 | 0x2
CKR_ALREADY_INITIALIZED = 0x191
CKU_SO, CKU_USER = 0, 1
MAX_PIN = 255
TAG_SIZE = 16
MAX_BLOB = 8192  # an RSA-4096 key in PKCS#8 takes 2.4 kB
# The order of CK_FUNCTION_LIST up to the last function that is called here.
FUNCTIONS = (  # noqa: SIM905 - one word list reads better than 60 quoted names
    "C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo "
    "C_GetTokenInfo C_GetMechanismList C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN "
    "C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo C_GetOperationState "
    "C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject "
    "C_GetObjectSize C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects "
    "C_FindObjectsFinal C_EncryptInit C_Encrypt C_EncryptUpdate C_EncryptFinal C_DecryptInit "
    "C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest C_DigestUpdate C_DigestKey "
    "C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover "
    "C_VerifyInit C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover "
    "C_DigestEncryptUpdate C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate "
    "C_GenerateKey C_GenerateKeyPair C_WrapKey"
).split()
Call = ctypes.CFUNCTYPE(ctypes.c_ulong)


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_ubyte), ("minor", ctypes.c_ubyte))


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", _Version), *((name, ctypes.c_void_p) for name in FUNCTIONS))


class _InitializeArgs(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("create", "destroy", "lock", "unlock")),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_char_p),
    )


class _Mechanism(ctypes.Structure):
    _fields_ = (
        ("mechanism", ctypes.c_ulong),
        ("parameter", ctypes.c_void_p),
        ("length", ctypes.c_ulong),
    )


class _GcmParams(ctypes.Structure):
    _fields_ = (
        ("iv", ctypes.c_char_p),
        ("iv_size", ctypes.c_ulong),
        ("iv_bits", ctypes.c_ulong),
        ("aad", ctypes.c_char_p),
        ("aad_size", ctypes.c_ulong),
        ("tag_bits", ctypes.c_ulong),
    )


class _Attribute(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_ulong),
        ("value", ctypes.c_void_p),
        ("length", ctypes.c_ulong),
    )


class Functions:
    """The function list of a module, for what python-pkcs11 does not do as needed."""

    def __init__(self, table: Any) -> None:
        self._table = table.contents

    @classmethod
    def of(cls, path: str) -> "Functions | None":
        """None for a module that hands out a new list at each call, as p11-kit's client does.

        There, python-pkcs11's list and ours would be two strangers.
        """
        module = ctypes.CDLL(path)
        tables = [ctypes.POINTER(_FunctionList)() for _ in range(2)]
        for table in tables:
            check(module.C_GetFunctionList(ctypes.byref(table)))
        first, second = (ctypes.addressof(table.contents) for table in tables)
        return cls(tables[0]) if first == second else None

    def __call__(self, name: str, *arguments: Any) -> int:
        """Call `name`; plain integers travel as CK_ULONG. Returns the CK_RV."""
        values = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
        code: int = Call(getattr(self._table, name))(*values)
        return code

    def initialize(self, init_args: str) -> None:
        """With operating-system locks, and the string that some modules want as pReserved."""
        reserved = init_args.encode() or None
        args = _InitializeArgs(flags=CKF_OS_LOCKING_OK, reserved=reserved)
        code = self("C_Initialize", ctypes.byref(args))
        if code != CKR_ALREADY_INITIALIZED:
            check(code)

    def login(self, session: int, user: int, pin: bytes | bytearray) -> None:
        check(self("C_Login", session, user, _buffer(pin), len(pin)))

    def init_token(self, slot: int, so_pin: bytes, label: bytes) -> None:
        """Wipe the token in `slot`; `label` is padded to 32 bytes."""
        check(self("C_InitToken", slot, _buffer(so_pin), len(so_pin), _buffer(label)))

    def init_pin(self, session: int, pin: bytes) -> None:
        """Set the user PIN, in a session where the security officer is logged in."""
        check(self("C_InitPIN", session, _buffer(pin), len(pin)))

    def set_pin(self, session: int, old: bytes, new: bytes) -> None:
        """Change the PIN of whoever is logged in, or else of the user."""
        check(self("C_SetPIN", session, _buffer(old), len(old), _buffer(new), len(new)))

    def encrypt_gcm(self, session: int, key: int, iv: bytes, aad: bytes, text: bytes) -> bytes:
        """Ciphertext and 16-byte tag, in one call: NSS tells too small a size when asked."""
        params = _GcmParams(iv, len(iv), 8 * len(iv), aad or None, len(aad), 8 * TAG_SIZE)
        mechanism = _Mechanism(
            Ckm.AES_GCM, ctypes.cast(ctypes.byref(params), ctypes.c_void_p), ctypes.sizeof(params)
        )
        check(self("C_EncryptInit", session, ctypes.byref(mechanism), key))
        out, size = _room(len(text) + TAG_SIZE)
        check(self("C_Encrypt", session, _buffer(text), len(text), out, ctypes.byref(size)))
        return bytes(out.raw[: size.value])

    def wrap(self, session: int, kek: int, key: int, mechanism: int) -> bytes:
        """Wrap `key` in one call; python-pkcs11 asks for the size first, a whole wrap more."""
        named = _Mechanism(mechanism, None, 0)
        out, size = _room(MAX_BLOB)
        check(self("C_WrapKey", session, ctypes.byref(named), kek, key, out, ctypes.byref(size)))
        return bytes(out.raw[: size.value])

    def value(self, session: int, key: int, size: int) -> bytearray:
        """CKA_VALUE of at most `size` bytes, left-padded, in a buffer that can be overwritten."""
        buffer = bytearray(size)
        room = (ctypes.c_ubyte * size).from_buffer(buffer)
        wanted = _Attribute(Attribute.VALUE, ctypes.addressof(room), size)
        check(self("C_GetAttributeValue", session, key, ctypes.byref(wanted), 1))
        short = size - wanted.length
        if short:  # a big integer without its leading zeros
            buffer[short:] = buffer[: wanted.length]
            buffer[:short] = bytes(short)
        return buffer


def _room(size: int) -> tuple[Any, Any]:
    return ctypes.create_string_buffer(size), ctypes.c_ulong(size)


def check(code: int) -> None:
    if code:
        raise of_code(code)


def _buffer(secret: bytes | bytearray) -> Any:
    """A view of a bytearray, so that its owner can wipe it; bytes are passed as they are."""
    if isinstance(secret, bytearray):
        return (ctypes.c_ubyte * len(secret)).from_buffer(secret)
    return ctypes.c_char_p(secret)


def _text(pin: bytes | bytearray) -> str:
    try:
        return bytes(pin).decode()
    except UnicodeDecodeError:  # its message would show the PIN
        raise PinIncorrectError("the PIN is not UTF-8; the token was not asked") from None


class _Wrapper(_pkcs11.lib):
    """python-pkcs11's library object over a module that is initialised by us."""

    def initialize(self) -> None:
        """C_Initialize(NULL) would switch the module's own locks off: we came before."""


class Library:
    """A loaded module. Shared by all devices of this process that use it."""

    _loaded: dict[str, "Library"] = {}  # noqa: RUF012 - one per process by PKCS#11's own rule

    def __init__(self, path: str, init_args: str) -> None:
        self.path = path
        self.users = 0
        self.functions = Functions.of(path)
        if self.functions:
            self.functions.initialize(init_args)
        self.wrapper: Any = _Wrapper(path) if self.functions else _pkcs11.lib(path)

    @classmethod
    def acquire(cls, path: str, init_args: str = "") -> "Library":
        """Load and initialise the module, or join those in this process who have.

        Raises `TokenNotFoundError` where no library can be loaded from `path`.
        """
        if path not in cls._loaded:
            try:
                cls._loaded[path] = cls(path, init_args)
            except (OSError, AttributeError) as error:
                raise TokenNotFoundError(
                    f"{path} is not a PKCS#11 library that can be loaded",
                    next_step="Correct module-path in the URI, or install the library.",
                ) from error
            except PKCS11Error as error:
                raise of_exception(error) from error
        library = cls._loaded[path]
        library.users += 1
        return library

    def release(self) -> None:
        """Finalise after the last user, so that the next one starts afresh."""
        self.users -= 1
        if self.users == 0:
            self._leave()

    @classmethod
    def leave_all(cls) -> None:
        """At exit, while the interpreter is whole: python-pkcs11 cannot be torn down later."""
        for library in list(cls._loaded.values()):
            library._leave()  # noqa: SLF001 - of this very class

    def _leave(self) -> None:
        del self._loaded[self.path]
        if self.functions:
            self.functions("C_Finalize", None)
        else:
            with suppress(PKCS11Error):
                self.wrapper.finalize()
        self.wrapper = None

    def tokens(self) -> list[Any]:
        """Every token present, initialised or not."""
        slots = self.wrapper.get_slots(token_present=True)
        return [slot.get_token() for slot in slots if slot.flags & SlotFlag.TOKEN_PRESENT]

    def token(self, uri: Pkcs11Uri) -> Any:
        """The one initialised token that matches every attribute of the URI."""
        matches = [token for token in self.tokens() if matches_uri(token, uri)]
        if len(matches) != 1:
            found = f"{len(matches)} tokens match the URI" if matches else "no token matches"
            labels = sorted(t.label for t in self.tokens() if is_initialised(t))
            raise TokenNotFoundError(
                f"{found}; the module has {labels}",
                next_step="Correct token or serial in the URI, or initialise the token.",
            )
        return matches[0]

    def login(self, token: Any, pin: bytes | bytearray, *, last: bool = False) -> Any:
        """Open the one read-write session and log the user in; on failure nothing stays open.

        `last`: the last try may be spent, too, for somebody who knows the PIN says so.
        """
        final = 0 if last else TokenFlag.USER_PIN_FINAL_TRY
        if token.flags & (TokenFlag.USER_PIN_LOCKED | final):
            raise PinLockedError(
                "the user PIN is locked or has one try left, which no program may spend",
                next_step="Log in once by hand with the right PIN, or have it set anew.",
            )
        if not 0 < len(pin) <= MAX_PIN:
            raise PinIncorrectError(f"a PIN has 1 to {MAX_PIN} bytes; the token was not asked")
        if self.functions is None:  # a failed login's session goes when the module is finalised
            return token.open(rw=True, user_pin=_text(pin), attribute_mapper=mapper())
        session = token.open(rw=True, attribute_mapper=mapper())
        try:
            self.functions.login(session.handle, CKU_USER, pin)
        except HsmError:
            self.close(session)
            raise
        return session

    def close(self, session: Any) -> None:
        """Closing the last session logs out; a session that is lost is closed already."""
        if self.functions:
            self.functions("C_CloseSession", session.handle)
        else:
            with suppress(PKCS11Error):
                session.close()


atexit.register(Library.leave_all)


def is_initialised(token: Any) -> bool:
    return bool(token.flags & TokenFlag.TOKEN_INITIALIZED)


def matches_uri(token: Any, uri: Pkcs11Uri) -> bool:
    """RFC 7512: an attribute that is not given matches everything."""
    pairs = (
        (uri.token, token.label),
        (uri.serial, token.serial.decode(errors="replace")),
        (uri.manufacturer, token.manufacturer_id),
        (uri.model, token.model),
    )
    slot = uri.slot_id is None or uri.slot_id == token.slot.slot_id
    return is_initialised(token) and slot and all(want in ("", have) for want, have in pairs)
