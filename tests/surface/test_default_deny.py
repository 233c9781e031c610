"""Nobody without a known certificate gets anywhere, on any route, by any way in."""

import re
import socket
import ssl
import time
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.routing import APIRoute

from api.app import create_app
from api.rest.auth import OPEN, who
from keyvault import bootstrap
from keyvault.domain.access import PERMISSIONS
from keyvault.domain.commands import RevokeSystem
from keyvault.domain.people import Role
from tests.stack import Machine, ok


@pytest.fixture(scope="module")
def routes(stack):
    """Every route of the very application that the server runs."""
    vault = bootstrap.build(stack.settings)
    yield create_app(vault).routes
    vault.close()


def path_of(route: APIRoute) -> str:
    values = {"key_id": str(uuid4()), "request_id": str(uuid4()), "index": "0"}
    return re.sub(r"{(\w+)}", lambda name: values.get(name[1], "nobody"), route.path_format)


def test_every_route_refuses_a_caller_without_a_certificate(stack, routes):
    client, refused = stack.client(), 0
    for route in routes:
        for method in route.methods:
            if (method, route.path) in OPEN:
                continue
            answer = client.request(method, path_of(route))
            assert answer.status_code == 401, (method, route.path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "not-authenticated"
            refused += 1
    assert refused > 40


def test_every_route_depends_on_the_caller_as_well(routes):
    """The second layer: were the first to let somebody by, the route itself would not."""
    assert all(isinstance(route, APIRoute) for route in routes)
    without = {
        (method, route.path)
        for route in routes
        if who not in [dependency.call for dependency in route.dependant.dependencies]
        for method in route.methods
    }
    assert without == OPEN


READS = re.compile(r"[a-z]+:(read|export)")
OWN_EVENTS = ("ACCESS.", "AUDIT.", "AUTH.", "SESSION.")


def test_an_auditor_changes_nothing_on_any_route(auditor, routes):
    """Whatever they call, with or without a body: nothing of it is in the log but the refusals."""
    client, called = auditor.client(), 0
    query = {"actor": f"person:{auditor.id}", "limit": 500}
    before = {one["index"] for one in ok(client.get("/v1/audit/events", params=query))["items"]}
    for route in routes:
        for method in route.methods - {"GET", "HEAD"}:
            if (method, route.path) in OPEN or "login" in route.path or "session" in route.path:
                continue
            for body in ({}, {"reason": "curious"}):
                client.request(method, path_of(route), json=body)
                called += 1
    after = ok(client.get("/v1/audit/events", params=query))["items"]
    events = [one["header"] for one in after if one["index"] not in before]
    mutating = {h["ty"] for h in events if not h["ty"].startswith(OWN_EVENTS) and h["out"] == "ok"}
    assert called > 60
    assert mutating == set()
    assert all(READS.fullmatch(action) for action in PERMISSIONS[Role.AUDITOR])


@pytest.mark.parametrize("path", ["/", "/nowhere", "/docs", "/redoc", "/v1/keys/", "/v1//keys"])
def test_a_path_that_does_not_exist_is_refused_all_the_same(stack, path):
    assert stack.client().get(path).status_code == 401
    known = stack.person("alice").client().get(path)
    assert (known.status_code, known.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/health/alive/../../keys",
        "/v1/health/alive%2f..%2f..%2fkeys",
        "/v1/login/sessions/../../keys",
        "/v1/health/alive;/../keys",
        "//v1/health/alive",
        "/v1/health/alive/",
        "/V1/health/alive",
    ],
)
def test_no_spelling_of_a_path_makes_it_open(stack, path):
    """Sent as it stands, since clients tidy paths up."""
    context = ssl.create_default_context(cafile=str(stack.ca))
    address = ("127.0.0.1", stack.settings.api.port)
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with (
        socket.create_connection(address, 5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("name", ["client-cert", "x-client-cert", "x-forwarded-client-cert"])
def test_a_header_cannot_stand_for_a_certificate(stack, name):
    certificate = stack.person("alice").log_in()[0].read_text().replace("\n", "")
    answer = stack.client().get("/v1/whoami", headers={name: certificate})
    assert answer.status_code == 401


def refusals(auditor) -> int:
    query = {"type": "CONN.REFUSED", "limit": 500}
    events = ok(auditor.client().get("/v1/audit/events", params=query))["items"]
    return sum(event["payload"]["count"] for event in events)


def test_an_unknown_certificate_fails_the_handshake_and_becomes_an_event(stack, auditor):
    before = refusals(auditor)
    with pytest.raises(httpx.TransportError):
        Machine(stack, "stranger").client().get("/v1/health/alive")
    until = time.monotonic() + 25
    while refusals(auditor) == before and time.monotonic() < until:
        time.sleep(0.2)
    assert refusals(auditor) > before


def test_a_certificate_works_as_soon_as_it_is_enrolled_and_no_longer_than_that(stack):
    system = stack.system("short-lived")
    ok(system.client().get("/v1/whoami"))
    stack.person("bob").alone(RevokeSystem("short-lived", "for a test"))
    refused = system.client().get("/v1/whoami")  # on the connection that it had
    assert (refused.status_code, refused.json()["code"]) == (401, "not-authenticated")
    fresh = stack.client(system.certificate, system.key)
    with pytest.raises(httpx.TransportError):
        fresh.get("/v1/whoami")


def test_another_certificate_for_an_enrolled_key_is_refused(stack):
    system = stack.system("one-certificate")
    with pytest.raises(httpx.TransportError):
        Machine(stack, system.id, system.private_key).client().get("/v1/whoami")


def test_a_session_that_was_closed_is_over_at_once(stack):
    bob = stack.client(*stack.person("bob").log_in())
    ok(bob.get("/v1/whoami"))
    assert bob.delete("/v1/login/session").status_code == 204
    refused = bob.get("/v1/whoami")
    assert (refused.status_code, refused.json()["code"]) == (401, "not-authenticated")


def test_a_login_by_the_wrong_key_is_refused_and_becomes_an_event(stack, auditor):
    alice, bob = stack.person("alice"), stack.person("bob")
    door = stack.client()
    challenge = ok(door.post("/v1/login/challenges"))
    key = ec.generate_private_key(ec.SECP256R1())
    body = bob.login(challenge, key, signer=alice.credential)
    refused = door.post("/v1/login/sessions", json=body)
    assert (refused.status_code, refused.json()["code"]) == (401, "not-authenticated")
    query = {"type": "AUTH.FAILED", "limit": 500}
    events = ok(auditor.client().get("/v1/audit/events", params=query))["items"]
    assert any(event["payload"]["person"] == "bob" for event in events)


def test_tls_below_1_3_is_refused(stack):
    context = ssl.create_default_context(cafile=str(stack.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    address = ("127.0.0.1", stack.settings.api.port)
    with socket.create_connection(address, 5) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname="localhost")
