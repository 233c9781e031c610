"""Rates at a process of their own: one client's flood is its own loss."""

import asyncio
import ssl
import statistics
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.second import second_api
from tests.stack import Machine, Stack, ok

RATES = """
[api.rates]
certificate = { per_second = 20, burst = 20 }
scope = { per_second = 1000, burst = 1000 }
"""
PACE = 0.1  # seconds between two calls of the neighbour, who keeps well below the rate
CONNECTIONS = 32
BODY = {"digest": b64encode(bytes(32)).decode()}


@pytest.fixture(scope="module")
def limited(stack: Stack) -> Iterator[str]:
    with second_api(stack, RATES) as url:
        yield url


def test_a_client_beyond_its_rate_is_told_when_to_come_back(stack, limited, auditor):
    machine = stack.system("eager")
    answers = [machine.client().get(f"{limited}/v1/whoami") for _ in range(21)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(answers) - len(refused) >= 20
    while not refused:  # tokens came back while it asked
        refused = [a for a in [machine.client().get(f"{limited}/v1/whoami")] if a.is_error]
    assert refused[0].json()["code"] == "rate-limited"
    assert int(refused[0].headers["retry-after"]) >= 1
    time.sleep(1)
    ok(machine.client().get(f"{limited}/v1/whoami"))
    query = {"type": "ACCESS.LIMITED", "limit": 500}
    assert ok(auditor.client().get("/v1/audit/events", params=query))["items"]


async def _flood(stack: Stack, machine: Machine, url: str, stop: threading.Event) -> Counter[int]:
    context = ssl.create_default_context(cafile=str(stack.ca))
    context.load_cert_chain(machine.certificate, machine.key)
    statuses: Counter[int] = Counter()

    async def call(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            statuses[(await client.post(url, json=BODY)).status_code] += 1

    bounds = httpx.Limits(max_connections=CONNECTIONS)
    async with httpx.AsyncClient(verify=context, limits=bounds, timeout=30) as client:
        await asyncio.gather(*[call(client) for _ in range(CONNECTIONS)])
    return statuses


@contextmanager
def flooding(stack: Stack, machine: Machine, url: str) -> Iterator[Counter[int]]:
    """One client that calls as fast as it can on many connections, while the block runs."""
    stop, seen = threading.Event(), Counter[int]()
    thread = threading.Thread(
        target=lambda: seen.update(asyncio.run(_flood(stack, machine, url, stop)))
    )
    thread.start()
    time.sleep(2)  # until its burst is used up
    yield seen
    stop.set()
    thread.join()


def paced(machine: Machine, url: str, calls: int) -> float:
    """Median time of a call of a client that keeps to its rate."""
    taken = []
    for _ in range(calls):
        began = time.monotonic()
        ok(machine.client().post(url, json=BODY))
        taken.append(time.monotonic() - began)
        time.sleep(PACE)
    return statistics.median(taken)


def cost(stack: Stack, url: str, names: tuple[str, str], calls: int) -> tuple[float, Counter[int]]:
    """How much longer a neighbour waits while another client floods: 1 is no longer."""
    wild, neighbour = (stack.system(name) for name in names)
    paced(neighbour, url, 5)
    before = paced(neighbour, url, calls)
    with flooding(stack, wild, url) as seen:
        during = paced(neighbour, url, calls)
    return during / before, seen


def test_a_flood_is_refused_late_and_costs_a_neighbour_no_answer(stack, limited, signing_key):
    url = f"{limited}/v1/keys/{signing_key}/signatures"
    ratio, seen = cost(stack, url, ("wild", "neighbour"), 20)
    assert set(seen) <= {201, 429}
    assert seen[429] > CONNECTIONS
    # Each connection hears one no a second, so the flood itself is slow.
    assert seen.total() < 20 * 12 + CONNECTIONS * 12
    assert ratio < 2  # on a machine that others use as well


@pytest.mark.soak
def test_a_flood_costs_a_neighbour_less_than_a_tenth(stack, limited, signing_key):
    url = f"{limited}/v1/keys/{signing_key}/signatures"
    ratios = [
        cost(stack, url, (f"wild-{number}", f"neighbour-{number}"), 100)[0] for number in range(5)
    ]
    assert statistics.median(ratios) < 1.1, ratios
