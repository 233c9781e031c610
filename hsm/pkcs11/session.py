"""One logged-in token: `hsm.device.Device` over python-pkcs11.

One thread of one process uses it, for the life of that process: python-pkcs11 lets go of the GIL
inside every call. Handles are found once and kept, for a find costs 20 µs per key on the token.
Once the session is lost the device stays dead: the process around it is replaced.
"""

import hmac
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pkcs11 import Attribute, ObjectClass
from pkcs11.exceptions import PKCS11Error

from hsm.device import Proof
from hsm.errors import (
    DataInvalidError,
    DeviceUnavailableError,
    HsmError,
    IntegrityError,
    KeyExistsError,
    KeyNotFoundError,
    KeyUnusableError,
    MechanismUnsupportedError,
)
from hsm.pkcs11 import data_labels, data_objects, objects, probe, proving, wrapped
from hsm.pkcs11.agreement import Agreeing
from hsm.pkcs11.carrying import Carrying
from hsm.pkcs11.errors import LOST, of_exception
from hsm.pkcs11.guarding import guarded
from hsm.pkcs11.held import IV_SIZE, Held, due, uses_of
from hsm.pkcs11.library import Library
from hsm.pkcs11.making import Maker
from hsm.pkcs11.vendors import vendor_of
from hsm.types import (
    USAGES,
    Agreed,
    Agreement,
    DeviceInfo,
    KeySpec,
    KeyUsage,
    MadeKey,
    Mechanism,
    ObjectRecord,
    VerifyPolicy,
    WrappedKey,
)
from hsm.uri import Pkcs11Uri

AnyKey = bytes | WrappedKey
MAX_RANDOM = 1 << 16
KEY_ID_SIZE = 16


class Pkcs11Device(Carrying):
    """One login session for life. `cache_size` bounds the wrapped keys held at a time."""

    def __init__(
        self,
        uri: Pkcs11Uri,
        path: str,
        pin: bytes | bytearray,
        *,
        verify: VerifyPolicy = VerifyPolicy.ALWAYS,
        cache_size: int = 4096,
    ) -> None:
        self._verify = verify
        self._resident, self._transports = dict[bytes, Held](), dict[bytes, Held]()
        self._cache = wrapped.Cache(cache_size)
        self._agreeing = Agreeing()
        self._lost = ""
        self._closed = False
        self._session: Any = None
        self._library = Library.acquire(path, uri.init_args)
        try:
            self._log_in(uri, path, pin)
        except PKCS11Error as error:
            self.close()
            raise of_exception(error) from error
        except BaseException:
            self.close()
            raise

    def _log_in(self, uri: Pkcs11Uri, path: str, pin: bytes | bytearray) -> None:
        token = self._library.token(uri)
        self._session = self._library.login(token, pin)
        self._maker = Maker(self._session, vendor_of(token), self._library.functions)
        self._labels = self._maker.vendor.data_in_labels
        claimed = probe.described(uri, path, self._library, token)
        self._info = probe.proven(claimed, self._maker)

    @property
    def info(self) -> DeviceInfo:
        return self._info

    @property
    def unwraps(self) -> int:
        """SoftHSM 2.6.1 leaks 250 bytes each time."""
        return self._cache.misses

    @guarded
    def public_key(self, key: AnyKey) -> bytes:
        return self._hold(key).public_der

    def sign(
        self,
        key: AnyKey,
        mechanism: Mechanism,
        data: bytes,
        *,
        verify: VerifyPolicy | None = None,
    ) -> bytes:
        """Sign; `verify` is how often to check it before release (default: the device's own).

        Raises `IntegrityError` instead of releasing a signature that does not verify.
        """
        [signature] = self.sign_all(key, mechanism, [data], verify=verify)
        return signature

    @guarded
    def sign_all(
        self,
        key: AnyKey,
        mechanism: Mechanism,
        data: Iterable[bytes],
        *,
        verify: VerifyPolicy | None = None,
    ) -> list[bytes]:
        """Sign one after another. What is the same for all is looked at once."""
        self._supports(mechanism)
        held, policy, signatures = self._hold(key), verify or self._verify, []
        sign = held.signer(mechanism)
        for item in data:
            signature = sign(item)
            if due(policy) and not held.verifies(mechanism, item, signature):
                raise IntegrityError(
                    "the device made a signature that does not verify; it was not released",
                    next_step="Take the device out of service and have it examined.",
                )
            signatures.append(signature)
        return signatures

    @guarded
    def verify(self, key: AnyKey, mechanism: Mechanism, data: bytes, signature: bytes) -> bool:
        """Signatures are checked outside the device, MACs are made again and compared.

        A GMAC is checked by `mac`, for its IV travels beside it.
        """
        self._supports(mechanism)
        held = self._hold(key)
        held.allow(mechanism)
        if held.spec.usage is KeyUsage.MAC:
            return hmac.compare_digest(held.mac(mechanism, data), signature)
        if held.spec.usage is KeyUsage.SIGN:
            return held.verifies(mechanism, data, signature)
        raise KeyUnusableError(f"{mechanism} makes nothing that could be verified")

    @guarded
    def encrypt(
        self, key: AnyKey, mechanism: Mechanism, plaintext: bytes, aad: bytes = b""
    ) -> bytes:
        self._supports(mechanism)
        held = self._hold(key)
        iv = self._random(IV_SIZE) if mechanism is Mechanism.AES_GCM else b""
        return held.encrypt(mechanism, plaintext, aad, iv)

    @guarded
    def decrypt(
        self, key: AnyKey, mechanism: Mechanism, ciphertext: bytes, aad: bytes = b""
    ) -> bytes:
        self._supports(mechanism)
        return self._hold(key).decrypt(mechanism, ciphertext, aad)

    @guarded
    def mac(self, key: AnyKey, mechanism: Mechanism, data: bytes, iv: bytes = b"") -> bytes:
        self._supports(mechanism)
        return self._hold(key).mac(mechanism, data, iv)

    @guarded
    def derive(self, key: AnyKey, peer_public_key: bytes) -> bytes:
        self._supports(Mechanism.ECDH)
        return self._hold(key).derive(peer_public_key)

    @guarded
    def seal_agreed(
        self, key: AnyKey, agreement: Agreement, plaintext: bytes, aad: bytes
    ) -> Agreed:
        self._supports(Mechanism.ECDH)
        return self._agreeing.seal(self._hold(key), agreement, plaintext, aad)

    @guarded
    def open_agreed(self, key: AnyKey, agreement: Agreement, sealed: bytes, aad: bytes) -> Agreed:
        self._supports(Mechanism.ECDH)
        return self._agreeing.open(self._hold(key), agreement, sealed, aad)

    @guarded
    def random(self, size: int) -> bytes:
        if not 0 < size <= MAX_RANDOM:
            raise DataInvalidError(f"between 1 and {MAX_RANDOM} random bytes can be had at once")
        return self._random(size)

    @guarded
    def generate(self, spec: KeySpec, *, proof: Proof | None = None) -> MadeKey:
        self._may_make(spec, resident=True)
        held, made = proving.generate(self._maker, spec, proof, token=True)
        self._resident[spec.key_id] = held
        return made

    @guarded
    def generate_wrapped(
        self, spec: KeySpec, kek_id: bytes, mac_key_id: bytes, *, proof: Proof | None = None
    ) -> MadeKey:
        self._may_make(spec, resident=False)
        kek, mac_key = self._kek(kek_id), self._hold(mac_key_id)
        travelling = wrapped.travelling(spec)
        held, made = proving.generate(self._maker, travelling, proof, token=False)
        try:
            blob = kek.wrap(held.secret)
        finally:
            held.secret.destroy()
        record = wrapped.sealed(
            WrappedKey(spec, blob, kek_id, mac_key_id, b"", made.public_key), mac_key
        )
        self._cache.put(wrapped.opened(record, kek, mac_key, self._maker), record)
        return replace(made, spec=spec, wrapped=record)

    @guarded
    def rewrap(self, record: WrappedKey, kek_id: bytes) -> WrappedKey:
        keys = self._kek(record.kek_id), self._hold(record.mac_key_id)
        return wrapped.rewrapped(record, *keys, self._maker, (kek_id, self._kek(kek_id)))

    @guarded
    def destroy(self, key_id: bytes) -> int:
        """The private half goes first, so that a crash leaves no key that still works."""
        self._drop(key_id)
        found = self._on_token({Attribute.ID: key_id})
        for each in sorted(found, key=lambda o: o[Attribute.CLASS] is ObjectClass.PUBLIC_KEY):
            each.destroy()
        return len(found)

    @guarded
    def drop(self, key_id: bytes) -> None:
        self._drop(key_id)

    def _drop(self, key_id: bytes) -> None:
        self._resident.pop(key_id, None)
        self._cache.drop(key_id)

    @guarded
    def wrap(self, kek_id: bytes, key_id: bytes) -> bytes:
        return self._kek(kek_id).wrap(self._leaving(key_id).secret)

    @guarded
    def unwrap(
        self, kek_id: bytes, blob: bytes, spec: KeySpec, *, public_key: bytes = b""
    ) -> MadeKey:
        """For a pair, `public_key` (SPKI) is what the private half is tested against."""
        self._may_make(spec, resident=True)
        held, made = self._maker.restore(self._kek(kek_id), blob, spec, public_key)
        self._resident[spec.key_id] = held
        return made

    @guarded
    def inventory(self) -> list[ObjectRecord]:
        records = (objects.record(found) for found in self._on_token({}))
        return [data_labels.shown(one) if self._labels else one for one in records]

    @guarded
    def find(self, key_id: bytes) -> list[ObjectRecord]:
        return [objects.record(found) for found in self._on_token({Attribute.ID: key_id})]

    @guarded
    def inspect(self, spec: KeySpec) -> MadeKey:
        return self._maker.inspect(spec, self._hold(spec.key_id))

    @guarded
    def put_data(self, label: str, value: bytes) -> None:
        store = data_labels if self._labels else data_objects
        store.put(self._session, label, value)

    @guarded
    def get_data(self, label: str) -> list[bytes]:
        """The newest first."""
        store = data_labels if self._labels else data_objects
        found: list[bytes] = store.get(self._session, label)
        return found

    def close(self) -> None:
        """Log out by closing the session; the last device of a module finalises it."""
        if self._closed:
            return
        self._closed = True
        self._forget("it was closed")
        if self._session is not None:
            self._library.close(self._session)
        self._library.release()

    def _random(self, size: int) -> bytes:
        return bytes(self._session.generate_random(size * 8))

    def _on_token(self, template: dict[Attribute, Any]) -> list[Any]:
        wanted = template | {Attribute.TOKEN: True}
        return objects.all_with(self._session, wanted)

    def _supports(self, mechanism: Mechanism) -> None:
        if mechanism not in self._info.mechanisms:
            works = ", ".join(self._info.mechanisms)
            raise MechanismUnsupportedError(
                f"this module cannot do {mechanism}; it can do {works}",
                next_step="Use one of these, or a module that can.",
            )

    def _may_make(self, spec: KeySpec, *, resident: bool) -> None:
        if len(spec.key_id) != KEY_ID_SIZE:
            raise DataInvalidError(f"a CKA_ID is {KEY_ID_SIZE} bytes long here")
        if spec.usage not in USAGES[spec.algorithm]:
            raise KeyUnusableError(f"a key of {spec.algorithm} is no key to {spec.usage}")
        if spec.algorithm not in self._info.algorithms:
            works = ", ".join(self._info.algorithms)
            raise MechanismUnsupportedError(
                f"this module cannot make a key of {spec.algorithm}; it can make {works}",
                next_step="Choose one of these algorithms, or a module that can.",
            )
        if not any(m in self._info.mechanisms for m in uses_of(spec)):
            raise MechanismUnsupportedError(
                f"this module could do nothing with a key of {spec.algorithm} to {spec.usage}",
                next_step=f"It can do {', '.join(self._info.mechanisms)}.",
            )
        if resident and self._on_token({Attribute.ID: spec.key_id}):
            raise KeyExistsError("an object with this CKA_ID is on the token already")

    def _kek(self, kek_id: bytes) -> Held:
        self._supports(Mechanism.AES_KWP)
        kek = self._hold(kek_id)
        kek.allow(Mechanism.AES_KWP)
        return kek

    def _leaving(self, key_id: bytes) -> Held:
        held = self._hold(key_id)
        if not held.spec.extractable:
            raise KeyUnusableError(
                "the key was made never to leave the device",
                next_step="Make a key whose class allows export; this one can only be used.",
            )
        return held

    def _hold(self, key: AnyKey) -> Held:
        if isinstance(key, bytes):
            return self._resident.get(key) or self._found(key)
        held = self._cache.get(key)
        if held is None:
            kek, mac_key = self._kek(key.kek_id), self._hold(key.mac_key_id)
            held = wrapped.opened(key, kek, mac_key, self._maker)
            self._cache.put(held, key)
        return held

    def _found(self, key_id: bytes) -> Held:
        """The one find for a key in the life of this device."""
        objects_of = self._on_token({Attribute.ID: key_id})
        keys = [o for o in objects_of if objects.is_key(o)]
        if not keys:
            raise KeyNotFoundError(
                "no key with this CKA_ID is on the token",
                next_step="Reconcile the inventory with the token.",
            )
        if len(keys) > 1:
            raise IntegrityError("more than one key on the token has this CKA_ID")
        spec = objects.spec_of(keys[0])
        public = objects.public_half(spec, objects_of) if spec.algorithm.is_pair else None
        held = self._maker.hold(spec, keys[0], public)
        self._resident[key_id] = held
        return held

    def alive(self) -> None:
        if self._lost:
            raise DeviceUnavailableError(
                f"the device is not usable: {self._lost}",
                cause=self._lost,
                next_step="Open it again in a fresh process.",
            )

    def noted(self, error: HsmError) -> HsmError:
        if error.cause in LOST:
            self._forget(error.cause)
        elif isinstance(error, KeyNotFoundError) and error.cause:
            self._resident.clear()  # another process destroyed a key: believe no handle
        return error

    def _forget(self, why: str) -> None:
        """Handles are never trusted across sessions."""
        self._lost = why
        self._resident.clear()
        self._transports.clear()
        self._cache.forget()
