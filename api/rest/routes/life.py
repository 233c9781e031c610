"""The whole life of a key, and what ends when."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Id, ScopeText
from api.rest.schemas.life import EndingOut, ForecastOut, LifeOut
from keyvault.domain.scopes import Scope
from keyvault.operations import life

router = APIRouter(tags=["custody"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)


@router.get("/v1/keys/{key_id:id}/life", operation_id="show_key_life", responses=_READ)
def show_key_life(key_id: Id, vault: V, who: Who) -> LifeOut:
    """Tell the whole life of a key, from its order to its end."""
    return LifeOut.of(life.of(vault, who, key_id))


@router.get("/v1/keys/forecast", operation_id="show_forecast", responses=_READ)
def show_forecast(
    vault: V, who: Who, scope: Annotated[ScopeText | None, Query()] = None
) -> ForecastOut:
    """Count what ends within 30, 90 and 180 days, by class and scope."""
    found = life.forecast(vault, who, Scope.parse(scope) if scope else None)
    return ForecastOut(items=[EndingOut.of(one) for one in found])
