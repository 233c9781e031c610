"""People who sign by card, at the real command, against a whole service and a virtual reader."""

import json
import os
import subprocess
import sys

import pytest

from tests.cards.bench import NAMES, SOCKET_VARIABLE, Bench
from tests.cards.conftest import inserted
from tests.cards.simulator import hostile
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import personalised
from tests.cards.simulator.hostile import HostileCard
from tests.cards.simulator.piv import PIN
from tests.stack import PASSPHRASE, ok
from tests.surface.carded import PERSON, SHOW, approvals_of, sent_pins, used_keys
from tests.surface.desk import ROOT, Desk, keyvault, spoken

READER, OTHER_READER = NAMES


def test_a_person_logs_in_and_approves_by_card_and_the_evidence_holds(
    stack, auditor, desk, virtual, order, tmp_path
):
    login = desk.login(stack.url, stack.ca)
    assert login.status == 0, login.err
    assert used_keys(virtual.card) == [0x9A]
    approved = desk.approve(order)
    assert approved.status == 0, approved.err
    assert used_keys(virtual.card) == [0x9A, 0x9C]
    assert f"3 PIN tries left on the card in {READER}" in approved.err
    assert [one["approver"] for one in approved.json["approvals"]] == [PERSON]
    assert len(sent_pins(virtual.card)) == 2  # one for each signature
    stack.approve({"id": order, "document": approved.json["document"]}, "bob")
    done = ok(stack.person("alice").client().post(f"/v1/requests/{order}/executions"))
    assert done["request"]["state"] == "done"
    auditors = Desk(tmp_path, auditor.id, stack.folder / "dora.key", PASSPHRASE.decode())
    assert auditors.login(stack.url, stack.ca).status == 0
    bundle = tmp_path / "evidence.zip"
    auditors.ask("audit", "export", "--stream", f"key:{order}", "--out", str(bundle))
    verified = keyvault("audit", "verify", str(bundle), "--genesis", stack.settings.genesis)
    assert verified.status == 0, verified.out
    assert "the evidence holds" in verified.out


def test_a_refusal_is_signed_by_card_in_a_named_reader(stack, desk, virtual, order):
    assert virtual.card.atr
    words = ("approvals", "refuse", order, "--reason", "not now", "--reader", READER, "--yes")
    done = desk.keyvault(*words, "--passphrase-fd", "0", typed=desk.passphrase)
    assert done.status == 0, done.err
    assert [one["decision"] for one in approvals_of(stack, order)] == ["refuse"]
    assert used_keys(virtual.card) == [0x9C]


def test_a_card_signs_a_request_that_came_as_a_file_and_another_card_does_not(
    desk, virtual, own, order, tmp_path
):
    request, signed = tmp_path / "request.json", tmp_path / "approval.json"
    request.write_text(json.dumps(desk.ask("approvals", "show", order)))
    words = ("approvals", "approve", "--file", str(request), "--out", str(signed), "--yes")
    secret = ("--passphrase-fd", "0", "--json")
    stranger = virtual.card = Card(personalised())
    refused = desk.keyvault(*words, *secret, typed=desk.passphrase)
    assert refused.error["code"] == "card-foreign"
    assert sent_pins(stranger) == []
    assert not signed.exists()
    virtual.card = own
    assert desk.keyvault(*words, *secret, typed=desk.passphrase).status == 0
    submitted = desk.ask("approvals", "submit", str(signed))
    assert [one["approver"] for one in submitted["approvals"]] == [PERSON]


def test_a_pin_that_is_typed_is_never_shown(desk, virtual, order, tmp_path):
    assert virtual.card.atr
    command = f"{sys.executable} -m cli approvals approve {order} --yes --session {desk.session}"
    with subprocess.Popen(
        ["script", "--quiet", "--return", "--flush", "--command", command, tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as terminal:
        shown = b""
        while not shown.endswith(f"PIN of the card in {READER}: ".encode()):
            shown += terminal.stdout.read(1)
        terminal.stdin.write(PIN + b"\n")
        terminal.stdin.flush()
        shown += terminal.stdout.read()
    assert terminal.returncode == 0, shown
    assert b"3 PIN tries left" in shown
    assert b"signed by 1 of 2" in shown
    assert PIN not in shown


def test_another_card_is_refused_before_its_pin_is_asked_for(stack, desk, virtual, order):
    stranger = virtual.card = Card(personalised())
    refused = desk.approve(order)
    assert (refused.status, refused.error["code"]) == (65, "card-foreign")
    assert refused.error["next_step"] == "Put your own card in."
    assert sent_pins(stranger) == []
    assert approvals_of(stack, order) == []


def test_a_login_by_another_card_is_told_which_key_it_holds(stack, virtual, tmp_path):
    virtual.card = Card(personalised())
    shown = spoken(*SHOW[:-1])["login_fingerprint"]
    refused = Desk(tmp_path, PERSON, None, PIN.decode()).login(stack.url, stack.ca)
    assert (refused.status, refused.error["code"]) == (77, "not-authenticated")
    assert shown in refused.error["next_step"].replace(" ", "")
    assert refused.error["next_step"].endswith("add --slot 9c")
    assert not (tmp_path / f"session-{PERSON}" / "session.json").exists()


def test_a_wrong_pin_costs_one_try_and_says_how_many_are_left(stack, desk, virtual, order):
    words = ("approvals", "approve", order, "--yes", "--passphrase-fd", "0", "--json")
    refused = desk.keyvault(*words, typed="000000\n000000\n")
    assert (refused.status, refused.error["code"]) == (77, "hsm-pin-incorrect")
    assert "2 tries left" in refused.error["message"]
    assert len(sent_pins(virtual.card)) == 1
    assert virtual.card.application.pin.left == 2
    assert approvals_of(stack, order) == []


def test_what_is_no_pin_at_all_costs_no_try(desk, virtual, order):
    words = ("approvals", "approve", order, "--yes", "--passphrase-fd", "0")
    refused = desk.keyvault(*words, typed=f"{PASSPHRASE.decode()}\n")
    assert refused.status == 77
    assert "no try was spent" in refused.err
    assert sent_pins(virtual.card) == []


def test_the_last_try_is_spent_only_after_its_own_word(stack, desk, virtual, order):
    virtual.card.application.pin.left = 1
    words = ("approvals", "approve", order, "--yes", "--passphrase-fd", "0")
    for typed in (desk.passphrase, f"yes\n{desk.passphrase}"):
        refused = desk.keyvault(*words, typed=typed)
        assert refused.status == 77
        assert "1 PIN try left" in refused.err
        assert "another wrong PIN blocks the card" in refused.err
    assert sent_pins(virtual.card) == []
    assert approvals_of(stack, order) == []
    done = desk.keyvault(*words, typed=f"last try\n{desk.passphrase}")
    assert done.status == 0, done.err
    assert virtual.card.application.pin.left == 3


def test_a_blocked_card_says_who_helps(desk, virtual, order):
    virtual.card.application.pin.left = 0
    refused = desk.approve(order)
    assert (refused.status, refused.error["code"]) == (77, "hsm-pin-locked")
    assert "PUK" in refused.error["next_step"]


def test_a_card_that_signs_something_else_is_refused_before_anything_is_sent(
    stack, auditor, desk, virtual, order
):
    def logged():
        events = {"actor": f"person:{PERSON}", "limit": 500}
        found = ok(auditor.client().get("/v1/audit/events", params=events))["items"]
        return [one["header"] for one in found]  # whether it is sealed yet is the sealer's affair

    before = logged()
    virtual.card = HostileCard(virtual.card, hostile.signed(hostile.of_another_message))
    refused = desk.approve(order)
    assert (refused.status, refused.error["code"]) == (76, "hsm-integrity")
    assert refused.out == ""
    assert approvals_of(stack, order) == []
    assert logged() == before


def test_a_file_that_is_not_the_key_of_the_login_signs_nothing(stack, desk, virtual, order):
    assert virtual.card.atr
    words = ("approvals", "approve", order, "--yes", "--passphrase-fd", "0", "--json")
    other = ("--credential", str(stack.folder / "bob.key"))
    refused = desk.keyvault(*words, *other, typed=f"{PASSPHRASE.decode()}\n")
    assert refused.status == 65
    assert "another key than the enrolled one" in refused.error["message"]
    assert approvals_of(stack, order) == []


# Readers -----------------------------------------------------------------------------------


def test_of_two_cards_the_reader_has_to_be_named(bench, virtual):
    with inserted(bench, Card(personalised()), 1) as other:
        refused = keyvault(*SHOW)
        assert (refused.status, refused.error["code"]) == (64, "usage")
        assert all(f"--reader '{name}'" in refused.error["next_step"] for name in NAMES)
        shown = [spoken(*SHOW[:-1], "--reader", name)["fingerprint"] for name in NAMES]
    assert shown[0] != shown[1]
    assert sent_pins(other.card) == sent_pins(virtual.card) == []


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("--reader", OTHER_READER), 74, "card-absent"),
        (("--reader", "No Such Reader"), 69, "card-reader-not-found"),
        (("alice.key",), 64, "usage"),
    ],
)
def test_a_reader_that_will_not_do_is_called_what_it_is(virtual, words, status, code):
    assert virtual.card.atr
    refused = keyvault(*SHOW, *words)
    assert (refused.status, refused.error["code"]) == (status, code)
    assert refused.error["next_step"] or code == "usage"


def test_without_any_card_one_is_asked_for():
    with Bench():
        refused = keyvault(*SHOW)
    assert (refused.status, refused.error["code"]) == (74, "card-absent")
    assert READER in refused.error["message"]


def test_without_the_pcsc_service_a_card_is_refused_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "nobody"))
    refused = keyvault(*SHOW)
    assert (refused.status, refused.error["code"]) == (69, "card-service-unavailable")
    assert "pcscd" in refused.error["next_step"]


def test_without_pyscard_a_software_credential_works_all_the_same(tmp_path):
    (tmp_path / "smartcard.py").write_text("raise ImportError('there is no such module')\n")
    words = ("credential", "create", "--out", "x.key", "--passphrase-fd", "0")
    assert spoken(*words, typed="long enough\n", cwd=tmp_path)["fingerprint"]
    refused = keyvault(*SHOW, cwd=tmp_path)
    assert (refused.status, refused.error["code"]) == (69, "card-service-unavailable")
    assert "there is no such module" in refused.error["message"]
    assert "pyscard" in refused.error["next_step"]
    assert "Traceback" not in refused.err


def test_who_logs_in_says_with_what():
    words = ("login", "--server", "https://localhost:1", "--ca", "x", "--person", "x", "--json")
    refused = keyvault(*words)
    assert (refused.status, refused.error["code"]) == (64, "usage")
    assert "--card" in refused.error["next_step"]
