"""The bundle: what it says of itself, its tree, its checkpoints, and what cannot be said."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from keyvault.evidence.verifier.archive import (
    AUTHORITY,
    ERASURES,
    EVENTS,
    HEADS,
    LEAVES,
    NEWEST,
    POLICY,
    PREVIOUS,
    Bundle,
)
from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.choosing import Choice
from keyvault.evidence.verifier.custody import Custody
from keyvault.evidence.verifier.events import Events
from keyvault.evidence.verifier.merkle import read_proof
from keyvault.evidence.verifier.notes import read_note
from keyvault.evidence.verifier.outside import read_file, read_state
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.sightings import FORKED
from keyvault.evidence.verifier.witnesses import Policy
from keyvault.evidence.verifier.words import (
    HASH_SIZE,
    loads,
    need,
    sha256_hex,
    unbase64,
)

LIMITS = (
    "no witness has cosigned: others may have been shown another log, and this one may go on",
    "that the device did what the events say rests on the device and the service",
    "files in proofs/, custody.json and the texts were compared with the manifest only",
)


class Case:
    """One bundle under examination, with what its reader knew before."""

    witnessed = False  # by a quorum of the policy, the reader's own if there is one

    def __init__(self, options: argparse.Namespace, report: Report, bundle: Bundle) -> None:
        self.options, self.report, self.state = options, report, read_state(options.state)
        self.bundle = bundle
        report.at("manifest.json")
        self.manifest = loads(self.bundle.read("manifest.json"))
        need(self.manifest["v"] == 1, "unknown version")
        known = self.manifest["redaction"] in ("none", "erased")
        need(known, "unknown version of redaction")
        report.at(AUTHORITY)
        self.authority = Authority([loads(x) for x in self.bundle.lines(AUTHORITY)], report)
        self.events = Events(self.manifest, self.bundle, self.authority, report, options.standing)
        self.memory = self.state.get(self.authority.origin, {})
        self.newest = (0, b"")
        self.custody = Custody(self.authority, report)
        self.cosigners: dict[str, int] = {}

    def examine(self) -> None:
        step = self.report.step
        with step("genesis and log key are those that you trust", AUTHORITY):
            self.check_trust()
        with step("every file is the one that the manifest names", "manifest.json"):
            self.check_manifest()
        with step("a key of the log has signed its head", NEWEST):
            self.newest = self.checkpoint(NEWEST)
        with step("", ERASURES):
            self.events.erased.check(*self.newest)
        with step("", HEADS):
            self.events.heads.check(*self.newest)
        with step("", "manifest.json"):
            self.events.choice = Choice(self.manifest, self.newest[1], self.bundle)
        with step("every event is the log's own, complete, in order and approved", EVENTS):
            self.events.check()
        with step("the events stand in the tree of the signed checkpoint", "range.proof"):
            self.check_tree()
        self.events.sections.finish(self.report)
        if self.options.custody:
            with step("every hand-over of the bundle is signed", self.options.custody):
                self.check_custody(self.options.custody)
        self.examine_witnesses()

    def examine_witnesses(self) -> None:
        step = self.report.step
        if self.options.policy:
            with step("your policy's quorum of witnesses has cosigned it", self.options.policy):
                self.check_quorum(Policy(read_file(self.options.policy)))
        elif POLICY in self.bundle:
            with step("cosignatures are read by the bundle's own policy", POLICY):
                policy = Policy(self.bundle.read(POLICY))
                self.cosigners = policy.cosigners(self.bundle.read(NEWEST), self.report)
                enough = policy.quorum != "none" and policy.holds(policy.quorum, self.cosigners)
                self.witnessed = bool(enough)

    def check_trust(self) -> None:
        genesis, keys = self.authority.heads[0], self.authority.services["log_keys"]
        pinned = self.options.genesis_sha256 or self.memory.get("genesis") or genesis
        need(pinned.lower() == genesis, f"genesis is {genesis}, not the one you trust")
        need(self.options.log_key in (None, *keys), "genesis does not name the log key you trust")
        lines = "".join(f"{key}\n" for key in keys).encode()
        self.report.at("checkpoints/keys")
        need(self.bundle.read("checkpoints/keys") == lines, "are not the log keys of the genesis")

    def check_manifest(self) -> None:
        manifest, named = self.manifest, self.manifest["files"]
        for name in sorted({*self.bundle.places} - {"manifest.json", "manifest.sig"}):
            own = {"sha256": self.bundle.digests[name], "size": self.bundle.size(name)}
            if named.get(name) != own:
                self.report.at(name)
                self.report.wrong("is not the file that the manifest names")
        self.report.at("manifest.json")
        need(set(named) <= set(self.bundle.places), "names a file that is not there")
        about = (manifest["origin"], manifest["genesis"])
        need(about == (self.authority.origin, self.authority.heads[0]), "is about another log")

    def check_custody(self, file: str) -> None:
        created = self.manifest["created_at"]
        self.custody.check(read_file(file), file, self.report.bundle, created)

    def check_tree(self) -> None:
        size, root = self.newest
        known = self.previous(size, root)
        self.report.at("range.proof")
        numbers, tree, right = read_proof(self.bundle.read("range.proof"))
        named = [self.manifest["range"][name] for name in ("start", "end", "size")]
        need(numbers == named and size == numbers[2], "is about another range")
        count, memory = numbers[1] - numbers[0], self.memory.get("size")
        more = self.bundle.size(LEAVES) != HASH_SIZE * count
        need(not more, "there are more or fewer leaf hashes")
        if memory is not None:
            known.setdefault(memory, b"")
        leaves = self.bundle.items(LEAVES, HASH_SIZE)
        clash = min(self.events.seen.clashes(tree, leaves, known), default=None)
        need(tree.close(right, size) == root, "the events do not lead to the signed root")
        known[size] = root
        self.report.at(EVENTS, clash)
        need(clash is None, FORKED)
        self.report.at("checkpoints/previous.note")
        self.check_memory(known)

    def check_quorum(self, policy: Policy) -> None:
        note, who = self.bundle.read(NEWEST), policy.quorum
        self.cosigners = policy.cosigners(note, self.report)
        missing = ", ".join(name for name in policy.witnesses if name not in self.cosigners)
        self.witnessed = who != "none"
        need(policy.holds(who, self.cosigners), f"quorum {who} is not reached without {missing}")
        signed = not policy.logs or read_note(note, policy.logs, self.report)[3]
        need(signed, "no log that the policy names has signed it")

    def checkpoint(self, file: str) -> tuple[int, bytes]:
        self.report.at(file)
        own = self.options.log_key
        keys = [own] if own else self.authority.services["log_keys"]
        origin, size, root, signers = read_note(self.bundle.read(file), keys, self.report)
        need(origin == self.authority.origin and signers, "no key of this log signed it")
        return size, root

    def previous(self, size: int, root: bytes) -> dict[int, bytes]:
        """A consistency proof is the range proof of no events: what was left, what came after."""
        if PREVIOUS not in self.bundle:
            return {}
        old_size, old_root = self.checkpoint(PREVIOUS)
        self.report.at("checkpoints/consistency.proof")
        numbers, tree, right = read_proof(self.bundle.read("checkpoints/consistency.proof"))
        need(numbers == [old_size, old_size, size], "is about other checkpoints")
        need(tree.root() == old_root and tree.close(right, size) == root, FORKED)
        return {old_size: old_root}

    def check_memory(self, known: dict[int, bytes]) -> None:
        size = self.memory.get("size")
        if size is not None:
            missing = f"cannot show consistency with the log of {size} events that you saw before"
            need(known.get(size), f"{missing}: ask for a bundle with a proof from there")
            need(known[size].hex() == self.memory["root"], FORKED)
            self.report.say("ok", f"the log continues the one of {size} events seen before")

    def check_signatures(self) -> None:
        evidence = unbase64(self.authority.services["evidence"])
        statement = b"keyvault-manifest-v1\n" + self.bundle.read("manifest.json")
        what = "the signature of the evidence key on the manifest is not valid"
        with self.report.step("every signature is good, says openssl", "manifest.sig"):
            self.report.signed(what, evidence, self.bundle.read("manifest.sig"), statement)
            self.report.check_signatures()

    def remember(self) -> None:
        size, root = self.newest
        entry = {"genesis": self.authority.heads[0], "root": root.hex(), "size": size}
        if self.options.state and size >= self.memory.get("size", 0):
            text = json.dumps({**self.state, self.authority.origin: entry}, indent=1)
            Path(self.options.state).write_text(text + "\n", encoding="utf-8")

    def describe_standing(self) -> None:
        standing = self.events.standing
        if standing is not None:
            self.report.standing = standing.entries
            for sentence in standing.sentences():
                self.report.say("standing", sentence)

    def describe(self) -> None:
        """Say what was found, and what no check of this bundle can say."""
        say, events, genesis = self.report.say, self.events, self.authority.heads[0]
        place = f"events {events.start} to {events.end - 1} of {self.newest[0]}"
        say("log", f"{self.authority.origin}, {place}")
        self.describe_program()
        say("found", f"{events.disclosed} events disclosed, {events.acts} acts approved")
        if not (self.options.genesis_sha256 or self.memory):
            say("TRUST", f"rests on this bundle alone. Compare its genesis, {genesis},")
            say("TRUST", "with one you got another way, or give that as --genesis-sha256")
        self.describe_gone()
        self.describe_queries()
        for sentence in self.custody.sentences:
            say("custody", sentence)
        if events.hidden:
            say("limit", f"{events.hidden} approved acts are withheld and were not checked")
        if events.graced:
            say("limit", f"{events.graced} acts count only by the minute that clocks may differ")
        if events.classless:
            say("limit", f"{events.classless} acts are on older keys, whose class is not shown")
        if events.asked.untold and not events.start:
            say("limit", f"of {events.asked.untold} requests no event tells who asked, and when")
        self.describe_witnesses()
        for limit in (*self.events.sections.limits(), *LIMITS[bool(self.cosigners) :]):
            say("limit", limit)

    def describe_gone(self) -> None:
        """What is missing, rightly, and that nothing else is."""
        say, purges, heads = self.report.say, self.events.erased.purges, self.events.heads
        if heads.agreed:
            ends = f"streams, actors and scopes end where event {heads.index} says"
            say("heads", f"{heads.count} {ends}")
        for purge in purges:
            say("purged", purge.sentence())
        purged = sum(purge.found for purge in purges)
        if self.events.gone > purged:
            erased = self.events.gone - purged
            say("limit", f"{erased} events were erased, as several people decided")
        if self.events.catalogue.count:
            say("schema", self.events.catalogue.sentence())
        if purged:
            say("limit", f"what {purged} events said is gone; that they were is proved")

    def describe_program(self) -> None:
        program = sha256_hex(Path(__file__).read_bytes())
        same = "the same as" if program == self.bundle.digests["verify.py"] else "NOT the one"
        self.report.say("program", f"SHA-256 {program}, {same} in the bundle")

    def describe_queries(self) -> None:
        """Answer every query; which of them have to be proved is the reader's to say."""
        for name, answer in self.events.queries.answers(not self.report.exit):
            self.report.queries[name] = answer
            self.report.say("query", f"{name}: {answer}")
        if self.events.choice.sample is not None:
            sample = self.events.choice.sample
            drawn = f"{len(self.events.choice.picked)} of {sample['population']} events"
            self.report.say("sample", f"{drawn}, drawn with seed {sample['seed']} and the root")

    def describe_witnesses(self) -> None:
        say = self.report.say
        level = "witnessed by a quorum" if self.witnessed else "sealed by the log, not witnessed"
        say("level", f"every event here is {level}")
        for witness, when in self.cosigners.items():
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))
            say("witness", f"witnessed by {witness} at {at} UTC")
        if self.cosigners and not self.options.policy:
            say("TRUST", "in these witnesses rests on the bundle: give your policy as --policy")
