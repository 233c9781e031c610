"""The wire between our processes: framing, batching, errors, and clients that misbehave."""

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm import errors as hsm_errors
from keyvault import wire
from keyvault.domain import errors as domain_errors
from keyvault.wire.errors import _CLASSES, document_of, error_of
from keyvault.wire.frames import LENGTH, FrameReader, pack
from keyvault.wire.server import MAX_CONNECTIONS, MAX_UNREAD

Serve = Callable[..., wire.Server]


def _echo(value: object) -> object:
    return value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire"


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    with wire.listen(path) as listener:
        yield listener


@pytest.fixture
def serve(listener: socket.socket) -> Iterator[Serve]:
    running: list[tuple[wire.Server, threading.Thread]] = []

    def start(uids: tuple[int, ...] = (os.getuid(),), **handlers: Callable[..., object]):
        server = wire.Server(listener, {"echo": _echo, **handlers}, uids)
        thread = threading.Thread(target=server.serve)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def client(path: Path) -> Iterator[wire.Client]:
    client = wire.Client(path)
    yield client
    client.close()


def _raw(path: Path) -> socket.socket:
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(10)
    raw.connect(str(path))
    return raw


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.lists(st.lists(VALUES, max_size=3), max_size=3), st.data())
def test_frames_survive_any_cut_of_the_stream(arrays: list[list[object]], data: st.DataObject):
    stream = b"".join(map(pack, arrays))
    cut = data.draw(st.integers(0, len(stream)))
    reader = FrameReader()
    assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == arrays


@given(st.binary(max_size=200))
def test_garbage_is_a_frame_error_and_nothing_else(data: bytes):
    reader = FrameReader()
    with contextlib.suppress(wire.FrameError):
        assert all(isinstance(array, list) for array in reader.feed(data))
    with pytest.raises(wire.FrameError):
        FrameReader().feed(LENGTH.pack(len(data) + 1) + b"\xc1" + data)


def test_a_frame_above_the_cap_is_refused_on_both_sides(serve: Serve, path: Path, client):
    serve()
    with pytest.raises(domain_errors.InvalidInputError):
        client.call("echo", bytes(wire.MAX_FRAME))
    with _raw(path) as raw:
        raw.sendall(LENGTH.pack(wire.MAX_FRAME + 1))
        assert raw.recv(1) == b""
    assert client.call("echo", b"still here") == b"still here"


def test_an_answer_above_the_cap_is_an_error_of_that_call(serve: Serve, client):
    serve(much=lambda: bytes(wire.MAX_FRAME))
    with pytest.raises(wire.RemoteError):
        client.call("much")
    assert client.call("echo", 1) == 1


@pytest.mark.parametrize("kind", sorted(_CLASSES.values(), key=lambda kind: kind.code))
def test_every_error_comes_back_as_its_own_class(kind: type[Exception]):
    error = kind("what", next_step="then")
    if isinstance(error, hsm_errors.HsmError):
        error.cause = "CKR_PIN_INCORRECT"
    back = error_of(document_of(error))
    assert type(back) is kind
    assert vars(back) == vars(error)
    assert str(back) == "what"


def test_no_two_error_classes_share_a_code():
    def family(base: type) -> list[type]:
        return [base, *(kind for child in base.__subclasses__() for kind in family(child))]

    ours = [
        kind
        for kind in family(hsm_errors.HsmError) + family(domain_errors.VaultError)
        if kind.__module__ in {"hsm.errors", "keyvault.domain.errors"}
    ]
    assert len({kind.code for kind in ours}) == len(ours)


def test_an_error_of_no_class_of_ours_tells_nothing_of_its_text(serve: Serve, client):
    def fail() -> None:
        raise RuntimeError("the PIN is 1234")

    serve(fail=fail)
    with pytest.raises(wire.RemoteError) as caught:
        client.call("fail")
    assert "1234" not in str(caught.value)
    assert caught.value.code == "internal"


def test_an_unknown_method_is_said_to_be_unknown(serve: Serve, client):
    serve()
    with pytest.raises(domain_errors.InvalidInputError, match="no method"):
        client.call("nothing")


def test_calls_of_one_turn_travel_together_and_come_back_to_their_callers(serve: Serve, path: Path):
    rounds: list[int] = []

    @wire.batch
    def double(calls: list[list[int]]) -> list[object]:
        rounds.append(len(calls))
        return [ValueError() if value < 0 else 2 * value for [value] in calls]

    serve(double=double)

    async def run() -> list[object]:
        client = wire.AsyncClient(path)
        calls = [client.call("double", n) for n in (*range(100), -1)]
        answers = await asyncio.gather(*calls, client.call("echo", "x"), return_exceptions=True)
        await client.close()
        return answers

    *doubled, error, echoed = asyncio.run(run())
    assert doubled == [2 * n for n in range(100)]
    assert isinstance(error, wire.RemoteError)
    assert echoed == "x"
    assert rounds == [101]


def test_a_batch_handler_that_fails_fails_every_call_of_the_round(serve: Serve, client):
    @wire.batch
    def append(calls: list[list[int]]) -> list[object]:
        raise domain_errors.LogUnavailableError(f"{len(calls)} lost")

    serve(append=append)
    with pytest.raises(domain_errors.LogUnavailableError, match="1 lost"):
        client.call("append", 1)


def test_many_threads_share_one_blocking_client(serve: Serve, client):
    serve()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: client.call("echo", n), range(200))) == list(range(200))


def test_a_stranger_is_not_answered(serve: Serve, client):
    serve(uids=(os.getuid() + 1,))
    with pytest.raises(ConnectionError):
        client.call("echo", 1)


def test_a_client_that_never_reads_delays_nobody_and_is_hung_up_on(
    serve: Serve, path: Path, client
):
    serve(much=lambda: bytes(4_000_000))
    with _raw(path) as greedy:
        greedy.sendall(pack([[1, "much", []]]))
        assert client.call("echo", 1, timeout=5) == 1
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            greedy.sendall(pack([[1, "much", []]]) * MAX_UNREAD)
        assert client.call("echo", 2, timeout=5) == 2


def test_half_a_frame_delays_nobody(serve: Serve, path: Path, client):
    serve()
    with _raw(path) as slow:
        slow.sendall(pack([[1, "echo", [1]]])[:-1])
        assert client.call("echo", 2, timeout=5) == 2


@pytest.mark.parametrize("frame", [b"\0\0\0\1\xc1", pack([1]), pack([[1, "echo"]])])
def test_a_client_that_talks_nonsense_is_hung_up_on(serve: Serve, path: Path, client, frame: bytes):
    serve()
    with _raw(path) as raw:
        raw.sendall(frame)
        assert raw.recv(1) == b""
    assert client.call("echo", 1) == 1


def test_more_connections_than_the_limit_are_refused_and_the_rest_served(
    serve: Serve, path: Path, client
):
    serve()
    assert client.call("echo", 1) == 1
    crowd = [_raw(path) for _ in range(MAX_CONNECTIONS)]
    assert crowd[-1].recv(1) == b""
    assert client.call("echo", 2) == 2
    for raw in crowd:
        raw.close()


def test_without_a_server_a_call_is_a_connection_error_and_later_works(serve: Serve, path: Path):
    nowhere = path.with_name("nowhere")

    async def run() -> object:
        lost = wire.AsyncClient(nowhere)
        with pytest.raises(ConnectionError):
            await lost.call("echo", 1)
        nowhere.symlink_to(path)
        serve()
        answer = await lost.call("echo", 1)
        await lost.close()
        return answer

    with pytest.raises(ConnectionError):
        wire.Client(nowhere).call("echo", 1)
    assert asyncio.run(run()) == 1


def test_a_late_answer_is_a_timeout_and_never_the_answer_of_another_call(serve: Serve, path: Path):
    serve(slow=lambda: time.sleep(0.3) or "slow")

    async def run() -> object:
        client = wire.AsyncClient(path)
        with pytest.raises(TimeoutError):
            await client.call("slow", timeout=0.05)
        answer = await client.call("echo", "next")
        await client.close()
        return answer

    assert asyncio.run(run()) == "next"
    client = wire.Client(path)
    with pytest.raises(TimeoutError):
        client.call("slow", timeout=0.05)
    assert client.call("echo", "next") == "next"
    client.close()


def test_what_a_stopping_server_has_not_begun_goes_to_its_successor(serve: Serve, path: Path):
    """The first server stops within a call: that one is answered, the others wait for the next."""
    first: list[wire.Server] = []

    def last() -> str:
        first[0].stop()
        return "first"

    first.append(serve(last=last, who=lambda: "first"))

    async def run() -> list[object]:
        client = wire.AsyncClient(path)
        assert await client.call("echo", 1) == 1
        calls = [client.call("last"), *(client.call("who") for _ in range(20))]
        waiting = asyncio.gather(*calls)
        await asyncio.sleep(0.2)
        serve(who=lambda: "second")
        answers = await waiting
        await client.close()
        return answers

    assert asyncio.run(run()) == ["first"] + ["second"] * 20


def test_a_blocking_client_too_goes_on_with_the_successor(serve: Serve, client):
    server = serve()
    assert client.call("echo", 1) == 1
    server.stop()
    threading.Timer(0.2, serve).start()
    assert client.call("echo", 2) == 2


def test_a_socket_in_use_is_not_taken_over_but_a_dead_one_is(path: Path):
    with wire.listen(path), pytest.raises(OSError, match="in use"):
        wire.listen(path)
    with wire.listen(path):
        assert path.stat().st_mode & 0o777 == 0o600
    with wire.listen(path, shared=True):
        assert path.stat().st_mode & 0o777 == 0o666


def test_a_deeply_nested_frame_is_refused():
    data = b"\x91" * 100_000 + b"\x01"
    with pytest.raises(wire.FrameError):
        FrameReader().feed(LENGTH.pack(len(data)) + data)
