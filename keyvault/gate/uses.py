"""Uses of keys: who may is decided above; the device holds each key to its one purpose."""

from collections.abc import Callable, Mapping
from typing import Any

from hsm.device import Device
from hsm.errors import KeyUnusableError
from hsm.types import Mechanism, VerifyPolicy, WrappedKey
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.keys import KeyState, Purpose
from keyvault.gate.authorities import Authorities
from keyvault.gate.cards import CardGate, refuse_reserved
from keyvault.gate.documents import wrapped_of
from keyvault.gate.keks import check_resting
from keyvault.gate.register import Register
from keyvault.gate.services import ordinary

MAX_ITEMS = 1_000  # of one call
MAX_RANDOM = 4_096  # bytes
METHODS = (
    *("load", "sign", "sign_part", "verify", "encrypt", "decrypt", "mac"),
    *("public_key", "random"),
)


class Uses:
    """The part of the keys gate that uses keys. It holds records of `cache` wrapped ones."""

    def __init__(
        self,
        device: Device,
        register: Register,
        authorities: Authorities,
        cards: CardGate,
        cache: int,
    ) -> None:
        self._device = device
        self._register = register
        self._authorities = authorities
        self._cards = cards
        self._cache = cache
        self._loaded: dict[bytes, WrappedKey] = {}

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {name: getattr(self, name) for name in METHODS}

    def load(self, document: Document) -> None:
        """Take a wrapped key in. Its MAC is checked at first use, when it is unwrapped."""
        wrapped = wrapped_of(document)
        life = self._register.life(ordinary(wrapped.spec.key_id))
        if life is not None and life.state is KeyState.DESTROYED:
            raise KeyUnusableError(
                "the key was destroyed, and its blob came back",
                next_step="find out who restored the row",
            )
        check_resting(wrapped.kek_id, wrapped.mac_key_id)
        self.hold(wrapped)

    def hold(self, wrapped: WrappedKey) -> None:
        """Keep the record of a key that this gate knows to be good."""
        self._loaded[wrapped.spec.key_id] = wrapped
        if len(self._loaded) > self._cache:
            del self._loaded[next(iter(self._loaded))]

    def drop(self, key_id: bytes) -> None:
        """Hold the record of a key no longer."""
        self._loaded.pop(key_id, None)

    def key(self, key_id: bytes) -> bytes | WrappedKey:
        """Return what the device knows a key by. Raises `KeyNotFoundError`, `KeyUnusableError`."""
        refuse_reserved(self._cards.reserved, key_id)
        return self._loaded.get(key_id) or self._register.on_token(ordinary(key_id))

    def usable(
        self, key_id: bytes, purpose: Purpose = Purpose.PROTECT, count: int = 1
    ) -> bytes | WrappedKey:
        """The same, and let `count` uses through. Raises what `Register.check_use` does, too."""
        key = self.key(key_id)
        self._register.check_use(key_id, purpose, count)
        return key

    def sign(self, key_id: bytes, mechanism: str, data: list[bytes], verify: str) -> list[bytes]:
        key, how = self._usable_for(key_id, data), Mechanism(mechanism)
        self._authorities.refuse(key_id)
        return self._device.sign_all(key, how, data, verify=VerifyPolicy(verify))

    def sign_part(self, key_id: bytes, *what: Any) -> list[bytes]:
        """Some of the signatures of one call, or none where all have to be made by one gate.

        The uses of a guarded key are allowed all at once, and a wrapped one is in one gate.
        """
        life = self._register.life(key_id)
        whole = life is not None and (life.guarded or life.wrapped)
        return [] if whole else self.sign(key_id, *what)

    def verify(self, key_id: bytes, mechanism: str, data: bytes, signature: bytes) -> bool:
        key = self.usable(key_id, Purpose.PROCESS)
        return self._device.verify(key, Mechanism(mechanism), data, signature)

    def encrypt(self, key_id: bytes, mechanism: str, data: list[bytes], aad: bytes) -> list[bytes]:
        key, how = self._usable_for(key_id, data), Mechanism(mechanism)
        return [self._device.encrypt(key, how, item, aad) for item in data]

    def decrypt(self, key_id: bytes, mechanism: str, data: bytes, aad: bytes) -> bytes:
        key = self.usable(key_id, Purpose.PROCESS)
        return self._device.decrypt(key, Mechanism(mechanism), data, aad)

    def mac(self, key_id: bytes, mechanism: str, data: list[bytes], iv: bytes) -> list[bytes]:
        if iv and len(data) > 1:
            raise InvalidInputError("an IV serves one message")
        key, how = self._usable_for(key_id, data), Mechanism(mechanism)
        return [self._device.mac(key, how, item, iv) for item in data]

    def public_key(self, key_id: bytes) -> bytes:
        return self._device.public_key(self.key(key_id))

    def random(self, size: int) -> bytes:
        if not 0 < size <= MAX_RANDOM:
            raise InvalidInputError(f"ask for 1 to {MAX_RANDOM} bytes")
        return self._device.random(size)

    def _usable_for(self, key_id: bytes, data: list[bytes]) -> bytes | WrappedKey:
        if len(data) > MAX_ITEMS:
            raise InvalidInputError(f"at most {MAX_ITEMS} items in one call")
        return self.usable(key_id, count=len(data))
