"""One caller's flood is turned away at its own limit, and costs the others no answer."""

import asyncio
import os
import signal
import ssl
from asyncio import FIRST_COMPLETED
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path

import httpx

from api.front import IN_FLIGHT_EACH
from tests.stack import ok

MORE = 12
DIGEST = b64encode(bytes(32)).decode()


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


async def flood(stack, dcc, url):
    """Send more than may be under way; return the refusals, a neighbour's answer, the rest."""
    context = ssl.create_default_context(cafile=str(stack.ca))
    context.load_cert_chain(dcc.certificate, dcc.key)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(verify=context, limits=limits, timeout=60) as client:
        calls = {
            asyncio.create_task(client.post(url, json={"digest": DIGEST}))
            for _ in range(IN_FLIGHT_EACH + MORE)
        }
        with held(stack.pid("gate")):
            refused: set[asyncio.Task[httpx.Response]] = set()
            while len(refused) < MORE:
                done, _ = await asyncio.wait(calls - refused, return_when=FIRST_COMPLETED)
                refused |= done
            neighbour = await asyncio.to_thread(stack.person("alice").client().get, "/v1/keys")
        rest = await asyncio.gather(*(calls - refused))
        return [call.result() for call in refused], neighbour, rest


def test_a_flood_is_turned_away_at_the_callers_own_limit(stack, dcc):
    key = stack.active_key()  # of its own: others suspend and destroy theirs
    ok(stack.person("alice").client().get("/v1/keys"))
    url = f"{stack.url}/v1/keys/{key}/signatures"
    refused, neighbour, rest = asyncio.run(flood(stack, dcc, url))
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert neighbour.status_code == 200
    assert [answer.status_code for answer in rest] == [201] * IN_FLIGHT_EACH
