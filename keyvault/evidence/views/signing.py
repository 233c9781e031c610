"""A signature in a PDF (PAdES), made by a key that never leaves its HSM."""

import io
from collections.abc import Callable
from typing import Any

from asn1crypto.x509 import Certificate  # type: ignore[import-untyped]
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import signers
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.signers import PdfSignatureMetadata
from pyhanko_certvalidator.registry import SimpleCertificateStore

_SIGNATURE_SIZE = 72  # bytes of ECDSA on P-256 in DER, at most


class _Elsewhere(signers.Signer):
    """Hands the signed attributes to somebody who can sign them."""

    def __init__(self, certificate: Certificate, sign: Callable[[bytes], bytes]) -> None:
        store: Any = SimpleCertificateStore()  # type: ignore[no-untyped-call]
        store.register(certificate)
        super().__init__(signing_cert=certificate, cert_registry=store)
        self._sign = sign

    async def async_sign_raw(
        self,
        data: bytes,
        digest_algorithm: str,  # noqa: ARG002  (the key signs over SHA-256 alone)
        dry_run: bool = False,
    ) -> bytes:
        return bytes(_SIGNATURE_SIZE) if dry_run else self._sign(data)


def signed_pdf(pdf: bytes, certificate: bytes, sign: Callable[[bytes], bytes], why: str) -> bytes:
    """Return the document with a signature over all of it.

    `certificate` is DER. `sign` gets CMS signed attributes and returns ECDSA with SHA-256 in DER.
    """
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    about: Any = PdfSignatureMetadata(
        field_name="Evidence", md_algorithm="sha256", reason=why, subfilter=SigSeedSubFilter.PADES
    )
    signer = _Elsewhere(Certificate.load(certificate), sign)
    out = signers.PdfSigner(about, signer=signer).sign_pdf(writer)
    return bytes(out.getvalue())
