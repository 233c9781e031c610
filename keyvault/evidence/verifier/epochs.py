"""Recoveries: where a log goes on from an older copy, who approved it, and what is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.redemption import OTHER_RULE, Redemption, check_request
from keyvault.evidence.verifier.rules import rule_in_force
from keyvault.evidence.verifier.sections import Section
from keyvault.evidence.verifier.words import need

RECOVER = "recover-log"


class Epochs(Section):
    claim = "every recovery of the log was approved, and begins the next epoch"
    types = ("LOG.RECOVERED",)
    epoch = 0  # the newest that was seen

    def event(self, index: int, header: Any, payload: Any) -> None:
        """Check one recovery, and say plainly what it means."""
        if payload is None:
            self.report.say("gap", f"event {index} begins a new epoch; its payload is withheld")
            return
        request, approvals = payload["request"], payload["approvals"]
        check_request(request, self.authority.origin, RECOVER)
        asked = request["parameters"]
        need(asked["kept_size"] == index, "people approved a recovery at another event")
        follows = asked["epoch"] == self.epoch + 1 if self.epoch else asked["epoch"] > 1
        need(follows, "this is not the next epoch")
        heads = [head[:16] for head in self.authority.heads]
        need(header["pv"] in heads, "names an authority that is not there")
        state = self.authority.states[heads.index(header["pv"])]
        need(request["rule"] == rule_in_force(state, request, ""), OTHER_RULE)
        Redemption(state, request, header["t"] / 1000).check(approvals, self.report)
        self.epoch = asked["epoch"]
        self.tell(index, asked, [one["approver"] for one in approvals])

    def tell(self, index: int, asked: Any, names: list[str]) -> None:
        last = asked["lost_size"] - 1
        self.report.say(
            "gap",
            f"epoch {asked['epoch']} begins at event {index} after a recovery approved by "
            f"{', '.join(names)}: events {index} to {last} of the epoch before it are lost "
            f"({asked['reason']})",
        )

    def limits(self) -> Iterator[str]:
        if self.epoch:
            yield "what happened in the events that a recovery lost"
