"""A client that calls as fast as it can on many connections, in a process of its own.

    python -m tests.flooder URL CA CERTIFICATE KEY CONNECTIONS

Lines on standard input: `on`, `off`. At the end of input it says how many calls got which status.
"""

import asyncio
import json
import ssl
import sys
from collections import Counter

import httpx

BODY = {"digest": "A" * 43 + "="}
PAUSE = 0.05  # seconds between two looks whether it is time


class Flood:
    """Its connections, its order and its counts."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.on, self.over = False, False
        self.statuses: Counter[int] = Counter()

    async def obey(self) -> None:
        """Do what standard input says until it ends."""
        while line := await asyncio.to_thread(sys.stdin.readline):
            self.on = line.strip() == "on"
        self.over = True

    async def call(self, client: httpx.AsyncClient) -> None:
        while not self.over:
            if self.on:
                self.statuses[(await client.post(self.url, json=BODY)).status_code] += 1
            else:
                await asyncio.sleep(PAUSE)


async def main(url: str, ca: str, certificate: str, key: str, connections: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    flood, bounds = Flood(url), httpx.Limits(max_connections=int(connections))
    async with httpx.AsyncClient(verify=context, limits=bounds, timeout=30) as client:
        await asyncio.gather(flood.obey(), *[flood.call(client) for _ in range(int(connections))])
    sys.stdout.write(json.dumps(flood.statuses))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
