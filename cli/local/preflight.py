"""What doctor asks of a token, in a process that lives for one question.

Only gates load PKCS#11 modules for longer. The PIN comes on stdin, the answer goes to stdout:
`python -m cli.local.preflight keys|log`, with the token's URI as the first line of stdin.
"""

import hashlib
import json
import sys
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from hsm.device import Device
from hsm.errors import HsmError
from hsm.registry import open_device
from hsm.types import Mechanism
from keyvault.domain.keys import service_key_id

TEST_KEYS = {"keys": "evidence", "log": "log"}  # both sign with ECDSA on P-256
TEST_MESSAGE = b"keyvault-preflight-v1"  # the context of no document, so it proves nothing else


def main() -> None:
    """Answer in one JSON object; a device's refusal is an answer too."""
    module, uri, pin = sys.argv[1], sys.stdin.readline().strip(), sys.stdin.readline().strip()
    try:
        answer = examined(module, uri, pin.encode())
    except HsmError as error:
        answer = {"error": str(error), "code": error.code, "next_step": error.next_step}
    sys.stdout.write(json.dumps(answer))


def examined(module: str, uri: str, pin: bytes) -> dict[str, Any]:
    """Log in, see which mechanisms work, and sign once."""
    device = open_device(uri, pin)
    try:
        return {
            "library": device.info.library,
            "mechanisms": list(map(str, device.info.mechanisms)),
            "signature": _signature(device, service_key_id(TEST_KEYS[module])),
        }
    finally:
        device.close()


def _signature(device: Device, key_id: bytes) -> str:
    """Return nothing if a signature was made and is good, else what is wrong."""
    digest = hashlib.sha256(TEST_MESSAGE).digest()
    public = serialization.load_der_public_key(device.public_key(key_id))
    raw = device.sign(key_id, Mechanism.ECDSA, digest)
    r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return "the service's key is not an EC key"
    try:
        public.verify(
            utils.encode_dss_signature(r, s), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        )
    except InvalidSignature:
        return "the token made a signature that is not valid"
    return ""


if __name__ == "__main__":
    main()
