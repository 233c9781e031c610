"""What every route asks for: who calls, the vault, and an Idempotency-Key bound to its call.

Default deny is kept twice. `Front` turns away whoever has no identity before a route is chosen,
but for the few open paths; and every route but those depends on `Who`.
"""

import hashlib
import re
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from starlette.convertors import Convertor, register_url_convertor

from api.names import BODY, PRINCIPAL
from api.rest.schemas.common import UUID_TEXT
from keyvault.domain.access import Principal
from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError
from keyvault.operations.vault import Once, Vault

OPEN = frozenset(
    {
        ("POST", "/v1/login/challenges"),
        ("POST", "/v1/login/sessions"),
        ("POST", "/v1/emergencies"),
        ("POST", "/v1/emergencies/tokens"),
        ("GET", "/v1/health/alive"),
        ("GET", "/v1/health/ready"),
        ("GET", "/v1/ca/{issuer:id}/certificate"),
        ("GET", "/v1/ca/{issuer:id}/crl"),
        ("POST", "/v1/ca/ocsp"),
        ("GET", "/v1/ca/ocsp/{question:path}"),
    }
)
_PARAMETERS = {"{issuer:id}": UUID_TEXT, "{question:path}": ".+"}


def _pattern(method: str, path: str) -> str:
    for name, pattern in _PARAMETERS.items():
        path = path.replace(name, pattern)
    return f"{method} {path}"


_OPEN_PATHS = re.compile("|".join(_pattern(*each) for each in sorted(OPEN)))
_KEY = re.compile(r"[!-~]{1,128}")


def is_open(method: str, path: str) -> bool:
    """Whether anybody may call this, without a certificate."""
    return _OPEN_PATHS.fullmatch(f"{method} {path}") is not None


class _IdConvertor(Convertor[str]):
    """A UUID in its one spelling: a path with another spelling does not exist."""

    regex = UUID_TEXT

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _IdConvertor())


async def who(request: Request) -> Principal:
    """Return the caller that `Front` identified. Raises `NotAuthenticatedError`."""
    principal: Principal | None = request.scope.get(PRINCIPAL)
    if principal is None:
        raise NotAuthenticatedError("this needs a client certificate")
    return principal


async def perhaps_who(request: Request) -> Principal | None:
    """Return the caller of an open path, if there is a known one."""
    return request.scope.get(PRINCIPAL)


async def vault_of(request: Request) -> Vault:
    vault: Vault = request.app.state.vault
    return vault


async def once(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=128,
            pattern=r"^[!-~]+$",
            description="Repeat a call with the same key and it is not done a second time",
        ),
    ] = None,
) -> Once | None:
    """Bind an Idempotency-Key to the whole call that it came with."""
    return once_of(request.scope, idempotency_key)


def once_of(scope: Any, key: str | None) -> Once | None:
    """Bind `key` to method, path and body. Raises `InvalidInputError`."""
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidInputError("an Idempotency-Key is 1 to 128 visible ASCII characters")
    call = b"\n".join((scope["method"].encode(), scope["raw_path"], scope.get(BODY, b"")))
    return Once(key, hashlib.sha256(call).digest())


async def known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not know or that stand twice."""
    flat = get_flat_params(request.scope["route"].dependant)
    known = {field.alias for field in flat if isinstance(field.field_info, Query)}
    names = [name for name, _ in request.query_params.multi_items()]
    wrong = sorted({name for name in names if name not in known or names.count(name) > 1})
    if wrong:
        raise RequestValidationError(
            [{"loc": ("query", name), "msg": "unknown, or given twice"} for name in wrong[:20]]
        )


Who = Annotated[Principal, Depends(who)]
PerhapsWho = Annotated[Principal | None, Depends(perhaps_who)]
V = Annotated[Vault, Depends(vault_of)]
Repeat = Annotated[Once | None, Depends(once)]
