"""A process that is asked for more than it can do says so, to whom it should, and loses nothing."""

import asyncio
import os
import signal
import ssl
import time
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path

import httpx

from api.shedding import Bounds
from tests.stack import ok

DIGEST = b64encode(bytes(32)).decode()
CROWD, MORE = Bounds().crowd, 12


@contextmanager
def held(keeper: int):
    """A device that takes its time: nothing is signed until the block ends."""
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    [worker] = [int(child) for child in children]
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def connections(stack, machine):
    """A client that holds as many connections as it is asked for."""
    context = ssl.create_default_context(cafile=str(stack.ca))
    context.load_cert_chain(machine.certificate, machine.key)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=stack.url, verify=context, limits=limits, timeout=60)


def refusal(machine, status):
    """Ask until a call is refused so."""
    while (answer := machine.client().get("/v1/whoami")).status_code != status:
        time.sleep(0.05)
    return answer


async def flood(stack, machines, path):
    """Ask for a crowd of uses by one caller, beside one by another, of a device that is held.

    Return what the flooding caller is told, early and late, a third one's answer then, and all
    answers to uses, of which most come when the device goes on.
    """
    use = {"url": path, "json": {"digest": DIGEST}}
    alice = stack.person("alice").client()
    quiet, wild = (connections(stack, machine) for machine in machines)
    async with quiet, wild:
        ready = [quiet.get("/v1/whoami"), *(wild.get("/v1/whoami") for _ in range(CROWD))]
        assert {answer.status_code for answer in await asyncio.gather(*ready)} == {200}
        with held(stack.pid("gate")):
            calls = [asyncio.create_task(quiet.post(**use))]
            calls += [asyncio.create_task(wild.post(**use)) for _ in range(CROWD + MORE)]
            crowded = await asyncio.to_thread(refusal, machines[1], 503)
            neighbour = await asyncio.to_thread(alice.get, "/v1/keys")
            too_long = await asyncio.to_thread(refusal, machines[1], 429)
        return crowded, too_long, neighbour, await asyncio.gather(*calls)


def test_a_crowd_is_shed_by_time_and_what_is_under_way_is_done_once(stack, dcc, auditor):
    key, wild = stack.active_key(), stack.system("wild")
    ok(stack.person("alice").client().get("/v1/keys"))
    flooded = flood(stack, (dcc, wild), f"/v1/keys/{key}/signatures")
    crowded, too_long, neighbour, answers = asyncio.run(flooded)
    assert (crowded.status_code, crowded.json()["code"]) == (503, "overloaded")
    assert (too_long.status_code, too_long.json()["code"]) == (429, "busy")
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in (crowded, too_long))
    assert neighbour.status_code == 200
    done = [answer.json()["event"]["index"] for answer in answers if answer.is_success]
    refused = [answer.status_code for answer in answers if answer.is_error]
    assert len(done) >= CROWD - 1
    assert set(refused) <= {503}  # those that came late
    assert answers[0].is_success  # who asks little is heard
    query = {"type": "KEY.USED", "stream": f"key:{key}", "limit": 500}
    logged = ok(auditor.client().get("/v1/audit/events", params=query))["items"]
    assert sorted(event["index"] for event in logged) == sorted(done)
    ok(wild.client().post(f"/v1/keys/{key}/signatures", json={"digest": DIGEST}))
    figures = dcc.client().get("/metrics").raise_for_status().text
    assert float(figures.split("\nkeyvault_overloaded_total ")[1].split()[0]) >= 1
