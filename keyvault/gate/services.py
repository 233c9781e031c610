"""The service's own keys: what they sign is built here, so nobody else chooses their messages."""

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hsm.device import Device
from hsm.types import Algorithm, KeySpec, KeyUsage, Mechanism, VerifyPolicy
from keyvault.domain.errors import InvalidInputError, NotPermittedError
from keyvault.domain.keys import MAX_KEKS, kek_name, service_key_id

SESSION_CA, EVIDENCE, KEK, MAC = "session-ca", "evidence", "kek", "mac"
LOG, LOG_ED25519 = "log", "log-ed25519"
SPARE = "spare"  # of the second token's gate alone
_KINDS = {
    KEK: (Algorithm.AES_256, KeyUsage.WRAP),
    MAC: (Algorithm.HMAC_SHA256, KeyUsage.MAC),
    SESSION_CA: (Algorithm.EC_P256, KeyUsage.SIGN),
    EVIDENCE: (Algorithm.EC_P256, KeyUsage.SIGN),
    LOG: (Algorithm.EC_P256, KeyUsage.SIGN),
    SPARE: (Algorithm.EC_P256, KeyUsage.SIGN),
    LOG_ED25519: (Algorithm.ED25519, KeyUsage.SIGN),
}
_KINDS |= dict.fromkeys(map(kek_name, range(2, MAX_KEKS + 1)), _KINDS[KEK])
_KEKS = tuple(map(kek_name, range(1, MAX_KEKS + 1)))
SERVICE_KEY_IDS = frozenset(map(service_key_id, _KINDS))
# What a backup of every scope holds of them: a second token serves nobody without them. The log's
# own keys never leave their token: two of those could sign two histories.
_LEAVING = (*_KEKS, MAC, SESSION_CA, EVIDENCE)
MANIFEST_CONTEXT = b"keyvault-manifest-v1\n"
MANIFEST_LIMIT = 1_048_576  # bytes


def service_spec(name: str) -> KeySpec:
    """What a service key is; what can be backed up leaves wrapped under a backup key alone."""
    key_id = service_key_id(name)
    leaves, label = name in _LEAVING, f"keyvault {name}"
    return KeySpec(key_id, label, *_KINDS[name], extractable=leaves, trusted=name in _KEKS)


BACKED_UP = {service_key_id(name): service_spec(name) for name in _LEAVING}


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
