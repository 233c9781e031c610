"""The lines of a backup as a gate reads them: strictly, one key each, and proved by use."""

from base64 import b64decode
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from hsm.device import Device
from hsm.types import KeySpec, KeyUsage, WrappedKey
from keyvault.domain.canonical import Document, parse
from keyvault.domain.errors import BackupInvalidError, VaultError
from keyvault.domain.keys import MECHANISMS
from keyvault.gate.documents import spec_of, wrapped_of

LINE_LIMIT = 65_536  # bytes
_BYTES = ("blob", "mac", "public_key", "kek_id", "mac_key_id")


@dataclass(frozen=True, slots=True)
class Item:
    """One key: its blob under the backup key, or its record as it rests in the database."""

    spec: KeySpec
    public_key: bytes
    check_value: str
    blob: bytes = b""
    wrapped: WrappedKey | None = None

    @classmethod
    def read(cls, document: Document) -> Self:
        """Raises `BackupInvalidError`."""
        try:
            key_id = UUID(document["key"]).bytes
            spec = spec_of({**document["spec"], "key_id": key_id})
            public = b64decode(document["public_key"], validate=True)
            if document["kind"] == "key":
                blob = b64decode(document["blob"], validate=True)
                return cls(spec, public, str(document["check_value"]), blob)
            record = {name: b64decode(document[name], validate=True) for name in _BYTES}
            told = {**document["spec"], "key_id": key_id}
            return cls(spec, public, "", b"", wrapped_of({**record, "spec": told}))
        except (KeyError, TypeError, ValueError, VaultError) as error:
            raise BackupInvalidError("a line of the backup is not what it should be") from error


def parsed(line: bytes) -> Document:
    """Read one line. Raises `BackupInvalidError`."""
    try:
        return parse(line, max_size=LINE_LIMIT) if line else {}
    except VaultError as error:
        raise BackupInvalidError("a line of the backup cannot be read") from error


def prove(device: Device, wrapped: WrappedKey) -> None:
    """Open a key that rests outside, which checks its MAC, and use it once where it can be."""
    spec = wrapped.spec
    mechanism = MECHANISMS[spec.usage, spec.algorithm]
    if spec.algorithm.is_pair:
        device.public_key(wrapped)
    elif spec.usage is KeyUsage.ENCRYPT:
        device.encrypt(wrapped, mechanism, b"proof")
    else:
        device.mac(wrapped, mechanism, b"proof", bytes(12) if spec.usage is KeyUsage.GMAC else b"")
