"""The pack of one scope: its events alone, and the sealed head that says how many they are."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.archive import EVENTS, HEADS, NEWEST, Bundle
from keyvault.evidence.verifier.case import LIMITS, Case
from keyvault.evidence.verifier.catalogue import Catalogue
from keyvault.evidence.verifier.custody import Custody
from keyvault.evidence.verifier.events import HEADER
from keyvault.evidence.verifier.heads import Heads
from keyvault.evidence.verifier.lone import read_lone
from keyvault.evidence.verifier.outside import read_state
from keyvault.evidence.verifier.queries import CLAIMS
from keyvault.evidence.verifier.redemption import check_signature
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.words import loads, need, sha256_hex, unbase64


class Signers:
    """What a pack says in the place of the chain of authority: keys, and who acted with which."""

    def __init__(self, manifest: Any) -> None:
        self.origin, self.services = manifest["origin"], manifest["services"]
        self.heads = [manifest["genesis"]]
        self.people: dict[str, Any] = {}
        for name, person in manifest["people"].items():
            keys = {thumb: unbase64(spki) for thumb, spki in person["keys"].items()}
            same = all(sha256_hex(spki) == thumb for thumb, spki in keys.items())
            need(same, f"names a key of {name} by another hash")
            known = {thumb: {"spki": spki, "login_only": False} for thumb, spki in keys.items()}
            self.people[name] = {"credentials": known}


class Pack(Case):
    """One pack under examination. What needs the chain of authority is said to be open."""

    def __init__(self, options: argparse.Namespace, report: Report, bundle: Bundle) -> None:
        self.options, self.report, self.state = options, report, read_state(options.state)
        self.bundle = bundle
        report.at("manifest.json")
        self.manifest = loads(bundle.read("manifest.json"))
        need(self.manifest["v"] == 1, "unknown version")
        self.scope = self.manifest["scope"]
        self.signers = Signers(self.manifest)
        self.authority = self.signers  # type: ignore[assignment] # as much of it as is asked here
        self.heads = Heads(bundle, report)
        self.memory: dict[str, Any] = {}
        self.newest, self.cosigners = (0, b""), {}
        self.custody = Custody(None, report)
        self.count = self.approved = self.gone = 0
        self.catalogue = Catalogue()

    def examine(self) -> None:
        step = self.report.step
        with step("the log key is the one that you trust", "manifest.json"):
            self.check_trust()
        with step("every file is the one that the manifest names", "manifest.json"):
            self.check_manifest()
        with step("a key of the log has signed its head", NEWEST):
            self.newest = self.checkpoint(NEWEST)
            need(self.newest[0] == self.manifest["size"], "is about another size")
        with step("every event is the log's own, of this scope, and none is left out", EVENTS):
            self.check_events()
        if self.options.custody:
            with step("every hand-over of the bundle is signed", self.options.custody):
                self.check_custody(self.options.custody)
        self.examine_witnesses()

    def check_events(self) -> None:
        self.heads.check(*self.newest)
        count, final = self.heads.shown(f"scope/{self.scope}")
        last, commitment = -1, ""
        for line in self.bundle.lines(EVENTS):
            self.report.at(EVENTS, last + 1)
            index, header, payload, commitment = read_lone(line, *self.newest)
            self.report.at(EVENTS, index)
            need(last < index < self.heads.size, "an event is out of order")
            need(set(header) == HEADER and header["v"] == 1, "header does not have its fields")
            need(header["sc"] == self.scope, "is an event of another scope")
            self.check_approvals(payload)
            self.catalogue.look(index, header["ty"], payload)
            self.count, self.gone, last = self.count + 1, self.gone + (payload is None), index
        self.report.at(HEADS, 1)
        whole = (self.count, commitment) == (count, final)
        need(whole, f"the log holds {count} events of this scope, and {self.count} are here")

    def check_approvals(self, payload: Any) -> None:
        """Signatures alone: whose rights counted is in the chain that a pack does not hold."""
        said = payload.get("record", payload) if payload is not None else {}
        if not isinstance(said, dict) or not isinstance(said.get("approvals"), list):
            return
        for one in said["approvals"]:
            who = one["approver"]
            need(who in self.signers.people, f"{who} signed, and the manifest does not name them")
            check_signature(said["request"], one, self.signers.people[who], self.report)
            self.approved += 1

    def describe(self) -> None:
        say, people = self.report.say, self.manifest["people"]
        say("log", f"{self.signers.origin}, {self.newest[0]} events in all")
        self.describe_program()
        say("scope", f"all {self.count} events of {self.scope} before event {self.heads.size}")
        names = ", ".join(f"{who} ({people[who]['full_name']})" for who in sorted(people))
        say("people", f"{names or 'none'}; {self.approved} signatures of theirs were checked")
        if not self.options.log_key:
            say("TRUST", "in the key of the log rests on this pack: give it as --log-key")
        if self.catalogue.count:
            say("schema", self.catalogue.sentence())
        for sentence in self.custody.sentences:
            say("custody", sentence)
        for name in CLAIMS:
            self.report.queries[name] = "open: a pack does not show who may approve"
        self.describe_witnesses()
        for limit in (*self.limits(), *LIMITS[bool(self.cosigners) : -1]):
            say("limit", limit)

    def limits(self) -> Iterator[str]:
        yield "who may approve is in the chain of authority, which names others: see a whole bundle"
        yield "what the state file remembers is not compared: a pack proves no consistency"
        if self.gone:
            yield f"{self.gone} payloads are erased or purged; a whole bundle says why"

    def describe_standing(self) -> None:
        """Nobody's standing is in a pack."""

    def remember(self) -> None:
        """A pack is not remembered: the next bundle could not be compared with it."""
