"""How long after a revocation was answered another api process still answers, over many rounds.

    python -m bench.revocation [--rounds 50] [--database URL]

A client calls the second process without a pause while the first takes something away. What is
measured is from the answer to the one who took it until the last answer that the client got.
"""

import argparse
import json
import statistics
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx

from keyvault.domain.commands import Command, HoldPerson, RevokeSystem
from keyvault.domain.people import Role
from tests.second import second_api
from tests.stack import Stack, ok

BODY = {"digest": b64encode(bytes(32)).decode()}
Call = Callable[[], httpx.Response]
SETTLED = 0.3  # seconds in which nothing more may be answered


class Calling(threading.Thread):
    """Calls over and over, and remembers when it was answered last."""

    def __init__(self, call: Call) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.answered = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            if self._call().is_success:
                self.answered = time.monotonic()


def latency(call: Call, take: Call) -> float:
    """Seconds from the answer to `take` until the last success of `call`; 0 if none came after."""
    calling = Calling(call)
    calling.start()
    while not calling.answered:
        time.sleep(0.001)
    time.sleep(0.05)
    ok(take())
    taken = time.monotonic()
    time.sleep(SETTLED)
    calling.stopped.set()
    calling.join()
    return max(0.0, calling.answered - taken)


def approved(stack: Stack, command: Command) -> Call:
    """A call that carries out what two others have approved already."""
    asked = stack.approve(stack.ask(command, by="bob"), "alice", "carol")
    client, path = stack.person("bob").client(), f"/v1/requests/{asked['id']}/executions"
    return partial(client.post, path)


def a_round(stack: Stack, second: str, number: int) -> Iterator[tuple[str, Call, Call]]:
    """Each scenario's name, what is called, and what ends it."""
    key = stack.active_key()
    signing, reading, user = (stack.system(f"{kind}-{number}") for kind in "abc")
    at, use = f"{second}/v1/keys/{key}", {"url": f"{second}/v1/keys/{key}/signatures", "json": BODY}
    revoked = approved(stack, RevokeSystem(signing.id, "bench"))
    yield "system revoked, signing", partial(signing.client().post, **use), revoked
    revoked = approved(stack, RevokeSystem(reading.id, "bench"))
    yield "system revoked, reading", partial(reading.client().get, at), revoked
    bob, path = stack.person("bob").client(), f"/v1/keys/{key}/suspensions"
    suspended = partial(bob.post, path, json={"reason": "bench"})
    yield "key suspended, signing", partial(user.client().post, **use), suspended
    who = stack.register(f"person-{number}", Role.KEY_APPROVER)
    held = approved(stack, HoldPerson(who.id, 1, "bench"))
    yield "person held, reading", partial(who.client().get, f"{second}/v1/keys"), held


@contextmanager
def running(database: str) -> Iterator[tuple[Stack, str]]:
    with Stack.make(database) as stack:
        stack.start()
        with second_api(stack) as second:
            yield stack, second


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.revocation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--database", default="sqlite:///keyvault.db")
    options = parser.parse_args()
    seen: dict[str, list[float]] = {}
    with running(options.database) as (stack, second):
        for number in range(options.rounds):
            for name, call, take in a_round(stack, second, number):
                seen.setdefault(name, []).append(latency(call, take) * 1000)
    for name, taken in seen.items():
        cuts = statistics.quantiles(taken, n=100, method="inclusive")
        figures = {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(taken)}
        rounded = {name: round(value, 1) for name, value in figures.items()}
        print(json.dumps({"scenario": name, "rounds": len(taken), **rounded}))


if __name__ == "__main__":
    main()
