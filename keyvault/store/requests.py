"""Approval requests and the approvals that people gave."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, select, update

from keyvault.domain.approvals import Approval, ApprovalRequest, Request, RequestState
from keyvault.domain.errors import ConflictError, NotFoundError
from keyvault.domain.scopes import Scope
from keyvault.store import tables
from keyvault.store.paging import Order
from keyvault.store.rows import document_of, insert_new, text_of, ticks

_REQUEST = tables.approval_request
_APPROVAL = tables.approval
_ORDER = Order(_REQUEST.c.requested_at, _REQUEST.c.id, str, newest_first=True)
_GET = select(_REQUEST).where(_REQUEST.c.id == bindparam("of"))
_LOCK = _GET.with_for_update()
_CHANGE = update(_REQUEST).where(
    _REQUEST.c.id == bindparam("of"), _REQUEST.c.version == bindparam("was")
)
_GIVEN = select(_APPROVAL).where(_APPROVAL.c.request_id.in_(bindparam("of", expanding=True)))


class Requests:
    """The room of approval requests in one transaction."""

    def __init__(self, connection: Connection, *, writes: bool) -> None:
        self._connection = connection
        self._writes = writes

    def add(self, asked: ApprovalRequest) -> None:
        """Raises `ConflictError` if the id is taken."""
        if not insert_new(
            self._connection,
            _REQUEST,
            id=str(asked.request.id),
            scope=str(asked.request.scope) if asked.request.scope else None,
            state=str(asked.state),
            version=asked.version,
            requester=asked.request.requester,
            requested_at=ticks(asked.request.requested_at),
            document=text_of(asked.request.document),
        ):
            raise ConflictError(f"there is a request {asked.request.id} already")
        for approval in asked.approvals:
            self.add_approval(asked.request.id, approval)

    def get(self, request_id: UUID) -> ApprovalRequest:
        """Read a request, and lock it in a transaction that writes. Raises `NotFoundError`.

        So two approvals that are given at once are counted one after the other.
        """
        query = _LOCK if self._writes else _GET
        found = self._read(self._connection.execute(query, {"of": str(request_id)}).all())
        if not found:
            raise NotFoundError(
                f"there is no request {request_id}", next_step="list them: keyvault approvals list"
            )
        return found[0]

    def change(self, asked: ApprovalRequest) -> None:
        """Store the next version. Raises `ConflictError` if another one came between."""
        new = {"state": str(asked.state), "version": asked.version}
        same = {"of": str(asked.request.id), "was": asked.version - 1}
        if self._connection.execute(_CHANGE, new | same).rowcount != 1:
            raise ConflictError(
                f"request {asked.request.id} changed meanwhile", next_step="look again"
            )

    def add_approval(self, request_id: UUID, approval: Approval) -> None:
        """Raises `ConflictError` if this person has decided already."""
        if not insert_new(
            self._connection,
            _APPROVAL,
            request_id=str(request_id),
            approver=approval.approver,
            document=text_of(approval.document()),
        ):
            raise ConflictError(f"{approval.approver} has decided on this request already")

    def page(
        self,
        *,
        state: RequestState | None = None,
        requester: str | None = None,
        scopes: AbstractSet[Scope] | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[ApprovalRequest], str | None]:
        """List requests, newest first, and the cursor of the next page.

        `scopes` leaves out what concerns other scopes; None is all.
        """
        filters = {"state": state, "requester": requester}
        query = select(_REQUEST).where(
            *(
                _REQUEST.c[name] == str(value)
                for name, value in filters.items()
                if value is not None
            )
        )
        if scopes is not None:
            query = query.where(_REQUEST.c.scope.in_(sorted(map(str, scopes))))
        rows, following = _ORDER.page(self._connection, query, after, limit)
        return self._read(rows), following

    def signed_by(self, person: str, states: Iterable[RequestState], limit: int) -> list[UUID]:
        """Return the ids of requests in these states on which a person decided, newest first."""
        by = (_APPROVAL.c.request_id == _REQUEST.c.id) & (_APPROVAL.c.approver == person)
        query = select(_REQUEST.c.id).join(_APPROVAL, by)
        query = query.where(_REQUEST.c.state.in_([str(state) for state in states]))
        newest = query.order_by(_REQUEST.c.requested_at.desc(), _REQUEST.c.id.desc()).limit(limit)
        return [UUID(found) for found in self._connection.scalars(newest)]

    def executing(self) -> list[ApprovalRequest]:
        """Return what was begun and not finished: reconciling asks."""
        query = select(_REQUEST).where(_REQUEST.c.state == str(RequestState.EXECUTING))
        return self._read(self._connection.execute(query.order_by(*_REQUEST.primary_key)).all())

    def _read(self, rows: Sequence[Row[Any]]) -> list[ApprovalRequest]:
        approvals = self._approvals([row.id for row in rows])
        return [
            ApprovalRequest(
                _request(row.document),
                RequestState(row.state),
                row.version,
                approvals[row.id],
            )
            for row in rows
        ]

    def _approvals(self, request_ids: list[str]) -> dict[str, tuple[Approval, ...]]:
        given: dict[str, list[Approval]] = defaultdict(list)
        for row in self._connection.execute(_GIVEN, {"of": request_ids}):
            given[row.request_id].append(Approval.read(document_of(row.document)))
        return {
            key: tuple(sorted(given[key], key=lambda one: (one.at, one.approver)))
            for key in request_ids
        }


@lru_cache(maxsize=256)
def _request(text: str) -> Request:
    """Read a request. The same text is the same request: on its way it is read a dozen times."""
    return Request.read(document_of(text))
