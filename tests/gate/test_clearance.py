"""The gate's own idea of authority, and its memory of what was redeemed."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from keyvault import durable
from keyvault.domain.authority import Authority
from keyvault.domain.chain import Record, extend, found
from keyvault.domain.commands import AcknowledgeDuty, DestroyKey, RemovePerson
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    AuthorityMissingError,
    RuleError,
    VaultError,
)
from keyvault.domain.people import Role
from keyvault.domain.times import text_of
from keyvault.gate.clearance import Trust
from keyvault.signatures import spki_of_certificate, verify
from tests.gate.house import GRAVE, ORDINARY, order
from tests.unit.officers import (
    BOB,
    CAROL,
    DAVE,
    DUTY,
    NOW,
    ORIGIN,
    changed,
    genesis,
    grants,
    next_record,
    officer,
    places,
    request_for,
)

RULES = (ORDINARY, GRAVE)
ERIN = officer("erin")


def _chain() -> list[Record]:
    """Genesis, Erin comes and knows her duty, Dave goes."""
    records = [genesis(rules=RULES)]
    authority = found(records[0], verify)
    word = AcknowledgeDuty("erin", DUTY.name, DUTY.version, DUTY.sha256)
    for command, approvers, requester in (
        (ERIN.joining, (BOB, CAROL), "alice"),
        (word, (ERIN,), "erin"),
        (RemovePerson("dave", "left"), (BOB, CAROL), "alice"),
    ):
        record = next_record(authority, command, approvers, requester=requester)
        authority = extend(authority, record, verify, spki_of_certificate)
        records.append(record)
    return records


def _fork() -> Record:
    """Another record 1 that enough people signed."""
    other = ERIN.like(grants=grants(Role.AUDITOR))
    return next_record(found(CHAIN[0], verify), other.joining)


CHAIN = _chain()
DOCUMENTS = [record.document() for record in CHAIN]


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "authority.json"


def _trust(memory: Path, genesis_hash: str = CHAIN[0].hash, origin: str = ORIGIN) -> Trust:
    return Trust(origin, genesis_hash, memory, lambda: NOW)


def _of(trust: Trust) -> Authority:
    return trust.current


def test_a_chain_is_taken_in_parts_and_again(memory: Path):
    trust = _trust(memory)
    assert trust.position()["size"] == 0
    for document in DOCUMENTS:
        trust.extend([document])
    assert trust.extend(DOCUMENTS) == {"size": 4, "head": CHAIN[3].hash}
    assert set(trust.current.people) == {"alice", "bob", "carol", "erin"}


@pytest.mark.parametrize("pinned", ["", "ab" * 32, CHAIN[1].hash])
def test_a_chain_begins_with_the_genesis_that_is_pinned(memory: Path, pinned: str):
    trust = _trust(memory, pinned)
    with pytest.raises(AuthorityError, match="pin"):
        trust.extend(DOCUMENTS)
    with pytest.raises(AuthorityMissingError):
        _of(trust)


def test_the_genesis_of_another_log_is_refused(memory: Path):
    with pytest.raises(AuthorityError, match="another log"):
        _trust(memory, origin="example.test/keys/2025-1").extend(DOCUMENTS)


@pytest.mark.parametrize("number", [0, 1])
def test_a_record_changed_in_any_place_is_refused(memory: Path, number: int):
    for place in places(DOCUMENTS[number]):
        altered = changed(DOCUMENTS[number], place, _other)
        trust = _trust(memory)
        trust.extend(DOCUMENTS[:number])
        with pytest.raises(VaultError):
            trust.extend([altered])
        assert trust.position()["size"] == number


def _other(value: object) -> object:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}x"


def test_records_out_of_turn_are_refused(memory: Path):
    trust = _trust(memory)
    trust.extend(DOCUMENTS[:1])
    with pytest.raises(AuthorityError, match="does not follow"):
        trust.extend(DOCUMENTS[2:])


def test_another_record_in_the_place_of_one_held_is_refused(memory: Path):
    trust = _trust(memory)
    trust.extend(DOCUMENTS)
    fork = _fork()
    with pytest.raises(AuthorityError, match="differs"):
        trust.extend([fork.document()])
    assert trust.current.head == CHAIN[3].hash


def test_after_a_restart_a_shorter_chain_is_not_enough(memory: Path):
    _trust(memory).extend(DOCUMENTS)
    again = _trust(memory)
    again.extend(DOCUMENTS[:2])
    with pytest.raises(AuthorityMissingError, match="has seen 4"):
        _of(again)
    again.extend(DOCUMENTS)
    assert again.current.size == 4


def test_after_a_restart_another_chain_is_refused_and_the_right_one_taken(memory: Path):
    """Somebody with enough signatures of old could write another past: not to this gate."""
    _trust(memory).extend(DOCUMENTS[:2])
    fork = _fork()
    again = _trust(memory)
    with pytest.raises(AuthorityError, match="seen before"):
        again.extend([DOCUMENTS[0], fork.document()])
    with pytest.raises(AuthorityMissingError):
        _of(again)
    assert again.extend(DOCUMENTS)["size"] == 4


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"size":"x","head":""}'])
def test_a_memory_that_cannot_be_read_stops_the_gate(memory: Path, content: bytes):
    memory.write_bytes(content)
    with pytest.raises(AuthorityError, match="does not say"):
        _trust(memory)


def test_who_was_removed_counts_no_more_and_who_came_does(memory: Path):
    trust = _trust(memory)
    trust.extend(DOCUMENTS)
    request = request_for(order(), rule=ORDINARY)

    def given(*approvers: object) -> list[object]:
        return [each.decides(request.document).document() for each in approvers]

    trust.clear(request, given(BOB, ERIN), "standard", NOW)
    with pytest.raises(ApprovalInvalidError, match="dave"):
        trust.clear(request, given(BOB, DAVE), "standard", NOW)


def test_for_an_unknown_class_the_strictest_rule_holds(memory: Path):
    trust = _trust(memory)
    trust.extend(DOCUMENTS)
    lax, strict = (
        request_for(DestroyKey(uuid4(), "old"), rule=rule, request_id=uuid4())
        for rule in (ORDINARY, GRAVE)
    )
    approvals = {
        r.id: [each.decides(r.document).document() for each in (BOB, CAROL, ERIN)]
        for r in (lax, strict)
    }
    assert trust.clear(lax, approvals[lax.id], "bulk", NOW)
    with pytest.raises(AuthorityError, match="rule"):
        trust.clear(lax, approvals[lax.id], None, NOW)
    assert trust.clear(strict, approvals[strict.id], None, NOW)


def test_rules_that_cannot_be_compared_decide_nothing_about_a_key_of_unknown_class(memory: Path):
    early, many = (
        replace(ORDINARY, id=name, commands=("destroy-key",), key_classes=(name,), **change)
        for name, change in {"bulk": {"expires_after": 60}, "standard": {"approvals": 3}}.items()
    )
    begun = genesis(rules=(ORDINARY, early, many))
    trust = _trust(memory, begun.hash)
    trust.extend([begun.document()])
    request = request_for(DestroyKey(uuid4(), "old"), rule=early)
    approvals = [each.decides(request.document).document() for each in (BOB, CAROL)]
    assert trust.clear(request, approvals, "bulk", NOW)
    with pytest.raises(RuleError, match="none is the strictest"):
        trust.clear(request, approvals, None, NOW)


@pytest.mark.parametrize(("ahead", "taken"), [(60, True), (61, False)])
def test_a_record_from_the_future_is_not_taken(memory: Path, ahead: int, *, taken: bool):
    record = next_record(found(CHAIN[0], verify), ERIN.joining)
    later = replace(record, at=text_of(NOW + timedelta(seconds=ahead))).document()
    trust = _trust(memory)
    trust.extend(DOCUMENTS[:1])
    if taken:
        assert trust.extend([later])["size"] == 2
    else:
        with pytest.raises(AuthorityError, match="from the future"):
            trust.extend([later])


def test_a_durable_file_is_whole_or_not_there(tmp_path: Path):
    durable.replace(tmp_path / "file", b"one")
    (tmp_path / "file.new").write_bytes(b"left by a crash")
    durable.replace(tmp_path / "file", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"two"
    with pytest.raises(FileExistsError):
        durable.create(tmp_path / "file", b"three")
