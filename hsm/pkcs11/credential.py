"""What an issuer does to a PKCS#11 token that becomes somebody's credential.

Each function is one question to a process of its own; nothing stays logged in. The token is found
by its label, which is the id that it was given, or it is the one that has none yet.
"""

import base64
from collections.abc import Callable
from typing import Any

from pkcs11 import Attribute, CertificateType, ObjectClass
from pkcs11.exceptions import PKCS11Error

from hsm.errors import PinIncorrectError, TokenNotFoundError, TokenSpoiledError
from hsm.pkcs11.errors import of_exception
from hsm.pkcs11.library import CKU_SO, Library, is_initialised
from hsm.pkcs11.session import Pkcs11Device
from hsm.types import Algorithm, KeySpec, KeyUsage, Mechanism, VerifyPolicy
from hsm.uri import Pkcs11Uri

Answer = dict[str, Any]
LABEL_SIZE = 32


def identify(request: Answer) -> Answer:
    """What the token says of itself, ours by its label or the one that has none yet."""
    token = _token(request)
    return {
        "model": f"{token.manufacturer_id.strip()} {token.model.strip()}",
        "serial": token.serial.decode(errors="replace").strip(),
        "label": token.label,
        "initialised": is_initialised(token),
    }


def take_over(request: Answer) -> Answer:
    """Make the token ours: C_InitToken with our SO-PIN, our label, and a user PIN.

    What is ours already only gets its user PIN again, so that this may be repeated. A token that
    its maker initialised takes the maker's SO-PIN once, and ours from then on.
    """
    library, token = _opened(request)
    so_pin, factory = _bytes(request["so_pin"]), _bytes(request["factory"])
    functions = library.functions
    if functions is None:
        raise TokenSpoiledError("no token can be initialised through this library")
    if token.label != request["label"]:
        first = factory if is_initialised(token) and factory else so_pin
        functions.init_token(token.slot.slot_id, first, request["label"].encode().ljust(LABEL_SIZE))
    _as_officer(library, _refreshed(request, token), so_pin, factory, _bytes(request["pin"]))
    return {}


def _as_officer(library: Library, token: Any, so_pin: bytes, factory: bytes, pin: bytes) -> None:
    session = token.open(rw=True)
    functions = library.functions
    assert functions is not None  # noqa: S101  (its caller asked)
    try:
        try:
            functions.login(session.handle, CKU_SO, so_pin)
        except PinIncorrectError:
            if not factory:
                raise
            functions.login(session.handle, CKU_SO, factory)
            session.set_pin(factory.decode(), so_pin.decode())
        functions.init_pin(session.handle, pin)
    finally:
        library.close(session)


def _refreshed(request: Answer, token: Any) -> Any:
    """The same token after it was initialised, which may have changed all it says of itself."""
    try:
        return token.slot.get_token()
    except PKCS11Error:
        return _token(request)


def make_key(request: Answer) -> Answer:
    """Make a pair under this id and read its attributes back; the one before it is gone."""
    with_key = Algorithm(request["algorithm"])
    key_id = _bytes(request["key_id"])
    device = _device(request)
    try:
        if device.find(key_id):
            device.destroy(key_id)
        made = device.generate(KeySpec(key_id, request["slot"], with_key, KeyUsage.SIGN))
    finally:
        device.close()
    return {"spki": _text(made.public_key)}


def sign(request: Answer) -> Answer:
    """Sign a SHA-256 digest: raw r || s, or PKCS #1 v1.5. Checked before it is given out."""
    device = _device(request)
    try:
        rsa = Algorithm(request["algorithm"]) is Algorithm.RSA_2048
        mechanism = Mechanism.RSA_PKCS1_SHA256 if rsa else Mechanism.ECDSA
        key_id, digest = _bytes(request["key_id"]), _bytes(request["digest"])
        signature = device.sign(key_id, mechanism, digest, verify=VerifyPolicy.ALWAYS)
    finally:
        device.close()
    return {"signature": _text(signature)}


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
        if library.functions is not None:
            library.functions.login(session.handle, CKU_SO, _bytes(request["so_pin"]))
    except PinIncorrectError:
        return {"right": False}
    finally:
        library.close(session)
    return {"right": True}


def wipe(request: Answer) -> Answer:
    """Initialise it anew: everything that was on it is gone."""
    library, token = _opened(request)
    if library.functions is not None:
        label = b"wiped".ljust(LABEL_SIZE)
        library.functions.init_token(token.slot.slot_id, _bytes(request["so_pin"]), label)
    return {}


def _opened(request: Answer) -> tuple[Library, Any]:
    return Library.acquire(request["path"]), _token(request)


def _token(request: Answer) -> Any:
    tokens = Library.acquire(request["path"]).tokens()
    ours = [token for token in tokens if token.label == request["label"]]
    blank = [token for token in tokens if not is_initialised(token)]
    factory = [token for token in tokens if token.label in request["makers"]]
    found = ours or factory or blank[:1]
    if len(found) != 1:
        raise TokenNotFoundError(
            f"{len(found)} tokens may be meant",
            next_step="Leave in just the token that is to be made.",
        )
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
    for what in (identify, take_over, make_key, sign, load, check, wipe)
}
