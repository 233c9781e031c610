"""What an attacker with the login of the database's owner gains, and who notices, when.

Each change is made by raw SQL after the guards of the tables are taken away. "After a restart"
is a second `Vault` over the same database: it has verified nothing yet.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from hsm.errors import KeyUnusableError
from keyvault.bootstrap import build
from keyvault.domain.approvals import Request
from keyvault.domain.canonical import canonical
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    QuorumError,
    ReplayedError,
    RequestAlteredError,
)
from keyvault.domain.times import text_of, time_of
from keyvault.operations import approvals, watch
from keyvault.operations.vault import Vault
from keyvault.store.engine import open_engine, writing
from tests.assessor import assert_evidence_holds
from tests.flows.test_main_job import BODY, WHY
from tests.flows.test_review import principal
from tests.stack import Document, Stack, ok


@dataclass
class Owner:
    """The owner of the database."""

    url: str

    def do(self, change: str, **values: object) -> None:
        engine = open_engine(self.url)
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            else:
                named = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
                for name in connection.scalars(text(named)).all():
                    connection.execute(text(f"DROP TRIGGER {name}"))
            connection.execute(text(change), values)
            connection.commit()
        engine.dispose()

    def read(self, query: str, **values: object) -> Document:
        engine = open_engine(self.url)
        with writing(engine) as connection:
            document: Document = json.loads(connection.scalar(text(query), values))
        engine.dispose()
        return document

    @contextmanager
    def record(self, number: int, document: Document | None) -> Iterator[None]:
        """Exchange a record of authority, or with None delete it, and put it back."""
        here = "FROM authority_record WHERE number = :number"
        honest = self.read(f"SELECT document {here}", number=number)
        add = "INSERT INTO authority_record (number, document) VALUES (:number, :document)"
        self.do(f"DELETE {here}", number=number)
        try:
            if document is not None:
                self.do(add, number=number, document=canonical(document).decode())
            yield
        finally:
            self.do(f"DELETE {here}", number=number)
            self.do(add, number=number, document=canonical(honest).decode())


@pytest.fixture
def owner(stack: Stack) -> Owner:
    return Owner(stack.settings.database)


@pytest.fixture
def restarted(stack: Stack) -> Iterator[Vault]:
    vault = build(stack.settings)
    yield vault
    vault.close()


def newest(vault: Vault) -> tuple[int, Document]:
    with vault.database.reading() as work:
        vault.authority(work)
        records = work.authority.records()
    return records[-1].number, records[-1].document()


def refuses(vault: Vault, why: str) -> None:
    """The vault trusts nobody any more, and says why it is not ready."""
    with pytest.raises(AuthorityError, match=why):
        vault.check_authority()


def test_a_changed_record_is_noticed_at_once_and_after_a_restart(
    stack: Stack, vault: Vault, restarted: Vault, owner: Owner
):
    stack.register(f"p-{uuid4().hex[:8]}", "auditor")
    number, record = newest(vault)
    record["request"]["parameters"]["roles"] = ["key-approver"]
    with owner.record(number, record):
        refuses(vault, "changed after it was verified")
        refuses(restarted, f"record {number} is not valid")
    vault.check_authority()


def test_the_time_of_a_record_that_nobody_signs_is_noticed_at_once_and_after_a_restart(
    stack: Stack, vault: Vault, restarted: Vault, owner: Owner
):
    """Every signature still holds, and the log has the record as it was."""
    stack.register(f"p-{uuid4().hex[:8]}", "auditor")
    number, record = newest(vault)
    record["at"] = text_of(time_of(record["at"]) + timedelta(seconds=20))
    with owner.record(number, record):
        refuses(vault, "changed after it was verified")
        refuses(restarted, "not the one that the log tells of")
    vault.check_authority()


def test_a_record_that_nobody_signed_is_refused_by_service_and_gate(
    stack: Stack, vault: Vault, restarted: Vault, owner: Owner
):
    stack.register(f"p-{uuid4().hex[:8]}", "auditor")
    number, record = newest(vault)
    with vault.database.reading() as work:
        head = vault.authority(work).head
    forged = {**record, "seq": number + 1, "prev": head}
    forged["request"] = {**record["request"], "id": str(uuid4())}
    add = "INSERT INTO authority_record (number, document) VALUES (:number, :document)"
    owner.do(add, number=number + 1, document=canonical(forged).decode())
    try:
        for one in (vault, restarted):
            refuses(one, f"record {number + 1} is not valid")
        with pytest.raises(ApprovalInvalidError):
            vault.gate.push_authority()
    finally:
        owner.do("DELETE FROM authority_record WHERE number = :number", number=number + 1)


def test_a_record_taken_away_is_noticed_at_once_and_after_a_restart(
    stack: Stack, vault: Vault, restarted: Vault, owner: Owner
):
    """Or a revoked system would come back: the gate remembers how much authority there was."""
    stack.register(f"p-{uuid4().hex[:8]}", "auditor")
    number, _ = newest(vault)
    with owner.record(number, None):
        refuses(vault, "gone")
        refuses(restarted, "the gate has seen")


def test_another_genesis_is_refused(vault: Vault, restarted: Vault, owner: Owner):
    with vault.database.reading() as work:
        genesis = work.authority.records()[0].document()
    genesis["request"]["site"] = "elsewhere"
    with owner.record(0, genesis):
        refuses(restarted, "not the one that this service trusts")


def test_what_is_no_record_is_an_error_of_ours(vault: Vault, restarted: Vault, owner: Owner):
    number, _ = newest(vault)
    with owner.record(number, {"x": 1}):
        refuses(restarted, "not an authority record")


def test_a_request_called_approved_is_not(stack: Stack, vault: Vault, owner: Owner):
    request = stack.order()
    owner.do("UPDATE approval_request SET state = 'approved' WHERE id = :id", id=request["id"])
    with pytest.raises(QuorumError, match="0 of 2"):
        approvals.execute(vault, principal(vault, "alice"), UUID(request["id"]))


def test_a_request_changed_after_its_approval_has_none(stack: Stack, vault: Vault, owner: Owner):
    request = stack.order()
    stack.approve(request, "bob", "carol")
    document = request["document"]
    document["parameters"]["key_class"] = "exchange"  # whose keys may leave
    owner.do(
        "UPDATE approval_request SET document = :document WHERE id = :id",
        id=request["id"],
        document=canonical(document).decode(),
    )
    with pytest.raises(ApprovalInvalidError):
        approvals.execute(vault, principal(vault, "alice"), UUID(request["id"]))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("requester", {"requester": "bob"}),  # so that alice approves what she asked for herself
        ("requested_at", {"requested_at": datetime(2026, 1, 1, tzinfo=UTC)}),  # no waiting time
        ("scope", {"scope": None}),
    ],
)
def test_a_request_changed_before_its_approval_is_shown_to_nobody(
    stack: Stack, vault: Vault, owner: Owner, field: str, change: dict[str, Any]
):
    """Whoever asks signs nothing, so what they asked for is what the log tells."""
    request = stack.order()
    honest = Request.read(request["document"])
    update = "UPDATE approval_request SET document = :document WHERE id = :id"
    for changed in (replace(honest, **change), honest):
        document = canonical(changed.document).decode()
        owner.do(update, id=request["id"], document=document)
        answer = stack.person("bob").client().get(f"/v1/requests/{request['id']}")
        if changed is honest:
            break
        assert (answer.status_code, answer.json()["code"]) == (409, "request-altered"), answer.text
        assert field in answer.json()["detail"]
        with pytest.raises(RequestAlteredError, match=field):
            approvals.execute(vault, principal(vault, "alice"), honest.id)
        with vault.database.reading() as work:
            told = work.audit.newest_of(f"request:{honest.id}")
        assert told.header["ty"] == "EXECUTION.REFUSED"
    assert ok(answer)["document"] == request["document"]
    assert stack.carry_out(request)


def test_a_request_that_nobody_asked_for_is_shown_to_nobody(
    stack: Stack, vault: Vault, owner: Owner
):
    request, forged = stack.order(), str(uuid4())
    document = {**request["document"], "id": forged}
    owner.do(
        "UPDATE approval_request SET id = :forged, document = :document WHERE id = :id",
        forged=forged,
        id=request["id"],
        document=canonical(document).decode(),
    )
    for person in ("bob", "carol"):
        with pytest.raises(RequestAlteredError, match="tells nothing"):
            approvals.get(vault, principal(vault, person), UUID(forged))


def test_an_approval_moved_to_another_request_does_not_count(
    stack: Stack, vault: Vault, owner: Owner
):
    approved, wanted = stack.order(), stack.order(key_class="exchange")
    stack.approve(approved, "bob", "carol")
    owner.do(
        "UPDATE approval SET request_id = :wanted WHERE request_id = :approved",
        wanted=wanted["id"],
        approved=approved["id"],
    )
    with pytest.raises(ApprovalInvalidError):
        approvals.execute(vault, principal(vault, "alice"), UUID(wanted["id"]))


def test_a_request_set_back_to_approved_is_a_replay_to_the_gate(
    stack: Stack, vault: Vault, owner: Owner
):
    key = stack.order_key()
    owner.do("UPDATE approval_request SET state = 'approved' WHERE id = :id", id=key)
    with pytest.raises(ReplayedError):
        approvals.execute(vault, principal(vault, "alice"), UUID(key))


def test_a_key_called_extractable_stays_where_it_is(stack: Stack, vault: Vault, owner: Owner):
    terms = {"algorithm": "AES-256", "usage": "encrypt"}
    key = stack.order_key(**terms)
    kek = stack.active_key(**{**terms, "usage": "wrap"})
    owner.do(
        "UPDATE key SET extractable = :yes, key_class = 'exchange' WHERE id = :id", yes=True, id=key
    )
    body = {**WHY, "kek": kek}
    request = ok(stack.person("alice").client().post(f"/v1/keys/{key}/exports", json=body))
    stack.approve(request, "bob", "carol")
    with pytest.raises(KeyUnusableError, match="never leave"):
        approvals.execute(vault, principal(vault, "alice"), UUID(request["id"]))


def test_a_suspended_key_called_active_is_refused_by_the_gate(
    stack: Stack, vault: Vault, owner: Owner
):
    """The service believes the row; the gate has a register of its own, and the clerk tells."""
    key = stack.active_key()
    system = stack.system(f"user-{uuid4().hex[:8]}", "key:sign")
    alice = stack.person("alice").client()
    ok(alice.post(f"/v1/keys/{key}/suspensions", json=WHY))
    watch.gates(vault)
    owner.do("UPDATE key SET state = 'active', version = 9 WHERE id = :id", id=key)
    answer = system.client().post(f"/v1/keys/{key}/signatures", json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (409, "key-state")
    assert watch.gates(vault) == 1
    with vault.database.reading() as work:
        told = work.audit.newest_of("gate:keys")
    assert UUID(key).hex.encode() in told.payload


CHANGED = """UPDATE event SET leaf = CAST(replace(CAST(leaf AS TEXT), 'alice', 'mallo') AS BLOB)
    WHERE idx = 3"""


def test_an_event_changed_after_it_was_sealed_is_named_by_the_verifier():
    with Stack.make() as own:
        own.start()
        own.order()
        assert_evidence_holds(own)
        attacker = Owner(own.settings.database)
        attacker.do(CHANGED)
        with pytest.raises(AssertionError, match=r"events.ndjson \[3\]: event is not what the log"):
            assert_evidence_holds(own)
