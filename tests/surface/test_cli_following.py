"""What people follow at the command line: requests as they come, and parts of the log."""

import json
import os
import select
import signal
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from cli.remote.queue import span
from keyvault.domain.times import text_of
from tests.stack import PASSPHRASE, Stack
from tests.surface.desk import ROOT, Desk, keyvault

WATCH = ("approvals", "watch", "--once", "--json")


def logged_in(stack, person, folder):
    desk = Desk(folder, person, stack.folder / f"{person}.key", PASSPHRASE.decode())
    assert desk.login(stack.url, stack.ca).status == 0
    return desk


@pytest.fixture(scope="module")
def desks(stack, auditor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("desks")
    return {name: logged_in(stack, name, folder) for name in ("alice", "bob", auditor.id)}


def watched(desk):
    done = desk.keyvault(*WATCH)
    assert done.status == 0, done.err
    return {line["request"]: line for line in map(json.loads, done.out.splitlines())}


def test_who_watches_is_told_what_waits_for_whom_and_what_it_would_do(stack, desks, auditor):
    order = stack.order(label="to be watched")
    by_bob, by_alice, by_auditor = (watched(desks[n]) for n in ("bob", "alice", auditor.id))
    line = by_bob[order["id"]]
    assert (line["requester"], line["missing"], line["may_sign"]) == ("alice", 2, True)
    assert line["this_will"] == "make a new key inside the HSM"
    assert line["can_be_undone"].startswith("yes")
    assert 0 <= line["age_seconds"] < 60
    assert "you asked for it" in by_alice[order["id"]]["obstacle"]
    assert "key-approver" in by_auditor[order["id"]]["obstacle"]
    stack.approve(order, "bob")
    line = watched(desks["bob"])[order["id"]]
    assert (line["missing"], line["may_sign"], line["obstacle"]) == (1, False, "you have signed it")
    stack.approve(order, "carol")
    assert order["id"] not in watched(desks["bob"])


def read_line(stream, seconds=30):
    assert select.select([stream], [], [], seconds)[0], "nothing came"
    return stream.readline()


def hear_ctrl_c():
    """What a shell runs in the background ignores Ctrl-C, and so do the tests' own children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_request_is_told_once_when_it_comes_and_ctrl_c_ends_it_quietly(stack, desks):
    waiting = len(watched(desks["bob"]))
    words = ["approvals", "watch", "--every", "1", "--session", str(desks["bob"].session)]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        bufsize=0,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509  (only a system call, and the child needs it)
    ) as watcher:
        try:
            for _ in range(waiting):
                read_line(watcher.stdout)
            order = stack.order(label="comes while somebody watches")["id"]
            line = read_line(watcher.stdout).decode()
            assert line.startswith("alice asked ")
            assert (
                f"2 signatures missing; sign or refuse it: keyvault approvals approve {order}\n"
                in line
            )
            assert not select.select([watcher.stdout], [], [], 2.5)[0], "it was told twice"
        finally:
            watcher.send_signal(signal.SIGINT)
        out, err = watcher.communicate(timeout=20)
    assert (watcher.returncode, out, err) == (130, b"", b"")


def test_a_list_of_requests_says_what_each_would_do_and_how_old_it_is(stack, desks):
    order = stack.order(label="to be listed")["id"]
    listed = desks["bob"].keyvault("approvals", "list", "--state", "requested")
    [line] = [one for one in listed.out.splitlines() if one.startswith(order)]
    for told in (
        "make a new key inside the HSM",
        "yes, until it is used",
        "alice",
        " s ",
        "0 of 2",
    ):
        assert told in line


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (90_000, "1 d"), (7_200, "2 h")],
)
def test_a_span_of_time_is_said_in_its_largest_unit(seconds, said):
    assert span(timedelta(seconds=seconds)) == said


@pytest.fixture(scope="module")
def made(stack):
    """A key with a history of some events."""
    return stack.active_key(label="to be exported in part")


def exported(desk, out, *filters):
    desk.ask("audit", "export", "--out", str(out), *filters)
    done = keyvault("audit", "verify", str(out))
    assert done.status == 0, done.out
    with zipfile.ZipFile(out) as bundle:
        return json.loads(bundle.read("manifest.json"))


def test_a_part_of_the_log_is_exported_by_what_it_is_about(desks, auditor, made, tmp_path):
    desk, out = desks[auditor.id], tmp_path / "evidence.zip"
    filters = ("--type", "KEY.GENERATED", "--stream", f"key:{made}", "--actor", "person:alice")
    filters = (*filters, "--outcome", "ok")
    part = exported(desk, out, *filters)
    assert part["filter"] == {
        "ty": ["KEY.GENERATED"],
        "st": [f"key:{made}"],
        "ac": ["person:alice"],
        "out": ["ok"],
    }
    [event] = desk.ask("audit", "events", *filters)["items"]
    assert 1 <= part["counts"]["disclosed"] <= 2, event  # with an erasure, if there was one before


@pytest.mark.soak
def test_a_part_of_the_log_is_exported_by_when_it_was(desks, auditor, made, tmp_path):
    desk, out = desks[auditor.id], tmp_path / "evidence.zip"
    words = ("audit", "events", "--stream", f"key:{made}", "--outcome", "ok", "--type")
    [event] = desk.ask(*words, "KEY.GENERATED")["items"]
    moment = datetime.fromtimestamp(event["header"]["t"] / 1000, UTC)
    since, until = text_of(moment), text_of(moment + timedelta(seconds=1))
    part = exported(desk, out, "--since", since, "--until", until)
    assert part["range"]["start"] <= event["index"] < part["range"]["end"]
    assert part["dates"] == {"from": since, "to": until}
    before = exported(desk, out, "--until", "2020-01-01T00:00:00Z")
    assert before["range"]["end"] <= 1  # the first event alone, to prove that it came later
    asked = keyvault("audit", "verify", str(out), "--query", "no-export")
    assert asked.status == 0, asked.out
    assert "no-export: proved" in asked.out


def test_a_filter_that_is_none_exports_nothing(desks, auditor, tmp_path):
    words = ("audit", "export", "--out", str(tmp_path / "evidence.zip"), "--json")
    refused = desks[auditor.id].keyvault(*words, "--since", "yesterday")
    assert (refused.status, refused.error["code"]) == (65, "invalid-input")
    assert not (tmp_path / "evidence.zip").exists()


def test_a_bundle_is_exported_with_views_handed_over_and_checked(desks, auditor, made, tmp_path):
    desk, out = desks[auditor.id], tmp_path / "evidence.zip"
    part = exported(desk, out, "--key", made, "--view", "csv")
    assert "views/events.csv" in part["files"]
    chain = out.with_name(f"{out.name}.custody")
    give = ("audit", "hand-over", str(out), "--to", "Ann Auditor", "--place", "Leeds")
    given = desk.keyvault(*give, "--yes", "--passphrase-fd", "0", typed=desk.passphrase)
    assert given.status == 0, given.err
    checked = ("audit", "verify", str(out), "--custody", str(chain))
    good = keyvault(*checked)
    assert good.status == 0, good.out
    assert "every hand-over of the bundle is signed" in good.out
    chain.write_bytes(chain.read_bytes().replace(b"Leeds", b"Paris"))
    wrong = keyvault(*checked)
    assert wrong.status == 65
    assert "on the hand-over is not valid" in wrong.out


def test_what_an_event_says_is_erased_once_several_agree(stack, desks, auditor, made):
    desk = desks[auditor.id]
    mine = ("audit", "query", "--type", "AUDIT.QUERIED", "--actor", f"person:{auditor.id}")
    told = desk.ask("audit", "life", "key", made)["items"]
    assert [one["type"] for one in told][-1] == "KEY.ACTIVATED"
    [*_, event] = desk.ask(*mine)["items"]
    words = ("audit", "erase", "--event", str(event["index"]), "--ground", "GDPR article 17")
    stack.carry_out(desks["alice"].ask(*words, "--reason", "they asked for it", "--yes"))
    gone = next(one for one in desk.ask(*mine)["items"] if one["index"] == event["index"])
    assert (gone["leaf_hash"], gone["payload"]) == (event["leaf_hash"], None)


@pytest.mark.soak
def test_who_logs_in_before_the_log_was_ever_sealed_waits_for_its_first_checkpoint():
    with Stack.make() as stack, ThreadPoolExecutor() as aside:
        stack.start("gate", "log-gate", "recorder", "api")
        desk = Desk(stack.folder, "alice", stack.folder / "alice.key", PASSPHRASE.decode())
        login = aside.submit(desk.login, stack.url, stack.ca)
        with pytest.raises(TimeoutError):
            login.result(2)
        stack.start("sealer")
        assert login.result(60).status == 0
