"""Plain uses of keys, taken from the parser and answered below ASGI.

uvicorn's cycle, the ASGI scope and its messages cost more than everything else that the process
does for a signature. What is not plain, or not alone on its connection, is handed to uvicorn as
if it had just come: every rule of HTTP that is not kept here is kept there.
"""

from collections.abc import Awaitable
from typing import Any
from uuid import UUID

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.front import HEADERS, Front, Reply
from api.names import REQUEST_ID
from api.rest.hot import HotUse, find
from api.tls import HEADER_COUNT, HEADER_LIMIT, CertificateProtocol

Field = tuple[bytes, bytes]


class _Cycle:
    """What uvicorn wants to see of a call that is under way, so that it queues the next one."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NOBODY


class _Nobody:
    def set(self) -> None:
        """Nobody waits: the message was here before its cycle."""


_NOBODY = _Nobody()


class ExpressProtocol(CertificateProtocol):
    """HTTP/1.1: a message is held back until it is whole, or is clearly none for this way."""

    _front: Front
    _held = False  # from the first byte of a message until it is answered or handed on
    _plain: tuple[HotUse, UUID] | None = None
    _target = b""
    _fields: list[Field]
    _content = b""

    def serve(self, front: Front) -> "ExpressProtocol":
        """Answer plain uses of keys by `front`."""
        self._front = front
        return self

    def on_message_begin(self) -> None:
        self._held = True
        self._plain = None
        self._target = self._content = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        if self._held:
            self._target += url
        else:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._plain is not None:
            return  # a trailer, which is no header
        if self._held:
            self._fields.append((name.lower(), value))
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._held:
            self._plain = self._found()
            if self._plain is not None:
                return
            self._hand_over()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held:
            self._content += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._held:
            super().on_message_complete()
        elif self.flow.write_paused or self._is_busy():
            self._hand_over()  # uvicorn queues it behind what is under way
            super().on_message_complete()
        else:
            self._start(*self._plain)  # type: ignore[misc]  # held until here: it is plain

    def _watch(self) -> None:
        """After each chunk: what has not come whole is nothing for this way."""
        if self._held:
            try:
                self._hand_over()
            except ValueError:  # its head is too large
                self.send_400_response("")
        super()._watch()

    def _is_busy(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _found(self) -> tuple[HotUse, UUID] | None:
        parser = self.parser
        if parser.get_method() != b"POST" or (plain := find(self._target)) is None:
            return None
        if not parser.should_keep_alive() or parser.should_upgrade():
            return None
        fields = self._fields
        size = sum([len(name) + len(value) for name, value in fields])
        return plain if len(fields) < HEADER_COUNT and size < HEADER_LIMIT // 2 else None

    def _hand_over(self) -> None:
        """Let uvicorn see the message as far as it has come."""
        self._held = False
        super().on_message_begin()
        if self._target:
            super().on_url(self._target)
        for name, value in self._fields:
            super().on_header(name, value)
        if self._plain is not None:
            super().on_headers_complete()
            super().on_body(self._content)

    def _start(self, use: HotUse, key_id: UUID) -> None:
        self._held = self._in_head = False
        self._stop_clock()
        scope = {
            "method": "POST",
            "path": "",  # none of the open ones
            "raw_path": self._target,
            "headers": self._fields,
            "client": self.client,
            "extensions": {"tls": self._tls},
        }
        cycle: Any = _Cycle()
        self.cycle = cycle
        answered = self._front.use(scope, use, key_id, self._content)
        task = self.loop.create_task(self._send(cycle, scope, answered))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _send(self, cycle: _Cycle, scope: Any, answered: Awaitable[Reply]) -> None:
        reply = await answered
        cycle.response_complete = True
        if cycle.disconnected:
            return
        last = not cycle.keep_alive or _CLOSE in reply.headers
        fields = [*self.server_state.default_headers, *reply.headers]
        if not cycle.keep_alive:
            fields.append(_CLOSE)
        self.transport.write_whole(_written(reply, fields, scope[REQUEST_ID]))  # type: ignore[attr-defined]
        if last:
            self.transport.close()
        self.on_response_complete()


_CLOSE = (b"connection", b"close")
_ALWAYS = b"".join(b"%b: %b\r\n" % field for field in HEADERS)


def _written(reply: Reply, fields: list[Field], request_id: str) -> bytes:
    own = b"".join([b"%b: %b\r\n" % field for field in fields])
    always = b"%bx-request-id: %b\r\n\r\n" % (_ALWAYS, request_id.encode())
    return b"".join((STATUS_LINE[reply.status], own, always, reply.body))
