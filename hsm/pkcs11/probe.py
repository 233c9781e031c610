"""What a module can do, found out rather than believed.

Flags and key sizes come from C_GetMechanismInfo. At login, every cheap kind of key is then made
once as a session object and tested pairwise, and OAEP is tried with a public key.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass
from pkcs11 import Mechanism as Ckm
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import MGF

from hsm.errors import HsmError
from hsm.pkcs11.errors import LOST, of_exception
from hsm.pkcs11.library import Library
from hsm.pkcs11.making import Maker
from hsm.pkcs11.templates import RSA_BITS
from hsm.pkcs11.vendors import Vendor, vendor_of
from hsm.types import Algorithm, DeviceInfo, KeySpec, KeyUsage, Mechanism
from hsm.uri import Pkcs11Uri

A, U, M = Algorithm, KeyUsage, Mechanism
SIGN, ENCRYPT, DECRYPT = MechanismFlag.SIGN, MechanismFlag.ENCRYPT, MechanismFlag.DECRYPT
# The call that each of our mechanisms stands on, and the flag that it must carry.
CALLS: dict[Mechanism, tuple[Ckm, MechanismFlag]] = {
    M.ECDSA: (Ckm.ECDSA, SIGN),
    M.RSA_PKCS1_SHA256: (Ckm.RSA_PKCS, SIGN),
    M.RSA_PSS_SHA256: (Ckm.RSA_PKCS_PSS, SIGN),
    M.EDDSA: (Ckm.EDDSA, SIGN),
    M.ECDH: (Ckm.ECDH1_DERIVE, MechanismFlag.DERIVE),
    M.RSA_OAEP_SHA256: (Ckm.RSA_PKCS_OAEP, DECRYPT),
    M.AES_GCM: (Ckm.AES_GCM, ENCRYPT | DECRYPT),
    M.AES_GMAC: (Ckm.AES_GCM, ENCRYPT),
    M.AES_CMAC: (Ckm.AES_CMAC, SIGN),
    M.HMAC_SHA256: (Ckm.SHA256_HMAC, SIGN),
}
PAIR, SECRET = MechanismFlag.GENERATE_KEY_PAIR, MechanismFlag.GENERATE
MAKERS: dict[Algorithm, tuple[Ckm, MechanismFlag, int | None]] = {
    A.EC_P256: (Ckm.EC_KEY_PAIR_GEN, PAIR, 256),
    A.EC_P384: (Ckm.EC_KEY_PAIR_GEN, PAIR, 384),
    A.ED25519: (Ckm.EC_EDWARDS_KEY_PAIR_GEN, PAIR, None),
    **{a: (Ckm.RSA_PKCS_KEY_PAIR_GEN, PAIR, bits) for a, bits in RSA_BITS.items()},
    A.AES_128: (Ckm.AES_KEY_GEN, SECRET, 16),
    A.AES_192: (Ckm.AES_KEY_GEN, SECRET, 24),
    A.AES_256: (Ckm.AES_KEY_GEN, SECRET, 32),
    A.HMAC_SHA256: (Ckm.GENERIC_SECRET_KEY_GEN, SECRET, None),
}
# What is made and tested at login. RSA keys take too long to make.
TRIALS = (
    (A.EC_P256, U.SIGN, M.ECDSA),
    (A.EC_P384, U.SIGN, M.ECDSA),
    (A.EC_P256, U.AGREE, M.ECDH),
    (A.ED25519, U.SIGN, M.EDDSA),
    (A.AES_256, U.ENCRYPT, M.AES_GCM),
    (A.AES_192, U.ENCRYPT, M.AES_GCM),
    (A.AES_256, U.GMAC, M.AES_GMAC),
    (A.AES_128, U.MAC, M.AES_CMAC),
    (A.AES_256, U.WRAP, M.AES_KWP),
    (A.HMAC_SHA256, U.MAC, M.HMAC_SHA256),
)
TRIAL_ID = b"keyvault-trial-0"


def described(uri: Pkcs11Uri, path: str, library: Library, token: Any) -> DeviceInfo:
    """What the token claims without a login."""
    vendor = vendor_of(token)
    canonical = replace(uri, token=token.label, serial=token.serial.decode(errors="replace"))
    wrapper = library.wrapper
    return DeviceInfo(
        uri=str(canonical),
        module=path,
        module_sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        manufacturer=token.manufacturer_id,
        model=token.model,
        serial=token.serial.decode(errors="replace"),
        label=token.label,
        library=f"{wrapper.library_description} {_version(wrapper.library_version)}",
        firmware=_version(token.firmware_version),
        mechanisms=tuple(m for m in Mechanism if _claims(token.slot, m, vendor)),
        algorithms=tuple(a for a in Algorithm if _makes(token.slot, a)),
    )


def proven(claimed: DeviceInfo, maker: Maker) -> DeviceInfo:
    """The same, less what fails when tried. Needs a login.

    Raises `DeviceUnavailableError` if the session is lost meanwhile.
    """
    failed = {(a, m) for a, usage, m in TRIALS if not _works(maker, a, usage)}
    broken = {m for _, m in failed} - {m for a, _, m in TRIALS if (a, m) not in failed}
    makes_nothing = {a for a, _ in failed} - {a for a, _, m in TRIALS if (a, m) not in failed}
    if not _oaep_works(maker.session):
        broken.add(M.RSA_OAEP_SHA256)
    return replace(
        claimed,
        mechanisms=tuple(m for m in claimed.mechanisms if m not in broken),
        algorithms=tuple(a for a in claimed.algorithms if a not in makes_nothing),
    )


def _version(pair: tuple[int, int]) -> str:
    return ".".join(map(str, pair))


def _claims(slot: Any, mechanism: Mechanism, vendor: Vendor) -> bool:
    if mechanism is Mechanism.RANDOM:
        return True
    number, flag = CALLS.get(mechanism, (vendor.kwp, MechanismFlag.WRAP | MechanismFlag.UNWRAP))
    return _has(slot, number, flag, None)


def _makes(slot: Any, algorithm: Algorithm) -> bool:
    return _has(slot, *MAKERS[algorithm])


def _has(slot: Any, number: Ckm, flag: MechanismFlag, size: int | None) -> bool:
    try:
        told = slot.get_mechanism_info(number)
    except PKCS11Error as error:
        _reraise_if_lost(error)
        return False
    fits = size is None or told.min_key_length <= size <= told.max_key_length
    return bool(fits and told.flags & flag == flag)


def _works(maker: Maker, algorithm: Algorithm, usage: KeyUsage) -> bool:
    spec = KeySpec(TRIAL_ID, "trial", algorithm, usage)
    try:
        held, _ = maker.generate(spec, token=False)
        held.secret.destroy()
    except PKCS11Error as error:
        _reraise_if_lost(error)
        return False
    except HsmError as error:
        if error.cause in LOST:
            raise
        return False
    return True


def _oaep_works(session: Any) -> bool:
    """Encrypt to a public key that nobody has the private half of."""
    param = (Ckm.SHA256, MGF.SHA256, None)
    try:
        key = session.create_object(
            {
                Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.KEY_TYPE: KeyType.RSA,
                Attribute.MODULUS: b"\xff" * 255 + b"\x01",
                Attribute.PUBLIC_EXPONENT: b"\1\0\1",
                Attribute.ENCRYPT: True,
                Attribute.TOKEN: False,
                Attribute.PRIVATE: False,
            }
        )
        try:
            key.encrypt(b"trial", mechanism=Ckm.RSA_PKCS_OAEP, mechanism_param=param)
        finally:
            key.destroy()
    except PKCS11Error as error:
        _reraise_if_lost(error)
        return False
    return True


def _reraise_if_lost(error: PKCS11Error) -> None:
    ours = of_exception(error)
    if ours.cause in LOST:
        raise ours from error
