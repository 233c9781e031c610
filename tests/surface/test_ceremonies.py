"""Ceremonies at one terminal: killed and resumed, founded, registered, and judged by others."""

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.desk.credentials import public_file, write_public
from tests.evidence.built import PROGRAM, verify
from tests.stack import OFFICERS, PASSPHRASE, ROOT, SCOPE, SoftwareCredential, Stack
from tests.surface.desk import Desk, keyvault, spoken

PATIENCE = 60.0  # seconds
GENESIS = ROOT / "ceremonies" / "genesis.yaml"
SMALL = """\
ceremony: small
version: 1
title: A small one
purpose: to be broken off
roles: {one: does it, two: sees it}
steps:
  - {id: room, kind: check, text: look around, sign: [one, two]}
  - {id: bag, kind: record, text: read, pattern: "[A-Z]{2}[0-9]{2}", example: AB12, sign: [one]}
  - {id: lunch, kind: pause, text: have lunch, sign: [two]}
  - {id: same, kind: verify, text: compare, value: "{bag}", expected: "{bag}", sign: [one, two]}
"""


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """The words that seat people by files, all under one passphrase."""
    folder = tmp_path_factory.mktemp("people")
    words = {}
    for role in ("one", "two", "officer-1", "officer-2", "officer-3"):
        key = folder / f"{role}.key"
        write_public(public_file(key), SoftwareCredential.create(key, PASSPHRASE).spki)
        screened = "name=Somebody Else,reviewed=2026-01-31,reference=HR-1"
        words[role] = ("--person", f"role={role},id=p-{role},{screened},credential={key}")
    return words


@contextmanager
def held(*words):
    """A ceremony whose people type one passphrase after another, as the test says."""
    line = [sys.executable, "-m", "cli", "ceremony", *words, "--passphrase-fd", "0"]
    process = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def type_in(process, times):
    process.stdin.write((PASSPHRASE + b"\n") * times)
    process.stdin.flush()


def entries_of(folder):
    """What is on disk so far, but for a line that is not whole."""
    journal = folder / "journal.ndjson"
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def marks(folder, step):
    return [entry["mark"] for entry in entries_of(folder) if entry["step"] == step]


def test_a_ceremony_killed_and_paused_goes_on_without_repeating_or_skipping(people, tmp_path):
    script, folder = tmp_path / "small.yaml", tmp_path / "held"
    script.write_text(SMALL)
    seats = (*people["one"], *people["two"])
    with held(
        "run", str(script), "--out", str(folder), *seats, "--yes", "--value", "bag=xx"
    ) as one:
        type_in(one, 5)  # two approve, two sign the room, and one begins to sign what is no bag
        wait_for(lambda: one.poll() is not None)
    assert marks(folder, "bag") == []
    with (folder / "journal.ndjson").open("ab") as journal:
        journal.write(b'{"at":"cut off by a power c')
    go_on = ("resume", str(folder), "--yes", "--value", "bag=AB12")
    with held(*go_on) as two:
        type_in(two, 1)  # the bag is signed, and then nobody types any more
        wait_for(lambda: marks(folder, "bag") == ["done"])
        two.kill()
        two.wait()
    typed = f"{PASSPHRASE.decode()}\n" * 9
    paused = keyvault("ceremony", *go_on, "--passphrase-fd", "0", "--json", typed=typed)
    assert (paused.status, paused.error["code"]) == (75, "ceremony-paused")
    done = spoken("ceremony", *go_on, "--passphrase-fd", "0", typed=typed)
    assert (done["outcome"], done["deviations"]) == ("completed", 0)
    assert [marks(folder, step) for step in ("room", "bag", "lunch", "same")] == [["done"]] * 4
    verified = spoken("ceremony", "verify", str(folder / "transcript.json"))
    assert verified["sha256"] == done["sha256"]


def test_a_step_can_be_deviated_from_and_a_ceremony_aborted_but_nothing_is_hidden(people, tmp_path):
    script, folder = tmp_path / "small.yaml", tmp_path / "held"
    script.write_text(SMALL)
    answers = tmp_path / "answers"
    answers.write_text("yes\ndeviate the lamp was out\nnonsense\nabort the bag is torn\n")
    reading, writing = os.pipe()
    os.write(writing, (PASSPHRASE + b"\n") * 5)
    os.close(writing)
    words = [sys.executable, "-m", "cli", "ceremony", "run", str(script), "--out", str(folder)]
    words += [*people["one"], *people["two"], "--passphrase-fd", str(reading), "--json"]
    with answers.open() as typed:
        done = subprocess.run(
            words, stdin=typed, capture_output=True, check=True, pass_fds=(reading,), cwd=ROOT
        )
    os.close(reading)
    told = json.loads(done.stdout)
    assert (told["outcome"], told["deviations"]) == ("aborted", 1)
    page = Path(told["html"]).read_text()
    assert "the lamp was out" in page
    assert "the bag is torn" in page
    changed = tmp_path / "changed.json"
    changed.write_text((folder / "transcript.json").read_text().replace("lamp", "lump", 1))
    refused = keyvault("ceremony", "verify", str(changed), "--json")
    assert (refused.status, refused.error["code"]) == (65, "ceremony-invalid")


def test_a_genesis_whose_terminal_dies_is_not_held_twice(people, tmp_path):
    folder = tmp_path / "held"
    seats = [word for role in ("officer-1", "officer-2", "officer-3") for word in people[role]]
    service = tmp_path / "service"
    given = {"host": "H-1", "folder": service, "site": "keyvault.test", "bag": "BAG-0001"}
    values = [word for name, text in given.items() for word in ("--value", f"{name}={text}")]
    with held("run", str(GENESIS), "--out", str(folder), *seats, *values, "--yes") as one:
        type_in(one, 3 + 3 + 2 + 1 + 1 + 3)  # as far as the officers' signatures in `init`
        wait_for(service.exists)
        one.kill()
        wait_for((service / "keyvault.toml").exists)
    assert "ran" not in marks(folder, "found")
    genesis = next(
        line.split('"')[1]
        for line in (service / "keyvault.toml").read_text().splitlines()
        if line.startswith("genesis")
    )
    typed = f"{PASSPHRASE.decode()}\n" * 30
    more = (*values, "--value", f"hash={genesis}", "--yes", "--passphrase-fd", "0")
    done = spoken("ceremony", "resume", str(folder), *more, typed=typed)
    assert done["outcome"] == "completed"
    assert marks(folder, "found") == ["began", "began", "ran", "done"]
    assert genesis in str(entries_of(folder))


# With a service ------------------------------------------------------------------------------

ORDER = f"""\
ceremony: order
version: 1
title: A key is ordered and made
purpose: to see that commands run in it
roles: {{owner: asks, first: agrees, second: agrees}}
steps:
  - id: ordered
    kind: run
    text: order it
    by: owner
    command: keys order
    options:
      scope: {"/".join(SCOPE.values())}
      label: from a ceremony
      algorithm: EC-P256
      usage: sign
    sign: [owner]
  - {{id: yes-1, kind: run, text: agree, by: first, command: approvals approve,
      options: {{request: "{{ordered.id}}"}}, sign: [first]}}
  - {{id: yes-2, kind: run, text: agree, by: second, command: approvals approve,
      options: {{request: "{{ordered.id}}"}}, sign: [second]}}
  - {{id: made, kind: run, text: make it, by: owner, command: approvals execute,
      options: {{request: "{{ordered.id}}"}}, sign: [owner, first, second]}}
"""


@pytest.fixture(scope="module")
def seated(stack: Stack, tmp_path_factory):
    """The three officers of the stack, at one table; bob keeps the session with the service."""
    folder = tmp_path_factory.mktemp("desk")
    words = []
    for role, name in zip(("owner", "first", "second"), OFFICERS, strict=True):
        key = stack.folder / f"{name}.key"
        if not key.with_suffix(".pub.pem").exists():
            opened = SoftwareCredential.open(key, PASSPHRASE)
            write_public(key.with_suffix(".pub.pem"), opened.spki)
        words += ["--person", f"role={role},id={name},credential={key}"]
    desk = Desk(folder, "bob", stack.folder / "bob.key", PASSPHRASE.decode())
    assert desk.login(stack.url, stack.ca).status == 0
    return desk, words


@pytest.mark.soak
def test_a_command_that_was_cut_off_is_asked_for_again_and_done_once(stack, seated, tmp_path):
    desk, words = seated
    script, folder = tmp_path / "order.yaml", tmp_path / "held"
    script.write_text(ORDER)
    typed = f"{PASSPHRASE.decode()}\n" * 40
    more = ("--yes", "--passphrase-fd", "0", "--session", str(desk.session), "--json")
    done = keyvault(
        "ceremony", "run", str(script), "--out", str(folder), *words, *more, typed=typed
    )
    assert done.status == 0, done.err
    ordered = next(e["details"]["id"] for e in entries_of(folder) if e["mark"] == "ran")
    key = stack.person("alice").client().get(f"/v1/keys/{ordered}").json()
    assert key["label"] == "from a ceremony"
    # The same journal, as if the terminal had died before the answer of the first command came.
    again = tmp_path / "again"
    again.mkdir(mode=0o700)
    for name in ("script.yaml", "people.txt", "opening.json"):
        (again / name).write_bytes((folder / name).read_bytes())
    lines = (folder / "journal.ndjson").read_bytes().splitlines(keepends=True)
    (again / "journal.ndjson").write_bytes(b"".join(lines[:2]))
    one = keyvault("ceremony", "resume", str(again), *more, typed=typed)
    assert one.error["code"] == "ceremony-paused"  # the approvals are given, and not given twice
    assert next(e["details"]["id"] for e in entries_of(again) if e["mark"] == "ran") == ordered
    _registered(stack, desk, done.json, folder)


def _registered(stack, desk, done, folder):
    client, path = stack.person("bob").client(), f"/v1/ceremonies/{done['ceremony']}"
    kept = client.get(path).json()
    assert (kept["outcome"], kept["sha256"]) == ("completed", done["sha256"])
    desk.ask("ceremony", "show", done["ceremony"], "--out", str(folder / "kept.json"))
    data = (folder / "transcript.json").read_bytes()
    assert (folder / "kept.json").read_bytes() == data
    assert client.get("/v1/ceremonies").json()["items"][0]["id"] == done["ceremony"]
    again = desk.ask("ceremony", "register", str(folder / "kept.json"))
    assert again["closed_at"] == kept["closed_at"]
    other = data.replace(b"keys order", b"keys 0rder")  # somebody's signature is over the other
    body = {"transcript": b64encode(other).decode()}
    assert client.post(f"{path}/transcript", json=body).json()["code"] == "ceremony-invalid"
    stranger = {"id": done["ceremony"], "script": "YQ=="}
    assert stack.person("alice").client().post("/v1/ceremonies", json=stranger).status_code == 403


def test_an_auditor_s_verifier_checks_every_signature_of_a_transcript(seated, auditor, tmp_path):
    folder, script = tmp_path / "held", tmp_path / "small.yaml"
    script.write_text(SMALL.replace("kind: pause", "kind: say"))
    owners = [word.replace("role=owner", "role=one") for word in seated[1][:2]]
    others = [word.replace("role=first", "role=two") for word in seated[1][2:4]]
    typed = f"{PASSPHRASE.decode()}\n" * 20
    words = ("--out", str(folder), *owners, *others, "--yes", "--value", "bag=AB12")
    spoken("ceremony", "run", str(script), *words, "--passphrase-fd", "0", typed=typed)
    seated[0].ask("ceremony", "register", str(folder / "transcript.json"))
    bundle = tmp_path / "evidence.zip"
    asked = auditor.client().post("/v1/audit/exports", json={"type": "CEREMONY.CLOSED"})
    assert asked.status_code == 200, asked.text
    bundle.write_bytes(asked.content)
    done = subprocess.run(
        [sys.executable, "-I", PROGRAM, bundle], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "transcripts of ceremonies are whole" in done.stdout
    records = auditor.client().get("/v1/authority").json()["items"]
    _doctored(records, json.loads((folder / "transcript.json").read_bytes()))


def _doctored(records, transcript):
    """The section of the verifier sees whatever is changed, by the journal's own rules."""
    script = verify.sha256_hex(transcript["script"].encode())
    own = {"script_sha256": script, "outcome": "completed"}
    changes = (
        dict,  # nothing
        lambda t: t["entries"].pop(2),
        lambda t: t["entries"].pop(),
        lambda t: t["entries"][0]["signatures"].pop(),
        lambda t: t["entries"][1].update(at="2026-01-01T00:00:00Z"),
        lambda t: t["entries"][0]["details"].update(mode="rehearsal"),
        lambda t: t["entries"][0]["details"]["people"][0].update(person="carol"),
        lambda t: t["entries"][-1]["signatures"][0].update(at="2026-01-01T00:00:00Z"),
    )
    for number, change in enumerate(changes):
        report = verify.Report()
        section = verify.Transcripts(None, verify.Authority(records, report), report)
        doctored = json.loads(json.dumps(transcript))
        change(doctored)
        ceremony = transcript["entries"][0]["details"]["ceremony"]
        digest = verify.sha256_hex(verify.dumps(doctored))
        payload = {**own, "ceremony": ceremony, "sha256": digest, "transcript": doctored}
        with report.step("", "events.ndjson"):
            section.event(0, {}, payload)
        if report.jobs:
            report.check_signatures()
        assert report.exit == (1 if number else 0), number


def test_a_rehearsal_leaves_a_transcript_that_no_register_takes(seated, tmp_path):
    desk, _ = seated
    script = tmp_path / "small.yaml"
    script.write_text(SMALL.replace("kind: pause", "kind: say"))
    before = {path.name for path in Path("/tmp").glob("kv-rehearsal-*")}
    done = spoken("ceremony", "rehearse", str(script), "--out", str(tmp_path / "rehearsed"))
    assert done["mode"] == "rehearsal"
    assert "REHEARSAL" in Path(done["html"]).read_text()
    assert {path.name for path in Path("/tmp").glob("kv-rehearsal-*")} == before
    refused = desk.keyvault("ceremony", "register", done["json"], "--json")
    assert "rehearsal" in refused.error["message"]
