"""Accepts connections, shakes hands, and notes whom it turned away.

uvicorn's own listener loses sight of handshakes that fail, so this one accepts for it.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

import structlog

from api.proxy import PROXY
from api.refusals import Refusals
from api.telemetry import trace
from api.tls import Trust
from keyvault.wire import peer_uid

HANDSHAKE_TIME = 5.0  # seconds
FAREWELL_TIME = 2.0  # seconds for the client to say goodbye as well
MAX_CONNECTIONS = 4_096


class Door:
    """One listening socket, for as long as the server runs."""

    def __init__(
        self,
        listener: socket.socket,
        trust: Trust,
        refusals: Refusals,
        protocol: Callable[[], asyncio.Protocol],
        connections: Callable[[], int],
    ) -> None:
        self._listener = listener
        self._trust = trust
        self._refusals = refusals
        self._protocol = protocol
        self._connections = connections
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._keep(asyncio.create_task(self._accept()))

    async def close(self) -> None:
        """Accept no more; handshakes under way are dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError as error:  # out of descriptors, or the client is gone already
                structlog.get_logger().warning("accept failed", **trace(error))
                await asyncio.sleep(0.1)
                continue
            source = address[0] if address else PROXY
            if self._connections() + len(self._tasks) > MAX_CONNECTIONS:
                connection.close()
                self._refusals.note(source, "too many connections")
            else:
                self._keep(asyncio.create_task(self._admit(connection, source)))

    async def _admit(self, connection: socket.socket, source: str) -> None:
        try:
            context = await asyncio.to_thread(self._trust.context)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_TIME,
                ssl_shutdown_timeout=FAREWELL_TIME,
            )
        except ssl.SSLError as error:
            self._refusals.note(source, _reason(error))
        except OSError:
            pass  # hung up, or too slow: no attempt to be somebody
        except Exception as error:  # noqa: BLE001  (nobody waits for this task)
            structlog.get_logger().error("handshake failed", **trace(error))
            connection.close()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class ProxyDoor(Door):
    """The Unix socket of a reverse proxy, which has shaken hands with the client for us."""

    def allow(self, uids: frozenset[int]) -> "ProxyDoor":
        """Let nobody in but these OS users."""
        self._uids = uids
        return self

    async def _admit(self, connection: socket.socket, source: str) -> None:
        uid = peer_uid(connection)
        if uid not in self._uids:
            connection.close()
            self._refusals.note(source, f"OS user {uid} is not the proxy")
            return
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._protocol, connection)


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"client certificate refused: {error.verify_message}"
    return f"TLS handshake refused: {error.reason or 'unreadable'}"
