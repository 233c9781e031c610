"""People are told by mail and webhook: real servers take it, and one that fails loses nothing."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message

from keyvault.carriers import Mail, Webhook
from keyvault.clerk import turn
from keyvault.domain.audit import EventType
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notices import CarrierError, Notice
from keyvault.operations import notices
from keyvault.settings import MailSettings, WebhookSettings
from tests.stack import free_port

KEY = b"a key that the receiver knows too"
SOME = Notice("k", ("bob",), "subject", "text", datetime(2027, 1, 1, tzinfo=UTC))


class Inbox(Message):
    """What an SMTP server took in."""

    def __init__(self):
        super().__init__()
        self.mails = []

    def handle_message(self, message):
        self.mails.append(message)


@dataclass
class Receiver:
    """A webhook's end: what it was sent, and what it answers."""

    status: int = 204
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    handler, port = Inbox(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    yield handler, port
    controller.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            found.posts.append((dict(self.headers), body))
            self.send_response(found.status)
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def mail_to(port: int, *people: str, host: str = "127.0.0.1") -> Mail:
    addresses = {person: f"{person}@example.test" for person in people}
    settings = MailSettings(host=host, port=port, sender="vault@example.test", addresses=addresses)
    return Mail(settings, "site-1", "")


def hook_to(receiver: Receiver) -> Webhook:
    return Webhook(WebhookSettings(url=f"http://127.0.0.1:{receiver.port}/in?a=1"), "site-1", KEY)


def test_approvers_get_one_mail_for_a_request_however_often_the_clerk_comes_by(stack, vault, inbox):
    handler, port = inbox
    order = stack.order(label="told by mail")["id"]
    carrier = mail_to(port, "alice", "bob")
    for _ in range(3):
        turn(vault, [carrier])
    told = [mail for mail in handler.mails if order in mail.get_payload(decode=True).decode()]
    assert [mail["To"] for mail in told] == ["bob@example.test"]
    assert told[0]["Subject"] == "[site-1] generate-key waits for your signature"


def test_a_webhook_gets_every_notice_signed(stack, vault, receiver):
    order = stack.order(label="told by webhook")["id"]
    assert notices.tell(vault, [hook_to(receiver)]) >= 2
    told = [(head, body) for head, body in receiver.posts if order.encode() in body]
    assert {json.loads(body)["person"] for _, body in told} == {"bob", "carol"}
    head, body = told[0]
    signed = dict(part.split("=") for part in head["Keyvault-Signature"].split(","))
    expected = hmac.new(KEY, f"{signed['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert signed["v1"] == expected


@pytest.mark.parametrize("status", [301, 500])
def test_a_receiver_that_refuses_is_one_event_and_is_told_later(stack, vault, receiver, status):
    order = stack.order(label=f"refused with {status}")["id"]
    receiver.status, carrier = status, hook_to(receiver)
    carrier.name = f"webhook-{status}"
    for _ in range(3):
        assert notices.tell(vault, [carrier]) == 0
    stream = f"notices:{carrier.name}"
    with vault.database.reading() as work:
        found, _ = work.audit.page(stream=stream)
    assert [event.header["ty"] for event in found] == [EventType.NOTICE_FAILED]
    receiver.status, receiver.posts[:] = 200, []
    assert notices.tell(vault, [carrier]) >= 2
    assert any(order.encode() in body for _, body in receiver.posts)
    with vault.database.reading() as work:
        newest = work.audit.newest_of(stream)
    assert newest.header["ty"] == EventType.NOTICE_SENT


def test_a_mail_server_that_is_away_is_said_without_its_name():
    carrier = mail_to(free_port(), "bob")
    with pytest.raises(CarrierError, match="does not take it: ConnectionRefusedError"):
        carrier.send(SOME, "bob")


def test_mail_off_this_host_is_encrypted_or_not_sent(inbox):
    """To the resolver 127.1 is this host; by its name nobody can tell, so it counts as another."""
    _, port = inbox
    with pytest.raises(CarrierError, match="SMTPNotSupportedError"):
        mail_to(port, "bob", host="127.1").send(SOME, "bob")


def test_a_webhook_off_this_host_has_to_be_https():
    with pytest.raises(InvalidInputError, match="https"):
        Webhook(WebhookSettings(url="http://example.test/in"), "site-1", KEY)


def test_a_request_whose_time_is_over_is_ended_by_the_clerk(stack, vault):
    order = stack.order(label="nobody came")["id"]
    later = vault.clock
    vault.clock = lambda: later().replace(year=later().year + 1)
    assert notices.expire(vault) >= 1
    with vault.database.reading() as work:
        found, _ = work.audit.page(stream=f"request:{order}")
    assert found[-1].header["ty"] == EventType.APPROVAL_EXPIRED
    assert notices.expire(vault) == 0
