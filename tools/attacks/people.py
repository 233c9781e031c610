"""T1, T2, T10 to T12: attempts of people, and with what belongs to them."""

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from keyvault.domain.audit import EventType
from keyvault.domain.commands import (
    EnrolCredential,
    RevokeCredential,
    SetRule,
)
from keyvault.domain.people import Assurance, Credential, Role
from keyvault.domain.rules import GroupBy, Rule
from tools import narrated
from tools.attacker import (
    SucceededError,
    done,
    no,
    turned_away,
)
from tools.attacks.common import REFUSED, at_gate, own_ec, own_key

if TYPE_CHECKING:
    from tools.drill import Drill


def alone(drill: "Drill") -> None:
    """T1: a rogue custodian acts alone.

    Alice asks for a key's activation and wants no second and third person to agree.
    """
    request = drill.on_key(drill.keys["signing"], "activations")
    alice, bob = drill.people["alice"], drill.people["bob"]
    approval = partial(alice.approve, request)
    rejected = EventType.APPROVAL_REJECTED
    drill.attempt(
        "T1", "Alice approves what she asked for herself",
        lambda: turned_away(approval()), rejected, request["id"],
    )  # fmt: skip
    second = own_key()
    drill.carry_out(
        drill.ask(EnrolCredential("bob", Credential(second.spki, Assurance.SOFTWARE))),
        *("carol", "dave"),
    )
    drill.keys["second"] = second  # type: ignore[assignment]  # Bob's other key, kept for T10
    twice = [*drill.signed(request, "bob"), bob.approval(request["document"], second)]
    at_gate(drill, "T1", "Bob signs twice, with two enrolled keys of his", request, twice)
    forged = {**request["document"], "requester": "dave"}
    for_dave = [alice.approval(forged), *drill.signed(request, "bob")]
    drill.attempt(
        "T1", "the request is said to be Dave's, so that Alice could be one of its approvers",
        lambda: no(drill.gate.call, "execute", forged, for_dave), REFUSED, request["id"],
    )  # fmt: skip


def together(drill: "Drill") -> None:
    """T2: two custodians collude.

    A rule asks for people of two organisations; Carol and Dave work for the same one.
    """
    rule = Rule(
        "ends", ("destroy-key",), ("critical",), (Role.KEY_APPROVER,), 2, 3_600,
        group_by=GroupBy.ORGANISATION, groups=2,
    )  # fmt: skip
    drill.carry_out(drill.ask(SetRule(rule, "an end takes two organisations")))
    request = drill.on_key(drill.keys["signing"], "destructions")
    for name in ("carol", "dave"):
        done(drill.people[name].approve(request))
    drill.attempt(
        "T2", "Carol and Dave of one organisation have a key destroyed, by the api",
        lambda: turned_away(drill.execute(request)),
        EventType.EXECUTION_REFUSED, request["id"],
    )  # fmt: skip
    both = drill.signed(request, "carol", "dave")
    at_gate(drill, "T2", "they try the same at the gate's socket", request, both)


def cards(drill: "Drill") -> None:
    """T10 and T11: a card or key is lost or stolen; a card or reader is malicious."""
    lost: Any = drill.keys["second"]
    named = Credential(lost.spki, Assurance.SOFTWARE).thumbprint
    drill.carry_out(drill.ask(RevokeCredential("bob", named, "lost")), "carol", "dave")
    request = drill.order(label="a key that a lost card wants")
    bob = drill.people["bob"]
    stolen = [bob.approval(request["document"], lost), *drill.signed(request, "carol")]
    path = f"/v1/requests/{request['id']}/approvals"
    drill.attempt(
        "T10", "the finder of Bob's lost key approves by the api",
        lambda: turned_away(bob.client.post(path, json=stolen[0])),
        EventType.APPROVAL_REJECTED, request["id"],
    )  # fmt: skip
    at_gate(drill, "T10", "and at the gate's socket", request, stolen)
    if drill.cards:
        on_cards(drill)


ON_CARDS = (
    ("T10", "PINs are tried on a found card", "surface/test_cli_cards.py", "pin or try or block"),
    ("T11", "cards that lie, flood, stall or are pulled", "cards/test_hostile_cards.py", ""),
)


def on_cards(drill: "Drill") -> None:
    """What the tests show on a virtual reader: a tool of the product has no cards of its own."""
    for threat, tried, where, which in ON_CARDS:
        attack = partial(suite, f"tests/{where}", which)
        drill.attempt(threat, tried, attack, instead="none: it ends at the person's own desk")


def suite(where: str, which: str) -> str:
    """Run tests that play a card on a virtual reader, and quote their count."""
    line = [sys.executable, "-m", "pytest", where, "-q", "-n0", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*line, *(("-k", which) if which else ())],
        capture_output=True, text=True, check=False, cwd=narrated.ROOT,
    )  # fmt: skip
    if ran.returncode:
        raise SucceededError(ran.stdout[-300:])
    return f"{where}: {ran.stdout.strip().splitlines()[-1]}"


def relay(drill: "Drill") -> None:
    """T12: a login is relayed from another server.

    Bob was led to sign for a log of that name; the attacker brings it here.
    """
    bob = drill.people["bob"]
    drill.attempt(
        "T12", "a login that Bob signed for another log, by the api",
        lambda: turned_away(bob.log_in(drill.door, "elsewhere.example/keyvault/1")[0]),
        EventType.AUTH_FAILED,
    )  # fmt: skip
    signed = bob.delegation(own_ec(), "elsewhere.example/keyvault/1")
    drill.attempt(
        "T12", "the same at the gate's socket",
        lambda: no(drill.gate.call, "issue_session", *signed), REFUSED, '"issue_session"',
    )  # fmt: skip
    request = drill.order(label="a key of two logs")
    document = {**request["document"], "origin": "elsewhere.example/keyvault/1"}
    there = [drill.people[n].approval(document) for n in ("bob", "carol")]
    elsewhere = {**request, "document": document}
    at_gate(drill, "T12", "a request that was approved for another log", elsewhere, there)
