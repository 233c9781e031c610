"""Mutual TLS: who may shake hands, and how the certificate shown comes to the application.

uvicorn does not hand the client's certificate on. `CertificateProtocol` does, in the shape of the
ASGI TLS extension, so that upstream's own can take its place one day.
"""

import asyncio
import socket
import ssl
from http import HTTPStatus
from threading import Lock
from typing import Any
from uuid import uuid4

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.names import WHOLE
from api.proxy import PROXIED
from api.rest.problems import MEDIA_TYPE, framework_problem
from hsm.errors import HsmError
from keyvault.operations.vault import Vault

HEADER_TIME = 10.0  # seconds until a request's head has to be complete
HEADER_LIMIT = 16_384  # bytes of a request line and its headers
HEADER_COUNT = 64
_SUITES = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
}


class Trust:
    """The server's TLS context, whose anchors follow authority.

    They are the enrolled systems' certificates, their issuers' and the session CA's: any other
    certificate is refused in the handshake, and another one of such an issuer right after it.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._lock = Lock()
        self._session_ca: bytes | None = None
        self._made_for: tuple[str, bool] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection, made anew if authority has changed.

        Reads the database and perhaps asks the gate: call it in a thread.
        """
        with self._vault.database.reading() as work:
            authority = self._vault.authority(work)
        with self._lock:
            if self._session_ca is None:
                self._session_ca = self._ask_for_session_ca()
            wanted = (authority.head, self._session_ca is not None)
            if self._context is None or self._made_for != wanted:
                anchors = [
                    certificate
                    for system in authority.systems.values()
                    for pin in system.pins
                    for certificate in dict.fromkeys((pin.certificate, pin.issuer))
                ]
                self._context = self._make([*anchors, *filter(None, [self._session_ca])])
                self._made_for = wanted
            return self._context

    def _ask_for_session_ca(self) -> bytes | None:
        try:
            return bytes(self._vault.gate.session_ca())
        except (HsmError, OSError):
            return None  # systems can connect while the gate is down; people once it is back

    def _make(self, anchors: list[bytes]) -> ssl.SSLContext:
        api = self._vault.settings.api
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(api.certificate, api.private_key)
        context.verify_mode = ssl.CERT_OPTIONAL  # logging in needs none
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an enrolled leaf is an anchor
        if anchors:
            context.load_verify_locations(cadata=b"".join(anchors))
        context.num_tickets = 0  # no resumption: every connection shows its certificate anew
        context.set_alpn_protocols(["http/1.1"])
        return context


def tls_extension(transport: asyncio.BaseTransport) -> dict[str, Any]:
    """Describe a connection as the ASGI TLS extension does: the client's certificate as PEM.

    What comes by the Unix socket of our proxy has none, and says so.
    """
    if transport.get_extra_info("socket").family == socket.AF_UNIX:
        return {PROXIED: True, "client_cert_chain": []}
    connection = transport.get_extra_info("ssl_object")
    der = connection.getpeercert(binary_form=True)
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": _SUITES.get(connection.cipher()[0]),
    }


class _Joined:
    """A transport that sends what is written in one turn of the loop at once.

    uvicorn writes head and body apart, which would be two TLS records and two system calls.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def write_whole(self, data: bytes) -> None:
        """Send an answer that is complete at once, unless another is before it."""
        if self._parts:
            self._parts.append(data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CertificateProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with the client's certificate, a bound on heads and a clock on them."""

    _tls: dict[str, Any]
    _head_timer: asyncio.TimerHandle | None = None
    _head_size = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joined(transport, self.loop))  # type: ignore[arg-type]
        self._tls = tls_extension(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        if self._in_head and self._head_timer is None:  # most heads come whole and need no clock
            self._start_clock()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = 0
        self._in_head = True
        self.scope["extensions"] = {"tls": self._tls}  # type: ignore[dict-item]  # keys are texts

    def on_url(self, url: bytes) -> None:
        self._measure(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: uvicorn would take it for a header, and a proxy may let it through
        self._measure(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_clock()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.scope[WHOLE] = True  # type: ignore[literal-required]  # ours beside those of ASGI

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (the problem says it better)
        """Answer what could not be parsed, and hang up."""
        large = self._head_size > HEADER_LIMIT
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if large else HTTPStatus.BAD_REQUEST
        body = orjson.dumps(framework_problem(status).document(str(uuid4())))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _measure(self, size: int) -> None:
        self._head_size += size
        if len(self.headers) >= HEADER_COUNT:
            self._head_size = HEADER_LIMIT + 1
        if self._head_size > HEADER_LIMIT:
            raise ValueError("the head is too large")  # the parser turns it into a 400

    def _start_clock(self) -> None:
        self._head_timer = self.loop.call_later(HEADER_TIME, self.transport.abort)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
