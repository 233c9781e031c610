"""Plain uses of keys take a short cut below ASGI: nothing of HTTP may be lost on it."""

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from email.parser import BytesHeaderParser

import orjson
import pytest

BODY = orjson.dumps({"digest": b64encode(bytes(32)).decode()})
ME = b"GET /v1/whoami HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def line(stack, dcc) -> Iterator[ssl.SSLSocket]:
    """A connection of the system's, byte by byte."""
    context = ssl.create_default_context(cafile=str(stack.ca))
    context.load_cert_chain(dcc.certificate, dcc.key)
    address = ("127.0.0.1", stack.settings.api.port)
    with (
        socket.create_connection(address, timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        yield line


@pytest.fixture
def sign(signing_key):
    def sign(*fields: str, body: bytes = BODY, media: str = "application/json") -> bytes:
        lines = [
            f"POST /v1/keys/{signing_key}/signatures HTTP/1.1",
            f"Host: x\r\nContent-Type: {media}\r\nContent-Length: {len(body)}",
            *fields,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    return sign


def answer(stream) -> tuple[int, dict[str, str], dict[str, object]]:
    status = int(stream.readline().split()[1])
    head = b"".join(iter(stream.readline, b"\r\n"))
    fields = dict(BytesHeaderParser().parsebytes(head))
    fields = {name.lower(): value for name, value in fields.items()}
    return status, fields, orjson.loads(stream.read(int(fields["content-length"])))


def test_calls_sent_at_once_are_answered_in_their_order(line, sign):
    line.sendall(sign() + ME + sign() + sign() + ME)
    with line.makefile("rb") as stream:
        bodies = [answer(stream)[2] for _ in range(5)]
    assert ["signatures" in body for body in bodies] == [True, False, True, True, False]
    places = [body["event"]["index"] for body in bodies if "event" in body]
    assert places == sorted(set(places))


@pytest.mark.parametrize("cut", [5, 40, 90, -20, -1])
def test_a_call_in_two_pieces_is_the_same_call(line, sign, cut):
    line.sendall(sign()[:cut])
    time.sleep(0.05)
    line.sendall(sign()[cut:] + sign())
    with line.makefile("rb") as stream:
        assert [answer(stream)[0] for _ in range(2)] == [201, 201]


def test_who_wants_the_connection_closed_has_it_closed(line, sign):
    line.sendall(sign("Connection: close"))
    with line.makefile("rb") as stream:
        assert answer(stream)[0] == 201
        assert stream.read() == b""


def test_a_problem_has_the_headers_of_every_answer(line, sign):
    line.sendall(sign(media="text/plain") + sign(body=b"{}"))
    with line.makefile("rb") as stream:
        (status, fields, problem), (second, _, invalid) = answer(stream), answer(stream)
    assert (status, problem["code"], second, invalid["code"]) == (
        *(415, "media-type"),
        *(422, "invalid-input"),
    )
    assert fields["content-type"] == "application/problem+json"
    assert problem["instance"] == f"urn:uuid:{fields['x-request-id']}"
    assert {"date", "cache-control", "strict-transport-security"} <= fields.keys()


def test_a_call_in_chunks_and_one_with_a_query_are_judged_as_ever(line, sign):
    chunked = sign().replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")
    chunked = chunked.removesuffix(BODY) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    line.sendall(chunked + sign().replace(b"/signatures", b"/signatures?x=1"))
    with line.makefile("rb") as stream:
        assert [answer(stream)[0] for _ in range(2)] == [201, 422]
