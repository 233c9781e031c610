"""Heads of streams, worked out from the events themselves."""

import json
from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from keyvault.domain.heads import StreamHead
from keyvault.store import tables

_EVENT = tables.event
_KINDS = ("stream", "actor", "scope")


def stream_heads(connection: Connection, size: int) -> Iterator[StreamHead]:
    """Yield the head of every stream, actor and scope among the first `size` events."""
    for kind in _KINDS:
        column = _EVENT.c[kind]
        some = (_EVENT.c.idx < size) & (column != "")
        grouped = select(column.label("name"), func.count().label("count"))
        newest = grouped.add_columns(func.max(_EVENT.c.idx).label("idx")).where(some)
        last = newest.group_by(column).subquery()
        query = select(last.c.name, last.c["count"], _EVENT.c.leaf)
        for name, count, leaf in connection.execute(query.join(_EVENT, _EVENT.c.idx == last.c.idx)):
            yield StreamHead(f"{kind}/{name}", count, json.loads(leaf)["p"])
