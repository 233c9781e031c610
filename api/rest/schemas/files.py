"""Signed files on the wire: never the file, only its digest."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints

from api.rest.schemas.common import Bytes, Hex64, Moment, Text, Wire, _bytes
from keyvault.operations.cms import CMS_LIMIT, Digests, Signer
from keyvault.operations.files import File

_Signature = _bytes(1, CMS_LIMIT)
Hex96 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]


class SignedFileIn(Wire):
    """A file by its name and hashes, and its detached CMS signature in DER."""

    name: Annotated[Text, Field(description="For the record; no path")]
    sha256: Hex64
    sha384: Annotated[
        Hex96 | None, Field(description="Where a key of P-384 signed: its hash is SHA-384")
    ] = None
    signature: _Signature  # type: ignore[valid-type]  # made by a function

    def read(self) -> File:
        digests = Digests(bytes.fromhex(self.sha256), bytes.fromhex(self.sha384 or ""))
        return File(self.name, digests, self.signature)


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
