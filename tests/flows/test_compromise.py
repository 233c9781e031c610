"""One key from suspicion to its replacement: stopped, its reach listed, its notices sent."""

import hashlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from keyvault.domain.times import text_of
from tests.certifying import accept, answer, believed, submitted
from tests.stack import Stack, ok

BODY = {"digest": b64encode(hashlib.sha256(b"a message").digest()).decode()}


@pytest.fixture
def case(stack: Stack):
    """A key with a certificate, used once by a system, and declared compromised by bob."""
    bob, key = stack.person("bob").client(), stack.active_key(label="<head> & end")
    certificate, request = submitted(bob, key)
    answer(bob, believed(bob).issue(request))
    accept(bob, certificate)
    system = stack.system(f"user-{key[:8]}", "key:sign", keys=(key,))
    ok(system.client().post(f"/v1/keys/{key}/signatures", json=BODY))
    known = datetime.now(UTC) - timedelta(hours=2)
    body = {"reason": "seen elsewhere", "known_at": text_of(known)}
    once = {"Idempotency-Key": f"declare-{key}"}
    for _ in range(2):
        ok(bob.post(f"/v1/keys/{key}/compromises", json=body, headers=once))
    return key, certificate, system, text_of(known)


def test_declaring_stops_the_key_and_opens_its_case(stack: Stack, case):
    key, certificate, system, known = case
    bob = stack.person("bob").client()
    refused = system.client().post(f"/v1/keys/{key}/signatures", json=BODY)
    assert refused.json()["detail"] == "the key is compromised"
    found = ok(bob.get(f"/v1/keys/{key}/compromise"))
    assert (found["known_at"], found["reason"]) == (known, "seen elsewhere")
    assert found["declared_by"] == "person:bob"
    assert 7_200 <= found["seconds_since_known"] < 9_000
    assert [one["id"] for one in found["certificates"]] == [certificate]
    assert (system.id in found["systems"], found["uses"]) == (True, 1)
    assert (found["tokens"], found["token_count"]) == ([], 0)  # it is no authority of ours
    assert (found["replaced"], found["owed"]) == (False, ["dcc", "pma", "ssc"])
    history = ok(bob.get(f"/v1/keys/{key}/history?limit=500"))["items"]
    told = {one["header"]["ty"]: one["payload"] for one in history}
    assert told["KEY.COMPROMISE_DECLARED"]["known_at"] == known
    listed = [one for one in history if one["header"]["ty"] == "KEY.IMPACT_LISTED"]
    assert [one["payload"]["uses"] for one in listed] == [1]  # once, however often it is repeated


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  (as the base wants it)
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize(
    ("body", "name"), [("dcc", "(DCC)"), ("pma", "(SMKI PMA)"), ("ssc", "(SSC)")]
)
def test_a_notice_is_drafted_as_text_and_as_a_page_that_say_the_same(stack, case, body, name):
    key, _, system, known = case
    bob = stack.person("bob").client()
    path = f"/v1/keys/{key}/compromise/notices/{body}"
    text, page = (bob.get(path, params={"format": form}) for form in ("text", "html"))
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    for said in (name, key, known, system.id, "<head> & end", "serial", "seen elsewhere"):
        assert said in text.text
    parser = _Words()
    parser.feed(page.text)
    assert parser.tags == {"html", "head", "meta", "title", "body", "h2", "ul", "li"}
    plain = [line.lower() for line in text.text.splitlines() if line]
    drafted = [line for line in plain if not line.startswith("drafted at")]
    assert set(drafted) <= {word.lower() for word in parser.words}


def test_who_was_told_and_what_replaces_the_key_is_tracked(stack: Stack, case):
    key, *_ = case
    bob = stack.person("bob").client()
    path = f"/v1/keys/{key}/compromise/notices"
    now = text_of(datetime.now(UTC))
    sent = {"body": "dcc", "sent_at": now, "reference": "INC-77"}
    ok(bob.post(path, json=sent))
    for wrong in (timedelta(days=1), timedelta(days=-1)):
        late = {**sent, "sent_at": text_of(datetime.now(UTC) + wrong)}
        refused = bob.post(path, json=late)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
    found = ok(bob.get(f"/v1/keys/{key}/compromise"))
    assert (found["owed"], found["sent"][0]["reference"]) == (["pma", "ssc"], "INC-77")
    successor = stack.active_key(supersedes=key)
    found = ok(bob.get(f"/v1/keys/{key}/compromise"))
    assert (found["successor"], found["replaced"]) == (successor, True)
    history = ok(bob.get(f"/v1/keys/{key}/history?limit=500"))["items"]
    told = [one["payload"] for one in history if one["header"]["ty"] == "KEY.NOTICE_SENT"]
    assert told == [{"key": key, "body": "dcc", "reference": "INC-77", "sent_at": now}]


def test_nothing_is_known_of_before_its_time_and_no_case_is_without_a_key(stack: Stack):
    bob, key = stack.person("bob").client(), stack.order_key()
    ahead = text_of(datetime.now(UTC) + timedelta(hours=1))
    body = {"reason": "a dream", "known_at": ahead}
    refused = bob.post(f"/v1/keys/{key}/compromises", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
    assert bob.get(f"/v1/keys/{key}/compromise").status_code == 404
    assert ok(bob.get(f"/v1/keys/{key}"))["state"] == "pre-active"
