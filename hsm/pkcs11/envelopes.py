"""Envelopes as CKM_RSA_AES_KEY_WRAP makes them: RSA-OAEP of an AES key, then AES-KWP of the key.

OAEP is with SHA-256 and MGF1 with SHA-256, without a label. A module that knows SHA-1 alone does
the RSA, and this process takes the padding off: the pair opens the envelope of one handover, so
that nobody can ask it often enough to learn from how long that takes.
"""

import hmac
import os
from hashlib import sha256
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import KeyType
from pkcs11 import Mechanism as Ckm
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import MGF

from hsm.errors import DataInvalidError, IntegrityError
from hsm.pkcs11 import objects, spki, templates, xoring
from hsm.pkcs11.held import Held
from hsm.pkcs11.library import MAX_BLOB
from hsm.pkcs11.making import Maker
from hsm.types import Algorithm, KeySpec, KeyUsage

RSA_SIZES = range(2048, 4097)  # bits of a recipient's key
DIGEST = sha256().digest_size
LABEL = sha256(b"").digest()
TRIAL = 32  # bytes
KEK_ID = b"keyvault-envelop"


def transport(maker: Maker, key_id: bytes, algorithm: Algorithm) -> Held:
    """An RSA pair of this session that opens envelopes, tried out."""
    spec = KeySpec(key_id, "transport", algorithm, KeyUsage.DECRYPT)
    wanted = templates.private_key(spec, maker.vendor, token=False)
    public, private = maker.session.generate_keypair(
        KeyType.RSA,
        templates.RSA_BITS[algorithm],
        store=False,
        capabilities=0,
        public_template=templates.public_key(spec, maker.vendor, token=False),
        private_template=wanted,
    )
    try:
        objects.read_back(private, wanted, maker.vendor)
        key = spki.from_attributes(algorithm, public.get_attributes(list(objects.KINDS)))
        held = maker.hold(spec, private, key)
        _try(held)
    except BaseException:
        objects.discard(private)
        raise
    finally:
        public.destroy()
    return held


def opened(maker: Maker, transport: Held, envelope: bytes) -> tuple[Held, bytes]:
    """The AES key of an envelope, as an object of this session, and what it wraps."""
    size = templates.RSA_BITS[transport.spec.algorithm] // 8
    if not size < len(envelope) <= size + MAX_BLOB:
        raise DataInvalidError(f"an envelope is {size} bytes of RSA and then a wrapped key")
    value = _decrypted(transport, envelope[:size])
    try:
        if len(value) not in xoring.OF_SIZE:
            raise _refused()
        return _kek(maker, value), envelope[size:]
    finally:
        xoring.wipe(value)


def sealed(maker: Maker, held: Held, recipient: bytes) -> bytes:
    """Wrap a key under an AES key made for this, and that for the recipient's RSA key."""
    to = _recipient(recipient)
    value = bytearray(maker.session.generate_random(TRIAL * 8))
    try:
        kek = _kek(maker, value)
        try:
            blob = kek.wrap(held.secret)
        finally:
            kek.secret.destroy()
        return to.encrypt(bytes(value), spki.OAEP) + blob
    finally:
        xoring.wipe(value)


def _recipient(der: bytes) -> RSAPublicKey:
    try:
        key = load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataInvalidError("not a SubjectPublicKeyInfo in DER") from error
    if not isinstance(key, RSAPublicKey) or key.key_size not in RSA_SIZES:
        raise DataInvalidError(f"an RSA key of {RSA_SIZES[0]} to {RSA_SIZES[-1]} bits was expected")
    return key


def _kek(maker: Maker, value: bytearray) -> Held:
    spec = KeySpec(KEK_ID, "envelope", xoring.algorithm_of(value), KeyUsage.WRAP)
    template = templates.secret_key(spec, maker.vendor, token=False)
    return maker.hold(spec, xoring.created(maker, template, value), None)


def _try(held: Held) -> None:
    """Raises `IntegrityError` if the pair does not open what its public half has closed."""
    text = os.urandom(TRIAL)
    if not isinstance(held.public, RSAPublicKey) or not hmac.compare_digest(
        _decrypted(held, held.public.encrypt(text, spki.OAEP)), text
    ):
        raise IntegrityError("the new RSA pair does not open what its public half has closed")


def _decrypted(held: Held, sealed: bytes) -> bytearray:
    """RSAES-OAEP, in the module where it knows SHA-256."""
    key = held.secret
    try:
        if not held.vendor.oaep_without_sha256:
            param = (Ckm.SHA256, MGF.SHA256, None)
            how: dict[str, Any] = {"mechanism": Ckm.RSA_PKCS_OAEP, "mechanism_param": param}
            return bytearray(key.decrypt(sealed, **how))
        size = len(sealed)
        return unpadded(bytearray(key.decrypt(sealed, mechanism=Ckm.RSA_X_509).rjust(size, b"\0")))
    except PKCS11Error as error:
        if held.refused(error):
            raise _refused() from error
        raise


def unpadded(block: bytearray) -> bytearray:
    """EME-OAEP decoding (RFC 8017, 7.1.2) with SHA-256; the block is overwritten.

    Everything is looked at before anything is said. Raises `DataInvalidError`.
    """
    seed, data = block[1 : DIGEST + 1], block[DIGEST + 1 :]
    xoring.into(seed, _mask(data, len(seed)))
    xoring.into(data, _mask(seed, len(data)))
    rest = data[DIGEST:]
    start = rest.find(1)
    good = (
        (block[0] == 0)
        & hmac.compare_digest(data[:DIGEST], LABEL)
        & (start >= 0)
        & (not any(rest[: max(start, 0)]))
    )
    text = rest[start + 1 :]
    for buffer in (block, seed, data, rest):
        xoring.wipe(buffer)
    if not good:
        raise _refused()
    return text


def _mask(seed: bytearray, size: int) -> bytearray:
    """MGF1 with SHA-256."""
    blocks = (sha256(seed + at.to_bytes(4)).digest() for at in range(-(-size // DIGEST)))
    return bytearray(b"".join(blocks)[:size])


def _refused() -> DataInvalidError:
    return DataInvalidError(
        "the envelope does not open",
        next_step="Wrap the key for the public key of this handover: RSA-OAEP with SHA-256.",
    )
