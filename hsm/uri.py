"""PKCS#11 URIs of RFC 7512: which library, which token, which object. Never a PIN."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from hsm.errors import UriError

MAX_LENGTH = 2048
PATH_ATTRIBUTES = {
    "token": "token",
    "serial": "serial",
    "manufacturer": "manufacturer",
    "model": "model",
    "slot-id": "slot_id",
    "object": "object",
    "id": "id",
    "type": "type",
}
# `x-init-args` is ours (RFC 7512, 2.4 leaves names that begin with x- to vendors): the string
# that modules of the NSS kind want in C_Initialize.
QUERY_ATTRIBUTES = {
    "module-path": "module_path",
    "module-name": "module_name",
    "x-init-args": "init_args",
}
TYPES = frozenset({"public", "private", "cert", "secret-key", "data"})
ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*\Z")
PATH_SAFE = ":[]@!$'()*+,=&"
QUERY_SAFE = ":[]@!$'()*+,=/?|"


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """The attributes of a PKCS#11 URI, percent-decoded; empty means not given."""

    token: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""
    slot_id: int | None = None
    object: str = ""
    id: bytes = b""
    type: str = ""
    module_path: str = ""
    module_name: str = ""
    init_args: str = ""

    def __str__(self) -> str:
        path = ";".join(_written(self, PATH_ATTRIBUTES, PATH_SAFE))
        query = "&".join(_written(self, QUERY_ATTRIBUTES, QUERY_SAFE))
        return f"pkcs11:{path}?{query}" if query else f"pkcs11:{path}"


def parse(text: str) -> Pkcs11Uri:
    """Read a PKCS#11 URI strictly: an unknown, repeated or ill-encoded attribute is refused.

    Raises `UriError`, whose message never repeats a value: one of them may be a PIN.
    """
    if len(text) > MAX_LENGTH:
        raise UriError(f"a PKCS#11 URI is at most {MAX_LENGTH} characters long")
    scheme, _, rest = text.partition(":")
    if scheme.lower() != "pkcs11":
        raise UriError("a PKCS#11 URI begins with pkcs11:", next_step="See RFC 7512.")
    path, _, query = rest.partition("?")
    values = _attributes(path, ";", PATH_ATTRIBUTES)
    values |= _attributes(query, "&", QUERY_ATTRIBUTES)
    return _typed(values)


def _attributes(text: str, separator: str, names: dict[str, str]) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name in {"pin-value", "pin-source"}:
            raise UriError(
                f"a PKCS#11 URI may not carry {name}",
                next_step="Take it out; a PIN comes by descriptor, credential or prompt.",
            )
        if name not in names or not equals:
            raise UriError(
                "the PKCS#11 URI has an attribute that is not known here",
                next_step=f"Use {', '.join(names)}.",
            )
        if names[name] in values:
            raise UriError(f"the attribute {name} stands twice in the PKCS#11 URI")
        if not ENCODED.match(value):
            raise UriError(f"the value of {name} is not percent-encoded as RFC 7512 asks")
        values[names[name]] = unquote_to_bytes(value)
    return values


def _typed(values: dict[str, bytes]) -> Pkcs11Uri:
    key_id = values.pop("id", b"")
    try:
        words = {name: value.decode() for name, value in values.items()}
    except UnicodeDecodeError as error:
        raise UriError("a value in the PKCS#11 URI is not UTF-8") from error
    if any("\0" in word for word in words.values()):
        raise UriError("a value in the PKCS#11 URI holds a zero byte")
    slot = words.pop("slot_id", None)
    if slot is not None and not re.fullmatch(r"[0-9]{1,19}", slot):
        raise UriError("slot-id is a decimal number")
    if words.get("type", "data") not in TYPES:
        raise UriError("the type is none of those of RFC 7512", next_step=f"Use {sorted(TYPES)}.")
    return Pkcs11Uri(id=key_id, slot_id=None if slot is None else int(slot), **words)


def _written(uri: Pkcs11Uri, names: dict[str, str], safe: str) -> list[str]:
    given = [(name, getattr(uri, field)) for name, field in names.items()]
    return [
        f"{name}={_encoded(value, safe)}" for name, value in given if value not in ("", b"", None)
    ]


def _encoded(value: str | bytes | int, safe: str) -> str:
    if isinstance(value, bytes):  # RFC 7512, 2.3: the whole of CKA_ID should be encoded
        return "".join(f"%{byte:02X}" for byte in value)
    return quote(str(value), safe=safe)
