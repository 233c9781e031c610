"""Using a key: the hot path. Who → may they, is the key usable → the gate → the log → the answer.

Key and caller are cached. The key's version and the authority that the caller was found under are
compared again where the event commits: a key suspended or a system revoked in between means that
the result is never released.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from hsm.errors import DeviceUnavailableError, HsmError, KeyNotFoundError
from hsm.types import Algorithm, KeyUsage, Mechanism
from keyvault.domain.access import Action, Deny, Principal, decide
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import (
    AuthorityChangedError,
    InvalidInputError,
    KeyStateError,
    NotAuthenticatedError,
)
from keyvault.domain.keys import DIGEST_SIZES, Key, Purpose, mechanism_for
from keyvault.domain.tree import leaf_hash, root_of
from keyvault.operations import people
from keyvault.operations.vault import Once, Vault, denial, key_stream, recall, refusal, text_of

BATCH_LIMIT = 1_000  # digests, texts or messages a call
DATA_LIMIT = 262_144  # bytes to encrypt, decrypt, sign or MAC at once
RANDOM_LIMIT = 4_096  # bytes


@dataclass(frozen=True, slots=True)
class Used:
    """Results in order, and where the log says so: enough to ask for a proof later."""

    results: list[bytes]
    index: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class _Use:
    """One kind of use: what it is called, which purpose of a key it needs."""

    action: Action
    usages: tuple[KeyUsage, ...]
    purpose: Purpose


_SIGN = _Use(Action.KEY_SIGN, (KeyUsage.SIGN,), Purpose.PROTECT)
_VERIFY = _Use(Action.KEY_VERIFY, (KeyUsage.SIGN,), Purpose.PROCESS)
_ENCRYPT = _Use(Action.KEY_ENCRYPT, (KeyUsage.ENCRYPT,), Purpose.PROTECT)
_DECRYPT = _Use(Action.KEY_DECRYPT, (KeyUsage.ENCRYPT, KeyUsage.DECRYPT), Purpose.PROCESS)
_MAC = _Use(Action.KEY_MAC, (KeyUsage.MAC, KeyUsage.GMAC), Purpose.PROTECT)

Device = Callable[[Key, Mechanism], Awaitable[list[bytes]]]


class _Call(NamedTuple):
    """What one caller wants done, and the device's part of it."""

    use: _Use
    device: Device
    data: list[bytes]
    mechanism: Mechanism | None = None
    once: Once | None = None


async def sign(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    data: list[bytes],
    mechanism: Mechanism | None = None,
    once: Once | None = None,
) -> Used:
    """Sign 1 to 1,000 digests (Ed25519: messages) in one call and one event.

    ECDSA answers raw r || s. Raises `KeyStateError`, `NotPermittedError`, `InvalidInputError`,
    `hsm.errors.HsmError`.
    """

    async def device(key: Key, chosen: Mechanism) -> list[bytes]:
        _check_digests(key, data)
        return await vault.hot.sign(key.id.bytes, chosen, data, key.verify)

    return await _use(vault, who, key_id, _Call(_SIGN, device, data, mechanism, once))


async def encrypt(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    data: list[bytes],
    aad: bytes = b"",
    once: Once | None = None,
) -> Used:
    """AES-GCM, 1 to 1,000 texts: each result is IV (12 bytes) || ciphertext || tag (16 bytes)."""

    async def device(key: Key, chosen: Mechanism) -> list[bytes]:
        return await vault.hot.encrypt(key.id.bytes, chosen, data, aad)

    return await _use(vault, who, key_id, _Call(_ENCRYPT, device, data, once=once))


async def decrypt(
    vault: Vault, who: Principal, key_id: UUID, data: bytes, aad: bytes = b""
) -> Used:
    """Open what `encrypt` made, or an RSA-OAEP ciphertext. A wrong tag is `DataInvalidError`.

    A plaintext is kept nowhere, so there is nothing to repeat: a second call opens it again.
    """

    async def device(key: Key, chosen: Mechanism) -> list[bytes]:
        return [await vault.hot.decrypt(key.id.bytes, chosen, data, aad)]

    return await _use(vault, who, key_id, _Call(_DECRYPT, device, [data]))


async def mac(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    data: list[bytes],
    iv: bytes = b"",
    once: Once | None = None,
) -> Used:
    """AES-CMAC or HMAC-SHA-256 of 1 to 1,000 messages, or GMAC of one under an unused `iv`."""

    async def device(key: Key, chosen: Mechanism) -> list[bytes]:
        return await vault.hot.mac(key.id.bytes, chosen, data, iv)

    return await _use(vault, who, key_id, _Call(_MAC, device, data, once=once))


async def random(vault: Vault, who: Principal, size: int) -> bytes:
    """Return 1 to 4,096 bytes of the device's generator."""
    verdict = decide(who, Action.RANDOM, vault.clock())
    if isinstance(verdict, Deny):
        await vault.recorder.append(denial(who, Action.RANDOM, verdict, None))
        raise refusal(who, verdict, None)
    if not 0 < size <= RANDOM_LIMIT:
        raise InvalidInputError(f"ask for 1 to {RANDOM_LIMIT} bytes")
    return await vault.hot.random(size)


async def verify(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    data: bytes,
    signature: bytes,
    mechanism: Mechanism | None = None,
) -> bool:
    """Check a signature with the public key. No secret is used, so the device is not asked."""
    key = await _key(vault, key_id)
    await _decided(vault, who, _VERIFY, key)
    return verify_with(key, mechanism_for(key, KeyUsage.SIGN, mechanism), data, signature)


async def _use(vault: Vault, who: Principal, key_id: UUID, call: _Call) -> Used:
    if call.once and (earlier := await asyncio.to_thread(_recalled, vault, who, call.once)):
        return _used(earlier)
    if not 0 < len(call.data) <= BATCH_LIMIT:
        raise InvalidInputError(f"give 1 to {BATCH_LIMIT} items")
    if max(map(len, call.data)) > DATA_LIMIT:
        raise InvalidInputError(f"at most {DATA_LIMIT} bytes at once")
    try:
        return await _try(vault, who, await _key(vault, key_id), call)
    except (KeyStateError, KeyNotFoundError):  # it may have changed since it was cached: look again
        vault.keys.forget(key_id)
    except AuthorityChangedError:
        vault.keys.forget(key_id)
        who = await still(vault, who, call.use.action, await _key(vault, key_id))
    return await _try(vault, who, await _key(vault, key_id), call, last=True)


async def still(vault: Vault, who: Principal, action: Action, key: Key) -> Principal:
    """Ask again who calls, since authority has changed. A no is an event, and raises."""
    try:
        return await asyncio.to_thread(people.identify, vault, who.certificate)
    except NotAuthenticatedError as error:
        await vault.recorder.append(denial(who, action, Deny(str(error)), key))
        raise


async def _try(vault: Vault, who: Principal, key: Key, call: _Call, *, last: bool = False) -> Used:
    role = await _decided(vault, who, call.use, key)
    usage = key.usage if key.usage in call.use.usages else call.use.usages[0]
    mechanism = mechanism_for(key, usage, call.mechanism)
    event = _Event(who, role, call.use, key, mechanism)
    try:
        key.check_use(call.use.purpose, vault.clock())
        results = await call.device(key, mechanism)
    except KeyStateError as error:
        if last:
            await vault.recorder.append(event.refused(str(error)))
        raise
    except HsmError as error:
        outage = isinstance(error, DeviceUnavailableError)  # one event, not one a call
        if not outage and (last or not isinstance(error, KeyNotFoundError)):
            await vault.recorder.append(event.failed(error))
        raise
    return await _record(vault, event, call, results)


async def _record(vault: Vault, event: "_Event", call: _Call, results: list[bytes]) -> Used:
    once = call.once
    receipt = await vault.recorder.append(
        event.used(call.data, results),
        expect={text_of(event.key.id): event.key.version},
        once=None if once is None else (event.who.actor, once.key, once.fingerprint, results),
        authority=event.who.authority,
    )
    return Used(results, receipt.index, receipt.leaf_hash)


async def _key(vault: Vault, key_id: UUID) -> Key:
    known = vault.keys.get(key_id)
    if known is not None:
        return known
    return await asyncio.to_thread(vault.keys.load, key_id)


async def _decided(vault: Vault, who: Principal, use: _Use, key: Key) -> str:
    verdict = decide(who, use.action, vault.clock(), key=key)
    if isinstance(verdict, Deny):
        await vault.recorder.append(denial(who, use.action, verdict, key))
        raise refusal(who, verdict, key)
    return verdict.role


def _recalled(vault: Vault, who: Principal, once: Once) -> Document | None:
    with vault.database.reading() as work:
        return recall(work, who, once)


def _used(outcome: Document) -> Used:
    return Used(
        [bytes.fromhex(item) for item in outcome["results"]],
        outcome["index"],
        bytes.fromhex(outcome["leaf_hash"]),
    )


def _check_digests(key: Key, data: list[bytes]) -> None:
    sizes = DIGEST_SIZES.get(key.algorithm)
    if sizes is not None and any(len(item) not in sizes for item in data):
        raise InvalidInputError(
            f"a digest for {key.algorithm} has {sizes[0]} bytes",
            next_step="hash the payload first, or send it as a payload",
        )


class _Event(NamedTuple):
    """What the log will say of a use, whatever comes of it."""

    who: Principal
    role: str
    use: _Use
    key: Key
    mechanism: Mechanism

    def used(self, data: list[bytes], results: list[bytes]) -> AuditEvent:
        return self._event(EventType.KEY_USED, Outcome.OK, details_of(data, results))

    def refused(self, reason: str) -> AuditEvent:
        return self._event(EventType.KEY_USE_DENIED, Outcome.REFUSED, {"reason": reason})

    def failed(self, error: HsmError) -> AuditEvent:
        return self._event(
            EventType.KEY_USED, Outcome.FAIL, {"code": error.code, "reason": str(error)}
        )

    def _event(self, kind: EventType, outcome: Outcome, more: Document) -> AuditEvent:
        about: Document = {
            "key": text_of(self.key.id),
            "action": str(self.use.action),
            "mechanism": str(self.mechanism),
        }
        return AuditEvent(
            type=kind,
            outcome=outcome,
            operation=uuid4(),
            stream=key_stream(self.key.id),
            actor=self.who.actor,
            role=self.role,
            scope=self.key.scope,
            payload={**about, **more},
        )


# The canonical JSON of a number and two digests in hex, without an encoder: there are thousands.
_DETAIL = '{"digest":"%(digest)s","i":%(i)d,"result_sha256":"%(result_sha256)s"}'


def details_of(data: list[bytes], results: list[bytes]) -> Document:
    """Say what was used on what, by hashes alone; a batch stays provable one by one."""
    pairs = [
        {"digest": sha256(item).hexdigest(), "result_sha256": sha256(result).hexdigest()}
        for item, result in zip(data, results, strict=True)
    ]
    if len(pairs) == 1:
        return {"count": 1, **pairs[0]}
    leaves = [leaf_hash((_DETAIL % {"i": at, **pair}).encode()) for at, pair in enumerate(pairs)]
    return {"count": len(pairs), "details_root": root_of(leaves).hex(), "details": list(pairs)}


def verify_with(key: Key, mechanism: Mechanism, data: bytes, signature: bytes) -> bool:
    """Check one signature with `cryptography`. ECDSA signatures are raw r || s."""
    public = serialization.load_der_public_key(key.public_key)
    try:
        match public:
            case ec.EllipticCurvePublicKey():
                half = len(signature) // 2
                r, s = (int.from_bytes(part) for part in (signature[:half], signature[half:]))
                digest = hashes.SHA384() if key.algorithm is Algorithm.EC_P384 else hashes.SHA256()
                algorithm = ec.ECDSA(utils.Prehashed(digest))
                public.verify(utils.encode_dss_signature(r, s), data, algorithm)
            case ed25519.Ed25519PublicKey():
                public.verify(signature, data)
            case rsa.RSAPublicKey():
                hashed = utils.Prehashed(hashes.SHA256())
                public.verify(signature, data, _padding(mechanism), hashed)
            case _:
                return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _padding(mechanism: Mechanism) -> padding.AsymmetricPadding:
    if mechanism is Mechanism.RSA_PKCS1_SHA256:
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(hashes.SHA256()), 32)
