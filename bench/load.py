"""A load of its own process: keep-alive HTTPS clients that count, time and check every answer."""

import argparse
import asyncio
import json
import resource
import ssl
import time
from base64 import b64encode
from os import urandom
from pathlib import Path

import uvloop

POOL = 64  # different bodies, so that no cache flatters


class Client(asyncio.Protocol):
    """One connection: the next request goes out when the last answer is complete."""

    def __init__(self, requests: list[bytes], until: float) -> None:
        self._requests, self._until = requests, until
        self._number = int.from_bytes(urandom(2), "big")
        self._buffer = b""
        self.latencies: list[float] = []
        self.errors: list[str] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._number += 1
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._number % len(self._requests)])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        now, self._buffer = time.perf_counter(), b""
        self.latencies.append(now - self._sent)
        if not head.startswith(b"HTTP/1.1 201"):
            self.errors.append((head[:40] + body[:200]).decode(errors="replace"))
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.errors.append(str(error))
        if not self.done.done():
            self.done.set_result(None)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def requests_for(host: str, path: str, digests: int) -> list[bytes]:
    """Make a pool of signing requests of `digests` random digests each."""
    made = []
    for _ in range(POOL):
        items = [b64encode(urandom(32)).decode() for _ in range(digests)]
        body = json.dumps({"digests": items}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def run(options: argparse.Namespace) -> dict[str, object]:
    """Load one server for some seconds and sum up."""
    context = ssl.create_default_context(cafile=options.ca)
    context.load_cert_chain(options.certificate, options.key)
    requests = requests_for(options.host, options.path, options.digests)
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    clients = []
    for _ in range(options.clients):
        _, client = await loop.create_connection(
            lambda: Client(requests, began + options.seconds),
            options.host,
            options.port,
            ssl=context,
        )
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    spent = time.perf_counter() - began
    return _summary([c.latencies for c in clients], [e for c in clients for e in c.errors], spent)


def _summary(latencies: list[list[float]], errors: list[str], spent: float) -> dict[str, object]:
    ordered = sorted(value for values in latencies for value in values)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "requests": len(ordered),
        "per_second": round(len(ordered) / spent, 1),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
        "client_cpu_us": round((used.ru_utime + used.ru_stime) / max(len(ordered), 1) * 1e6, 1),
        "errors": errors[:3],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--digests", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
