"""Keys that people carry in and out: by components that are XORed, or in an envelope of RSA.

What carries them, a pair that is made for one handover, is an object of this session alone: it
dies with the process. So does whatever a call that failed halfway has made.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hsm.device import Accept, Opener
from hsm.errors import DataInvalidError, KeyNotFoundError
from hsm.pkcs11 import envelopes, pairwise, templates, xoring
from hsm.pkcs11.guarding import guarded
from hsm.pkcs11.held import AES, Held
from hsm.pkcs11.making import Maker
from hsm.types import Algorithm, Carried, CheckValues, KeySpec, KeyUsage

NO_CHECK = CheckValues("", "")


class Carrying(ABC):
    """The part of a device that moves keys. It is given the rest by the device itself."""

    _maker: Maker
    _resident: dict[bytes, Held]
    _transports: dict[bytes, Held]
    _xoring: bool | None = None  # whether the module does; found out at the first combination

    @guarded
    def open_transport(self, key_id: bytes, algorithm: Algorithm) -> bytes:
        """Make a pair of this session that a key is carried by. Returns its SPKI."""
        if algorithm is Algorithm.EC_P256:
            spec = KeySpec(key_id, "transport", algorithm, KeyUsage.AGREE)
            held, _ = self._maker.generate(spec, token=False)
        else:
            held = envelopes.transport(self._maker, key_id, algorithm)
        self._transports[key_id] = held
        return held.public_der

    @guarded
    def transport_secret(self, key_id: bytes, peer_public_key: bytes) -> bytearray:
        """ECDH (P-256) of a transport pair and a peer's SPKI: Z, for the caller to overwrite."""
        return self._transport(key_id).shared_secret(peer_public_key)

    @guarded
    def close_transport(self, key_id: bytes) -> None:
        held = self._transports.pop(key_id, None)
        if held is not None:
            held.secret.destroy()

    @guarded
    def combine(self, spec: KeySpec, components: Sequence[Opener], accept: Accept) -> Carried:
        """XOR components into a resident AES key. Each is opened when it is needed, and wiped."""
        self._may_make(spec, resident=True)
        if spec.algorithm not in AES:
            raise DataInvalidError("only AES keys are put together from components")
        if self._xoring is None:
            self._xoring = xoring.works(self._maker)
        xored = xoring.in_module if self._xoring else xoring.in_process
        with xored(self._maker, spec, components) as made:
            check = self._checked(made(xoring.twin(spec, self._maker)))
            accept(check)
            secret = made(templates.secret_key(spec, self._maker.vendor, token=True))
        held, key = self._maker.finished(spec, secret, None, token=True, born=False)
        self._resident[spec.key_id] = held
        return Carried(key, check, self._xoring)

    @guarded
    def split(self, key_id: bytes, count: int) -> tuple[list[bytearray], CheckValues]:
        """Random components of a resident extractable AES key, for the caller to overwrite."""
        held = self._leaving(key_id)
        if held.spec.algorithm not in AES:
            raise DataInvalidError("only AES keys are taken apart into components")
        value = xoring.value_of(self._maker, held)
        spec = replace(held.spec, algorithm=xoring.algorithm_of(value))
        try:
            twin = xoring.created(self._maker, xoring.twin(spec, self._maker), value)
            check = self._checked(twin)
            parts = [self._random_bytes(len(value)) for _ in range(count - 1)]
            for part in parts:
                xoring.into(value, part)
            return [*parts, bytearray(value)], check
        finally:
            xoring.wipe(value)

    @guarded
    def open_envelope(
        self,
        transport_id: bytes,
        envelope: bytes,
        spec: KeySpec,
        accept: Accept,
        *,
        public_key: bytes = b"",
    ) -> Carried:
        """Take a key out of an envelope (CKM_RSA_AES_KEY_WRAP) into a resident key."""
        self._may_make(spec, resident=True)
        transport = self._transport(transport_id)
        kek, blob = envelopes.opened(self._maker, transport, envelope)
        try:
            check = self._check_of(kek, blob, spec)
            accept(check)
            held, made = self._maker.restore(kek, blob, spec, public_key)
        finally:
            kek.secret.destroy()
        self._resident[spec.key_id] = held
        return Carried(made, check, in_module=False)

    @guarded
    def seal_envelope(self, key_id: bytes, recipient: bytes) -> bytes:
        """Put a resident extractable key into an envelope for an RSA key (SPKI)."""
        return envelopes.sealed(self._maker, self._leaving(key_id), recipient)

    def _check_of(self, kek: Held, blob: bytes, spec: KeySpec) -> CheckValues:
        if spec.algorithm not in AES:
            return NO_CHECK
        twin = replace(spec, usage=KeyUsage.ENCRYPT, extractable=False)
        return self._checked(self._maker.unwrap(kek, blob, twin, b"").secret)

    def _checked(self, twin: Any) -> CheckValues:
        """What tells a key from others, by a twin that may encrypt; it is gone after that."""
        try:
            return pairwise.check_values(twin)
        finally:
            twin.destroy()

    def _transport(self, key_id: bytes) -> Held:
        held = self._transports.get(key_id)
        if held is None:
            raise KeyNotFoundError(
                "the key of this handover is gone, as it is when a gate starts anew",
                next_step="End the handover and ask for another.",
            )
        return held

    def _random_bytes(self, size: int) -> bytearray:
        return bytearray(self._maker.session.generate_random(size * 8))

    @abstractmethod
    def alive(self) -> None: ...

    @abstractmethod
    def noted(self, error: Any) -> Any: ...

    @abstractmethod
    def _may_make(self, spec: KeySpec, *, resident: bool) -> None: ...

    @abstractmethod
    def _leaving(self, key_id: bytes) -> Held: ...
