"""Our own CA on the wire."""

from typing import Literal, Self
from uuid import UUID

from api.rest.schemas.common import Blob, Bytes, Moment, Page, Wire
from api.rest.schemas.tokens import SignedIn
from keyvault.operations.ca import Export
from keyvault.store.issued import Ca, Issued, Status


class CaOut(Wire):
    """One of our authorities, by the key that signs for it. A root has no parent."""

    key: UUID
    parent: UUID | None
    name: str
    certificate: Bytes
    not_before: Moment
    not_after: Moment

    @classmethod
    def of(cls, ca: Ca) -> Self:
        return cls(**{name: getattr(ca, name) for name in cls.model_fields})


class CasOut(Wire):
    items: list[CaOut]


class IssuedOut(Wire):
    """A certificate of ours. `serial` is in hex."""

    serial: str
    issuer: UUID
    status: Status
    profile: str
    slot: str
    token: UUID | None
    spki_sha256: str
    certificate: Bytes
    reason: str
    not_before: Moment
    not_after: Moment
    revoked_at: Moment | None

    @classmethod
    def of(cls, one: Issued) -> Self:
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


class IssuedPageOut(Page[IssuedOut]):
    """What an authority issued, newest first."""


class CertifyIn(SignedIn):
    """A registrar's statement, and the PKCS#10 request (DER) whose digest it names."""

    request: Blob


class CertifiedOut(Wire):
    certificate: Bytes


class RevocationIn(Wire):
    """Why, in the words of RFC 5280."""

    reason: Literal["keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"]


class ExportOut(Wire):
    """All that an authority issued, as CSV, and a manifest with its digest that is signed."""

    csv: Bytes
    manifest: Bytes
    signature: Bytes

    @classmethod
    def of(cls, export: Export) -> Self:
        return cls(**{name: getattr(export, name) for name in cls.model_fields})
