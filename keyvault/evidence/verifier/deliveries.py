"""Keys that people carried: the gate signed what it opened, and each custodian their own part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.archive import Bundle
from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.sections import Section
from keyvault.evidence.verifier.words import dumps, loads, need, sha256_hex, unbase64

SIGNED_OF_DELIVERY = (
    *("origin", "request", "statement", "number", "person", "credential", "session"),
    *("content_sha256", "check_values", "at"),
)


class Deliveries(Section):
    """Each part came from the custodian that the opened handover names for its number, once."""

    claim = "parts of keys that people carried are signed, each by its own custodian"
    types = ("HANDOVER.OPENED", "HANDOVER.DELIVERED", "HANDOVER.COLLECTED")

    def __init__(self, bundle: Bundle, authority: Authority, report: Report) -> None:
        super().__init__(bundle, authority, report)
        self.opened: dict[str, tuple[str, list[str]]] = {}  # SHA-256 of the statement, custodians
        self.brought: set[tuple[str, int]] = set()
        self.unopened = 0

    def event(self, index: int, header: Any, payload: Any) -> None:  # noqa: ARG002 - as every section has it
        if payload is None:
            return
        need(header["op"] == payload["request"], "is about another handover")
        if header["ty"] == "HANDOVER.OPENED":
            self.check_opened(payload)
        else:
            self.check_delivered(header["ac"], payload, once=header["ty"] == "HANDOVER.DELIVERED")

    def check_opened(self, payload: Any) -> None:
        data, request = unbase64(payload["statement"]), payload["request"]
        said = loads(data)
        same = (said["origin"], said["request"]) == (self.authority.origin, request)
        need(same, "holds the statement of another handover")
        need(said["custodians"] == payload["custodians"], "names other custodians than its gate")
        need(request not in self.opened, "opens a handover for the second time")
        self.opened[request] = (sha256_hex(data), said["custodians"])
        evidence = unbase64(self.authority.services["evidence"])
        what = "the gate's signature on the statement of a handover is not valid"
        message = b"keyvault-key-handover-v1\n" + data
        self.report.signed(what, evidence, unbase64(payload["signature"]), message)

    def check_delivered(self, actor: str, payload: Any, *, once: bool) -> None:
        """A part goes in once; one that goes out is given to its custodian as often as asked."""
        person, request, number = payload["person"], payload["request"], payload["number"]
        need(payload["origin"] == self.authority.origin, "holds a delivery of another log")
        need(actor == f"person:{person}", f"was brought by another than {person}, who signed")
        new = not once or (request, number) not in self.brought
        need(new, f"brings part {number} for the second time")
        self.brought.add((request, number))
        if request in self.opened:
            statement, custodians = self.opened[request]
            need(payload["statement"] == statement, "was signed for another statement")
            due = custodians[number - 1 : number] if number > 0 else []
            need(due == [person], f"part {number} came from {person}, who was not to bring it")
        else:
            self.unopened += 1
        signed = {name: payload[name] for name in SIGNED_OF_DELIVERY}
        key = self.key_of(person, payload["credential"])
        need(key is not None, f"{person} signed with a key that was never theirs to decide with")
        what = f"the signature of {person} on part {number} of a key is not valid"
        message = dumps({"ctx": "keyvault-delivery-v1", **signed})
        self.report.signed(what, key or b"", unbase64(payload["signature"]), message)

    def limits(self) -> Iterator[str]:
        if self.unopened:
            yield f"{self.unopened} parts of keys came in handovers whose opening is not here"
