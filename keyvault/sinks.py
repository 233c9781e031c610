"""Where streams end: syslog over TLS, a webhook, a file. Each takes a batch or raises `OSError`."""

import json
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.streams import Copy, framed, syslog
from keyvault.outside import Place
from keyvault.settings import FileTarget, Settings, SinkSettings, SyslogTarget
from keyvault.webhooks import Hook, secret

PATIENCE = 10.0  # seconds for a connection, and for a batch


class Sink(Protocol):
    """Takes copies in order. `take` ends in seconds: all of them are handed over, or it raises."""

    def take(self, copies: Sequence[Copy]) -> None: ...

    def close(self) -> None: ...


class SyslogSink:
    """RFC 5424 messages over TLS, RFC 5425. The connection is kept; it has no acknowledgement."""

    def __init__(self, target: SyslogTarget) -> None:
        self._target = target
        self._line: ssl.SSLSocket | None = None

    def take(self, copies: Sequence[Copy]) -> None:
        try:
            line = self._line = self._line or self._connected()
            _see_that_it_lives(line)
            line.sendall(b"".join(framed(syslog(copy)) for copy in copies))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _connected(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self._target.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._target.certificate is not None:
            context.load_cert_chain(self._target.certificate, self._target.private_key)
        plain = socket.create_connection((self._target.host, self._target.port), PATIENCE)
        try:
            return context.wrap_socket(plain, server_hostname=self._target.host)
        except OSError:
            plain.close()
            raise


def _see_that_it_lives(line: ssl.SSLSocket) -> None:
    """Raise if the other side has hung up: a write would seem to succeed once more."""
    line.setblocking(False)
    try:
        if not line.recv(1):
            raise ConnectionResetError("the receiver has hung up")
    except ssl.SSLWantReadError:
        pass  # nothing said: it listens
    finally:
        line.settimeout(PATIENCE)


class WebhookSink:
    """One signed POST of JSON for each batch. Anything but 2xx is no receipt."""

    def __init__(self, name: str, site: str, hook: Hook) -> None:
        self._about = {"site": site, "stream": name}
        self._hook = hook

    def take(self, copies: Sequence[Copy]) -> None:
        body = {**self._about, "events": [copy.document() for copy in copies]}
        status = self._hook.post(json.dumps(body).encode())
        if status not in range(200, 300):
            raise ConnectionError(f"the receiver answered {status}")

    def close(self) -> None:
        """Every POST has a connection of its own."""


class FileSink:
    """Lines of NDJSON; a file that is full becomes `.1`, that one `.2`, and the last one goes."""

    def __init__(self, target: FileTarget) -> None:
        self._target = target

    def take(self, copies: Sequence[Copy]) -> None:
        path = self._target.path
        if path.exists() and path.stat().st_size >= self._target.limit:
            self._rotate(path)
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(path, mode, 0o600), "ab") as file:
            file.write(b"".join(copy.line() for copy in copies))
            file.flush()
            os.fsync(file.fileno())

    def _rotate(self, path: Path) -> None:
        for number in range(self._target.keep - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        path.replace(path.with_name(f"{path.name}.1"))

    def close(self) -> None:
        """Each batch opens the file anew, so that others may take it away."""


def sink_of(one: SinkSettings, settings: Settings) -> Sink:
    """Open what a stream of the settings leads to. Raises `InvalidInputError`."""
    if one.syslog is not None:
        return SyslogSink(one.syslog)
    if one.file is not None:
        return FileSink(one.file)
    if one.webhook is not None:
        place = Place(one.webhook.url, one.webhook.ca, PATIENCE)
        return WebhookSink(one.name, settings.site, Hook(place, secret(settings, "webhook")))
    raise InvalidInputError(f"stream {one.name} leads nowhere")
