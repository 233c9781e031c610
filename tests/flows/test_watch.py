"""What the clerk notices beside the web process: edited authority, and gates that say no."""

import json
import subprocess
import sys
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from uuid import uuid4

import pytest

from cli.local import archives
from keyvault import wire
from keyvault.bootstrap import build
from keyvault.domain.audit import EventType
from keyvault.domain.commands import RevokeSystem
from keyvault.domain.errors import AuthorityError, ConflictError, NotPermittedError, QuorumError
from keyvault.domain.keys import service_key_id
from keyvault.evidence.built import verifier
from keyvault.operations import fsck, heartbeat, watch
from tests.flows import canaries
from tests.flows.test_tampering import Owner

OLD = 1  # a record that every running process has verified long ago


@pytest.fixture
def owner(stack):
    return Owner(stack.settings.database)


def newest(vault, stream):
    with vault.database.reading() as work:
        event = work.audit.newest_of(stream)
    return event.header["ty"], json.loads(event.payload)


def test_an_old_record_that_was_edited_is_an_event_and_so_is_its_return(stack, vault, owner):
    """No process that runs looks at it again: all have verified it long ago."""
    for _ in range(2):
        stack.register(f"p-{uuid4().hex[:8]}", "auditor")
    watch.authority(vault)
    record = owner.read("SELECT document FROM authority_record WHERE number = :n", n=OLD)
    record["request"]["parameters"]["reason"] = "something else"
    with owner.record(OLD, record):
        assert watch.authority(vault) == 1
        assert watch.authority(vault) == 0
    kind, told = newest(vault, watch.AUTHORITY_STREAM)
    assert kind == EventType.AUTHORITY_REJECTED
    assert told["reason"] == f"authority record {OLD} is gone or was changed"
    assert watch.authority(vault) == 1
    assert newest(vault, watch.AUTHORITY_STREAM)[0] == EventType.AUTHORITY_RECOVERED


def test_a_record_taken_back_before_any_gate_knew_it_is_missed_by_the_log(stack, vault, owner):
    """Nothing but the log tells of it to a process that starts then."""
    system = f"s-{uuid4().hex[:8]}"
    stack.system(system, "key:read")
    stack.stop("gate")
    stack.person("bob").alone(RevokeSystem(system, "its key was stolen"))
    with vault.database.reading() as work:
        number = work.authority.records()[-1].number
    with owner.record(number, None):
        stack.start("gate")
        with closing(build(stack.settings)) as restarted:
            for look in (restarted.check_authority, lambda: watch.check_records(restarted)):
                with pytest.raises(AuthorityError, match="not the one that the log tells of"):
                    look()
    watch.check_records(vault)
    assert vault.gate.status()["authority"]["seen"] == number + 1


def test_what_a_gate_refuses_is_an_event_and_told_once(stack, vault):
    request = stack.order()
    watch.gates(vault)
    gate = wire.Client(stack.settings.keys.socket)
    with pytest.raises(QuorumError):
        gate.call("execute", request["document"], [])
    with pytest.raises(NotPermittedError):
        gate.call("sign", service_key_id("evidence"), "ECDSA", [bytes(32)], "never")
    gate.close()
    assert watch.gates(vault) == 1
    assert watch.gates(vault) == 0
    kind, told = newest(vault, "gate:keys")
    assert kind == EventType.GATE_REFUSED
    said = [(one["method"], one["about"], one["code"]) for one in told["refusals"]]
    assert said == [
        ("execute", request["id"], "quorum"),
        ("sign", service_key_id("evidence").hex(), "not-permitted"),
    ]


def test_what_the_log_s_gate_refuses_is_told_too(stack, vault):
    watch.gates(vault)
    gate = wire.Client(stack.settings.log.socket)
    with pytest.raises(ConflictError):
        gate.call("seal", 1, bytes(32))
    gate.close()
    assert watch.gates(vault) == 1
    assert newest(vault, "gate:log")[1]["refusals"][-1]["method"] == "seal"


def test_a_gate_that_is_away_has_nothing_to_tell(vault, tmp_path):
    away = {"socket": tmp_path / "nobody.sock"}
    keys, log = (one.model_copy(update=away) for one in (vault.settings.keys, vault.settings.log))
    lonely = replace(vault, settings=vault.settings.model_copy(update={"keys": keys, "log": log}))
    assert watch.gates(lonely) == 0


def test_the_whole_log_is_read_again_in_its_time_and_the_log_tells_of_it(vault):
    found = fsck.fsck(vault)
    assert (found.wrong, found.size > 0, found.checkpoints > 0) == ("", True, True)
    kind, told = newest(vault, fsck.STREAM)
    assert (kind, told["root"]) == (EventType.AUDIT_CHECKED, found.root)
    assert fsck.when_due(vault) is None
    assert fsck.remark(vault) == ""


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("public_key", "x'00'", "public_key_sha256"),
        ("verify", "'never'", "verify"),
        ("protect_until", "protect_until + 86400000000", "protect_until"),
    ],
)
def test_a_key_s_row_is_held_against_what_the_log_told_of_it(
    stack, vault, owner, column, value, named
):
    key = stack.order_key()
    value = "'\\x00'" if value == "x'00'" and "postgresql" in owner.url else value
    with edited(owner, key, column, value):
        assert f"another {named} of key {key}" in fsck.fsck(vault).wrong
    found = fsck.fsck(vault)
    assert (found.wrong, found.keys > 0) == ("", True)


@contextmanager
def edited(owner: Owner, key: str, column: str, value: str):
    """A row of the register as somebody else wrote it, and back."""
    owner.do("CREATE TABLE honest AS SELECT * FROM key WHERE id = :id", id=key)
    change = "UPDATE key SET {} = {} WHERE id = :id"
    owner.do(change.format(column, value), id=key)
    try:
        yield
    finally:
        owner.do(change.format(column, f"(SELECT {column} FROM honest)"), id=key)  # noqa: S608  (our own names)
        owner.do("DROP TABLE honest")


def test_a_session_that_was_closed_stays_closed_whatever_its_row_says(stack, vault, owner):
    visitor = stack.register(f"p-{uuid4().hex[:8]}", "auditor")
    client = visitor.client()
    assert client.get("/v1/whoami").status_code == 200
    assert client.delete("/v1/login/session").status_code == 204
    owner.do("UPDATE session SET closed = :no WHERE person = :id", no=False, id=visitor.id)
    refused = client.get("/v1/whoami")
    assert (refused.status_code, refused.json()["code"]) == (401, "not-authenticated")
    assert watch.sessions(vault) == 1
    assert watch.sessions(vault) == 0
    assert newest(vault, f"person:{visitor.id}")[0] == EventType.SESSION_REOPENED


def test_a_heartbeat_is_written_once_in_its_time(vault):
    heartbeat.beat(vault)
    assert heartbeat.beat(vault) == 0
    kind, told = newest(vault, f"heartbeat:{vault.settings.node}")
    assert (kind, told["program_sha256"]) == (
        EventType.AUDIT_HEARTBEAT,
        heartbeat.program_digest(),
    )


def test_a_year_of_a_real_log_is_archived_and_answers_alone(stack, vault, tmp_path):
    """The archive is exported with the database away; only the gate is asked, to sign."""
    config = ("--config", str(stack.config))
    year = vault.clock().year
    assert told(archives.app, "archive", str(year), "--out", str(tmp_path / "a"), *config)["end"]
    assert told(archives.app, "archive-check", str(tmp_path / "a"))["events"] > 0
    moved = stack.config.with_name("without.toml")
    text = stack.config.read_text().replace(vault.settings.database, "sqlite:///nowhere.db")
    moved.write_text(text.replace('"sqlite:///keyvault.db"', '"sqlite:///nowhere.db"'))
    bundle = tmp_path / "evidence.zip"
    out = ("--out", str(bundle), "--config", str(moved), "--type", "KEY.GENERATED")
    told(archives.app, "archive-export", str(tmp_path / "a"), *out)
    program = tmp_path / "verify.py"
    program.write_bytes(verifier())
    line = [sys.executable, "-I", program, bundle]
    done = subprocess.run(line, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert not stack.config.with_name("nowhere.db").exists()


def test_no_pin_and_no_passphrase_is_in_any_byte_that_others_may_see(stack):
    """After a key's life, wrong passwords in wrong places, an export, and what metrics say."""
    key = stack.active_key()
    secrets = canaries.secrets_of(stack)
    assert len(secrets) > 1
    alice, answers = stack.person("alice").client(), []
    for secret in secrets:  # somebody types it where it does not belong
        text = secret.decode("latin-1")
        answers += [
            alice.get(f"/v1/keys/{key}", headers={"X-Pin": text}),
            alice.post(f"/v1/keys/{key}/suspensions", json={"pin": text}),
            alice.post("/v1/login", json={"person": "alice", "passphrase": text}),
        ]
    meter = stack.system("meter", "metrics:read")
    metrics = stack.client(meter.certificate, meter.key).get("/metrics")
    assert metrics.is_success
    answers.append(metrics)
    said = [(str(answer.url), answer.content) for answer in answers]
    assert canaries.found(said, secrets) == []
    canaries.assert_nowhere(stack, *secrets)
    planted = canaries.found([("here", secrets[0].hex().encode())], secrets)
    assert planted == [("here", 0)]  # the search can find


def told(app, *words):
    """Call a command in this process and return its JSON."""
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(StringIO()):
        app([*words, "--json"], standalone_mode=False)
    return json.loads(out.getvalue())
