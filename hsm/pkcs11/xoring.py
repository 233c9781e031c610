"""Components of AES keys: put together by XOR, in the module where it can, else in this process.

In the module (CKM_XOR_BASE_AND_DATA) no two components are ever in this process at a time. In the
process they are, in buffers that are then overwritten; no copy that a library made on the way can
be, so that this is best effort.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11 import Mechanism as Ckm
from pkcs11.exceptions import PKCS11Error

from hsm.device import Opener
from hsm.errors import DataInvalidError, IntegrityError
from hsm.pkcs11 import pairwise, templates
from hsm.pkcs11.errors import LOST, of_exception
from hsm.pkcs11.held import Held
from hsm.pkcs11.making import Maker
from hsm.pkcs11.templates import SECRET_BYTES, Template
from hsm.types import Algorithm, KeySpec, KeyUsage

Make = Callable[[Template], Any]
"""(template) → an object of the key that was put together."""
BITS = 8
TRIAL_ID = b"keyvault-xor-tri"
OF_SIZE = {SECRET_BYTES[a]: a for a in (Algorithm.AES_128, Algorithm.AES_192, Algorithm.AES_256)}
# A key that others are XORed to: it does nothing else, and nobody reads it.
BASE: Template = {
    **dict.fromkeys(templates.SECRET_FLAGS, False),
    Attribute.DERIVE: True,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
}


class _StringData(ctypes.Structure):
    """CK_KEY_DERIVATION_STRING_DATA."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_ulong))


def twin(spec: KeySpec, maker: Maker) -> Template:
    """The same key for this session, to encrypt: what its check values are made with."""
    own = KeySpec(spec.key_id, spec.label, spec.algorithm, KeyUsage.ENCRYPT)
    return templates.secret_key(own, maker.vendor, token=False)


@contextmanager
def in_module(maker: Maker, spec: KeySpec, components: Sequence[Opener]) -> Iterator[Make]:
    """Let the module do it: what was put together so far is a key of this session."""
    made: list[Any] = []
    last = bytearray()
    try:
        with _opened(components[0], spec) as first:
            made.append(created(maker, BASE, first))
        for component in components[1:-1]:
            with _opened(component, spec) as data:
                made.append(_derived(made[-1], data, BASE))
        with _opened(components[-1], spec) as last:
            yield lambda template: _derived(made[-1], last, template)
    finally:
        for key in made:
            key.destroy()


@contextmanager
def in_process(maker: Maker, spec: KeySpec, components: Sequence[Opener]) -> Iterator[Make]:
    """Do it here, in one buffer, where the module cannot."""
    value = bytearray(SECRET_BYTES[spec.algorithm])
    try:
        for component in components:
            with _opened(component, spec) as data:
                into(value, data)
        yield lambda template: created(maker, template, value)
    finally:
        wipe(value)


def works(maker: Maker) -> bool:
    """Whether the module does it; no list of mechanisms is believed, one key is put together.

    Raises `IntegrityError` if it makes something else of the components.
    """
    spec = KeySpec(TRIAL_ID, "trial", Algorithm.AES_128, KeyUsage.ENCRYPT)
    one, other = os.urandom(16), os.urandom(16)
    known = bytearray(one)
    into(known, bytearray(other))
    try:
        parts = (lambda: bytearray(one), lambda: bytearray(other))
        with in_module(maker, spec, parts) as make:
            key = make(twin(spec, maker))
            try:
                got = key.encrypt(pairwise.ZERO_BLOCK, mechanism=Ckm.AES_ECB)
            finally:
                key.destroy()
    except PKCS11Error as error:
        if (ours := of_exception(error)).cause in LOST:
            raise ours from error
        return False
    if got != _ecb(bytes(known)):
        raise IntegrityError("the module makes another key of components than their XOR")
    return True


def created(maker: Maker, template: Template, value: bytearray) -> Any:
    """An AES key object of this value."""
    return maker.session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.VALUE: bytes(value),
            **template,
        }
    )


def value_of(maker: Maker, held: Held) -> bytearray:
    """What an extractable secret key is, for the caller to overwrite: by a KEK of this session."""
    spec = KeySpec(TRIAL_ID, "carrier", Algorithm.AES_256, KeyUsage.WRAP)
    kek, _ = maker.generate(spec, token=False)
    try:
        return pairwise.reread(kek, kek.wrap(held.secret))
    finally:
        kek.secret.destroy()


def algorithm_of(value: bytearray) -> Algorithm:
    """Which AES it is: some modules do not tell the size of a key that came in wrapped."""
    return OF_SIZE[len(value)]


def into(value: bytearray, component: bytearray) -> None:
    for at, byte in enumerate(component):
        value[at] ^= byte


def wipe(secret: bytearray) -> None:
    secret[:] = bytes(len(secret))


@contextmanager
def _opened(component: Opener, spec: KeySpec) -> Iterator[bytearray]:
    data = component()
    try:
        if len(data) != SECRET_BYTES[spec.algorithm]:
            raise DataInvalidError(f"a component has the size of one of {spec.algorithm}")
        yield data
    finally:
        wipe(data)


def _derived(base: Any, data: bytearray, template: Template) -> Any:
    room = (ctypes.c_ubyte * len(data)).from_buffer(data)
    return base.derive_key(
        KeyType.AES,
        len(data) * BITS,
        mechanism=Ckm.XOR_BASE_AND_DATA,
        mechanism_param=bytes(_StringData(ctypes.addressof(room), len(data))),
        capabilities=0,
        template=templates.without_defaults(template),
    )


def _ecb(key: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  (a known answer)
    return encryptor.update(pairwise.ZERO_BLOCK) + encryptor.finalize()
