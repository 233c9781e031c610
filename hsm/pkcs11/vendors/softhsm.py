"""SoftHSM 2.6.1: for development and tests; it is no validated module.

Its 0x210A is KWP, which the standard calls 0x210B; it first fills a key up to 8-byte blocks with
zeros and wraps those too, so that a foreign module unwraps a private key with zeros at its end.
A bad GCM tag is CKR_GENERAL_ERROR.
TRUSTED may only be set by the security officer, who sees no private object, so that a trusted
KEK would have to lie on the disk in clear: no key is marked TRUSTED here, and none
WRAP_WITH_TRUSTED. C_UnwrapKey refuses MODIFIABLE, since it makes the object before it
fills it, and leaves VALUE_LEN at 0. A copy stays COPYABLE, and a copy that is not MODIFIABLE can
be copied only as it is. It cannot wrap Ed25519 keys. OAEP knows SHA-1 only, which
the probe finds out.
"""

from pkcs11 import Attribute, Mechanism

from hsm.pkcs11.vendors.vendor import Vendor

SOFTHSM = Vendor(
    name="softhsm",
    kwp=Mechanism.AES_KEY_WRAP_PAD,
    refusals=frozenset({"CKR_GENERAL_ERROR"}),
    unknown_on_unwrap=frozenset({Attribute.MODIFIABLE, Attribute.VALUE_LEN}),
    fixed_in_copies=frozenset({Attribute.COPYABLE}),
    oaep_without_sha256=True,
)
