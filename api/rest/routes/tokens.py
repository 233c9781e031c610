"""Tokens: what there is, who has it, what people sign about it, and what stops it."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Cursor, Id, Instant, Limit, Name, ReasonIn, Text
from api.rest.schemas.tokens import (
    ConcernOut,
    ConcernsOut,
    CustodyOut,
    FindingIn,
    HolderOut,
    LedgerOut,
    SecondIn,
    SignedIn,
    StatementOut,
    StatementsOut,
    StockCountOut,
    StockCountsOut,
    StopIn,
    TokenKeyOut,
    TokenKeysOut,
    TokenOut,
    TokensOut,
)
from keyvault.domain.tokens import DORMANT_AFTER, RENEW_BEFORE, Limits, TokenState
from keyvault.operations import statements, stocktaking, tokens

router = APIRouter(tags=["tokens"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)
DORMANT = DORMANT_AFTER.days
Days = Annotated[int, Query(ge=1, le=3_650)]
_PATH = "/v1/tokens"
_ONE = _PATH + "/{token_id:id}"
_STATEMENT = _PATH + "/statements/{statement_id:id}"


@router.get(_PATH, operation_id="list_tokens", responses=_READ)
def list_tokens(  # noqa: PLR0913  (each filter has its name)
    *,
    vault: V,
    who: Who,
    state: TokenState | None = None,
    holder: Annotated[Name | None, Query()] = None,
    custodian: Annotated[Name | None, Query()] = None,
    place: Annotated[Text | None, Query()] = None,
    serial: Annotated[Text | None, Query()] = None,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> TokensOut:
    """List tokens, newest first."""
    filters = {"state": state, "holder": holder, "custodian": custodian, "place": place}
    wanted = {name: str(value) for name, value in filters.items() if value is not None}
    items, following = tokens.page(vault, who, {**wanted, "serial": serial}, after, limit)
    return TokensOut(items=[TokenOut.of(one) for one in items], next=following)


@router.post(
    f"{_PATH}/statements", status_code=201, operation_id="state_of_token", responses=_CHANGE
)
def state_of_token(body: SignedIn, vault: V, who: Who, repeat: Repeat) -> StatementOut:
    """Hand in a signed statement: it is done, or waits for its second signature."""
    return StatementOut.of(statements.submit(vault, who, body.read(), repeat))


@router.get(f"{_PATH}/statements", operation_id="list_waiting_statements", responses=_READ)
def list_waiting_statements(vault: V, who: Who) -> StatementsOut:
    """List what waits for a second signature."""
    found = statements.waiting(vault, who)
    return StatementsOut(items=[StatementOut.of(one) for one in found])


@router.get(_STATEMENT, operation_id="show_statement", responses=_READ)
def show_statement(statement_id: Id, vault: V, who: Who) -> StatementOut:
    """Show a statement with its signatures."""
    return StatementOut.of(statements.get(vault, who, statement_id))


@router.post(
    f"{_STATEMENT}/signatures",
    status_code=201,
    operation_id="countersign_statement",
    responses=_CHANGE,
)
def countersign_statement(statement_id: Id, body: SecondIn, vault: V, who: Who) -> StatementOut:
    """Sign beside the first person; with that the step is done."""
    return StatementOut.of(statements.countersign(vault, who, statement_id, body.read()))


@router.post(f"{_STATEMENT}/refusals", operation_id="refuse_statement", responses=_CHANGE)
def refuse_statement(statement_id: Id, body: ReasonIn, vault: V, who: Who) -> StatementOut:
    """End a statement that waits."""
    return StatementOut.of(statements.refuse(vault, who, statement_id, body.reason))


@router.get(f"{_PATH}/concerns", operation_id="list_token_concerns", responses=_READ)
def list_token_concerns(
    vault: V, who: Who, ending_days: Days = RENEW_BEFORE.days, dormant_days: Days = DORMANT
) -> ConcernsOut:
    """List what ends in so many days, was not used for so many, was not activated, or is late."""
    limits = Limits(timedelta(days=ending_days), timedelta(days=dormant_days))
    found = tokens.concerns(vault, who, limits)
    return ConcernsOut(items=[ConcernOut(token=TokenOut.of(t), concern=why) for t, why in found])


@router.get(f"{_PATH}/counts", operation_id="list_stock_counts", responses=_READ)
def list_stock_counts(vault: V, who: Who) -> StockCountsOut:
    """List blind counts and what differed, the newest first."""
    return StockCountsOut(items=[StockCountOut.of(c) for c in stocktaking.counts(vault, who)])


@router.post(
    _PATH + "/counts/{count_id:id}/findings", operation_id="settle_stock_count", responses=_CHANGE
)
def settle_stock_count(count_id: Id, body: FindingIn, vault: V, who: Who) -> StockCountsOut:
    """Explain a difference: the incident is closed."""
    stocktaking.settle(vault, who, count_id, body.finding)
    return StockCountsOut(items=[StockCountOut.of(c) for c in stocktaking.counts(vault, who)])


@router.get(_ONE, operation_id="show_token", responses=_READ)
def show_token(token_id: Id, vault: V, who: Who) -> TokenOut:
    """Show a token."""
    return TokenOut.of(tokens.get(vault, who, token_id))


@router.post(f"{_ONE}/stops", operation_id="stop_token", responses=_CHANGE)
def stop_token(token_id: Id, body: StopIn, vault: V, who: Who, repeat: Repeat) -> TokenOut:
    """Suspend, report as lost, revoke, or note a blocked PIN. It bites at once."""
    why = tokens.Why(body.reason, body.missing_since)
    return TokenOut.of(tokens.stop(vault, who, token_id, body.read(), why, repeat))


@router.get(f"{_ONE}/custody", operation_id="list_custody", responses=_READ)
def list_custody(token_id: Id, vault: V, who: Who) -> LedgerOut:
    """List every change of hands of a token, the first first."""
    found = tokens.ledger(vault, who, token_id)
    return LedgerOut(items=[CustodyOut.of(one) for one in found])


@router.get(f"{_ONE}/keys", operation_id="list_token_keys", responses=_READ)
def list_token_keys(token_id: Id, vault: V, who: Who) -> TokenKeysOut:
    """List the public keys of a token."""
    found = tokens.keys(vault, who, token_id)
    return TokenKeysOut(items=[TokenKeyOut(slot=slot, spki=spki) for slot, spki in found])


@router.get(f"{_ONE}/holder", operation_id="show_holder_at", responses=_READ)
def show_holder_at(
    token_id: Id, vault: V, who: Who, at: Annotated[Instant | None, Query()] = None
) -> HolderOut:
    """Say who had a token at a time, or has it now: exactly one name."""
    when = at or vault.clock()
    person = tokens.holder_at(vault, who, token_id, when)
    return HolderOut(token=token_id, at=when, person=person)


@router.get(f"{_ONE}/statements", operation_id="list_token_statements", responses=_READ)
def list_token_statements(token_id: Id, vault: V, who: Who) -> StatementsOut:
    """List everything that people signed about a token, oldest first."""
    found = statements.of_token(vault, who, token_id)
    return StatementsOut(items=[StatementOut.of(one) for one in found])
