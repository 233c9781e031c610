"""What reconciling makes of every way in which register and token can differ.

OpenSC's pkcs11-tool plays the hand behind the service's back.
"""

import os
import subprocess
from uuid import UUID, uuid4

import pytest

from keyvault.domain.approvals import RequestState
from keyvault.domain.errors import ReplayedError
from keyvault.operations import executors
from keyvault.operations.acts.base import Acting
from keyvault.operations.reconcile import Finding, Verdict, reconcile
from keyvault.operations.vault import Vault
from keyvault.settings import ModuleSettings
from tests.stack import Stack


class Hand:
    """Somebody with the PIN and no service."""

    def __init__(self, stack: Stack, one: ModuleSettings | None = None) -> None:
        settings, one = stack.settings, one or stack.settings.keys
        assert settings.credentials is not None
        module = one.uri.partition("module-path=")[2].partition("&")[0]
        token = one.uri.partition("token=")[2].partition(";")[0].partition("?")[0]
        pin = (settings.credentials / one.pin).read_text().strip()
        self._line = ["pkcs11-tool", "--module", module, "--token-label", token]
        self._line += ["--login", "--pin", pin]
        self._environment = {**os.environ, **one.environment}

    def do(self, *words: str) -> str:
        line = [*self._line, *words]
        done = subprocess.run(
            line, capture_output=True, text=True, check=True, env=self._environment
        )
        return done.stdout

    def make(self, key: UUID) -> None:
        self.do("--keypairgen", "--key-type", "EC:prime256v1", "--id", key.hex, "--label", "x")

    def remove(self, key: UUID, *kinds: str) -> None:
        for kind in kinds:
            self.do("--delete-object", "--type", kind, "--id", key.hex)

    def holds(self, key: UUID) -> bool:
        return key.hex in self.do("--list-objects")


@pytest.fixture
def hand(stack: Stack) -> Hand:
    return Hand(stack)


def cut_off(stack: Stack, vault: Vault) -> UUID:
    """Leave an approved order as a crash right after the commit of its intent leaves it."""
    request = stack.order()
    stack.approve(request, "bob", "carol")
    with vault.database.work() as work:
        asked = work.requests.get(UUID(request["id"]))
        executing = asked.to(RequestState.EXECUTING)
        work.requests.change(executing)
        acting = Acting(vault, "person:alice", "key-owner", executing)
        work.commit(executors.intent(acting))
    return UUID(request["id"])


def state(vault: Vault, request: UUID) -> RequestState:
    with vault.database.reading() as work:
        return work.requests.get(request).state


def about(verdicts: list[Verdict], key: UUID) -> list[Finding]:
    return [v.finding for v in verdicts if v.key in (str(key), key.hex)]


def test_an_intent_of_which_nothing_came_is_void(stack: Stack, vault: Vault):
    request = cut_off(stack, vault)
    assert about(reconcile(vault), request) == [Finding.VOIDED]
    assert state(vault, request) is RequestState.VOID
    assert about(reconcile(vault), request) == []


def test_what_was_reconciled_away_cannot_be_made_any_more(stack: Stack, vault: Vault, hand: Hand):
    request = cut_off(stack, vault)
    with vault.database.reading() as work:
        asked = work.requests.get(request)
    assert about(reconcile(vault), request) == [Finding.VOIDED]
    with pytest.raises(ReplayedError):
        vault.gate.execute(asked.request.document, [a.document() for a in asked.approvals])
    assert not hand.holds(request)


def test_a_key_that_was_made_before_the_crash_is_adopted(stack: Stack, vault: Vault):
    request = cut_off(stack, vault)
    with vault.database.reading() as work:
        asked = work.requests.get(request)
    vault.gate.execute(asked.request.document, [a.document() for a in asked.approvals])
    assert about(reconcile(vault), request) == [Finding.ADOPTED]
    assert state(vault, request) is RequestState.DONE
    with vault.database.reading() as work:
        assert work.keys.get(request).public_key
    assert about(reconcile(vault), request) == []


def test_what_was_put_in_the_place_of_an_order_is_quarantined(
    stack: Stack, vault: Vault, hand: Hand
):
    request = cut_off(stack, vault)
    hand.make(request)  # extractable or not sensitive or with other uses: not what was ordered
    for _ in range(2):
        assert Finding.QUARANTINED in about(reconcile(vault), request)
    assert state(vault, request) is RequestState.EXECUTING
    hand.remove(request, "privkey", "pubkey")
    assert about(reconcile(vault), request) == [Finding.VOIDED]


def test_a_public_half_is_discarded(stack: Stack, vault: Vault, hand: Hand):
    request = cut_off(stack, vault)
    hand.make(request)
    hand.remove(request, "privkey")
    assert about(reconcile(vault), request) == [Finding.VOIDED]
    assert not hand.holds(request)


def test_a_private_half_is_kept_for_people_to_decide(stack: Stack, vault: Vault, hand: Hand):
    request = cut_off(stack, vault)
    hand.make(request)
    hand.remove(request, "pubkey")
    for _ in range(2):
        assert Finding.QUARANTINED in about(reconcile(vault), request)
    assert hand.holds(request)
    hand.remove(request, "privkey")
    assert about(reconcile(vault), request) == [Finding.VOIDED]


def test_what_nobody_ordered_is_reported_and_left_alone(vault: Vault, hand: Hand):
    stranger = uuid4()
    hand.make(stranger)
    for _ in range(2):
        assert about(reconcile(vault), stranger) == [Finding.UNKNOWN]
    assert hand.holds(stranger)
    hand.remove(stranger, "privkey", "pubkey")
    assert about(reconcile(vault), stranger) == []


def test_a_key_that_is_gone_from_the_token_is_lost(stack: Stack, vault: Vault, hand: Hand):
    key = UUID(stack.active_key())
    hand.remove(key, "privkey", "pubkey")
    for _ in range(2):
        assert about(reconcile(vault), key) == [Finding.LOST]


def test_a_destruction_that_was_cut_off_is_finished(stack: Stack, vault: Vault, hand: Hand):
    key = stack.active_key()
    body = {"reason": "the end"}
    asked = stack.person("alice").client().post(f"/v1/keys/{key}/destructions", json=body).json()
    stack.approve(asked, "bob", "carol")
    with vault.database.work() as work:
        request = work.requests.get(UUID(asked["id"]))
        executing = request.to(RequestState.EXECUTING)
        work.requests.change(executing)
        work.commit(executors.intent(Acting(vault, "person:alice", "key-owner", executing)))
    assert about(reconcile(vault), UUID(key)) == [Finding.COMPLETED]
    assert not hand.holds(UUID(key))
    assert about(reconcile(vault), UUID(key)) == []
