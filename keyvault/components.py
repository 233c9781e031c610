"""A component of an AES key in clear: how it is read, and the values that tell it from others.

Only the terminal of its custodian and the worker of a gate ever hold one.
"""

import re

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from hsm.types import Algorithm, CheckValues
from keyvault.domain.errors import ComponentInvalidError

SIZES = {Algorithm.AES_128: 16, Algorithm.AES_192: 24, Algorithm.AES_256: 32}
SHOWN = 3  # bytes of a check value
GROUP = 4  # hex digits that are typed and printed together
_ZERO_BLOCK = bytes(16)


def check_values(component: bytes | bytearray) -> CheckValues:
    """The first 3 bytes of AES-CMAC over a zero block, and of the block encrypted, in hex."""
    cipher = algorithms.AES(component)
    mac = CMAC(cipher)
    mac.update(_ZERO_BLOCK)
    encryptor = Cipher(cipher, modes.ECB()).encryptor()  # noqa: S305  (what the style is)
    block = encryptor.update(_ZERO_BLOCK) + encryptor.finalize()
    return CheckValues(mac.finalize()[:SHOWN].hex(), block[:SHOWN].hex())


def read(typed: bytes, algorithm: Algorithm) -> bytearray:
    """A component from hex digits, with or without spaces. Raises `ComponentInvalidError`."""
    digits = re.sub(rb"[\s-]", b"", typed)
    size = SIZES[algorithm]
    if not re.fullmatch(rb"[0-9A-Fa-f]*", digits) or len(digits) != 2 * size:
        raise ComponentInvalidError(
            f"a component of {algorithm} is {2 * size} hex digits long",
            next_step="type it again; nothing of it was shown or sent",
        )
    return bytearray.fromhex(digits.decode())


def written(component: bytes | bytearray) -> str:
    """A component in groups of four hex digits, as it is typed and printed."""
    digits = component.hex()
    return " ".join(digits[at : at + GROUP] for at in range(0, len(digits), GROUP))


def wipe(secret: bytearray) -> None:
    """Overwrite a secret, as far as that goes: copies that libraries made stay."""
    secret[:] = bytes(len(secret))
