"""What callers may send, how much and how slowly; and what they are told when it is too much."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
import uvloop

import api.front
import api.tls
from api.app import create_app
from api.rest.routes import health
from api.server import MutualTlsServer, listen
from api.tls import CertificateProtocol
from keyvault import bootstrap

MEGABYTE = 1_048_576


@contextmanager
def wire(stack, certificate=None, key=None, port=0):
    """A TLS connection, to say things on that no HTTP library would."""
    context = ssl.create_default_context(cafile=str(stack.ca))
    if certificate:
        context.load_cert_chain(certificate, key)
    with (
        socket.create_connection(("127.0.0.1", port or stack.settings.api.port), 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        yield connection


def heard(connection) -> bytes:
    """Everything until the server hangs up."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return b"".join(parts)


@pytest.fixture(scope="module")
def alice(stack):
    return stack.person("alice").log_in()


POST = b"POST /v1/random HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def test_a_body_that_says_it_is_too_large_is_refused_unread(stack, alice):
    with wire(stack, *alice) as connection:
        connection.sendall(POST + b"content-length: 99999999\r\n\r\n")
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too-large"' in answer


def test_a_body_that_grows_too_large_in_chunks_is_cut_off(stack, alice):
    with wire(stack, *alice) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n")
        try:
            for _ in range(40):
                connection.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")
        except (ConnectionError, ssl.SSLError):
            pass  # it hung up, as it should
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b""


def test_a_body_at_the_limit_is_read(stack):
    body = b'{"size": 1}'.ljust(MEGABYTE)
    headers = {"content-type": "application/json"}
    client = stack.person("alice").client()
    refused = client.post("/v1/random", content=body, headers=headers)
    assert refused.status_code == 403  # read, understood, and not hers to ask
    larger = client.post("/v1/random", content=body + b" ", headers=headers)
    assert (larger.status_code, larger.json()["code"]) == (413, "too-large")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 20_000,
        b"GET /v1/whoami?" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x",
        b"GET /v1/whoami HTTP/1.1" + b"\r\na: b" * 100,
    ],
)
def test_a_head_that_is_too_large_is_refused(stack, alice, head):
    with wire(stack, *alice) as connection:
        connection.sendall(head + b"\r\n\r\n")
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"headers-too-large"' in answer


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"POST /v1/random HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/random HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_and_the_end(stack, alice, noise):
    with wire(stack, *alice) as connection:
        connection.sendall(noise)
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"bad-request"' in answer


def test_a_second_request_smuggled_after_an_error_is_not_served(stack, alice):
    with wire(stack, *alice) as connection:
        connection.sendall(b"BAD\r\n\r\nGET /v1/whoami HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = heard(connection)
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("PUT", "/v1/keys", {}, 405, "method-not-allowed"),
        ("POST", "/v1/random", {"content": b"size=1"}, 415, "media-type"),
        ("POST", "/v1/random", {"json": {"size": 1, "more": 1}}, 422, "invalid-input"),
        ("POST", "/v1/random", {"json": [1]}, 422, "invalid-input"),
        ("GET", "/v1/keys?nothing=1", {}, 422, "invalid-input"),
        ("GET", "/v1/keys?limit=1&limit=2", {}, 422, "invalid-input"),
        ("GET", "/v1/keys?limit=501", {}, 422, "invalid-input"),
        ("GET", "/v1/keys/not-a-uuid", {}, 404, "not-found"),
        ("GET", "/v1/keys/0AAAAAAA-0000-4000-8000-000000000000", {}, 404, "not-found"),
    ],
)
def test_a_call_that_does_not_fit_is_told_why(stack, method, path, sent, status, code):
    answer = stack.person("alice").client().request(method, path, **sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["instance"].startswith("urn:uuid:")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"size": NaN}', b'{"size": 1' + b"0" * 5_000 + b"}"]
)
def test_broken_json_is_a_problem(stack, body):
    headers = {"content-type": "application/json"}
    answer = stack.person("alice").client().post("/v1/random", content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("key", ["", "x" * 129, "a b", "é".encode()])
def test_an_idempotency_key_is_visible_ascii(dcc, signing_key, key):
    body = {"digest": "A" * 43 + "="}
    headers = {"Idempotency-Key": key}
    answer = dcc.client().post(f"/v1/keys/{signing_key}/signatures", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


def test_every_answer_has_an_id_and_may_not_be_kept(stack):
    answers = [stack.client().get("/v1/health/alive") for _ in "ab"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2
    assert all(answer.headers["cache-control"] == "no-store" for answer in answers)


@pytest.fixture
def hasty(stack, monkeypatch):
    """The server once more, in a thread of this process, with little patience. Its port."""
    monkeypatch.setattr(api.front, "BODY_TIME", 0.4)
    monkeypatch.setattr(api.tls, "HEADER_TIME", 0.4)
    settings = stack.settings.model_copy(
        update={"api": stack.settings.api.model_copy(update={"port": 0})}
    )
    vault = bootstrap.build(settings)
    listener = listen(settings)
    config = uvicorn.Config(
        create_app(vault), http=CertificateProtocol, ws="none", log_config=None, access_log=False
    )
    server = MutualTlsServer(config, vault, listener)
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(),))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)
    loop.close()
    assert not thread.is_alive()


def test_a_client_that_sends_nothing_is_hung_up_on(stack, hasty):
    with wire(stack, port=hasty) as connection:
        started = time.monotonic()
        assert heard(connection) == b""
        assert time.monotonic() - started < 3


def drip(connection) -> None:
    for _ in range(200):
        connection.sendall(b"a")
        time.sleep(0.05)


def test_a_client_that_drips_its_headers_is_hung_up_on(stack, hasty):
    with wire(stack, port=hasty) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /v1/health/alive HTTP/1.1\r\nx-slow: ")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            drip(connection)
        assert time.monotonic() - started < 5


def test_a_client_that_drips_its_body_is_told_so(stack, alice, hasty):
    with wire(stack, *alice, port=hasty) as connection:
        connection.sendall(POST + b"content-length: 1000\r\n\r\n{")
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"too-slow"' in answer


def test_slow_clients_keep_nobody_waiting(stack, alice, hasty):
    with wire(stack, *alice, port=hasty) as slow, wire(stack, *alice, port=hasty) as quick:
        slow.sendall(POST + b"content-length: 1000\r\n\r\n{")
        started = time.monotonic()
        quick.sendall(b"GET /v1/health/alive HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert heard(quick).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - started < 0.4


def test_a_failure_that_nobody_foresaw_says_only_where_to_look(stack, hasty, monkeypatch):
    def fail(_vault):
        raise RuntimeError("hunter2-canary")

    monkeypatch.setattr(health.health, "ready", fail)
    with wire(stack, port=hasty) as connection:
        connection.sendall(b"GET /v1/health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b'"code":"internal"' in answer
    assert b"canary" not in answer
