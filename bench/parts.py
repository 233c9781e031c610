"""The gate and the recorder, each called as the api calls them, without the api."""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from os import urandom
from pathlib import Path
from uuid import UUID, uuid4

import uvloop

from hsm.types import Mechanism, VerifyPolicy
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.gate.hot import GateClient
from keyvault.settings import Settings
from keyvault.store.recorder_client import RecorderClient

Call = Callable[[], Awaitable[object]]


async def load(call: Call, callers: int, seconds: float) -> dict[str, float]:
    """Let `callers` call one after another, each as fast as it is answered."""
    began = time.perf_counter()
    counts = await asyncio.gather(*(_caller(call, began + seconds) for _ in range(callers)))
    return {"per_second": round(sum(counts) / (time.perf_counter() - began), 1)}


async def _caller(call: Call, until: float) -> int:
    count = 0
    while time.perf_counter() < until:
        await call()
        count += 1
    return count


def gate(settings: Settings, key: UUID, digests: int) -> tuple[Call, GateClient]:
    client = GateClient(settings.keys.socket)
    data = [urandom(32) for _ in range(digests)]

    async def sign() -> None:
        await client.sign(key.bytes, Mechanism.ECDSA, data, VerifyPolicy.NEVER)

    return sign, client


def recorder(settings: Settings, key: UUID) -> tuple[Call, RecorderClient]:
    client = RecorderClient(settings.recorder)

    async def append() -> None:
        await client.append(
            AuditEvent(
                type=EventType.KEY_USED,
                outcome=Outcome.OK,
                operation=uuid4(),
                stream=f"key:{key}",
                actor="service:bench",
                payload={
                    "action": "key:sign",
                    "key": str(key),
                    "mechanism": "ecdsa",
                    "count": 1,
                    "digest": urandom(32).hex(),
                },
            )
        )

    return append, client


async def run(options: argparse.Namespace) -> dict[str, float]:
    settings = Settings.load(options.config)
    if options.part == "gate":
        call, client = gate(settings, options.key, options.digests)
    else:
        call, client = recorder(settings, options.key)  # type: ignore[assignment]
    try:
        return await load(call, options.callers, options.seconds)
    finally:
        await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("gate", "recorder"))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--key", type=UUID, required=True)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--digests", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
