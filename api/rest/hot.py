"""The data plane: uses of keys, parsed and answered with as little between as can be.

Each use is declared once. FastAPI documents it and serves the odd call; plain ones come from
`api.express`, past ASGI, routing and dependencies, which were most of a signature's CPU.
"""

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.names import PRINCIPAL, TEMPLATE
from api.rest.auth import Repeat, V, Who, known_parameters, once_of
from api.rest.problems import documented
from api.rest.schemas import agreement as agreed
from api.rest.schemas import use as wire
from api.rest.schemas.common import UUID_TEXT, Id, Wire
from keyvault.domain.access import Principal
from keyvault.operations import agreement, use
from keyvault.operations.use import Used
from keyvault.operations.vault import Once, Vault

PREFIX = "/v1/keys/"
Run = Callable[[Vault, Principal, UUID, Any, Once | None], Awaitable[dict[str, Any]]]


async def _sign(
    vault: Vault, who: Principal, key_id: UUID, body: wire.SignIn, once: Once | None
) -> dict[str, Any]:
    used = await use.sign(vault, who, key_id, body.data, body.chosen, once)
    return _many("signatures", used)


async def _verify(
    vault: Vault, who: Principal, key_id: UUID, body: wire.VerifyIn, _once: Once | None
) -> dict[str, Any]:
    valid = await use.verify(vault, who, key_id, body.data, body.signature, body.chosen)
    return {"valid": valid}


async def _encrypt(
    vault: Vault, who: Principal, key_id: UUID, body: wire.EncryptIn, once: Once | None
) -> dict[str, Any]:
    used = await use.encrypt(vault, who, key_id, body.texts, body.aad, once)
    return _many("ciphertexts", used) if body.plaintexts else _one("ciphertext", used)


async def _decrypt(
    vault: Vault, who: Principal, key_id: UUID, body: wire.DecryptIn, _once: Once | None
) -> dict[str, Any]:
    used = await use.decrypt(vault, who, key_id, body.ciphertext, body.aad)
    return _one("plaintext", used)


async def _mac(
    vault: Vault, who: Principal, key_id: UUID, body: wire.MacIn, once: Once | None
) -> dict[str, Any]:
    used = await use.mac(vault, who, key_id, body.messages, body.iv, once)
    return _many("macs", used) if body.items else _one("mac", used)


async def _agreed_mac(
    vault: Vault, who: Principal, key_id: UUID, body: agreed.AgreedMacIn, _once: Once | None
) -> dict[str, Any]:
    used = await agreement.mac(vault, who, key_id, body.to(), body.data)
    return _one("mac", used)


async def _agreed_mac_check(
    vault: Vault, who: Principal, key_id: UUID, body: agreed.AgreedMacCheckIn, _once: Once | None
) -> dict[str, Any]:
    valid = await agreement.check_mac(vault, who, key_id, body.by(), body.data, body.mac)
    return {"valid": valid}


async def _agreed_encrypt(
    vault: Vault, who: Principal, key_id: UUID, body: agreed.AgreedEncryptIn, _once: Once | None
) -> dict[str, Any]:
    used = await agreement.encrypt(vault, who, key_id, body.to(), body.plaintext, body.aad)
    return _one("ciphertext", used)


async def _agreed_decrypt(
    vault: Vault, who: Principal, key_id: UUID, body: agreed.AgreedDecryptIn, _once: Once | None
) -> dict[str, Any]:
    used = await agreement.decrypt(vault, who, key_id, body.by(), body.ciphertext, body.aad)
    return _one("plaintext", used)


def _one(name: str, used: Used) -> dict[str, Any]:
    return {name: _text(used.results[0]), "event": _event(used)}


def _many(name: str, used: Used) -> dict[str, Any]:
    return {name: [_text(item) for item in used.results], "event": _event(used)}


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _event(used: Used) -> dict[str, Any]:
    return {"index": used.index, "leaf_hash": used.leaf_hash.hex()}


@dataclass(frozen=True, slots=True)
class HotUse:
    """One use of a key: what comes in, what goes out, which operation runs between."""

    verb: str
    operation_id: str
    summary: str
    takes: type[Wire]
    gives: type[Wire]
    run: Run
    status: int = 201
    repeatable: bool = False  # takes an Idempotency-Key
    tag: str = "use"
    description: str | None = None

    @property
    def template(self) -> str:
        return f"{PREFIX}{{key_id}}/{self.verb}"


USES = (
    HotUse("signatures", "sign", "Sign one or many digests", wire.SignIn, wire.SignOut, _sign,
           repeatable=True),
    HotUse("verifications", "verify", "Check a signature", wire.VerifyIn, wire.VerifyOut, _verify,
           status=200),
    HotUse("encryptions", "encrypt", "Encrypt one or many texts by AES-GCM", wire.EncryptIn,
           wire.EncryptOut, _encrypt, repeatable=True),
    HotUse("decryptions", "decrypt", "Decrypt by AES-GCM or RSA-OAEP", wire.DecryptIn,
           wire.DecryptOut, _decrypt),
    HotUse("macs", "mac", "Compute one or many MACs", wire.MacIn, wire.MacOut, _mac,
           repeatable=True),
    HotUse("agreed-macs", "derive_and_mac", "Agree on a key and MAC", agreed.AgreedMacIn,
           agreed.AgreedMacOut, _agreed_mac, tag="agreement",
           description="MAC a message of ours. The same call again answers the same; its counter"
           " serves no other."),
    HotUse("agreed-mac-checks", "derive_and_check_mac", "Agree on a key and check a MAC",
           agreed.AgreedMacCheckIn, agreed.AgreedMacCheckOut, _agreed_mac_check, status=200,
           tag="agreement", description="Check the MAC of a device's response or alert."),
    HotUse("agreed-encryptions", "derive_and_encrypt", "Agree on a key and encrypt",
           agreed.AgreedEncryptIn, agreed.AgreedEncryptOut, _agreed_encrypt, tag="agreement",
           description="Encrypt for a device. Repeatable like a MAC."),
    HotUse("agreed-decryptions", "derive_and_decrypt", "Agree on a key and decrypt",
           agreed.AgreedDecryptIn, agreed.AgreedDecryptOut, _agreed_decrypt, tag="agreement",
           description="Decrypt an attribute that a device encrypted for us."),
)  # fmt: skip


_USES = {hot.verb.encode(): hot for hot in USES}
_TARGET = re.compile(rf"{PREFIX}({UUID_TEXT})/({'|'.join(h.verb for h in USES)})".encode())


@lru_cache(maxsize=4096)
def find(target: bytes) -> tuple[HotUse, UUID] | None:
    """Read the target of a POST: which use of which key it is, if it is a plain call of one."""
    found = _TARGET.fullmatch(target)
    return None if found is None else (_USES[found[2]], UUID(found[1].decode()))


async def serve(vault: Vault, scope: Any, hot: HotUse, key_id: UUID, body: bytes) -> bytes:
    """Answer a plain call of a use by the body of a success. Raises what it may."""
    scope[TEMPLATE] = hot.template
    asked = hot.takes.model_validate_json(body)
    once = once_of(scope, _idempotency_key(scope)) if hot.repeatable else None
    return orjson.dumps(await hot.run(vault, scope[PRINCIPAL], key_id, asked, once))


def _idempotency_key(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            return str(value, "latin-1")
    return None


def _response(answer: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(answer), status, media_type="application/json")


def _declare(router: APIRouter, hot: HotUse) -> None:
    async def repeatable(key_id: Id, body: Any, vault: V, who: Who, repeat: Repeat) -> Response:
        return _response(await hot.run(vault, who, key_id, body, repeat), hot.status)

    async def plain(key_id: Id, body: Any, vault: V, who: Who) -> Response:
        return _response(await hot.run(vault, who, key_id, body, None), hot.status)

    endpoint = repeatable if hot.repeatable else plain
    endpoint.__annotations__["body"] = hot.takes
    router.add_api_route(
        hot.template.replace("{key_id}", "{key_id:id}"),
        endpoint,
        methods=["POST"],
        operation_id=hot.operation_id,
        summary=hot.summary,
        description=hot.description,
        tags=[hot.tag],
        status_code=hot.status,
        response_model=hot.gives,
        responses=documented(403, 404, 408, 409, 413, 415, 502),
    )


def routes() -> APIRouter:
    """Make the documented form of every hot route."""
    router = APIRouter(dependencies=[Depends(known_parameters)])
    for hot in USES:
        _declare(router, hot)
    return router
