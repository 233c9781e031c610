"""Signed files on the wire: never the file, only its digest."""

from typing import Annotated, Self

from pydantic import Field

from api.rest.schemas.common import Bytes, Hex64, Moment, Text, Wire, _bytes
from keyvault.operations.cms import CMS_LIMIT, Signer
from keyvault.operations.files import File

_Signature = _bytes(1, CMS_LIMIT)


class SignedFileIn(Wire):
    """A file by its name and SHA-256, and its detached CMS signature in DER."""

    name: Annotated[Text, Field(description="For the record; no path")]
    sha256: Hex64
    signature: _Signature  # type: ignore[valid-type]  # made by a function

    def read(self) -> File:
        return File(self.name, bytes.fromhex(self.sha256), self.signature)


class SignerOut(Wire):
    """Who signed, and when they said so."""

    subject: str
    serial: str
    signed_at: Moment
    certificate: Bytes

    @classmethod
    def of(cls, signer: Signer) -> Self:
        return cls(
            subject=signer.subject,
            serial=f"{signer.serial:x}",
            signed_at=signer.signed_at,
            certificate=signer.certificate,
        )
