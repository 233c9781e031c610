"""A load of its own process: keep-alive HTTPS clients that count, time and check every answer.

Status and number of signatures are checked for each answer; the last signatures of every
connection are verified with the public key once the clock has stopped.
"""

import argparse
import asyncio
import gc
import json
import resource
import ssl
import time
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import cycle
from os import urandom
from pathlib import Path

import httptools
import uvloop
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from bench.dialects import DIALECTS, Dialect, Public

POOL = 64  # different bodies, so that no cache flatters


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, as bytes, what it asks to sign, encrypt or MAC, and the key that checks it."""

    data: bytes
    items: list[bytes]
    public: Public | None


@dataclass(slots=True)
class Plan:
    """What all clients of one run share: what they ask, when they stop, what they saw."""

    dialect: Dialect
    asks: list[Ask]
    clients: int
    once: bool  # each request once, and then no more
    keep: bool  # every answer as it came
    until: float
    pace: float = 0.0  # seconds from one call of a client to its next, at least
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    last: list[tuple[Ask, list[str]]] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)

    def of(self, number: int) -> Iterable[Ask]:
        """What one client asks for: all, or its share of them."""
        if self.once:
            return self.asks[number :: self.clients]
        first = number * len(self.asks) // self.clients
        return cycle(self.asks[first:] + self.asks[:first])


class Client(asyncio.Protocol):
    """One connection: the next request goes out when the last answer is complete."""

    def __init__(self, plan: Plan, first: int) -> None:
        self._plan = plan
        self._asks = iter(plan.of(first))
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._good: tuple[Ask, list[str]] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> bool:
        """Ask the next; False when there is none left."""
        following = next(self._asks, None)
        if following is None:
            return False
        self._ask, self._body = following, b""
        self._sent = time.perf_counter()
        self._transport.write(self._ask.data)  # type: ignore[attr-defined]
        return True

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self._plan.latencies.append(now - self._sent)
        self._check()
        pause = self._sent + self._plan.pace - now
        if pause > 0:
            asyncio.get_running_loop().call_later(pause, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if time.perf_counter() >= self._plan.until or not self._send():
            self._transport.close()

    def _check(self) -> None:
        status = self._parser.get_status_code()
        if status != self._plan.dialect.status:
            self._plan.errors.append(f"{status} {self._body[:200].decode(errors='replace')}")
            return
        if self._plan.keep:
            self._plan.kept.append(self._body)
        results = self._plan.dialect.read(self._body)
        if len(results) != len(self._ask.items):
            self._plan.errors.append(f"{len(results)} results were given")
        self._good = self._ask, results

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._plan.errors.append(str(error))
        if self._good is not None:
            self._plan.last.append(self._good)
        if not self.done.done():
            self.done.set_result(None)


def asks_for(options: argparse.Namespace) -> list[Ask]:
    """Make a pool of requests of so many random items each: for one key, or one for each key."""
    if options.each:
        pairs = [line.split("\t") for line in options.each.read_text().splitlines()]
        spkis = [load_der_public_key(b64decode(spki)) for _, spki in pairs]
        return [
            _ask(options, path, spki)  # type: ignore[arg-type]
            for (path, _), spki in zip(pairs, spkis, strict=True)
        ]
    key = options.public_key  # a secret key has none
    public = load_pem_public_key(key.read_bytes()) if key and key.exists() else None
    return [_ask(options, options.path, public) for _ in range(POOL)]  # type: ignore[arg-type]


def _ask(options: argparse.Namespace, path: str, public: Public | None) -> Ask:
    dialect = DIALECTS[options.dialect]
    token = options.token.read_text().strip() if options.token else None
    items = [urandom(dialect.size) for _ in range(options.digests)]
    body = json.dumps(dialect.body(items, public)).encode()  # type: ignore[arg-type]
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {options.host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"X-Vault-Token: {token}"] if token else []),
    ]
    return Ask(("\r\n".join(lines) + "\r\n\r\n").encode() + body, items, public)


async def run(options: argparse.Namespace) -> dict[str, object]:
    """Load one server for some seconds and sum up."""
    context = ssl.create_default_context(cafile=options.ca)
    context.load_cert_chain(options.certificate, options.key)
    how = options.clients, options.once, options.told is not None
    plan = Plan(DIALECTS[options.dialect], asks_for(options), *how, 0.0)
    loop, clients, used = asyncio.get_running_loop(), [], _cpu()
    plan.pace = options.pace
    began = time.perf_counter()
    plan.until = began + options.settle + options.seconds
    for number in range(options.clients):
        client = Client(plan, number)
        await loop.create_connection(lambda: client, options.host, options.port, ssl=context)  # noqa: B023  (called at once)
        clients.append(client)
    if options.settle:
        await asyncio.sleep(options.settle)
        plan.latencies.clear()
        began, used = time.perf_counter(), _cpu()
        plan.until = began + options.seconds
    await asyncio.gather(*(client.done for client in clients))
    spent, used = time.perf_counter() - began, _cpu() - used
    verify(plan)
    if options.told:
        with options.told.open("ab") as told:
            told.writelines(body + b"\n" for body in plan.kept)
    return _summary(plan, spent, used)


def verify(plan: Plan) -> None:
    """Check the last answer of every connection with the public key."""
    dialect = plan.dialect
    if dialect.verify is None:
        return  # only who holds the key can say
    for ask, results in plan.last:
        for item, text in zip(ask.items, results, strict=True):
            try:
                dialect.verify(ask.public, dialect.raw(text), item)  # type: ignore[arg-type]
            except InvalidSignature:
                plan.errors.append(f"{text} is no signature of {item.hex()}")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _summary(plan: Plan, spent: float, used: float) -> dict[str, object]:
    ordered = sorted(plan.latencies)
    return {
        "requests": len(ordered),
        "per_second": round(len(ordered) / spent, 1),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
        "client_cpu_us": round(used / len(ordered) * 1e6, 1),
        "errors": plan.errors[:3],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialect", choices=DIALECTS, default="signatures")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path")
    parser.add_argument("--public-key", type=Path)
    parser.add_argument("--each", type=Path, help="a file: path, tab, SPKI in base64 on each line")
    for name in ("ca", "certificate", "key"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--token", type=Path, help="a file with a bearer token")
    parser.add_argument("--told", type=Path, help="a file for every answer, one a line")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--digests", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between two calls")
    parser.add_argument("--settle", type=float, default=0.0, help="seconds that do not count")
    parser.add_argument("--once", action="store_true", help="every request of `each` once")
    options = parser.parse_args()
    gc.disable()  # the client's own pauses are nobody's latency
    print(json.dumps(uvloop.run(run(options))))


if __name__ == "__main__":
    main()
