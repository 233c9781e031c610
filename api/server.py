"""`python -m api.server --settings FILE`: one process, one event loop, no PKCS#11 module.

With `api.workers` above one, the supervisor starts this command so many times: the processes
share the port by SO_REUSEPORT and nothing else.
"""

import argparse
import gc
import os
import pwd
import resource
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvicorn

from api.app import create_app
from api.door import Door, ProxyDoor
from api.express import ExpressProtocol
from api.telemetry import configure_logging
from api.tls import Trust
from keyvault import bootstrap
from keyvault.domain.errors import InvalidInputError
from keyvault.operations.vault import Vault
from keyvault.settings import ProxySettings, Settings, numbered
from keyvault.wire import listen as listen_at

GRACE = 10  # seconds for calls under way when told to stop
KEEP_ALIVE = 30  # seconds
GC_THRESHOLD = (50_000, 50, 100)  # measured: p99 falls from 70 to 11 ms


class MutualTlsServer(uvicorn.Server):
    """uvicorn behind our own doors: one for everybody, and perhaps one for a proxy."""

    def __init__(
        self,
        config: uvicorn.Config,
        vault: Vault,
        listener: socket.socket,
        proxy: socket.socket | None = None,
    ) -> None:
        super().__init__(config)
        self._vault = vault
        self._listener = listener
        self._proxy = proxy
        self._doors: list[Door] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets or [])
        state = self.config.app.state  # type: ignore[union-attr]  # what create_app returned
        parts = (
            Trust(self._vault),
            state.refusals,
            lambda: ExpressProtocol(self.config, self.server_state, self.lifespan.state).serve(
                state.front  # there since the lifespan began
            ),
            lambda: len(self.server_state.connections),
        )
        self._doors = [Door(self._listener, *parts)]
        if self._proxy is not None and self._vault.settings.api.proxy is not None:
            allowed = uids(self._vault.settings.api.proxy)
            self._doors.append(ProxyDoor(self._proxy, *parts).allow(allowed))
        for door in self._doors:
            door.open()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        structlog.get_logger().info("listening", port=self._listener.getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for door in self._doors:
            await door.close()
        await super().shutdown(sockets)


def listen(settings: Settings) -> socket.socket:
    """Bind the address of the settings. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in settings.api.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.api.workers > 1:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((settings.api.host, settings.api.port))
    listener.listen(1_024)
    return listener


def listen_to_proxy(settings: Settings, worker: int) -> socket.socket | None:
    """Bind this worker's own socket for the proxy, if there is to be one. Raises `OSError`."""
    proxy = settings.api.proxy
    if proxy is None:
        return None
    uids(proxy)  # better known now
    return listen_at(numbered(proxy.socket, worker), mode=0o660)


def uids(proxy: ProxySettings) -> frozenset[int]:
    """Who may knock at the proxy's socket. Raises `InvalidInputError`."""
    try:
        return frozenset(pwd.getpwnam(name).pw_uid for name in proxy.users)
    except KeyError as error:
        raise InvalidInputError(f"api.proxy.users: there is no such OS user: {error}") from error


def serve(settings: Settings, worker: int) -> None:
    """Serve until told to stop, then finish what is under way."""
    proxy = listen_to_proxy(settings, worker)
    vault = bootstrap.build(settings)
    config = uvicorn.Config(
        create_app(vault),
        http=ExpressProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    server = MutualTlsServer(config, vault, listen(settings), proxy)
    # uvicorn raises the signal again once it has stopped gracefully; that shall not kill us.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    server.run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m api.server", description="the REST API")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--worker", type=int, default=1, help="its number, from 1")
    arguments = parser.parse_args()
    configure_logging()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        serve(Settings.load(arguments.settings), arguments.worker)
    except InvalidInputError as error:
        sys.stderr.write(f"api: {error}\n")
        return os.EX_CONFIG
    except OSError as error:
        sys.stderr.write(f"api: cannot listen: {error.strerror}\n")
        return os.EX_UNAVAILABLE
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
