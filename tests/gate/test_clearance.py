"""The gate's own idea of authority, and its memory of what was redeemed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from keyvault.domain.authority import Authority, Record, found
from keyvault.domain.commands import DestroyKey, RegisterPerson, RemovePerson
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    AuthorityMissingError,
    NotReadyError,
    ReplayedError,
    VaultError,
)
from keyvault.domain.people import Role
from keyvault.gate import durable
from keyvault.gate.clearance import Ledger, Trust
from keyvault.signatures import spki_of_certificate, verify
from tests.gate.house import GRAVE, ORDINARY, ask, order
from tests.unit.officers import (
    BOB,
    CAROL,
    DAVE,
    NOW,
    ORIGIN,
    changed,
    genesis,
    next_record,
    officer,
    places,
    request_for,
)

RULES = (ORDINARY, GRAVE)
ERIN = officer("erin")


def _chain() -> list[Record]:
    """Genesis, Erin comes, Dave goes."""
    records = [genesis(rules=RULES)]
    authority = found(records[0], verify)
    for command in (
        RegisterPerson("erin", "Erin", (Role.KEY_APPROVER,), ERIN.person.spki),
        RemovePerson("dave", "left"),
    ):
        record = next_record(authority, command, rule=ORDINARY)
        authority = authority.extend(record, verify, spki_of_certificate)
        records.append(record)
    return records


def _fork() -> Record:
    """Another record 1 that enough people signed."""
    command = RegisterPerson("erin", "Erin", (Role.AUDITOR,), ERIN.person.spki)
    return next_record(found(CHAIN[0], verify), command, rule=ORDINARY)


CHAIN = _chain()
DOCUMENTS = [record.document() for record in CHAIN]


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "authority.json"


def _trust(memory: Path, genesis_hash: str = CHAIN[0].hash, origin: str = ORIGIN) -> Trust:
    return Trust(origin, genesis_hash, memory)


def _of(trust: Trust) -> Authority:
    return trust.current


def test_a_chain_is_taken_in_parts_and_again(memory: Path):
    trust = _trust(memory)
    assert trust.position()["size"] == 0
    for document in DOCUMENTS:
        trust.extend([document])
    assert trust.extend(DOCUMENTS) == {"size": 3, "head": CHAIN[2].hash}
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
    assert trust.current.head == CHAIN[2].hash


def test_after_a_restart_a_shorter_chain_is_not_enough(memory: Path):
    _trust(memory).extend(DOCUMENTS)
    again = _trust(memory)
    again.extend(DOCUMENTS[:2])
    with pytest.raises(AuthorityMissingError, match="has seen 3"):
        _of(again)
    again.extend(DOCUMENTS)
    assert again.current.size == 3


def test_after_a_restart_another_chain_is_refused_and_the_right_one_taken(memory: Path):
    """Somebody with enough signatures of old could write another past: not to this gate."""
    _trust(memory).extend(DOCUMENTS[:2])
    fork = _fork()
    again = _trust(memory)
    with pytest.raises(AuthorityError, match="seen before"):
        again.extend([DOCUMENTS[0], fork.document()])
    with pytest.raises(AuthorityMissingError):
        _of(again)
    assert again.extend(DOCUMENTS)["size"] == 3


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


def test_a_request_is_redeemed_once_by_all_processes_together(tmp_path: Path):
    request = ask(order())
    ledgers = [Ledger(tmp_path / "redeemed") for _ in range(4)]

    def redeem(number: int) -> bool:
        try:
            ledgers[number % 4].redeem(request)
        except ReplayedError:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(redeem, range(64))) == 1
    assert Ledger(tmp_path / "redeemed").get(request.id) == request


def test_the_ledger_remembers_the_class_of_what_was_made_here(tmp_path: Path):
    ledger = Ledger(tmp_path)
    made, destroyed = ask(order(key_class="bulk")), ask(DestroyKey(uuid4(), "old"))
    ledger.redeem(made)
    ledger.redeem(destroyed)
    assert ledger.class_of(made.id) == "bulk"
    assert ledger.class_of(destroyed.id) is None
    assert ledger.class_of(uuid4()) is None


def test_a_crash_while_redeeming_leaves_the_request_used(tmp_path: Path):
    request = ask(order())
    (tmp_path / str(request.id)).touch()
    ledger = Ledger(tmp_path)
    assert ledger.get(request.id) is None
    with pytest.raises(ReplayedError):
        ledger.redeem(request)


def test_a_request_that_cannot_be_written_down_is_not_carried_out(tmp_path: Path):
    ledger = Ledger(tmp_path / "redeemed")
    (tmp_path / "redeemed").rmdir()
    with pytest.raises(NotReadyError):
        ledger.redeem(ask(order()))


def test_a_durable_file_is_whole_or_not_there(tmp_path: Path):
    durable.replace(tmp_path / "file", b"one")
    (tmp_path / "file.new").write_bytes(b"left by a crash")
    durable.replace(tmp_path / "file", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"two"
    with pytest.raises(FileExistsError):
        durable.create(tmp_path / "file", b"three")
