"""Behind a reverse proxy: Client-Cert (RFC 9440) is believed on one socket and nowhere else."""

import os
import pwd
import socket
import stat
import threading
import time
from base64 import b64encode
from contextlib import contextmanager, suppress

import httpx
import pytest
import uvicorn
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.express import ExpressProtocol
from api.proxy import LIMIT, forwarded
from api.server import MutualTlsServer, listen, listen_to_proxy, uids
from keyvault import bootstrap
from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError
from keyvault.settings import ProxySettings
from tests.stack import Machine, ok
from tests.surface.test_limits import heard, wire

ME = pwd.getpwuid(os.geteuid()).pw_name
SOMEBODY = next(user.pw_name for user in pwd.getpwall() if user.pw_uid != os.geteuid())
BODY = b'{"digest":"' + b64encode(bytes(32)) + b'"}'


@contextmanager
def serving(stack, name, *users):
    """The server once more, in a thread, with a socket for its proxy. Its port and that socket."""
    proxy = ProxySettings(socket=stack.folder / name, users=users)
    api = stack.settings.api.model_copy(update={"port": 0, "proxy": proxy})
    settings = stack.settings.model_copy(update={"api": api})
    vault, listener = bootstrap.build(settings), listen(settings)
    config = uvicorn.Config(
        create_app(vault), http=ExpressProtocol, ws="none", log_config=None, access_log=False
    )
    server = MutualTlsServer(config, vault, listener, listen_to_proxy(settings, 1))
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(),), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listener.getsockname()[1], proxy.socket
    finally:
        server.should_exit = True
        thread.join(20)
    loop.close()


@pytest.fixture(scope="module")
def served(stack):
    with serving(stack, "proxy.sock", ME) as places:
        yield places


@pytest.fixture(scope="module")
def port(served):
    return served[0]


@pytest.fixture(scope="module")
def path(served):
    return served[1]


@pytest.fixture(scope="module")
def proxy(path):
    """A client in the place of the proxy."""
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://api", timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def machine(stack):
    return stack.system("behind-proxy")


def header(der: bytes) -> str:
    return f":{b64encode(der).decode()}:"


def spoken(path, *lines: bytes, body: bytes = b"") -> bytes:
    """Say these lines at the proxy's socket and return everything that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        head = (*lines, b"host: api", b"connection: close", b"", b"")
        connection.sendall(b"\r\n".join(head) + body)
        return heard(connection)


WHO = b"GET /v1/whoami HTTP/1.1"


def test_the_proxy_says_whose_certificate_it_saw(proxy, machine, signing_key):
    headers = {"client-cert": header(machine.der)}
    assert ok(proxy.get("/v1/whoami", headers=headers))["actor"] == "system:behind-proxy"
    signing = {**headers, "content-type": "application/json"}
    ok(proxy.post(f"/v1/keys/{signing_key}/signatures", content=BODY, headers=signing))


def test_each_call_is_its_own_caller_s_on_one_connection(proxy, machine, dcc):
    for one in (machine, dcc, machine):
        headers = {"client-cert": header(one.der)}
        assert ok(proxy.get("/v1/whoami", headers=headers))["actor"] == f"system:{one.id}"
    assert proxy.get("/v1/whoami").status_code == 401


def test_without_a_certificate_the_open_paths_are_open_and_no_other(proxy):
    ok(proxy.get("/v1/health/alive"))
    ok(proxy.post("/v1/login/challenges"))
    assert proxy.get("/v1/keys").status_code == 401


def test_a_chain_is_ignored(proxy, machine):
    headers = {"client-cert": header(machine.der), "client-cert-chain": "whatever"}
    ok(proxy.get("/v1/whoami", headers=headers))


def test_a_certificate_that_nobody_enrolled_is_nobody_s(stack, proxy):
    stranger = Machine(stack, "stranger-behind-proxy")
    answer = proxy.get("/v1/whoami", headers={"client-cert": header(stranger.der)})
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda good: good.strip(":"),
        lambda good: good[:-1],
        lambda good: good + ";a=1",
        lambda good: f"{good}, {good}",
        lambda good: f'"{good}"',
        lambda _: "::",
        lambda _: ":AAAB:",
        lambda good: good.replace("M", "_", 1),
        lambda good: good[:-2] + "\t" + good[-2:],
        lambda _: f":{'A' * (LIMIT * 4 // 3 + 100)}:",
    ],
    ids=["bare", "open", "parameter", "list", "string", "empty", "no certificate", "base64url",
         "space", "too long"],
)  # fmt: skip
def test_a_header_that_is_not_as_rfc_9440_says_is_refused(path, machine, wrong):
    answer = spoken(path, WHO, b"client-cert: " + wrong(header(machine.der)).encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "more",
    [b"client-cert: %b", b"CLIENT-CERT: %b", b"Client_Cert: %b", b"client_cert_chain: x"],
    ids=["twice", "twice in capitals", "with an underscore", "a chain with an underscore"],
)
def test_what_else_a_client_smuggles_past_the_proxy_is_refused(path, machine, dcc, more):
    """The proxy sets one header; a second one is somebody else's word."""
    good, other = header(machine.der).encode(), header(dcc.der).encode()
    second = more % other if b"%" in more else more
    for lines in ((b"client-cert: " + good, second), (second, b"client-cert: " + good)):
        assert spoken(path, WHO, *lines).startswith(b"HTTP/1.1 401 ")


def test_a_folded_header_is_refused(path, machine):
    good = header(machine.der).encode()
    lines = b"client-cert: " + good[:40], b" " + good[40:]
    assert not spoken(path, WHO, *lines).startswith(b"HTTP/1.1 2")


@pytest.mark.parametrize("target", ["random", "signatures"])
def test_a_trailer_is_no_header(path, machine, signing_key, target):
    """A proxy may let trailers through, which look to some servers like headers."""
    body = {"random": b'{"size":1}', "signatures": BODY}[target]
    at = {"random": "/v1/random", "signatures": f"/v1/keys/{signing_key}/signatures"}[target]
    chunked = b"%x\r\n%b\r\n0\r\nclient-cert: %b\r\n\r\n"
    sent = chunked % (len(body), body, header(machine.der).encode())
    lines = f"POST {at} HTTP/1.1".encode(), b"content-type: application/json"
    with_te = (*lines, b"transfer-encoding: chunked")
    head = b"\r\n".join((*with_te, b"host: api", b"", b""))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(head + sent)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


# From outside --------------------------------------------------------------------------------

SPOOFS = [
    (b"Client-Cert: %b",),
    (b"client-cert: %b", b"client-cert: %b"),
    (b"cLiEnT-cErT: %b",),
    (b"Client_Cert: %b",),
    (b"CLIENT-CERT-CHAIN: %b",),
    (b"client-cert:",),
]


@pytest.mark.parametrize("lines", SPOOFS, ids=lambda lines: lines[0].decode().partition(":")[0])
@pytest.mark.parametrize("own", ["no certificate", "an own certificate"])
@pytest.mark.parametrize("target", ["/v1/whoami", "/v1/health/alive"])
def test_over_tcp_the_header_is_refused_whoever_sends_it(
    stack, port, machine, dcc, lines, own, target
):
    pair = (machine.certificate, machine.key) if own.startswith("an") else ()
    value = header(dcc.der).encode()
    said = [line % value if b"%" in line else line for line in lines]
    with wire(stack, *pair, port=port) as connection:
        head = (
            f"GET {target} HTTP/1.1".encode(),
            *said,
            b"host: x",
            b"connection: close",
            b"",
            b"",
        )
        connection.sendall(b"\r\n".join(head))
        assert heard(connection).startswith(b"HTTP/1.1 401 ")


def test_over_tcp_a_folded_header_is_refused(stack, port, dcc):
    value = header(dcc.der).encode()
    with wire(stack, port=port) as connection:
        head = (WHO, b"client-cert: " + value[:40], b" " + value[40:], b"host: x", b"", b"")
        connection.sendall(b"\r\n".join(head))
        connection.settimeout(10)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 40")


def test_the_express_way_knows_the_header_too(stack, port, machine, dcc, signing_key):
    with wire(stack, machine.certificate, machine.key, port=port) as connection:
        head = (
            f"POST /v1/keys/{signing_key}/signatures HTTP/1.1".encode(),
            b"client-cert: " + header(dcc.der).encode(),
            b"content-type: application/json",
            b"content-length: %d" % len(BODY),
            b"host: x",
            *(b"", b""),
        )
        connection.sendall(b"\r\n".join(head) + BODY)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


def refused(auditor, words: str) -> int:
    query = {"type": "CONN.REFUSED", "limit": 500}
    events = ok(auditor.client().get("/v1/audit/events", params=query))["items"]
    found = [one["payload"] for one in events if words in one["payload"]["reason"]]
    return sum(payload["count"] for payload in found)


def test_each_attempt_is_counted_in_an_event(stack, auditor, dcc):
    before = refused(auditor, "a certificate in a header")
    client = stack.client()
    with serving(stack, "counted.sock", ME) as (port, _):
        for _ in range(5):
            url = f"https://127.0.0.1:{port}/v1/whoami"
            assert client.get(url, headers={"Client-Cert": header(dcc.der)}).status_code == 401
    assert refused(auditor, "a certificate in a header") - before == 5


def test_another_os_user_is_hung_up_on_and_that_is_an_event(stack, auditor, dcc):
    before = refused(auditor, "is not the proxy")
    with serving(stack, "foreign.sock", SOMEBODY) as (_, path):
        lines = WHO, b"client-cert: " + header(dcc.der).encode()
        with suppress(ConnectionError):  # or it is hung up on before it can speak
            assert spoken(path, *lines) == b""
    assert refused(auditor, f"OS user {os.geteuid()} is not the proxy") == 1 + before


def test_the_socket_is_for_the_service_and_its_group(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_user_that_does_not_exist_is_said_at_the_start(tmp_path):
    with pytest.raises(InvalidInputError, match=r"api\.proxy\.users"):
        uids(ProxySettings(socket=tmp_path / "x", users=("no-such-user-here",)))


def test_every_worker_has_a_socket_of_its_own(stack, tmp_path):
    proxy = ProxySettings(socket=tmp_path / "p.sock", users=(ME,))
    api = stack.settings.api.model_copy(update={"proxy": proxy})
    settings = stack.settings.model_copy(update={"api": api})
    for number, name in ((1, "p.sock"), (2, "p-2.sock")):
        with listen_to_proxy(settings, number) as listener:
            assert listener.getsockname() == str(tmp_path / name)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda b: header(b).encode()))
def test_a_value_is_read_in_one_spelling_or_refused(value):
    try:
        pem = forwarded([(b"client-cert", value)])
    except NotAuthenticatedError:
        return
    der = b"".join(pem.encode().split(b"\n")[1:-2])
    assert value == b":" + der + b":"
