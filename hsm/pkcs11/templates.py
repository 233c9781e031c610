"""Attributes of every object that is made here. Nothing is left to a library's default."""

from typing import Any

from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.constants import DEFAULT
from pkcs11.util.ec import encode_named_curve_parameters

from hsm.pkcs11.vendors import Vendor
from hsm.types import Algorithm, KeySpec, KeyUsage

Template = dict[Any, Any]  # by Attribute, or by a number that only one vendor knows
CURVES = {
    Algorithm.EC_P256: encode_named_curve_parameters("secp256r1"),
    Algorithm.EC_P384: encode_named_curve_parameters("secp384r1"),
    Algorithm.ED25519: bytes.fromhex("06032b6570"),  # RFC 8410: id-Ed25519
}
# How modules write id-Ed25519 back: SoftHSM by its name, as PKCS#11 3.0 allows.
EDWARDS_25519 = {CURVES[Algorithm.ED25519], b"\x13\x0cedwards25519"}
RSA_BITS = {Algorithm.RSA_2048: 2048, Algorithm.RSA_3072: 3072, Algorithm.RSA_4096: 4096}
SECRET_BYTES = {
    Algorithm.AES_128: 16,
    Algorithm.AES_192: 24,
    Algorithm.AES_256: 32,
    Algorithm.HMAC_SHA256: 32,
}
KEY_TYPES = {
    Algorithm.EC_P256: KeyType.EC,
    Algorithm.EC_P384: KeyType.EC,
    Algorithm.ED25519: KeyType.EC_EDWARDS,
    Algorithm.RSA_2048: KeyType.RSA,
    Algorithm.RSA_3072: KeyType.RSA,
    Algorithm.RSA_4096: KeyType.RSA,
    Algorithm.AES_128: KeyType.AES,
    Algorithm.AES_192: KeyType.AES,
    Algorithm.AES_256: KeyType.AES,
    Algorithm.HMAC_SHA256: KeyType.GENERIC_SECRET,
}
PRIVATE_FLAGS = frozenset(
    {
        Attribute.SIGN,
        Attribute.SIGN_RECOVER,
        Attribute.DECRYPT,
        Attribute.UNWRAP,
        Attribute.DERIVE,
    }
)
PUBLIC_FLAGS = frozenset(
    {
        Attribute.VERIFY,
        Attribute.VERIFY_RECOVER,
        Attribute.ENCRYPT,
        Attribute.WRAP,
        Attribute.DERIVE,
    }
)
SECRET_FLAGS = frozenset(
    {
        Attribute.SIGN,
        Attribute.VERIFY,
        Attribute.ENCRYPT,
        Attribute.DECRYPT,
        Attribute.WRAP,
        Attribute.UNWRAP,
        Attribute.DERIVE,
    }
)
FLAGS = {
    ObjectClass.PRIVATE_KEY: PRIVATE_FLAGS,
    ObjectClass.PUBLIC_KEY: PUBLIC_FLAGS,
    ObjectClass.SECRET_KEY: SECRET_FLAGS,
}
# One purpose a key: the flags that are on; all others of its class are set off.
PURPOSE = {
    KeyUsage.SIGN: frozenset({Attribute.SIGN, Attribute.VERIFY}),
    KeyUsage.AGREE: frozenset({Attribute.DERIVE}),
    KeyUsage.DECRYPT: frozenset({Attribute.DECRYPT, Attribute.ENCRYPT}),
    KeyUsage.ENCRYPT: frozenset({Attribute.ENCRYPT, Attribute.DECRYPT}),
    KeyUsage.MAC: frozenset({Attribute.SIGN, Attribute.VERIFY}),
    KeyUsage.GMAC: frozenset({Attribute.ENCRYPT}),
    KeyUsage.WRAP: frozenset({Attribute.WRAP, Attribute.UNWRAP}),
}


def private_key(spec: KeySpec, vendor: Vendor, *, token: bool) -> Template:
    special = {Attribute.ALWAYS_AUTHENTICATE: False}
    return _known(
        _common(spec, token)
        | _hidden(spec, vendor)
        | _flags(spec, ObjectClass.PRIVATE_KEY)
        | special,
        vendor,
    )


def public_key(spec: KeySpec, vendor: Vendor, *, token: bool) -> Template:
    """A public half is readable by all, is no KEK, and agrees on nothing by itself."""
    flags = _flags(spec, ObjectClass.PUBLIC_KEY) | {Attribute.DERIVE: False}
    open_to_all = {Attribute.PRIVATE: False, Attribute.TRUSTED: False}
    return _known(_common(spec, token) | open_to_all | flags, vendor)


def secret_key(spec: KeySpec, vendor: Vendor, *, token: bool) -> Template:
    trusted = {Attribute.TRUSTED: spec.trusted and vendor.trusts}
    flags = _flags(spec, ObjectClass.SECRET_KEY)
    return _known(_common(spec, token) | _hidden(spec, vendor) | flags | trusted, vendor)


def kind(spec: KeySpec) -> Template:
    """What kind of key it is, for read-back and for the public half of a pair."""
    if spec.algorithm in CURVES:
        return {Attribute.EC_PARAMS: CURVES[spec.algorithm]}
    if spec.algorithm in RSA_BITS:
        return {Attribute.MODULUS_BITS: RSA_BITS[spec.algorithm]}
    return {Attribute.VALUE_LEN: SECRET_BYTES[spec.algorithm]}


def without_defaults(template: Template) -> Template:
    """Mark the flags that python-pkcs11 would add by itself as not wanted."""
    return dict.fromkeys(SECRET_FLAGS - template.keys(), DEFAULT) | template


def _common(spec: KeySpec, token: bool) -> Template:
    return {
        Attribute.ID: spec.key_id,
        Attribute.LABEL: spec.label,
        Attribute.TOKEN: token,
        Attribute.MODIFIABLE: False,
        Attribute.COPYABLE: False,
        Attribute.DESTROYABLE: True,
    }


def _hidden(spec: KeySpec, vendor: Vendor) -> Template:
    return {
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: spec.extractable,
        Attribute.WRAP_WITH_TRUSTED: spec.extractable and vendor.trusts,
    }


def _flags(spec: KeySpec, object_class: ObjectClass) -> Template:
    return {flag: flag in PURPOSE[spec.usage] for flag in FLAGS[object_class]}


def _known(template: Template, vendor: Vendor) -> Template:
    return {name: value for name, value in template.items() if name not in vendor.unknown}
