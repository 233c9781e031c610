"""Objects on a token: make them, read them back, find, describe and destroy them."""

from collections import defaultdict
from contextlib import suppress
from functools import partial
from typing import Any

from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.attributes import AttributeMapper
from pkcs11.exceptions import PKCS11Error

from hsm.errors import IntegrityError, KeyUnusableError
from hsm.pkcs11 import spki, templates
from hsm.pkcs11.templates import Template
from hsm.pkcs11.vendors import Vendor
from hsm.types import USAGES, Algorithm, KeySpec, ObjectRecord

KINDS = (
    Attribute.CLASS,
    Attribute.KEY_TYPE,
    Attribute.ID,
    Attribute.LABEL,
    Attribute.EC_PARAMS,
    Attribute.MODULUS,
    Attribute.PUBLIC_EXPONENT,
    Attribute.EC_POINT,
    Attribute.VALUE_LEN,
)
BOOLEANS = (
    Attribute.TOKEN,
    Attribute.PRIVATE,
    Attribute.MODIFIABLE,
    Attribute.SENSITIVE,
    Attribute.EXTRACTABLE,
    Attribute.ALWAYS_SENSITIVE,
    Attribute.NEVER_EXTRACTABLE,
    Attribute.LOCAL,
    Attribute.WRAP_WITH_TRUSTED,
    Attribute.TRUSTED,
    *sorted(templates.SECRET_FLAGS | templates.PRIVATE_FLAGS | templates.PUBLIC_FLAGS),
)
KEY_CLASSES = (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)


def mapper() -> AttributeMapper:
    """Foreign objects may hold labels that are no UTF-8 and kinds that nobody knows."""
    made = AttributeMapper()
    made.attribute_types = defaultdict(lambda: (bytes, bytes), made.attribute_types)
    for name in (Attribute.KEY_TYPE, Attribute.CLASS):
        pack, unpack = made.attribute_types[name]
        made.register_handler(name, pack, partial(_lenient, unpack))
    for name in (Attribute.LABEL, Attribute.APPLICATION):
        made.register_handler(name, str.encode, partial(bytes.decode, errors="replace"))
    return made


def _lenient(unpack: Any, raw: bytes) -> Any:
    try:
        return unpack(raw)
    except ValueError:
        return int.from_bytes(raw, "little")


def all_with(session: Any, template: Template) -> list[Any]:
    """Every match. The search is always exhausted: an open one blocks the session."""
    return list(session.get_objects(template))


def discard(*made: Any) -> None:
    """Destroy what is left of a failed attempt."""
    for each in made:
        with suppress(PKCS11Error):
            each.destroy()


def record(found: Any) -> ObjectRecord:
    """Describe an object without its value."""
    have = found.get_attributes([*KINDS, *BOOLEANS])
    kind = have.get(Attribute.CLASS)
    key_type = have.get(Attribute.KEY_TYPE, "")
    return ObjectRecord(
        object_class=kind.name if isinstance(kind, ObjectClass) else f"0x{kind:X}",
        key_id=bytes(have.get(Attribute.ID, b"")),
        label=have.get(Attribute.LABEL, ""),
        key_type=key_type.name if isinstance(key_type, KeyType) else str(key_type),
        attributes=flags_of(have),
    )


def is_key(found: Any) -> bool:
    return found[Attribute.CLASS] in KEY_CLASSES


def public_half(spec: KeySpec, objects: list[Any]) -> spki.PublicKey | None:
    """The public key beside a private one; a half pair has none, and then nothing verifies."""
    publics = [o for o in objects if o[Attribute.CLASS] is ObjectClass.PUBLIC_KEY]
    if len(publics) != 1:
        return None
    return spki.from_attributes(spec.algorithm, publics[0].get_attributes(list(KINDS)))


def flags_of(have: dict[Attribute, Any]) -> dict[str, bool | int | str]:
    return {name.name: bool(have[name]) for name in BOOLEANS if name in have}


def read_back(made: Any, wanted: Template, vendor: Vendor) -> dict[str, bool | int | str]:
    """Compare an object with its template, attribute by attribute.

    Raises `IntegrityError` naming the attributes that differ; the caller destroys the object.
    """
    names = [name for name in wanted if name not in vendor.unknown]
    have = made.get_attributes([*names, *(name for name in BOOLEANS if name not in names)])
    differ = [name.name for name in names if have.get(name) != wanted[name]]
    if differ:
        raise IntegrityError(
            f"the device made an object that differs from its template in {sorted(differ)}",
            next_step="Do not use this module for such keys; the object was destroyed.",
        )
    return flags_of(have)


def spec_of(secret: Any) -> KeySpec:
    """What kind of key an object is, and its one purpose.

    Raises `KeyUnusableError` for a kind that is not ours, or with more than one purpose.
    """
    have = secret.get_attributes([*KINDS, *BOOLEANS])
    algorithm = _algorithm(have)
    flags = templates.FLAGS[have[Attribute.CLASS]]
    on = {flag for flag in flags if have.get(flag)}
    usages = [
        usage
        for usage in USAGES[algorithm]
        if {f for f in templates.PURPOSE[usage] if f in flags} == on
    ]
    if len(usages) != 1:
        raise KeyUnusableError(
            "the object on the token has not exactly one purpose",
            next_step="It was not made here; treat it as foreign.",
        )
    return KeySpec(
        key_id=bytes(have[Attribute.ID]),
        label=have.get(Attribute.LABEL, ""),
        algorithm=algorithm,
        usage=usages[0],
        extractable=bool(have.get(Attribute.EXTRACTABLE)),
        trusted=bool(have.get(Attribute.TRUSTED)),
    )


def _algorithm(have: dict[Attribute, Any]) -> Algorithm:
    for algorithm, key_type in templates.KEY_TYPES.items():
        if have.get(Attribute.KEY_TYPE) is key_type and _size_is(algorithm, have):
            return algorithm
    raise KeyUnusableError("the object on the token is of a kind that is not used here")


def _size_is(algorithm: Algorithm, have: dict[Attribute, Any]) -> bool:
    if algorithm is Algorithm.ED25519:
        return have.get(Attribute.EC_PARAMS) in templates.EDWARDS_25519
    if algorithm in templates.CURVES:
        return bool(have.get(Attribute.EC_PARAMS) == templates.CURVES[algorithm])
    if algorithm in templates.RSA_BITS:
        modulus = int.from_bytes(have.get(Attribute.MODULUS, b""))
        return modulus.bit_length() == templates.RSA_BITS[algorithm]
    # 0 is what SoftHSM says of an unwrapped key; all sizes of AES are used in the same way.
    return have.get(Attribute.VALUE_LEN) in (0, templates.SECRET_BYTES[algorithm])
