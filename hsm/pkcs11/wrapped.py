"""Keys that rest outside the token: checked, unwrapped into session objects, kept for a while."""

import hmac
from collections import OrderedDict
from dataclasses import replace

from hsm.errors import IntegrityError
from hsm.pkcs11.held import Held, mac_mechanism
from hsm.pkcs11.making import Maker
from hsm.types import KeySpec, WrappedKey

FORMAT = b"keyvault wrapped key v1"


def covered(wrapped: WrappedKey) -> bytes:
    """What the MAC covers: every field but itself, each with its length before it."""
    spec = wrapped.spec
    words = (spec.label, spec.algorithm, spec.usage, str(spec.extractable), str(spec.trusted))
    fields = (
        FORMAT,
        spec.key_id,
        *(word.encode() for word in words),
        wrapped.blob,
        wrapped.kek_id,
        wrapped.mac_key_id,
        wrapped.public_key,
    )
    return b"".join(len(field).to_bytes(4) + field for field in fields)


def sealed(wrapped: WrappedKey, mac_key: Held) -> WrappedKey:
    """The same record under its MAC (HMAC-SHA-256 or AES-CMAC, as the resident key is)."""
    return replace(
        wrapped, mac=mac_key.mac(mac_mechanism(mac_key.spec.algorithm), covered(wrapped))
    )


def check(wrapped: WrappedKey, mac_key: Held) -> None:
    """Raise `IntegrityError` unless the record is as it was sealed."""
    if not hmac.compare_digest(sealed(wrapped, mac_key).mac, wrapped.mac):
        raise IntegrityError(
            "the MAC of the wrapped key does not fit its record",
            next_step="Somebody altered the row; restore it and look for who did.",
        )


def opened(wrapped: WrappedKey, kek: Held, mac_key: Held, maker: Maker) -> Held:
    """Check the MAC, then unwrap. Raises `IntegrityError` for a record that was altered."""
    check(wrapped, mac_key)
    held = maker.unwrap(kek, wrapped.blob, session_spec(wrapped.spec), wrapped.public_key)
    held.wrapped = wrapped
    return held


def rewrapped(
    wrapped: WrappedKey, kek: Held, mac_key: Held, maker: Maker, new: tuple[bytes, Held]
) -> WrappedKey:
    """The same key under another KEK. Raises `IntegrityError` for a record that was altered."""
    check(wrapped, mac_key)
    spec = travelling(wrapped.spec)
    held = maker.unwrap(kek, wrapped.blob, spec, wrapped.public_key)
    try:
        blob = new[1].wrap(held.secret)
    finally:
        held.secret.destroy()
    return sealed(replace(wrapped, blob=blob, kek_id=new[0]), mac_key)


def session_spec(spec: KeySpec) -> KeySpec:
    """Once unwrapped, a key leaves no more, whatever its class says: the blob is its backup."""
    return replace(spec, extractable=False, trusted=False)


def travelling(spec: KeySpec) -> KeySpec:
    """The first form of a wrapped key, which must leave the token once."""
    return replace(spec, extractable=True, trusted=False)


class Cache:
    """Session objects of wrapped keys, the least recently used destroyed first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[tuple[bytes, bytes], Held] = OrderedDict()
        self.misses = 0

    def get(self, wrapped: WrappedKey) -> Held | None:
        """A hit is only a record that equals the one whose MAC was checked."""
        name = (wrapped.spec.key_id, wrapped.mac)
        held = self._held.get(name)
        if held is None or held.wrapped != wrapped:
            return None
        self._held.move_to_end(name)
        return held

    def put(self, held: Held, wrapped: WrappedKey) -> None:
        self.misses += 1
        self._held[wrapped.spec.key_id, wrapped.mac] = held
        while len(self._held) > self._size:
            _, oldest = self._held.popitem(last=False)
            oldest.secret.destroy()

    def drop(self, key_id: bytes) -> None:
        """Destroy the session objects of a key, whatever record they came from."""
        for name in [name for name in self._held if name[0] == key_id]:
            self._held.pop(name).secret.destroy()

    def forget(self) -> None:
        """The session is gone, and its objects with it."""
        self._held.clear()
