"""Failed logins and refused certificates: who fails waits, and nobody else; and the log is told."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from api.lockout import FREE
from keyvault.domain.commands import RevokeSystem
from keyvault.domain.people import Role
from tests.stack import Someone, Stack, ok

ROUNDS = 9  # logins whose median is compared


@pytest.fixture
def wanda(stack: Stack) -> Someone:
    """Somebody whom no other test knows."""
    return stack.register(f"wanda-{uuid4().hex[:6]}", Role.KEY_APPROVER)


def claimed(stack: Stack, name: str) -> Someone:
    """Somebody who says to be `name`, and signs with another's key."""
    return Someone(stack, name, stack.person("alice").credential)


def bad_login(stack: Stack, name: str) -> dict[str, object]:
    key = ec.generate_private_key(ec.SECP256R1())
    return claimed(stack, name).login(ok(stack.client().post("/v1/login/challenges")), key)


def events(auditor: Someone, kind: str) -> list[dict[str, object]]:
    query = {"type": kind, "limit": 500}
    found = ok(auditor.client().get("/v1/audit/events", params=query))["items"]
    return [event["payload"] for event in found]


def about(auditor: Someone, kind: str, name: str) -> list[dict[str, object]]:
    key = "person" if kind == "AUTH.FAILED" else "identity"
    return [payload for payload in events(auditor, kind) if payload[key] == name]


def soon(what, patience: float = 20.0):
    """Wait for what is written behind an answer."""
    until = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def test_who_fails_too_often_waits_and_then_is_heard_again(stack, wanda, auditor):
    door, body = stack.client(), bad_login(stack, wanda.id)
    answers = [door.post("/v1/login/sessions", json=body) for _ in range(FREE + 4)]
    assert [answer.status_code for answer in answers] == [401] * (FREE + 1) + [429] * 3
    assert {answer.json()["code"] for answer in answers[FREE + 1 :]} == {"locked-out"}
    assert {answer.headers["retry-after"] for answer in answers[FREE + 1 :]} == {"1"}
    challenge, key = ok(door.post("/v1/login/challenges")), ec.generate_private_key(ec.SECP256R1())
    good = wanda.login(challenge, key)
    assert door.post("/v1/login/sessions", json=good).status_code == 429
    [locked] = soon(lambda: about(auditor, "AUTH.LOCKED", f"person:{wanda.id}"))
    assert (locked["failures"], locked["seconds"], locked["count"]) == (FREE + 1, 1, 1)
    time.sleep(1.1)
    ok(door.post("/v1/login/sessions", json=good))
    assert door.post("/v1/login/sessions", json=body).status_code == 401  # and counted from one


def test_a_flood_of_failures_is_one_event_until_its_window_ends(stack, auditor):
    door, name = stack.client(), f"nobody-{uuid4().hex[:6]}"
    body = bad_login(stack, name)
    assert door.post("/v1/login/sessions", json=body).status_code == 401
    assert [told["count"] for told in about(auditor, "AUTH.FAILED", name)] == [1]  # by then
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: stack.client().post("/v1/login/sessions", json=body), range(24)))
    [told] = about(auditor, "AUTH.FAILED", name)
    assert told["reason"] == "the signature is not that of a registered person"


def median_login(someone: Someone) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        someone.log_in()
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def hammer(stack: Stack, name: str, times: int) -> dict[int, int]:
    """Fail so many logins one after the other; return how many got which status."""
    door, body, got = stack.client(), bad_login(stack, name), {}
    for _ in range(times):
        status = door.post("/v1/login/sessions", json=body).status_code
        got[status] = got.get(status, 0) + 1
    return got


def test_a_hundred_bad_logins_of_one_person_delay_no_other(stack, wanda):
    wanda.log_in()
    before = median_login(wanda)
    got = hammer(stack, f"x-{uuid4().hex[:6]}", 100)
    assert got[429] > 80
    assert set(got) == {401, 429}
    assert median_login(wanda) < before * 1.5 + 0.01  # of a machine that others use as well


@pytest.mark.soak
def test_ten_thousand_bad_logins_of_one_person_delay_no_other_by_a_tenth(stack, wanda):
    rounds = []
    for number in range(5):
        before = median_login(wanda)
        hammer(stack, f"yves-{number}", 2_000)
        rounds.append(median_login(wanda) / before)
    assert statistics.median(rounds) < 1.1, rounds


def test_a_certificate_that_is_refused_over_and_over_waits_until_authority_changes(stack, auditor):
    system = stack.system("insistent")
    client = system.client()
    ok(client.get("/v1/whoami"))
    stack.carry_out(stack.ask(RevokeSystem("insistent", "for a test"), by="bob"))
    answers = [client.get("/v1/whoami") for _ in range(FREE + 3)]
    codes = [answer.json()["code"] for answer in answers]
    assert codes == ["not-authenticated"] * (FREE + 1) + ["locked-out"] * 2

    def told() -> list[str]:
        locked = [str(payload["identity"]) for payload in events(auditor, "AUTH.LOCKED")]
        return [identity for identity in locked if identity.startswith("certificate:")]

    assert soon(told)
    stack.register("zoe", Role.AUDITOR)
    assert client.get("/v1/whoami").json()["code"] == "not-authenticated"


def test_the_lock_of_one_person_holds_no_open_session(stack, wanda):
    client = wanda.client()
    hammer(stack, wanda.id, FREE + 2)
    ok(client.get("/v1/whoami"))
