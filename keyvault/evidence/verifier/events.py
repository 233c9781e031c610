"""Events: one pass over the rows, in the order of the log."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.acts import ACTS, BIRTHS, subject_of
from keyvault.evidence.verifier.archive import AUTHORITY, EVENTS, LEAVES, Bundle
from keyvault.evidence.verifier.asked import Asked
from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.catalogue import Catalogue
from keyvault.evidence.verifier.choosing import Choice
from keyvault.evidence.verifier.erasures import Erasures
from keyvault.evidence.verifier.forms import fits
from keyvault.evidence.verifier.heads import Heads
from keyvault.evidence.verifier.merkle import Frontier
from keyvault.evidence.verifier.queries import Queries
from keyvault.evidence.verifier.redemption import (
    OTHER_RULE,
    Redemption,
    check_request,
    rules_for,
)
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.rights import Standing
from keyvault.evidence.verifier.rules import scope_of
from keyvault.evidence.verifier.sections import Sections
from keyvault.evidence.verifier.sightings import Sightings
from keyvault.evidence.verifier.words import (
    DECODER,
    HASH_SIZE,
    LEEWAY,
    Wrong,
    dumps,
    need,
    seconds,
    unbase64,
    when,
)

HEADER = {"v", "ev", "ty", "out", "op", "st", "ks", "ac", "as", "ro", "sc", "n", "bo", "ns"} | {
    *("t", "tm", "cp", "pv")
}
# After one of these a key must not be used until its life goes on.
IDLE = ("KEY.GENERATED", "KEY.IMPORTED", "KEY.SUSPENDED", "KEY.COMPROMISE_DECLARED")
WITHHELD, UNASKED = (
    "matches the filter but is withheld",
    "is disclosed but does not match the filter",
)


class Events:
    """The rows: each is the log's own, none is missing, and every act was approved."""

    def __init__(
        self, manifest: Any, bundle: Bundle, authority: Authority, report: Report, standing: bool
    ) -> None:
        self.manifest, self.bundle, self.authority = manifest, bundle, authority
        self.report, self.catalogue = report, Catalogue()
        self.choice, self.erased = (
            Choice({"filter": {}}, b"", bundle),
            Erasures(bundle, authority, report),
        )
        self.queries, self.heads = Queries(manifest["dates"]), Heads(bundle, report)
        self.leaves: Iterator[bytes] = iter(())
        self.start, self.end = manifest["range"]["start"], manifest["range"]["end"]
        self.counters: dict[tuple[str, str], int] = {}
        self.seen, self.asked = Sightings(), Asked()
        self.states = {head[:16]: number for number, head in enumerate(authority.heads)}
        if not self.start:
            self.states[""] = -1  # before genesis, which is the first event of a log
        self.logged: int | None = None if self.start else -1  # newest authority record so far
        self.keys: dict[str, tuple[str, str]] = {}  # class and scope of keys made in the range
        self.life: dict[str, str] = {}
        self.begun: dict[str, tuple[int, int, Any]] = {}  # operation: time, authority, payload
        self.first = self.last = self.latest = 0
        self.disclosed = self.gone = self.acts = self.hidden = self.classless = self.graced = 0
        self.standing = Standing(authority) if standing else None
        self.sections = Sections(bundle, authority, report)

    def check(self) -> None:
        index, self.leaves = self.start - 1, self.bundle.items(LEAVES, HASH_SIZE)
        for index, line in enumerate(self.bundle.lines(EVENTS), self.start):
            self.report.at(EVENTS, index)
            need(index < self.end, "there are more rows than the range has events")
            self.check_row(index, line)
        self.report.at(EVENTS)
        need(index + 1 == self.end, f"the rows end at {index}, the range at {self.end - 1}")
        withheld = self.end - self.start - self.disclosed
        counts = {"disclosed": self.disclosed, "withheld": withheld}
        need(self.manifest["counts"] == counts, "the manifest counts other rows")
        self.check_dates(self.manifest["dates"])

    def check_row(self, index: int, line: bytes) -> None:
        row = DECODER.decode(line.decode())
        need(row["i"] == index, f"a row is missing or out of order: the next is {row['i']}")
        header, shown = row["h"], "p" in row
        head = dumps(header)
        if shown:
            need(isinstance(row["p"], dict), "payload is not an object")
            body, salt = dumps(row["p"]), row["s"]
            digest = hashlib.sha256(unbase64(salt) + body).digest()
            commitment = base64.b64encode(digest)
            rebuilt = b'{"h":%b,"i":%d,"p":%b,"s":"%b"}' % (head, index, body, salt.encode())
        else:
            commitment, mark = row["c"].encode(), b'"e":1,' if "e" in row else b""
            rebuilt = b'{"c":"%b",%b"h":%b,"i":%d}' % (commitment, mark, head, index)
        need(rebuilt == line, "row is not canonical")
        leaf = hashlib.sha256(b'\0{"h":%b,"p":"%b"}' % (head, commitment)).digest()
        need(leaf == next(self.leaves, b""), "event is not what the log holds at this place")
        self.check_shown(index, header, shown, "e" in row)
        if not self.start:
            self.heads.note(index, header, commitment.decode())
        self.check_header(index, header)
        self.check_payload(index, header, row.get("p"))
        self.tell(index, header, row.get("p"))

    def tell(self, index: int, header: Any, payload: Any) -> None:
        """Let everybody else look at an event whose hash is right."""
        self.sections.event(index, header, payload)
        self.queries.event(index, header, payload)
        self.catalogue.look(index, header["ty"], payload)
        if self.standing is not None:
            self.standing.note(index, header, payload, self.states[header["pv"]])

    def check_shown(self, index: int, header: Any, shown: bool, erased: bool) -> None:
        """What was asked for is disclosed, and nothing else is."""
        wanted = self.choice.wanted(index, header)
        if erased:
            self.erased.allow(index, header)
        self.erased.row(index, header)
        need(shown is wanted or erased, f"event {WITHHELD if wanted else UNASKED}")
        self.disclosed, self.gone = self.disclosed + shown, self.gone + erased

    def check_header(self, index: int, header: Any) -> None:
        need(set(header) == HEADER and header["v"] == 1, "header does not have its fields")
        for number, name in (("ks", "st"), ("as", "ac"), ("ns", "n")):
            count, whose = header[number], (name, header[name])
            last = self.counters.get(whose, count - 1 if self.start else -1)
            jump = f"counter {number} of {header[name]} goes from {last} to {count}"
            need(count == last + 1, f"{jump}: an event is missing")
            self.counters[whose] = count
        self.last, self.latest = header["t"], max(self.latest, header["t"])
        self.first = self.first if index > self.start else header["t"]
        need(self.last >= self.latest - LEEWAY * 1000, "time runs backwards by over a minute")
        if header["cp"]:
            size, root = header["cp"].split(":")
            self.saw(index, int(size), root)
        if header["out"] == "ok":
            self.check_life(header["st"], header["ty"])

    def check_life(self, stream: str, kind: str) -> None:
        if kind not in (*ACTS, *IDLE, "KEY.USED") or kind.startswith(("BACKUP.", "KEK.")):
            return
        before = self.life.get(stream, "")
        known = before or self.start or kind in ("KEY.GENERATED", "KEY.IMPORTED")
        need(known, f"{kind} of a key that was never made")
        need(before != "KEY.DESTROYED", "the key was destroyed before")
        need(kind != "KEY.USED" or before not in IDLE, f"the key is used after {before}")
        if kind not in ("KEY.USED", "KEY.EXPORTED", "KEY.USE_ALLOWED", "KEY.HOLD_LIFTED"):
            self.life[stream] = kind

    def saw(self, index: int, size: int, root: str) -> None:
        """Somebody saw the log with this root, so the tree has to agree."""
        need(size <= index and len(root) in (8, 64), "names a state of the log that was not yet")
        self.seen.add(size, root, index)

    def check_payload(self, index: int, header: Any, payload: Any) -> None:
        kind, done = header["ty"], header["out"] == "ok"
        need(header["pv"] in self.states, f"names an authority that is not in {AUTHORITY}")
        state = self.states[header["pv"]]
        need(self.logged in (None, state), "names an authority that is not the one in force")
        self.logged = state
        if kind == "AUTHORITY.CHANGED" and done:
            self.logged = state + 1
            following = self.authority.records[self.logged :][:1]
            same = following and (payload is None or payload["record"] == following[0])
            need(same, f"is not the next record of {AUTHORITY}")
            self.check_record(index, header["t"] / 1000, following[0])
        elif kind in ACTS and header["out"] == "intent":
            self.begun.setdefault(header["op"], (header["t"], state, payload))
        elif kind in ACTS and done and payload is not None:
            self.check_act(index, header, payload, state)
        elif kind in ACTS and done:
            self.hidden += 1
        elif kind == "APPROVAL.REQUESTED":
            self.asked.event(header, payload)
        elif kind == "KEY.USED" and payload and "details" in payload:
            check_batch(payload)
        if header["out"] in ("ok", "fail"):
            self.begun.pop(header["op"], None)  # it has ended, and a log is longer than memory

    def check_record(self, index: int, happened: float, record: Any) -> None:
        """Whose rights counted was judged by the record's own time, so it has to be the log's."""
        at, request = seconds(record["at"]), record["request"]
        before = at - LEEWAY <= happened
        same = before and (record["seq"] == 0 or happened <= at + LEEWAY + 1)
        need(same, f"says it was carried out at {when(at)}, and its event is of {when(happened)}")
        asked = [request] if record["seq"] else []
        for one in asked:
            self.asked.check(one)
        for saw in [*asked, *record["approvals"]]:
            self.saw(index, saw["seen"]["size"], saw["seen"]["root"])

    def check_act(self, index: int, header: Any, payload: Any, state: int) -> None:
        request, approvals = payload["request"], payload["approvals"]
        commands = ACTS[header["ty"]].split()
        command = request["command"] if request["command"] in commands else commands[0]
        check_request(request, self.authority.origin, command)
        need(all(fits("approval", one) for one in approvals), "an approval is none")
        approved = request["parameters"]
        key = subject_of(request)
        happened = payload["key"] == key and header["st"] == f"key:{key}"
        need(happened, "it happened to another key than people approved")
        for name in set(approved) & set(payload):
            need(payload[name] == approved[name], f"{name} is not what people approved")
        scope = scope_of(request) or ""
        need(header["sc"] == scope, "the scope is not what people approved")
        if command in BIRTHS:
            self.keys[key] = (approved["key_class"], scope)
        need(self.keys.get(key, ("", scope))[1] == scope, "the key belongs to another scope")
        self.check_cleared(header, request, approvals, state)
        self.asked.check(request)
        for seen in [request["seen"], *(approval["seen"] for approval in approvals)]:
            self.saw(index, seen["size"], seen["root"])
        self.acts += 1
        self.classless += key not in self.keys

    def check_cleared(self, header: Any, request: Any, approvals: Any, state: int) -> None:
        """Approvals count as of when the act began: who signed may have left before its end."""
        self.authority.use(request)
        unknown = (header["t"], state, None)
        begun, cleared, intent = self.begun.get(header["op"], unknown)
        need(cleared >= 0, "it happened before genesis")
        same = intent is None or (intent["request"], intent["approvals"]) == (request, approvals)
        need(same, "it is not what was begun, or others approved it")
        moments = [(cleared, begun / 1000 - early) for early in (0, LEEWAY)]
        if self.start and header["op"] not in self.begun:
            # It began before this range: at the earliest when the last had signed, and under this
            # authority or an earlier one.
            first = seconds(request["requested_at"]) + request["rule"]["wait"]
            earliest = max([first, *(seconds(approval["at"]) for approval in approvals)])
            moments = [(number, earliest) for number in range(cleared, -1, -1)]
        self.graced += self.redeem(request, approvals, moments) == moments[1:2]

    def redeem(self, request: Any, approvals: Any, moments: list[Any]) -> list[Any]:
        """Find the moment, and the authority, at which the act counts, or say why at none."""
        key = subject_of(request)
        problem = None
        for number, at in moments:
            state = self.authority.states[number]
            try:
                classes = [self.keys[key][0]] if key in self.keys else list(state.classes)
                need(request["rule"] in rules_for(state, request, classes), OTHER_RULE)
                Redemption(state, request, at).check(approvals, self.report)
            except Wrong as error:
                problem = problem or error
            else:
                return [(number, at)]
        raise problem or Wrong("it was never allowed")

    def check_dates(self, dates: Any) -> None:
        """Times may be out of order by a minute, so the range reaches over by that much."""
        if dates is not None:
            since, until = seconds(dates["from"]) * 1000, seconds(dates["to"]) * 1000
            before = self.start == 0 or self.first + LEEWAY * 1000 < since
            at_end = self.end == self.manifest["range"]["size"]
            after = at_end or self.last - LEEWAY * 1000 > until
            need(before and after, "the range does not cover the dates it is for")


def check_batch(payload: Any) -> None:
    tree = Frontier(0, [])
    for number, detail in enumerate(payload["details"]):
        tree.push(hashlib.sha256(b"\0" + dumps({**detail, "i": number})).digest())
    need(tree.size == payload["count"], "details of the batch are not complete")
    need(tree.root().hex() == payload["details_root"], "details of the batch have another root")
