"""Copies go out in order and whole, and a receiver that is dead or slow holds nobody up."""

import hashlib
import hmac
import json
import re
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from shutil import copyfile
from socket import create_server

import pytest
import trustme

from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.streams import MESSAGE_LIMIT, Choice, Copy, syslog
from keyvault.outside import Place
from keyvault.settings import FileTarget, SinkSettings, SyslogTarget, WebhookSettings
from keyvault.shipper import BATCH, Stream
from keyvault.sinks import FileSink, SyslogSink, WebhookSink
from keyvault.store import Database
from keyvault.webhooks import Hook
from tests.stack import free_port
from tests.store.events import used

KEY = b"a key that both know"
PATTERN = re.compile(
    rb"<(\d+)>1 \S+Z test-node keyvault \w+ KEY\.USED "
    rb'\[keyvault@32473 index="(\d+)" leaf="(\w{64})"'
)


@pytest.fixture
def database(tmp_path, sqlite_template):
    copyfile(sqlite_template, tmp_path / "log.db")
    opened = Database(f"sqlite:///{tmp_path / 'log.db'}", "test-node")
    yield opened
    opened.close()


def grow(database, count):
    with database.work() as work:
        return work.commit(*[used(count=n) for n in range(count)])


def kinds(database, name):
    with database.reading() as reading:
        events, _ = reading.audit.page(stream=f"stream:{name}")
    return [event.header["ty"] for event in events]


def drained(stream):
    while stream.turn():
        pass


@contextmanager
def listening(answer):
    """A TCP server that hands each connection to `answer`, in a thread of its own."""
    with create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accepting, args=(server, answer), daemon=True).start()
        yield server.getsockname()[1]


def _accepting(server, answer):
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        answer(connection)


def frames(data):
    while data:
        size, _, rest = data.partition(b" ")
        yield rest[: int(size)]
        data = rest[int(size) :]


def test_syslog_over_tls_gets_every_event_framed_with_its_index_and_hash(database, tmp_path):
    authority, got = trustme.CA(), bytearray()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def take(connection):
        with context.wrap_socket(connection, server_side=True) as line:
            while part := line.recv(65_536):
                got.extend(part)

    receipts = grow(database, BATCH + 7)
    with listening(take) as port:
        sink = SyslogSink(SyslogTarget(host="127.0.0.1", port=port, ca=tmp_path / "ca.pem"))
        drained(Stream(database, SinkSettings(name="siem", syslog=_any_syslog()), sink))
        sink.close()
        until = time.monotonic() + 10
        while len(list(frames(bytes(got)))) < len(receipts) and time.monotonic() < until:
            time.sleep(0.01)
    found = [PATTERN.match(message).groups() for message in frames(bytes(got))]
    assert [(int(i), leaf.decode()) for _, i, leaf in found] == [
        (receipt.index, receipt.leaf_hash.hex()) for receipt in receipts
    ]
    assert {priority for priority, _, _ in found} == {b"110"}  # 13 * 8 + 6


def _any_syslog():
    return SyslogTarget(host="127.0.0.1")


def test_a_receiver_whose_certificate_nobody_vouches_for_gets_nothing(database, tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    got = bytearray()

    def take(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as line:
                got.extend(line.recv(65_536))
        except OSError:
            pass

    grow(database, 1)
    with listening(take) as port:
        sink = SyslogSink(SyslogTarget(host="127.0.0.1", port=port, ca=tmp_path / "ca.pem"))
        stream = Stream(database, SinkSettings(name="siem", syslog=_any_syslog()), sink)
        assert stream.turn() == 0
    assert not got
    assert kinds(database, "siem") == [EventType.STREAM_FAILED]


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.headers["keyvault-signature"], body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_webhook_is_signed_and_tried_again_until_it_says_yes(database):
    grow(database, 3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.got, server.answers = [], [500, 302]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/hook"
    hook = Hook(Place(url), KEY)
    settings = SinkSettings(name="hook", webhook=WebhookSettings(url=url), payload=True)
    stream = Stream(database, settings, WebhookSink("hook", "site", hook))
    pauses = []
    for _ in range(3):
        stream.turn()
        pauses.append(stream.pause)
    server.shutdown()
    thread.join()
    server.server_close()
    assert pauses == [1.0, 2.0, 0.0]
    signature, body = server.got[-1]
    at, _, signed = signature.removeprefix("t=").partition(",v1=")
    assert hmac.new(KEY, f"{at}.".encode() + body, hashlib.sha256).hexdigest() == signed
    events = json.loads(body)["events"]
    assert [event["index"] for event in events][:3] == [0, 1, 2]
    assert events[1]["payload"]["count"] == 1
    assert kinds(database, "hook") == [EventType.STREAM_FAILED, EventType.STREAM_RECOVERED]
    assert KEY.decode() not in repr(hook)


def test_a_file_is_rotated_and_after_a_restart_goes_on_where_it_stood(database, tmp_path):
    target = FileTarget(path=tmp_path / "events.ndjson", limit=1_024, keep=2)
    settings = SinkSettings(name="disk", file=target, types=("KEY.*",))
    for count in (3, 3, 3, 1):
        grow(database, count)
        drained(Stream(database, settings, FileSink(target)))
    kept = [target.path, *(tmp_path / f"events.ndjson.{n}" for n in (1, 2))]
    lines = [json.loads(line) for path in reversed(kept) for line in path.read_bytes().splitlines()]
    assert [line["index"] for line in lines] == list(range(3, 10))  # the first file has gone
    assert not (tmp_path / "events.ndjson.3").exists()
    assert all("payload" not in line for line in lines)


def test_a_dead_and_a_hanging_receiver_hold_up_neither_key_work_nor_each_other(database, tmp_path):
    stop, silent = threading.Event(), []
    target = FileTarget(path=tmp_path / "events.ndjson")
    with listening(silent.append) as port:  # takes the connection and never says a word
        ends = {
            "dead": WebhookSink("dead", "s", Hook(Place(f"http://127.0.0.1:{free_port()}/"), KEY)),
            "hangs": WebhookSink(
                "hangs", "s", Hook(Place(f"http://127.0.0.1:{port}/", timeout=1), KEY)
            ),
            "disk": FileSink(target),
        }
        streams = [
            Stream(database, SinkSettings(name=name, file=target), end)
            for name, end in ends.items()
        ]
        threads = [threading.Thread(target=s.live, args=(stop, lambda: True)) for s in streams]
        for thread in threads:
            thread.start()
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            last = grow(database, 1)[0].index
            slowest = max(slowest, time.monotonic() - began)
        until = time.monotonic() + 15
        while time.monotonic() < until:
            with database.reading() as reading:
                if reading.audit.position("disk") > last and kinds(database, "hangs"):
                    break
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
    for connection in silent:
        connection.close()
    assert slowest < 1.0
    assert kinds(database, "dead") == kinds(database, "hangs") == [EventType.STREAM_FAILED]
    with database.reading() as reading:
        assert reading.audit.position("disk") > last
        assert reading.audit.position("dead") == reading.audit.position("hangs") == 0


def test_a_stream_that_falls_behind_is_an_alarm(database, tmp_path):
    grow(database, 1)
    target = FileTarget(path=tmp_path / "events.ndjson")
    slow = SinkSettings(name="disk", file=target, alarm_after=0.000001)
    time.sleep(1.1)
    Stream(database, slow, FileSink(target)).turn()
    assert kinds(database, "disk") == [EventType.STREAM_FAILED]


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), True),
        (Choice(["KEY.*"]), True),
        (Choice(["AUTH.*", "KEY.USED"]), True),
        (Choice(["KEY"]), False),
        (Choice([], ["fail"]), False),
        (Choice(["KEY.*"], ["ok"]), True),
    ],
)
def test_a_filter_chooses_by_type_and_outcome(choice, taken):
    assert choice.takes({"ty": "KEY.USED", "out": "ok"}) is taken


def test_a_syslog_message_escapes_and_leaves_a_payload_away_that_is_too_long():
    header = {"ty": "KEY.USED", "out": str(Outcome.FAIL), "t": 1_795_000_000_007, "n": "näme x"}
    header |= {"bo": "b", "op": "o", "st": 'a"b]c\\', "ac": "person:a", "sc": ""}
    message = syslog(Copy(1, bytes(32), header, {"reason": "x" * MESSAGE_LIMIT}))
    assert message.startswith(b"<107>1 2026-11-18T11:06:40.007Z n_me_x keyvault b KEY.USED [")
    assert rb'stream="a\"b\]c\\"' in message
    assert len(message) < MESSAGE_LIMIT
    assert b"payload" not in message
