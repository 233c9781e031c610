"""Backups behind the gate: the key that wraps them, its shares, and what leaves wrapped.

Shares are made here and sealed here, each to its holder, so that no two of them ever meet outside
this process before a restoration. What a backup holds is wrapped by the device itself.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from hsm.device import Device
from hsm.errors import DeviceUnavailableError, HsmError, IntegrityError
from hsm.types import Algorithm, KeySpec, KeyUsage
from keyvault import sealed, signatures, splitting
from keyvault.domain.approvals import Request
from keyvault.domain.authority import Authority
from keyvault.domain.backups import BACKUP_CONTEXT, SHARE_CONTEXT
from keyvault.domain.canonical import Document, canonical, parse
from keyvault.domain.commands import DestroyBackupKey, Holder, MakeBackupKey
from keyvault.domain.errors import InvalidInputError, KeyStateError, NotPermittedError, VaultError
from keyvault.domain.shareholding import check_holder
from keyvault.gate.register import Register
from keyvault.gate.services import BACKED_UP, EVIDENCE, SERVICE_KEY_IDS, sign_p256

SECRET = 32  # bytes of a backup key
MAX_KEYS = 128  # wrapped in one call, so that no other call waits for long
STATEMENT_LIMIT = 65_536  # bytes


class Backups:
    """What the keys gate does for backups, over its own device and register."""

    def __init__(self, device: Device, register: Register) -> None:
        self._device = device
        self._register = register

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {"back_up": self.back_up, "sign_backup": self.sign_backup}

    def making(
        self, request: Request, command: MakeBackupKey, authority: Authority
    ) -> Callable[[], Document]:
        """Check every holder before the request is redeemed; return what makes the key."""
        for holder in command.holders:
            check_holder(authority, holder, signatures.verify)
        return partial(self._make, request, command)

    def destroying(self, command: DestroyBackupKey) -> Callable[[], Document]:
        key_id = command.backup_key.bytes
        self._request(key_id)
        return lambda: {"destroyed": self._device.destroy(key_id)}

    def back_up(self, backup_key: bytes, key_ids: list[bytes]) -> list[Document]:
        """Return {"blob"} for each key, or why there is none: {"code", "message"}.

        The keys are of the backup key's own scope; one without a scope takes all of them, and the
        service's own.
        """
        if not 0 < len(key_ids) <= MAX_KEYS:
            raise InvalidInputError(f"back up 1 to {MAX_KEYS} keys at a time")
        request = self._request(backup_key)
        return [self._wrapped(request, backup_key, key_id) for key_id in key_ids]

    def sign_backup(self, statement: bytes) -> bytes:
        """Sign a backup's last line with the evidence key: DER, over its context and the line."""
        document = parse(statement, max_size=STATEMENT_LIMIT)
        if set(document) < {"backup", "backup_key", "lines_sha256"}:
            raise InvalidInputError("this is no statement about a backup")
        return sign_p256(self._device, EVIDENCE, BACKUP_CONTEXT + statement)

    def _wrapped(self, request: Request, backup_key: bytes, key_id: bytes) -> Document:
        try:
            self._check_scope(request, key_id)
            told: Document = {}
            if spec := BACKED_UP.get(key_id):  # the register of the house does not know these
                made = self._device.inspect(spec)
                told = {"public_key": made.public_key, "check_value": made.check_value}
            return {**told, "blob": self._device.wrap(backup_key, key_id)}
        except DeviceUnavailableError:
            raise
        except (HsmError, VaultError) as error:
            return {"code": error.code, "message": str(error)}

    def _check_scope(self, request: Request, key_id: bytes) -> None:
        if request.scope is None and key_id in BACKED_UP:
            return
        if key_id in SERVICE_KEY_IDS:
            raise NotPermittedError("the service's own keys are backed up with every scope alone")
        order = self._register.get(UUID(bytes=key_id))
        if order is None or request.scope not in (None, order.scope):
            raise NotPermittedError("the backup key is for another scope")

    def _request(self, key_id: bytes) -> Request:
        """The order of a backup key that this gate redeemed. Raises `KeyStateError`."""
        request = self._register.get(UUID(bytes=key_id))
        if request is None or not isinstance(request.command, MakeBackupKey):
            raise KeyStateError("this gate redeemed no order for such a backup key")
        return request

    def _make(self, request: Request, command: MakeBackupKey) -> Document:
        secret = self._device.random(SECRET)
        words = splitting.split(secret, command.threshold, len(command.holders))
        if splitting.joined(words[-command.threshold :]) != secret:
            raise IntegrityError("the shares do not give the key back; none was handed out")
        made = enter(self._device, spec_of(request.id, command.label), secret)
        holders = zip(command.holders, words, strict=True)
        shares = [_sealed(request.id, holder, one) for holder, one in holders]
        share_set = splitting.part_of(words[0]).share_set
        return {"check_value": made, "share_set": share_set, "shares": shares}


def spec_of(key: UUID, label: str) -> KeySpec:
    usage = KeyUsage.WRAP
    return KeySpec(key.bytes, f"backup {label}"[:64], Algorithm.AES_256, usage, trusted=True)


def enter(device: Device, spec: KeySpec, secret: bytes) -> str:
    """Put a secret into the token as a key that never leaves it again; return its check value."""
    mask = device.random(len(secret))
    other = bytes(a ^ b for a, b in zip(mask, secret, strict=True))
    parts = lambda: bytearray(mask), lambda: bytearray(other)
    return device.combine(spec, parts, lambda _: None).made.check_value


def _sealed(backup_key: UUID, holder: Holder, words: str) -> Document:
    part = splitting.part_of(words)
    told: Document = {
        "backup_key": str(backup_key),
        "holder": holder.person,
        "number": part.number,
        "set": part.share_set,
        "threshold": part.threshold,
        "words": words,
    }
    return {
        "number": part.number,
        "holder": holder.person,
        "fingerprint": splitting.fingerprint(words),
        "envelope": sealed.seal(holder.spki, canonical(told), SHARE_CONTEXT + backup_key.bytes),
    }
