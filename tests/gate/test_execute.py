"""Acts that need approvals, at a running gate: what is not approved exactly so does not happen."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from hsm.errors import DataInvalidError, HsmError, KeyUnusableError
from hsm.types import Algorithm, KeyUsage, Mechanism, ObjectRecord
from keyvault.domain.approvals import Decision
from keyvault.domain.commands import (
    DestroyKey,
    ExportKey,
    HoldPerson,
    ImportKey,
)
from keyvault.domain.errors import (
    AuthorityError,
    InvalidInputError,
    KeyStateError,
    QuorumError,
    ReplayedError,
    RequestStateError,
    VaultError,
)
from keyvault.domain.keys import service_key_id
from keyvault.domain.people import Role
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.gate.client import Gate
from tests.gate.house import DIGEST, GRAVE, ORDINARY, House, active, ask, do, order, signed
from tests.unit.officers import ALICE, BOB, BOB_TO_LOG_IN, CAROL, DAVE, changed, officer, places

Call = Callable[..., Any]
REQUEST = ask(order()).document
APPROVAL = signed(REQUEST)[0]


OTHER = {"EC-P256": "EC-P384", "sign": "agree", "standard": "exchange", "approve": "refuse"}


def _other(value: Any) -> Any:
    """Another value that could stand in the same place."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value is None:
        return "site"
    if value in OTHER:
        return OTHER[value]
    if value.endswith("Z"):
        return text_of(datetime.now(UTC) + timedelta(seconds=7))
    return ("1" if value[:1] != "1" else "2") + value[1:]


@pytest.mark.parametrize("place", list(places(REQUEST)), ids=str)
@pytest.mark.usefixtures("untouched")
def test_a_request_changed_in_any_field_after_signing_is_refused(gate: Gate, place):
    request = ask(order()).document
    approvals = signed(request)
    altered = changed(request, place, _other)
    assert altered != request
    with pytest.raises(VaultError):
        gate.execute(altered, approvals)


@pytest.mark.parametrize("place", list(places(APPROVAL)), ids=str)
@pytest.mark.usefixtures("untouched")
def test_an_approval_changed_in_any_field_after_signing_is_refused(gate: Gate, place):
    request = ask(order()).document
    first, second = signed(request)
    with pytest.raises(QuorumError):
        gate.execute(request, [changed(first, place, _other), second])


@pytest.mark.parametrize("place", ["request", "approval"])
@pytest.mark.usefixtures("untouched")
def test_a_field_that_is_added_or_missing_is_refused(gate: Gate, place: str):
    request = ask(order()).document
    approvals = signed(request)
    target = request if place == "request" else approvals[0]
    for name in target:
        less = {key: value for key, value in target.items() if key != name}
        for other in (less, {**target, "more": "1"}):
            given = (other, approvals) if place == "request" else (request, [other, approvals[1]])
            with pytest.raises(VaultError):
                gate.execute(*given)


def _approvals(*approvers: Any, **changes: Any) -> Callable[[Any], list[Any]]:
    return lambda request: signed(request, approvers, **changes)


STRANGER = officer("mallory")
IMPOSTOR = officer("bob", Role.KEY_APPROVER)  # another key under Bob's name
INSUFFICIENT = {
    "nobody": lambda _: [],
    "one": _approvals(BOB),
    "the requester and one": _approvals(ALICE, BOB),
    "the requester and two": _approvals(ALICE, BOB, CAROL),
    "one person twice": lambda r: signed(r, [BOB, BOB]),
    "one person twice, at other times": lambda r: [
        *signed(r, [BOB]),
        *signed(r, [BOB], at=text_of(datetime.now(UTC) - timedelta(seconds=1))),
    ],
    "a stranger": _approvals(BOB, STRANGER),
    "an impostor": _approvals(IMPOSTOR, CAROL),
    "a key that only logs in": _approvals(BOB_TO_LOG_IN, CAROL),
    "one who refuses": lambda r: [
        *signed(r, [BOB, CAROL]),
        *signed(r, [DAVE], decision=Decision.REFUSE),
    ],
    "approvals of another request": lambda _: signed(ask(order()).document),
    "an approval from before the request": lambda r: signed(
        r, at=text_of(datetime.now(UTC) - timedelta(hours=1))
    ),
}


@pytest.mark.parametrize("who", list(INSUFFICIENT))
@pytest.mark.usefixtures("untouched")
def test_too_few_who_count_are_too_few(gate: Gate, who: str):
    request = ask(order()).document
    with pytest.raises(QuorumError):
        gate.execute(request, INSUFFICIENT[who](request))


@pytest.mark.usefixtures("untouched")
def test_an_expired_request_is_refused(gate: Gate):
    long_ago = datetime.now(UTC) - timedelta(seconds=ORDINARY.expires_after + 2)
    request = ask(order(), now=long_ago).document
    approvals = signed(request, at=text_of(long_ago + timedelta(seconds=1)))
    with pytest.raises(RequestStateError, match="expired"):
        gate.execute(request, approvals)


@pytest.mark.usefixtures("untouched")
def test_a_request_from_the_future_is_refused(gate: Gate):
    request = ask(order(), now=datetime.now(UTC) + timedelta(minutes=10)).document
    with pytest.raises(RequestStateError, match="future"):
        gate.execute(request, signed(request, at=request["requested_at"]))


@pytest.mark.usefixtures("untouched")
def test_a_request_of_another_log_is_refused(gate: Gate):
    request = ask(order(), origin="example.test/keys/2025-1").document
    with pytest.raises(AuthorityError, match="another log"):
        gate.execute(request, signed(request))


@pytest.mark.parametrize(
    "rule",
    [
        replace(ORDINARY, approvals=1),
        replace(ORDINARY, approvals=3),
        replace(ORDINARY, expires_after=86_400),
        replace(ORDINARY, roles=(Role.KEY_OWNER,)),
        replace(ORDINARY, id="kinder"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("untouched")
def test_a_rule_that_is_not_the_one_in_force_is_refused(gate: Gate, rule):
    request = ask(order(), rule).document
    with pytest.raises(AuthorityError, match="rule"):
        gate.execute(request, signed(request, [BOB, CAROL, DAVE]))


@pytest.mark.usefixtures("untouched")
def test_a_requester_whom_nobody_knows_is_refused(gate: Gate):
    """Else a web process could name a ghost, and the true requester would count."""
    request = ask(order(), requester="ghost").document
    with pytest.raises(AuthorityError, match="ghost"):
        gate.execute(request, signed(request, [ALICE, BOB]))


@pytest.mark.parametrize(
    "command",
    [
        HoldPerson("dave", 2, "lost card"),
        officer("erin").joining,
    ],
    ids=lambda command: command.name,
)
@pytest.mark.usefixtures("untouched")
def test_a_command_that_is_not_the_gates_is_refused(gate: Gate, command):
    with pytest.raises(InvalidInputError, match="nothing that the gate does"):
        do(gate, command)


def test_those_who_decide_for_one_scope_do_not_act_on_the_keys_of_another(gate: Gate):
    """The gate remembers for whom it made a key, whatever a request says."""
    key = UUID(bytes=do(gate, order(key_class="exchange"))["key_id"])
    elsewhere = Scope("1f-example", "network-operator", "u1")
    for command in (DestroyKey(key, "not ours"), ExportKey(key, uuid4(), "not ours")):
        for scope in (elsewhere, None):
            with pytest.raises(AuthorityError, match="and the key for 1f-example/supplier"):
                do(gate, command, scope=scope)
    assert do(gate, DestroyKey(key, "ours")) == {"destroyed": 2}


def test_a_resident_key_is_made_under_the_requests_id_and_never_leaves(gate: Gate):
    request = ask(order())
    made = gate.execute(request.document, signed(request.document))
    found = [record for record in gate.inventory() if record.key_id == request.id.bytes]
    assert {record.object_class for record in found} == {"PRIVATE_KEY", "PUBLIC_KEY"}
    assert made["key_id"] == request.id.bytes
    assert made["wrapped"] is None
    assert made["attributes"]["SENSITIVE"]
    assert not made["attributes"]["EXTRACTABLE"]
    serialization.load_der_public_key(made["public_key"])


def test_a_wrapped_key_is_made_and_nothing_of_it_stays_on_the_token(gate: Gate):
    before = _keys(gate)
    made = do(gate, order(key_class="bulk"))
    assert _keys(gate) == before
    assert made["wrapped"]["kek_id"] == service_key_id("kek")
    assert made["wrapped"]["spec"]["key_id"] == made["key_id"]


def _keys(gate: Gate) -> list[ObjectRecord]:
    """What is on the token, but for the gate's own count of what it redeemed."""
    return [record for record in gate.inventory() if record.object_class != "DATA"]


def test_a_request_is_carried_out_once_though_32_ask_at_once(house: House, gate: Gate):
    request = ask(order()).document
    approvals = signed(request)
    gates = [house.gate() for _ in range(8)]
    gates[0].push_authority()

    def execute(number: int) -> str:
        try:
            gates[number % 8].execute(request, approvals)
        except ReplayedError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(execute, range(32)))
    assert sorted(answers) == ["done"] + ["replayed"] * 31
    made = [r for r in gate.inventory() if r.key_id == UUID(request["id"]).bytes]
    assert len(made) == 2


def test_another_act_under_a_used_id_is_a_replay_too(gate: Gate):
    first = ask(order())
    gate.execute(first.document, signed(first.document))
    again = ask(order(Algorithm.AES_256, KeyUsage.ENCRYPT), request_id=first.id).document
    with pytest.raises(ReplayedError):
        gate.execute(again, signed(again))


def test_a_refusal_before_the_device_acts_costs_no_approvals(gate: Gate):
    """The request is complete a moment later, and has not been used up."""
    request = ask(order()).document
    with pytest.raises(QuorumError):
        gate.execute(request, signed(request, [BOB]))
    assert gate.execute(request, signed(request))["public_key"]


def test_destroying_needs_the_rule_of_the_class_the_key_was_made_in(gate: Gate):
    """The gate remembers the class: a database that calls a key less grave changes nothing."""
    key = do(gate, order())["key_id"]
    command = DestroyKey(UUID(bytes=key), "end of life")
    with pytest.raises(AuthorityError, match="rule"):
        do(gate, command, BOB, CAROL, rule=ORDINARY)
    with pytest.raises(QuorumError):
        do(gate, command, BOB, CAROL, rule=GRAVE)
    assert do(gate, command, BOB, CAROL, DAVE, rule=GRAVE) == {"destroyed": 2}
    assert not [record for record in gate.inventory() if record.key_id == key]


def test_a_key_made_elsewhere_falls_under_the_strictest_rule(gate: Gate):
    command = DestroyKey(uuid4(), "left over")
    with pytest.raises(AuthorityError, match="rule"):
        do(gate, command, BOB, CAROL, rule=ORDINARY)
    with pytest.raises(KeyUnusableError, match="redeemed no order"):
        do(gate, command, BOB, CAROL, DAVE, rule=GRAVE)


def test_a_destruction_that_was_cut_off_can_be_finished_by_the_same_request_only(gate: Gate):
    key = do(gate, order(Algorithm.AES_256, KeyUsage.ENCRYPT, "exchange"))["key_id"]
    request = ask(DestroyKey(UUID(bytes=key), "end of life"))
    approvals = signed(request.document)
    assert gate.execute(request.document, approvals) == {"destroyed": 1}
    assert gate.execute(request.document, approvals) == {"destroyed": 0}
    # Who approved may have left since: it was cleared before, and that is written down here.
    assert gate.execute(request.document, []) == {"destroyed": 0}
    other = ask(DestroyKey(UUID(bytes=key), "another reason"), request_id=request.id).document
    with pytest.raises(ReplayedError):
        gate.execute(other, signed(other))


def test_a_wrapped_key_is_forgotten_when_it_is_destroyed(gate: Gate, call: Call):
    made = do(gate, order(key_class="bulk"))
    command = DestroyKey(UUID(bytes=made["key_id"]), "end of life")
    assert do(gate, command) == {"destroyed": 0}
    with pytest.raises(KeyStateError, match="destroyed"):
        call("sign", made["key_id"], Mechanism.ECDSA, [DIGEST], "always")
    with pytest.raises(KeyUnusableError, match="destroyed"):  # from a backup of the database
        call("load", made["wrapped"])


@pytest.mark.parametrize("field", ["kek_id", "mac_key_id"])
def test_a_record_sealed_by_another_key_than_the_services_is_refused(
    gate: Gate, call: Call, field: str
):
    """Whoever may use some MAC key could otherwise make records of what was once exported."""
    made = do(gate, order(key_class="bulk"))
    usage = {"kek_id": KeyUsage.WRAP, "mac_key_id": KeyUsage.MAC}[field]
    own = do(gate, order(Algorithm.AES_256, usage))["key_id"]
    with pytest.raises(KeyUnusableError, match="service"):
        call("load", {**made["wrapped"], field: own})


def _kek(gate: Gate) -> UUID:
    return UUID(bytes=do(gate, order(Algorithm.AES_256, KeyUsage.WRAP, "exchange"))["key_id"])


def test_an_extractable_key_is_exported_and_imported_by_approval(gate: Gate, call: Call):
    kek = _kek(gate)
    made = active(gate, order(Algorithm.AES_256, KeyUsage.ENCRYPT, "exchange"))
    blob = do(gate, ExportKey(UUID(bytes=made["key_id"]), kek, "to the partner"))["blob"]
    assert len(blob) == 40
    command = ImportKey(
        "shared", Algorithm.AES_256, KeyUsage.ENCRYPT, "exchange", 30, 30, kek, blob
    )
    back = active(gate, command)
    assert back["check_value"] == made["check_value"]
    [sealed] = call("encrypt", made["key_id"], Mechanism.AES_GCM, [b"text"], b"aad")
    assert call("decrypt", back["key_id"], Mechanism.AES_GCM, sealed, b"aad") == b"text"


def test_what_is_not_extractable_is_not_exported(gate: Gate):
    key = UUID(bytes=do(gate, order(Algorithm.AES_256, KeyUsage.ENCRYPT))["key_id"])
    with pytest.raises(KeyUnusableError, match="never leave"):
        do(gate, ExportKey(key, _kek(gate), "to the partner"))


@pytest.mark.parametrize(
    ("algorithm", "usage", "key_class", "error"),
    [
        (Algorithm.AES_256, KeyUsage.ENCRYPT, "bulk", InvalidInputError),
        (Algorithm.EC_P256, KeyUsage.SIGN, "standard", InvalidInputError),
        (Algorithm.AES_256, KeyUsage.ENCRYPT, "standard", DataInvalidError),
    ],
)
def test_what_cannot_be_imported_is_refused(gate: Gate, algorithm, usage, key_class, error):
    command = ImportKey("shared", algorithm, usage, key_class, 30, 30, _kek(gate), bytes(40))
    with pytest.raises(error):
        do(gate, command)


def test_a_key_is_inspected_as_after_its_making(gate: Gate):
    made = do(gate, order())
    spec = {"label": "meter signing", "algorithm": "EC-P256", "usage": "sign"}
    assert gate.inspect(made["key_id"], {**spec, "extractable": False}) == made
    with pytest.raises(HsmError):
        gate.inspect(made["key_id"], {**spec, "label": "another"})
    with pytest.raises(HsmError):
        gate.inspect(made["key_id"], {**spec, "algorithm": "EC-P384"})


def test_a_public_half_is_discarded_only_without_its_private_half(gate: Gate):
    key = do(gate, order())["key_id"]
    with pytest.raises(KeyUnusableError):
        gate.discard_public_half(key)
    assert gate.discard_public_half(uuid4().bytes) == 0


def test_random_bytes_differ_and_are_capped(call: Call):
    first, second = (call("random", 32) for _ in range(2))
    assert first != second
    assert len(first) == 32
    for size in (0, 4_097, -1):
        with pytest.raises(InvalidInputError):
            call("random", size)


def test_a_signature_is_the_keys_and_verifies(gate: Gate, call: Call):
    made = active(gate, order())
    [raw] = call("sign", made["key_id"], Mechanism.ECDSA, [DIGEST], "sampled")
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    key = serialization.load_der_public_key(made["public_key"])
    how = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    key.verify(utils.encode_dss_signature(r, s), DIGEST, how)
    assert call("verify", made["key_id"], Mechanism.ECDSA, DIGEST, raw)
    assert call("public_key", made["key_id"]) == made["public_key"]
