"""Keys for messages: the shared secret stays behind the gate, MACs and plaintexts come back."""

from base64 import b64encode

from fastapi import APIRouter, Depends

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas import agreement as wire
from api.rest.schemas.common import EventRef, Id
from keyvault.operations import agreement
from keyvault.operations.use import Used

router = APIRouter(tags=["agreement"], dependencies=[Depends(known_parameters)])
_USE = documented(403, 404, 408, 409, 413, 415, 502)


@router.post(
    "/v1/keys/{key_id:id}/agreed-macs",
    status_code=201,
    operation_id="derive_and_mac",
    responses=_USE,
)
async def derive_and_mac(
    key_id: Id, body: wire.AgreedMacIn, vault: V, who: Who
) -> wire.AgreedMacOut:
    """MAC a message of ours. The same call again answers the same; its counter serves no other."""
    used = await agreement.mac(vault, who, key_id, body.to(), body.data)
    return wire.AgreedMacOut(mac=_text(used), event=_event(used))


@router.post(
    "/v1/keys/{key_id:id}/agreed-mac-checks",
    operation_id="derive_and_check_mac",
    responses=_USE,
)
async def derive_and_check_mac(
    key_id: Id, body: wire.AgreedMacCheckIn, vault: V, who: Who
) -> wire.AgreedMacCheckOut:
    """Check the MAC of a device's response or alert."""
    valid = await agreement.check_mac(vault, who, key_id, body.by(), body.data, body.mac)
    return wire.AgreedMacCheckOut(valid=valid)


@router.post(
    "/v1/keys/{key_id:id}/agreed-encryptions",
    status_code=201,
    operation_id="derive_and_encrypt",
    responses=_USE,
)
async def derive_and_encrypt(
    key_id: Id, body: wire.AgreedEncryptIn, vault: V, who: Who
) -> wire.AgreedEncryptOut:
    """Encrypt for a device. Repeatable like a MAC."""
    used = await agreement.encrypt(vault, who, key_id, body.to(), body.plaintext, body.aad)
    return wire.AgreedEncryptOut(ciphertext=_text(used), event=_event(used))


@router.post(
    "/v1/keys/{key_id:id}/agreed-decryptions",
    status_code=201,
    operation_id="derive_and_decrypt",
    responses=_USE,
)
async def derive_and_decrypt(
    key_id: Id, body: wire.AgreedDecryptIn, vault: V, who: Who
) -> wire.AgreedDecryptOut:
    """Decrypt an attribute that a device encrypted for us."""
    used = await agreement.decrypt(vault, who, key_id, body.by(), body.ciphertext, body.aad)
    return wire.AgreedDecryptOut(plaintext=_text(used), event=_event(used))


def _text(used: Used) -> str:
    return b64encode(used.results[0]).decode()


def _event(used: Used) -> EventRef:
    return EventRef(index=used.index, leaf_hash=used.leaf_hash.hex())
