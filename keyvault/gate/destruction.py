"""Certificates of destruction: signed only while the gate itself finds nothing left of the key."""

from collections.abc import Callable
from uuid import UUID

from hsm.device import Device
from keyvault.domain.canonical import parse
from keyvault.domain.commands import DestroyKey
from keyvault.domain.custody import DESTRUCTION_CONTEXT
from keyvault.domain.errors import InvalidInputError, KeyStateError
from keyvault.domain.keys import KeyState
from keyvault.gate.register import Register
from keyvault.gate.services import EVIDENCE, ordinary, sign_p256

STATEMENT_LIMIT = 65_536  # bytes


def sign_destruction(
    device: Device, register: Register, forget: Callable[[bytes], None], statement: bytes
) -> bytes:
    """Sign a statement with the evidence key: DER, over `DESTRUCTION_CONTEXT` and the statement.

    It names the key and the request that this gate redeemed to destroy it. Raises `KeyStateError`
    while the key lives here or any object with its CKA_ID is on the token. `forget` has the other
    gates of this host let go of it, and raises `DeviceUnavailableError` while one may not have.
    """
    try:
        document = parse(statement, max_size=STATEMENT_LIMIT)
        key, request = (UUID(document[name]) for name in ("key", "request"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError("this is no statement of a destruction") from error
    asked = register.get(request)
    if asked is None or not isinstance(asked.command, DestroyKey) or asked.command.key != key:
        raise KeyStateError("this gate redeemed no such request to destroy the key")
    life = register.life(ordinary(key.bytes))
    if life is None or life.state is not KeyState.DESTROYED or device.find(key.bytes):
        raise KeyStateError(
            "something of the key is still there", next_step="find out what: keyvault reconcile"
        )
    forget(key.bytes)
    return sign_p256(device, EVIDENCE, DESTRUCTION_CONTEXT + statement)
