"""Rates at a process of their own: one client's flood is its own loss."""

import json
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator

import pytest

from api.front import HELD
from tests.second import second_api
from tests.stack import ROOT, Machine, Stack, ok

RATES = """
[api.rates]
certificate = { per_second = 5, burst = 5 }
scope = { per_second = 1000, burst = 1000 }
"""
PACE = 0.25  # seconds between two calls of the neighbour, who keeps well below the rate
CONNECTIONS = 32
BODY = {"digest": b64encode(bytes(32)).decode()}


@pytest.fixture(scope="module")
def limited(stack: Stack) -> Iterator[str]:
    with second_api(stack, RATES) as url:
        yield url


def test_a_client_beyond_its_rate_is_told_when_to_come_back(stack, limited, auditor):
    machine = stack.system("eager")
    answers = [machine.client().get(f"{limited}/v1/whoami") for _ in range(8)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(answers) - len(refused) >= 5
    while not refused:  # tokens came back while it asked
        refused = [a for a in [machine.client().get(f"{limited}/v1/whoami")] if a.is_error]
    assert refused[0].json()["code"] == "rate-limited"
    assert int(refused[0].headers["retry-after"]) >= 1
    time.sleep(1)
    ok(machine.client().get(f"{limited}/v1/whoami"))
    query = {"type": "ACCESS.LIMITED", "limit": 500}
    assert ok(auditor.client().get("/v1/audit/events", params=query))["items"]


class Flood:
    """One client that, while it is told to, calls as fast as it can: in a process of its own.

    It yields to all others, for its own work would be another machine's.
    """

    def __init__(self, stack: Stack, machine: Machine, url: str) -> None:
        files = (str(stack.ca), str(machine.certificate), str(machine.key))
        line = [
            "nice",
            "-n",
            "19",
            sys.executable,
            "-m",
            "tests.flooder",
            url,
            *files,
            str(CONNECTIONS),
        ]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(line, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def tell(self, order: str) -> None:
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()

    def end(self) -> dict[int, int]:
        """Stop it; return how many calls got which status."""
        said, _ = self._process.communicate(timeout=60)
        return {int(status): count for status, count in json.loads(said).items()}


def paced(machine: Machine, url: str, calls: int) -> list[float]:
    """How long each call takes a client that keeps to its rate."""
    taken = []
    for _ in range(calls):
        began = time.monotonic()
        ok(machine.client().post(url, json=BODY))
        taken.append(time.monotonic() - began)
        time.sleep(PACE)
    return taken


def cost(stack: Stack, url: str, turns: int) -> tuple[float, dict[int, int]]:
    """How much longer a neighbour waits while another client floods: 1 is no longer.

    The flood comes and goes, so that both halves see the same of what else the machine does.
    """
    wild, neighbour = (stack.system(f"{name}-{turns}") for name in ("wild", "neighbour"))
    flood, quiet, flooded = Flood(stack, wild, url), [], []
    paced(neighbour, url, 4)
    for _ in range(turns):
        quiet += paced(neighbour, url, 8)
        flood.tell("on")
        time.sleep(1)  # until its burst is used up
        flooded += paced(neighbour, url, 8)
        flood.tell("off")
        time.sleep(1.5 * HELD)  # until the last no has come
    return statistics.median(flooded) / statistics.median(quiet), flood.end()


def test_a_flood_is_refused_late_and_costs_a_neighbour_no_answer(stack, limited, signing_key):
    ratio, statuses = cost(stack, f"{limited}/v1/keys/{signing_key}/signatures", turns=1)
    assert set(statuses) == {201, 429}
    # Each connection hears one no a second at most, so the flood itself is slow.
    assert 10 < statuses[429] < CONNECTIONS * 20
    assert ratio < 5  # on a machine that others use as well


@pytest.mark.soak
def test_a_flood_costs_a_neighbour_less_than_a_tenth(stack, limited, signing_key):
    ratio, _ = cost(stack, f"{limited}/v1/keys/{signing_key}/signatures", turns=25)
    assert ratio < 1.1
