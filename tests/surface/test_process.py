"""The running API process, looked at from outside: no module, no PIN, nothing secret in its log."""

import re
from base64 import b64encode
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stack import Stack, ok

MODULES = re.compile(r"softhsm|p11-kit|pkcs11|softokn", re.IGNORECASE)


def memory(pid: int):
    """Every readable private part of a process's memory."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as image:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            fields = line.split()
            if not fields[1].startswith("rw") or "[vv" in line:
                continue
            start, end = (int(part, 16) for part in fields[0].split("-"))
            try:
                image.seek(start)
                yield image.read(end - start)
            except OSError:
                continue


def holds(pid: int, secret: bytes) -> bool:
    return any(secret in part for part in memory(pid))


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_the_api_process_never_loads_a_pkcs11_module(stack: Stack, dcc, signing_key):
    ok(dcc.client().post(f"/v1/keys/{signing_key}/signatures", json={"digest": "A" * 43 + "="}))
    assert not MODULES.search(maps(stack.pid("api")))
    # The same look finds it where it is: behind the gate.
    [worker] = children(stack.pid("gate"))
    assert MODULES.search(maps(worker))


@pytest.mark.parametrize("name", ["keys.pin", "keys.so-pin", "log.pin", "log.so-pin"])
def test_the_api_process_never_sees_a_pin(stack: Stack, name):
    pin = (stack.folder / "service" / "credentials" / name).read_bytes()
    assert len(pin) > 12
    pid = stack.pid("api")
    assert not holds(pid, pin)
    for place in ("environ", "cmdline"):
        assert pin not in Path(f"/proc/{pid}/{place}").read_bytes()


def test_the_search_of_a_process_s_memory_finds_what_is_there(stack: Stack):
    assert holds(stack.pid("api"), b"keyvault:problem")


def test_the_log_says_who_did_what_in_json_lines(stack: Stack):
    answer = stack.person("alice").client().get("/v1/requests")
    [line] = [x for x in stack.log("api").splitlines() if answer.headers["x-request-id"] in x]
    assert '"route":"/v1/requests"' in line
    assert '"actor":"person:alice"' in line
    assert '"status":200' in line


CANARY = "canary-of-a-secret"
secrets = st.builds(lambda text: CANARY + text, st.text("abcdefghij0123456789", max_size=20))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_log_line_quotes_what_a_caller_sent(stack: Stack, dcc, signing_key, data):
    secret = data.draw(secrets)
    coded = b64encode(secret.encode()).decode()
    client: httpx.Client = data.draw(st.sampled_from([dcc, stack.person("alice")])).client()
    client.post(f"/v1/keys/{signing_key}/signatures", json={"digest": coded, secret: 1})
    client.post(f"/v1/keys/{signing_key}/signatures", json={"message": coded})
    client.post(f"/v1/keys/{signing_key}/suspensions", json={"reason": "", "note": secret})
    client.post("/v1/random", content=f'{{"{secret}'.encode())
    client.get(f"/v1/{secret}", params={secret: secret}, headers={"x-note": secret})
    client.request(secret.upper()[:8].replace("-", "X"), "/v1/keys")
    log = stack.log("api")
    assert CANARY not in log
    assert coded not in log
