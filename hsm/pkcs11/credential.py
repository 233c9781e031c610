"""What an issuer, and later its holder, does to a PKCS#11 token that is somebody's credential.

Each function is one question to a process of its own; nothing stays logged in. The token is found
by its label, which is the id that it was given; one that is to be made has none yet.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid5

from pkcs11 import Attribute, CertificateType, ObjectClass
from pkcs11.constants import TokenFlag
from pkcs11.exceptions import PKCS11Error

from hsm.errors import (
    MechanismUnsupportedError,
    PinIncorrectError,
    PinLockedError,
    TokenNotFoundError,
)
from hsm.pkcs11.errors import of_exception
from hsm.pkcs11.library import CKU_SO, Functions, Library, is_initialised
from hsm.pkcs11.session import Pkcs11Device
from hsm.tokens import TokenSlot
from hsm.types import Algorithm, KeySpec, KeyUsage, Mechanism, VerifyPolicy
from hsm.uri import Pkcs11Uri

Answer = dict[str, Any]
LABEL_SIZE = 32
LAST_SO_TRY = TokenFlag.SO_PIN_FINAL_TRY | TokenFlag.SO_PIN_LOCKED


def identify(request: Answer) -> Answer:
    """What the token says of itself, ours by its label or the one that has none yet."""
    token = _candidate(request)
    return {
        "model": f"{token.manufacturer_id.strip()} {token.model.strip()}",
        "serial": token.serial.decode(errors="replace").strip(),
        "label": token.label,
        "initialised": is_initialised(token),
    }


def take_over(request: Answer) -> Answer:
    """Make the token ours: C_InitToken with our SO-PIN, our label, and a user PIN.

    What is ours already, from an attempt that was cut off or given up, is initialised again, so
    that this may be repeated. A token that its maker initialised takes the maker's SO-PIN once,
    and ours from then on.
    """
    library, token = Library.acquire(request["path"]), _candidate(request)
    so_pin, factory = _bytes(request["so_pin"]), _bytes(request["factory"])
    there = [so_pin, factory] if factory else [so_pin]
    first = factory if is_initialised(token) and factory else so_pin
    if token.label == request["label"]:
        _as_officer(library, token, there, so_pin, b"")
        first = so_pin
    label = request["label"].encode().ljust(LABEL_SIZE)
    _functions(library).init_token(token.slot.slot_id, first, label)
    _as_officer(library, _refreshed(request, token), there, so_pin, _bytes(request["pin"]))
    return {}


def officer(request: Answer) -> Answer:
    """As the security officer: make `so_pin` the SO-PIN, and set the user PIN if one is given.

    `there` are the SO-PINs that may be on the token, the likeliest first: each costs a try, which
    the right one gives back.
    """
    library, token = _opened(request)
    there = list(map(_bytes, request["there"]))
    _as_officer(library, token, there, _bytes(request["so_pin"]), _bytes(request["pin"]))
    return {}


def _as_officer(
    library: Library, token: Any, there: Sequence[bytes], wanted: bytes, pin: bytes
) -> None:
    functions = _functions(library)
    if len(there) > 1 and token.flags & LAST_SO_TRY:
        raise PinLockedError(
            "the SO-PIN has one try left or none, which no program may spend",
            next_step="Put the token with those to be destroyed.",
        )
    session = token.open(rw=True)
    try:
        found = _officer_by(functions, session.handle, there)
        if found != wanted:
            functions.set_pin(session.handle, found, wanted)
        if pin:
            functions.init_pin(session.handle, pin)
    finally:
        library.close(session)


def _officer_by(functions: Functions, session: int, there: Sequence[bytes]) -> bytes:
    """Log the security officer in with the first SO-PIN that the token takes."""
    for so_pin in there[:-1]:
        try:
            functions.login(session, CKU_SO, so_pin)
        except PinLockedError:
            raise
        except PinIncorrectError:
            continue
        return so_pin
    functions.login(session, CKU_SO, there[-1])
    return there[-1]


def _refreshed(request: Answer, token: Any) -> Any:
    """The same token after it was initialised, which may have changed all it says of itself."""
    try:
        return token.slot.get_token()
    except PKCS11Error:
        return _candidate(request)


def make_key(request: Answer) -> Answer:
    """Make a pair under this id and read its attributes back; the one before it is gone.

    Raises `MechanismUnsupportedError` where the module cannot do what the key is for, before
    anything is on the token.
    """
    agrees = request["slot"] == TokenSlot.KEY_MANAGEMENT
    usage = KeyUsage.AGREE if agrees else KeyUsage.SIGN
    key_id = _bytes(request["key_id"])
    device = _device(request)
    try:
        if device.find(key_id):
            device.destroy(key_id)
        algorithm = Algorithm(request["algorithm"])
        made = device.generate(KeySpec(key_id, request["slot"], algorithm, usage))
    finally:
        device.close()
    return {"spki": _text(made.public_key)}


def sign(request: Answer) -> Answer:
    """Sign a digest (SHA-384 with P-384): raw r || s, or PKCS #1 v1.5, checked here."""
    device = _device(request)
    try:
        rsa = Algorithm(request["algorithm"]) is Algorithm.RSA_2048
        mechanism = Mechanism.RSA_PKCS1_SHA256 if rsa else Mechanism.ECDSA
        key_id, digest = _bytes(request["key_id"]), _bytes(request["digest"])
        signature = device.sign(key_id, mechanism, digest, verify=VerifyPolicy.ALWAYS)
    finally:
        device.close()
    return {"signature": _text(signature)}


def agree(request: Answer) -> Answer:
    """ECDH (CKM_ECDH1_DERIVE, no KDF) with a peer's key (SPKI): Z."""
    device = _device(request)
    try:
        z = device.derive(_bytes(request["key_id"]), _bytes(request["peer"]))
    finally:
        device.close()
    return {"z": _text(z)}


def load(request: Answer) -> Answer:
    """Write a certificate beside its key unless it is there; return what is there then."""
    library, token = _opened(request)
    session = library.login(token, _bytes(request["pin"]))
    try:
        wanted, key_id = _bytes(request["certificate"]), _bytes(request["key_id"])
        about = {Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.ID: key_id}
        there = [(each, bytes(each[Attribute.VALUE])) for each in session.get_objects(about)]
        for each, value in there:
            if value != wanted:
                each.destroy()
        if wanted not in [value for _, value in there]:
            session.create_object(_certificate(about, wanted, request))
        found = [bytes(each[Attribute.VALUE]) for each in session.get_objects(about)]
    finally:
        library.close(session)
    return {"found": [_text(each) for each in found]}


def _certificate(about: dict[Attribute, Any], value: bytes, request: Answer) -> Any:
    return {
        **about,
        Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
        Attribute.TOKEN: True,
        Attribute.LABEL: request["slot"],
        Attribute.SUBJECT: _bytes(request["subject"]),
        Attribute.VALUE: value,
    }


def check(request: Answer) -> Answer:
    """Whether this SO-PIN is the token's: one try, which the right one gives back."""
    library, token = _opened(request)
    session = token.open(rw=True)
    try:
        _functions(library).login(session.handle, CKU_SO, _bytes(request["so_pin"]))
    except PinIncorrectError:
        return {"right": False}
    finally:
        library.close(session)
    return {"right": True}


def takes(request: Answer) -> Answer:
    """Whether this is the user PIN: one try, which the right one gives back.

    Never the last, unless it is the holder who gives theirs (`last`).
    """
    library, token = _opened(request)
    try:
        library.close(library.login(token, _bytes(request["pin"]), last=bool(request["last"])))
    except PinLockedError:
        raise
    except PinIncorrectError:
        return {"right": False}
    return {"right": True}


def set_pin(request: Answer) -> Answer:
    """The user's own change (C_SetPIN), by who knows the PIN; the new one is tried at once."""
    library, token = _opened(request)
    old, new = _bytes(request["pin"]), _bytes(request["new"])
    functions, session = _functions(library), library.login(token, old, last=True)
    try:
        functions.set_pin(session.handle, old, new)
    finally:
        library.close(session)
    library.close(library.login(token, new))
    return {}


def read(request: Answer) -> Answer:
    """The one token here that was issued by us, and its certificates by slot: no PIN is asked."""
    library = Library.acquire(request["path"])
    tokens = [token for token in library.tokens() if _is_issued(token, request["label"])]
    token = _only(tokens, "Leave in just your own, or name it: token= in its URI is its id.")
    session = token.open()
    try:
        found = {slot: _certificate_at(session, token.label, slot) for slot in TokenSlot}
    finally:
        library.close(session)
    there = {str(slot): _text(each) for slot, each in found.items() if each}
    last = bool(token.flags & TokenFlag.USER_PIN_FINAL_TRY)
    return {"label": token.label, "certificates": there, "last": last}


def _is_issued(token: Any, label: str) -> bool:
    try:
        return is_initialised(token) and UUID(hex=token.label).hex == (label or token.label)
    except ValueError:
        return False


def _certificate_at(session: Any, label: str, slot: str) -> bytes:
    key_id = uuid5(UUID(hex=label), slot).bytes
    about = {Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.ID: key_id}
    return next((bytes(each[Attribute.VALUE]) for each in session.get_objects(about)), b"")


def wipe(request: Answer) -> Answer:
    """Initialise it anew under the same label; return how many objects can be seen then."""
    library, token = _opened(request)
    label = request["label"].encode().ljust(LABEL_SIZE)
    _functions(library).init_token(token.slot.slot_id, _bytes(request["so_pin"]), label)
    wiped = token.slot.get_token()
    session = wiped.open()
    try:
        left = len(list(session.get_objects({})))
    finally:
        library.close(session)
    return {"left": left, "pin": bool(wiped.flags & TokenFlag.USER_PIN_INITIALIZED)}


def _functions(library: Library) -> Functions:
    if library.functions is None:
        raise MechanismUnsupportedError(
            "no token can be initialised through this library",
            next_step="Use the library of the module itself.",
        )
    return library.functions


def _opened(request: Answer) -> tuple[Library, Any]:
    """The token of this label, and no other."""
    library = Library.acquire(request["path"])
    ours = [token for token in library.tokens() if token.label == request["label"]]
    return library, _only(ours, "Put in the token that this is about.")


def _candidate(request: Answer) -> Any:
    """The token of this label, or one that may become it: its maker's, or a blank one."""
    tokens = Library.acquire(request["path"]).tokens()
    ours = [token for token in tokens if token.label == request["label"]]
    blank = [token for token in tokens if not is_initialised(token)]
    factory = [token for token in tokens if token.label in request["makers"]]
    return _only(ours or factory or blank[:1], "Leave in just the token that is to be made.")


def _only(found: Sequence[Any], next_step: str) -> Any:
    if len(found) != 1:
        raise TokenNotFoundError(f"{len(found)} tokens may be meant", next_step=next_step)
    return found[0]


def _device(request: Answer) -> Pkcs11Device:
    uri = Pkcs11Uri(token=request["label"], module_path=request["path"])
    return Pkcs11Device(uri, request["path"], _bytes(request["pin"]))


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _named(what: Callable[[Answer], Answer]) -> Callable[[Answer], Answer]:
    def do(request: Answer) -> Answer:
        try:
            return what(request)
        except PKCS11Error as error:
            raise of_exception(error) from error

    return do


DO: dict[str, Callable[[Answer], Answer]] = {
    f"token-{what.__name__.replace('_', '-')}": _named(what)
    for what in (
        *(identify, take_over, make_key, sign, agree, load, check, wipe),
        *(officer, takes, set_pin, read),
    )
}
