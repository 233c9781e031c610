"""What was taken away is refused within a second, by every api process, on open connections too."""

import hashlib
import os
import signal
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from keyvault.domain.commands import (
    HoldPerson,
    RemovePerson,
    RevokeCredential,
    RevokeSystem,
    SuspendPerson,
)
from keyvault.domain.people import Role, thumbprint
from tests.second import second_api
from tests.stack import Stack, ok

BODY = {"digest": b64encode(hashlib.sha256(b"a payload").digest()).decode()}
WITHIN = 1.0  # second


@pytest.fixture(scope="module")
def second(stack: Stack) -> Iterator[str]:
    with second_api(stack) as url:
        yield url


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return stack.active_key()


def name_of(kind: str) -> str:
    return f"{kind}-{uuid4().hex[:6]}"


def refused_within(call: Callable[[], httpx.Response], statuses: set[int]) -> float:
    """How long it takes until a call is refused, and for good."""
    began = time.monotonic()
    while (answer := call()).is_success:
        assert time.monotonic() - began < WITHIN, "still answered"
    taken = time.monotonic() - began
    assert answer.status_code in statuses, answer.text
    assert call().status_code in statuses
    return taken


def test_a_revoked_system_is_refused_by_every_process(stack: Stack, second: str, key: str):
    system = stack.system(name_of("leaver"))
    places = (stack.url, second)
    calls = [
        call
        for place in places
        for call in (
            lambda at=place: system.client().post(f"{at}/v1/keys/{key}/signatures", json=BODY),
            lambda at=place: system.client().get(f"{at}/v1/keys/{key}"),
            lambda at=place: system.client().post(f"{at}/v1/random", json={"size": 1}),
        )
    ]
    for call in calls:
        ok(call())
    stack.carry_out(stack.ask(RevokeSystem(system.id, "gone"), by="bob"))
    signing, reading, drawing, *_ = reversed(calls)
    for call in (signing, reading, drawing, *calls):
        refused_within(call, {401, 429})


@pytest.mark.parametrize(
    ("taken", "statuses"),
    [
        (lambda who: RemovePerson(who.id, "left"), {401}),
        (lambda who: HoldPerson(who.id, 2, "asked about"), {403}),
        (lambda who: SuspendPerson(who.id, "asked about"), {403}),
        (lambda who: RevokeCredential(who.id, thumbprint(who.credential.spki), "lost"), {401}),
    ],
    ids=["removed", "held", "suspended", "credential revoked"],
)
def test_a_person_who_lost_their_rights_is_refused_by_every_process(
    stack: Stack, second: str, taken, statuses: set[int]
):
    who = stack.register(name_of("leaver"), Role.KEY_APPROVER)
    calls = [lambda at=at: who.client().get(f"{at}/v1/keys") for at in (second, stack.url)]
    for call in calls:
        ok(call())
    stack.carry_out(stack.ask(taken(who), by="bob"))
    for call in calls:
        assert call().status_code in statuses  # at once: persons are asked about at each call
        refused_within(call, statuses)


@pytest.mark.parametrize("stopping", ["suspensions", "compromises"])
def test_a_key_that_one_custodian_stops_signs_nothing_any_more_at_any_process(
    stack: Stack, second: str, stopping: str
):
    key, system = stack.active_key(), stack.system(name_of("signer"))
    path = f"/v1/keys/{key}/signatures"
    calls = [lambda at=at: system.client().post(at + path, json=BODY) for at in (second, stack.url)]
    for call in calls:
        ok(call())
    bob = stack.person("bob").client()
    ok(bob.post(f"{stack.url}/v1/keys/{key}/{stopping}", json={"reason": "odd traffic"}))
    for call in calls:
        refused_within(call, {409})


def test_a_session_closed_at_one_process_is_closed_at_the_other(stack: Stack, second: str):
    bob = stack.client(*stack.person("bob").log_in())
    ok(bob.get(f"{second}/v1/whoami"))
    assert bob.delete("/v1/login/session").status_code == 204
    assert bob.get(f"{second}/v1/whoami").status_code == 401


@contextmanager
def held(keeper: int) -> Iterator[None]:
    """A device that takes its time: nothing is signed until the block ends."""
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(int(children[0]), signal.SIGCONT)


def test_a_signature_under_way_when_its_caller_is_revoked_is_never_released(
    stack: Stack, second: str, key: str
):
    """It was decided under an older authority, so it is decided anew before it is committed."""
    system = stack.system(name_of("leaver"))
    revoking = stack.ask(RevokeSystem(system.id, "stolen"), by="bob")
    url = f"{second}/v1/keys/{key}/signatures"
    ok(system.client().post(url, json=BODY))
    with ThreadPoolExecutor(1) as pool:
        with held(stack.pid("gate")):
            signing = pool.submit(system.client().post, url, json=BODY)
            time.sleep(0.3)
            assert not signing.done()
            stack.carry_out(revoking)
        answer = signing.result()
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    history = ok(stack.person("alice").client().get(f"/v1/keys/{key}/history?limit=500"))["items"]
    mine = [e["header"] for e in history if e["header"]["ac"] == f"system:{system.id}"]
    assert [(one["ty"], one["out"]) for one in mine] == [
        ("KEY.USED", "ok"),
        ("KEY.USE_DENIED", "refused"),
    ]


def test_a_signature_under_way_when_somebody_else_is_revoked_is_released(
    stack: Stack, second: str, key: str
):
    system, other = stack.system(name_of("stayer")), stack.system(name_of("leaver"))
    revoking = stack.ask(RevokeSystem(other.id, "gone"), by="bob")
    url = f"{second}/v1/keys/{key}/signatures"
    ok(system.client().post(url, json=BODY))
    with ThreadPoolExecutor(1) as pool:
        with held(stack.pid("gate")):
            signing = pool.submit(system.client().post, url, json=BODY)
            time.sleep(0.3)
            stack.carry_out(revoking)
        ok(signing.result())
