"""Calls to servers outside: bounded in time as a whole and in size, and never led elsewhere."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from threading import Timer
from urllib.parse import SplitResult, urlsplit

from keyvault.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Place:
    """A URL of http on this host, or of https. Raises `InvalidInputError` for any other.

    `signed`: what comes is signed, and nothing that goes is a secret, so http will do anywhere.
    """

    url: str
    ca: Path | None = None  # PEM; the system's authorities if not given
    timeout: float = 10.0  # seconds for a whole call
    limit: int = 65_536  # bytes of an answer
    signed: bool = False
    parts: SplitResult = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        plain = parts.scheme == "http" and (self.signed or is_here(parts.hostname or ""))
        if not parts.hostname or not (plain or parts.scheme == "https"):
            raise InvalidInputError("a server off this host has an https URL")
        object.__setattr__(self, "parts", parts)

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Do as `call` does with this very URL."""
        query = f"?{self.parts.query}" if self.parts.query else ""
        return self.call("POST", (self.parts.path or "/") + query, body, headers)

    def below(self, path: str) -> str:
        """The target of a path that begins where the URL ends."""
        return self.parts.path.rstrip("/") + path

    def call(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Return status and answer; a redirect is an answer. Raises `OSError`.

        A server that trickles, or says too much, is one that gives no answer.
        """
        try:
            with self._connected() as line:
                line.request(method, target, body, {**headers, "Connection": "close"})
                answer = line.getresponse()
                return answer.status, self._limited(answer)
        except (HTTPException, ValueError) as error:
            raise ConnectionError(type(error).__name__) from error

    @contextmanager
    def _connected(self) -> Iterator[HTTPConnection]:
        host, port = self.parts.hostname or "", self.parts.port
        line = HTTPConnection(host, port, timeout=self.timeout)
        if self.parts.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca)
            line = HTTPSConnection(host, port, timeout=self.timeout, context=context)
        line.connect()
        # A time-out of the socket would begin anew with each byte that trickles in.
        watch = Timer(self.timeout, _cut, (line.sock,))
        watch.daemon = True
        watch.start()
        try:
            yield line
        finally:
            watch.cancel()
            line.close()

    def _limited(self, answer: HTTPResponse) -> bytes:
        body = answer.read(self.limit + 1)
        if len(body) > self.limit:
            raise ValueError("the answer is too long")
        return body


def is_here(host: str) -> bool:
    """Whether a name or address is this host's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
