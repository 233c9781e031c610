"""Keys on the wire: orders, the key itself, its changes."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import (
    WHOLE,
    Blob,
    Bytes,
    Id,
    Moment,
    Page,
    ScopeIn,
    ScopeOut,
    Text,
    Wire,
)
from hsm.types import Algorithm, KeyUsage, VerifyPolicy
from keyvault.domain.commands.keys import MAX_DAYS
from keyvault.domain.gbcs import CellUsage
from keyvault.domain.keys import Key, KeyState, Residence

Days = Annotated[int, Field(ge=1, le=MAX_DAYS), WHOLE]


class KeyTerms(Wire):
    """What a key shall be. `process_days` is at least `protect_days` (SP 800-57 part 1, 5.3)."""

    scope: ScopeIn
    label: Text
    algorithm: Algorithm
    usage: KeyUsage
    key_class: Text
    protect_days: Days
    process_days: Days


class OrderIn(KeyTerms):
    """An order for a new key; it is generated inside the device once enough people approve.

    One that `supersedes` another takes over from it once it is activated. `cell_usage` is of keys
    to agree with: which slots of devices they serve, management if not said.
    """

    need: Text | None = None
    supersedes: Id | None = None
    cell_usage: CellUsage | None = None


class ImportIn(KeyTerms):
    """A key that another party wrapped with AES-KWP (SP 800-38F) under our key `kek`."""

    kek: Id
    blob: Blob


class KeyExportIn(Wire):
    """Wrap the key with AES-KWP under `kek`, where its class allows it."""

    kek: Id
    reason: Text


class KeyOut(Wire):
    """A key's metadata; Secret Key Material never travels."""

    id: UUID
    scope: ScopeOut
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    key_class: str
    residence: Residence
    verify: VerifyPolicy
    extractable: bool
    state: KeyState
    version: int
    owner: str
    supersedes: UUID | None
    created_at: Moment
    protect_until: Moment
    process_until: Moment
    active_from: Moment | None
    compromised_at: Moment | None
    destroyed_at: Moment | None
    check_value: str
    public_key: Bytes | None = Field(description="SubjectPublicKeyInfo in DER, base64")

    @classmethod
    def of(cls, key: Key) -> "KeyOut":
        """Translate; every field by its name."""
        names = [name for name in cls.model_fields if name not in {"scope", "public_key"}]
        return cls(
            scope=ScopeOut.of(key.scope),
            public_key=key.public_key or None,
            **{name: getattr(key, name) for name in names},
        )


class KeysOut(Page[KeyOut]):
    """Keys, oldest first."""


class JwkOut(Wire):
    """A public key as RFC 7517 writes it; `kid` is its RFC 7638 thumbprint."""

    kty: str
    use: str | None = None
    kid: str
    crv: str | None = None
    x: str | None = None
    y: str | None = None
    n: str | None = None
    e: str | None = None
