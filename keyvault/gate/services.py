"""The service's own keys: what they sign is built here, so nobody else chooses their messages."""

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hsm.device import Device
from hsm.types import Mechanism, VerifyPolicy
from keyvault.domain.errors import InvalidInputError, NotPermittedError
from keyvault.domain.keys import service_key_id

SESSION_CA, EVIDENCE, KEK, MAC = "session-ca", "evidence", "kek", "mac"
LOG, LOG_ED25519 = "log", "log-ed25519"
SERVICE_KEY_IDS = frozenset(
    service_key_id(name) for name in (SESSION_CA, EVIDENCE, KEK, MAC, LOG, LOG_ED25519)
)
MANIFEST_CONTEXT = b"keyvault-manifest-v1\n"
MANIFEST_LIMIT = 1_048_576  # bytes


def ordinary(key_id: bytes) -> bytes:
    """Return the id of a key that is not the service's own. Raises `NotPermittedError`."""
    if key_id in SERVICE_KEY_IDS:
        raise NotPermittedError("the service's own keys serve the service alone")
    return key_id


def sign_p256(device: Device, name: str, message: bytes) -> bytes:
    """Sign with a P-256 service key and SHA-256, in DER, checked before it is released."""
    raw = device.sign(
        service_key_id(name), Mechanism.ECDSA, sha256(message).digest(), verify=VerifyPolicy.ALWAYS
    )
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))


def sign_manifest(device: Device, manifest: bytes) -> bytes:
    """Sign an evidence manifest: DER, over `MANIFEST_CONTEXT` and the manifest."""
    if len(manifest) > MANIFEST_LIMIT:
        raise InvalidInputError(f"a manifest is at most {MANIFEST_LIMIT} bytes long")
    return sign_p256(device, EVIDENCE, MANIFEST_CONTEXT + manifest)
