"""The witness over HTTP (c2sp.org/tlog-witness), for whoever runs the log. Loopback by default.

Nobody has to log in: what is signed depends on the log's own signature alone. So everything
else is bounded: bytes, seconds, connections.
"""

import logging
import re
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Timer
from typing import Any

from keyvault.domain.witnessing import MAX_REQUEST_SIZE, WitnessError
from keyvault.witness.service import Witness
from keyvault.witness.state import StateLostError

LIMIT = 10.0  # seconds for one request, from its first byte or the end of the one before
CONNECTIONS = 32
SIZE_TYPE = "text/x.tlog.size"
_LENGTH = re.compile("0|[1-9][0-9]{0,8}")
_MONITORED = re.compile("/([0-9a-f]{64})/checkpoint")
log = logging.getLogger("witness")


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness until `shutdown`; port 0 takes a free one."""

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, address: tuple[str, int], witness: Witness) -> None:
        super().__init__(address, _Handler)
        self.witness = witness
        self._free = BoundedSemaphore(CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, or hang up where there are too many already."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (the base's)
        """Say that a connection broke, and nothing that its peer sent."""
        log.debug("a connection broke off")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "keyvault-witness", ""
    server: WitnessServer

    def handle_one_request(self) -> None:
        # A time-out of the socket would begin anew with each byte that trickles in.
        watch = Timer(LIMIT, _cut, (self.connection,))
        watch.daemon = True
        watch.start()
        try:
            super().handle_one_request()
        finally:
            watch.cancel()

    def do_POST(self) -> None:
        """Take a checkpoint."""
        body = self._body()
        if body is None:
            return
        if self.path != "/add-checkpoint":
            self._answer(HTTPStatus.NOT_FOUND, "there is nothing at this path\n")
            return
        try:
            line = self.server.witness.add_checkpoint(body)
        except WitnessError as error:
            self._refuse(error)
        except (StateLostError, OSError) as error:
            log.critical("THE WITNESS CANNOT REMEMBER AND SIGNS NOTHING: %s", error)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "this witness cannot sign now\n")
        else:
            self._answer(HTTPStatus.OK, line)

    def do_GET(self) -> None:
        """Show the newest cosigned checkpoint of a log, for whoever watches it."""
        self.close_connection = True  # whatever body came with it is not read
        named = _MONITORED.fullmatch(self.path)
        note = self.server.witness.newest(named[1]) if named else None
        if note is None:
            self._answer(HTTPStatus.NOT_FOUND, "there is nothing at this path\n")
        else:
            self._answer(HTTPStatus.OK, note)

    def _refuse(self, error: WitnessError) -> None:
        log.warning("refused with %d: %s", error.status, error)
        if error.size is None:
            self._answer(error.status, f"{error}\n")
        else:
            self._answer(error.status, f"{error.size}\n", SIZE_TYPE)

    def _body(self) -> bytes | None:
        """Read a body whose length was told; answer and hang up on anything else."""
        length = self.headers.get_all("Content-Length", [])
        status = None
        if len(length) != 1 or "Transfer-Encoding" in self.headers:
            status = HTTPStatus.LENGTH_REQUIRED
        elif not _LENGTH.fullmatch(length[0]):
            status = HTTPStatus.BAD_REQUEST
        elif int(length[0]) > MAX_REQUEST_SIZE:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if status is not None:
            self.close_connection = True
            self._answer(status, f"{status.phrase.lower()}\n")
            return None
        body = self.rfile.read(int(length[0]))
        if len(body) == int(length[0]):
            return body
        self.close_connection = True
        return None

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind if kind == SIZE_TYPE else f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  (the base's name)
        """Leave out what peers sent."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.debug("a connection was gone already")
