"""Agreeing on a key for one message: ECDH, the one-step KDF of SP 800-56C, AES-128-GCM.

Where the module knows the derivations, Z and the key stay inside it. Where it knows no more than
the null KDF, as SoftHSM, both live in this process for as long as one call takes, in buffers that
are then overwritten. No copy that a library made on the way can be.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from pkcs11 import Attribute, KeyType, MechanismFlag
from pkcs11 import Mechanism as Ckm
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KDF

from hsm.errors import DataInvalidError, IntegrityError, MechanismUnsupportedError
from hsm.pkcs11 import spki
from hsm.pkcs11.errors import of_exception
from hsm.pkcs11.held import IV_SIZE, Held, capped
from hsm.types import Agreed, Agreement, Algorithm, KeySpec, KeyUsage, Mechanism

KEY_SIZE = 16  # bytes of the AES key
TAG_SIZES = range(12, 17)  # bytes; SP 800-38D knows 4 and 8 too, for other purposes
MAX_INFO = 512  # bytes of OtherInfo
COUNTER = bytes.fromhex("00000001")  # of the KDF's first and only step
SIZE = 8  # bits of a byte: PKCS#11 counts the length of a derived key in bytes, the wrapper in bits
HIDDEN = {Attribute.TOKEN: False, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}


class Agreeing:
    """Does what one device's keys for agreement are for, in the module if it can."""

    def __init__(self) -> None:
        self._in_module: bool | None = None  # found out at the first call

    def seal(self, held: Held, agreement: Agreement, plaintext: bytes, aad: bytes) -> Agreed:
        """Ciphertext || tag. Raises `DataInvalidError`, `KeyUnusableError`."""
        _check(held, agreement)
        capped(plaintext, aad)
        if self._inside(held):
            with _module_key(held, agreement) as key:
                sealed = key.encrypt(Mechanism.AES_GCM, plaintext, aad, agreement.iv)[IV_SIZE:]
            return Agreed(sealed[: len(plaintext) + agreement.tag_size], in_module=True)
        with _process_key(held, agreement) as key:
            return Agreed(_sealed(key, agreement, plaintext, aad), in_module=False)

    def open(self, held: Held, agreement: Agreement, sealed: bytes, aad: bytes) -> Agreed:
        """Plaintext. Raises `DataInvalidError` if the tag does not fit."""
        _check(held, agreement)
        capped(sealed, aad)
        if len(sealed) < agreement.tag_size:
            raise DataInvalidError("the ciphertext is shorter than its tag")
        if self._inside(held):
            with _module_key(held, agreement) as key:
                opened = key.opened(sealed, agreement.iv, aad, agreement.tag_size)
            return Agreed(opened, in_module=True)
        with _process_key(held, agreement) as key:
            return Agreed(_opened(key, agreement, sealed, aad), in_module=False)

    def _inside(self, held: Held) -> bool:
        """Whether the module derives; no list of mechanisms is believed, one key is agreed on."""
        if self._in_module is None:
            self._in_module = _agrees(held)
        return self._in_module


def one_step(z: bytes | bytearray, other_info: bytes) -> bytearray:
    """SP 800-56C rev. 2, 4.1 with SHA-256: 16 bytes. The caller overwrites them after use."""
    key = bytearray(KEY_SIZE)
    ConcatKDFHash(hashes.SHA256(), KEY_SIZE, other_info).derive_into(z, key)
    return key


def _check(held: Held, agreement: Agreement) -> None:
    held.allow(Mechanism.ECDH)
    if held.spec.algorithm is not Algorithm.EC_P256:
        raise DataInvalidError("keys for messages are agreed on with P-256 alone")
    if len(agreement.iv) != IV_SIZE or agreement.tag_size not in TAG_SIZES:
        raise DataInvalidError("an IV of 12 bytes and a tag of 12 to 16 are wanted")
    if not 0 < len(agreement.other_info) <= MAX_INFO:
        raise DataInvalidError(f"OtherInfo has 1 to {MAX_INFO} bytes")


def _agrees(held: Held) -> bool:
    """Try it with a peer whose key we know, and compare with what it has to be.

    Raises `IntegrityError` if the module derives, but something else.
    """
    peer = ec.generate_private_key(ec.SECP256R1())
    trial = Agreement(spki.dump(peer.public_key()), os.urandom(33), os.urandom(IV_SIZE))
    try:
        with _module_key(held, trial) as key:
            tag = key.encrypt(Mechanism.AES_GCM, b"", b"trial", trial.iv)[IV_SIZE:]
    except PKCS11Error as error:
        if isinstance(of_exception(error), MechanismUnsupportedError):
            return False
        raise
    if not isinstance(held.public, ec.EllipticCurvePublicKey):
        return False
    known = one_step(peer.exchange(ec.ECDH(), held.public), trial.other_info)
    if tag[: trial.tag_size] != _sealed(known, trial, b"", b"trial"):
        raise IntegrityError("the module derives another key than SP 800-56C says")
    return True


@contextmanager
def _module_key(held: Held, agreement: Agreement) -> Iterator[Held]:
    """The agreed key as an object of this session that nobody can read; gone after the block."""
    made: list[Any] = []

    def derived(base: Any, kind: KeyType, size: int, number: Ckm, parameter: Any) -> Any:
        uses = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
        key = base.derive_key(
            kind,
            size * SIZE,
            mechanism=number,
            mechanism_param=parameter,
            capabilities=uses if kind is KeyType.AES else MechanismFlag.DERIVE,
            template=dict(HIDDEN),
        )
        made.append(key)
        return key

    try:
        yield _derived(held, agreement, derived)
    finally:
        for key in made:
            key.destroy()


def _derived(held: Held, agreement: Agreement, derived: Callable[..., Any]) -> Held:
    peer = spki.load(agreement.peer_public_key, held.spec.algorithm)
    size = spki.NAMED_CURVES[held.spec.algorithm].key_size // SIZE
    generic, info = KeyType.GENERIC_SECRET, agreement.other_info
    ecdh = (KDF.NULL, None, spki.point(peer))
    key = derived(held.secret, generic, size, Ckm.ECDH1_DERIVE, ecdh)
    size += len(COUNTER)
    key = derived(key, generic, size, Ckm.CONCATENATE_DATA_AND_BASE, _string(COUNTER))
    size += len(info)
    key = derived(key, generic, size, Ckm.CONCATENATE_BASE_AND_DATA, _string(info))
    key = derived(key, KeyType.AES, KEY_SIZE, Ckm.SHA256_KEY_DERIVATION, None)
    spec = KeySpec(held.spec.key_id, "agreed", Algorithm.AES_128, KeyUsage.ENCRYPT)
    return Held(spec, key, held.vendor, held.functions)


class _StringData(ctypes.Structure):
    """CK_KEY_DERIVATION_STRING_DATA."""

    _fields_ = (("data", ctypes.c_char_p), ("length", ctypes.c_ulong))


def _string(data: bytes) -> bytes:
    """The raw parameter of a concatenation. It points to `data`, which the caller keeps."""
    return bytes(_StringData(data, len(data)))


@contextmanager
def _process_key(held: Held, agreement: Agreement) -> Iterator[bytearray]:
    """The agreed key in this process, overwritten after the block as Z was before it."""
    z = held.shared_secret(agreement.peer_public_key)
    try:
        key = one_step(z, agreement.other_info)
    finally:
        _wipe(z)
    try:
        yield key
    finally:
        _wipe(key)


def _wipe(secret: bytearray) -> None:
    secret[:] = bytes(len(secret))


def _sealed(key: bytearray, agreement: Agreement, plaintext: bytes, aad: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.GCM(agreement.iv)).encryptor()
    cipher.authenticate_additional_data(aad)
    ciphertext = cipher.update(plaintext) + cipher.finalize()
    return ciphertext + cipher.tag[: agreement.tag_size]


def _opened(key: bytearray, agreement: Agreement, sealed: bytes, aad: bytes) -> bytes:
    ciphertext, tag = sealed[: -agreement.tag_size], sealed[-agreement.tag_size :]
    mode = modes.GCM(agreement.iv, tag, min_tag_length=agreement.tag_size)
    cipher = Cipher(algorithms.AES(key), mode).decryptor()
    cipher.authenticate_additional_data(aad)
    try:
        return cipher.update(ciphertext) + cipher.finalize()
    except InvalidTag as error:
        raise DataInvalidError("the ciphertext or its tag was refused") from error
