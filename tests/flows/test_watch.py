"""What the clerk notices beside the web process: edited authority, and gates that say no."""

import json
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import pytest

from keyvault import wire
from keyvault.bootstrap import build
from keyvault.domain.audit import EventType
from keyvault.domain.commands import RevokeSystem
from keyvault.domain.errors import AuthorityError, ConflictError, NotPermittedError, QuorumError
from keyvault.domain.keys import service_key_id
from keyvault.operations import watch
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
            restarted.check_authority()
            with pytest.raises(AuthorityError, match="not the one that the log tells of"):
                watch.check_records(restarted)
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
