"""The report: what an assessor reads first, with every time in UTC and as it was in London."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keyvault.domain.audit import EventType
from keyvault.evidence.views.rows import Shown, local, utc
from keyvault.paper import Paper
from keyvault.paper.charts import Span, bars, timeline

MAX_ACTS, MAX_PEOPLE, MAX_MONTHS = 400, 60, 36
MAX_STREAMS, MAX_LANES = 10_000, 30  # remembered, and drawn
_NO_ACTS = {EventType.KEY_USED, EventType.AUDIT_QUERIED, EventType.AUTH_OK}


@dataclass
class Busy:
    """When something was first and last heard of, and how often."""

    first: datetime
    last: datetime
    count: int = 0


@dataclass
class Report:
    """Counts what is disclosed while it passes by, and keeps the acts for a table."""

    facts: list[tuple[str, object]]
    at: datetime
    names: Mapping[str, str] = field(default_factory=dict)
    withheld: int = 0
    types: Counter[str] = field(default_factory=Counter)
    actors: Counter[str] = field(default_factory=Counter)
    months: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    busy: dict[str, Busy] = field(default_factory=dict)
    acts: list[Shown] = field(default_factory=list)
    more: int = 0

    def add(self, event: Shown) -> None:
        header = event.header
        self.types[header["ty"]] += 1
        self.actors[header["ac"]] += 1
        self.outcomes[header["out"]] += 1
        self.months[event.time.strftime("%Y-%m")] += 1
        if header["st"] in self.busy or len(self.busy) < MAX_STREAMS:
            busy = self.busy.setdefault(header["st"], Busy(event.time, event.time))
            busy.last, busy.count = max(busy.last, event.time), busy.count + 1
        if header["ty"] in _NO_ACTS:
            return
        if len(self.acts) < MAX_ACTS:
            self.acts.append(event)
        else:
            self.more += 1

    def paper(self, root: str) -> Paper:
        """Return it as a document; `root` stands on every page."""
        paper = Paper(
            "Report on key events",
            self.at,
            subtitle="A view for readers. The evidence is events.ndjson with its proofs.",
            reference=f"log root {root}",
        )
        shown = sum(self.types.values())
        counts = ("events disclosed", f"{shown:,}"), ("events withheld", f"{self.withheld:,}")
        paper.facts([*self.facts, *counts])
        paper.heading("What happened, month by month", 2)
        months = sorted(self.months.items())[-MAX_MONTHS:]
        paper.picture(bars("Events a month", months), "Disclosed events in each month (UTC).")
        paper.heading("What it was", 2)
        kinds = self.types.most_common(30)
        paper.picture(bars("Events by type", kinds), "The commonest types of disclosed events.")
        outcomes = [(name, f"{count:,}") for name, count in sorted(self.outcomes.items())]
        paper.table(("outcome", "events"), outcomes, (1, 1))
        self._timeline(paper)
        self._people(paper)
        self._acts(paper)
        return paper

    def _timeline(self, paper: Paper) -> None:
        """Draw when keys, people and the others were heard of, the busiest of them."""
        busiest = sorted(self.busy.items(), key=lambda one: -one[1].count)[:MAX_LANES]
        spans = [
            Span(self.names.get(stream, stream), one.first, one.last, f"{one.count:,}")
            for stream, one in sorted(busiest, key=lambda one: one[1].first)
        ]
        if spans:
            paper.heading("When each was heard of", 2)
            words = "From the first to the last disclosed event about it, and how many there are."
            paper.picture(timeline("Events over time", spans), words)

    def _people(self, paper: Paper) -> None:
        paper.heading("Who acted", 2)
        found = self.actors.most_common(MAX_PEOPLE)
        rows = [(actor, self.names.get(actor, ""), f"{count:,}") for actor, count in found]
        paper.table(("who", "name", "events"), rows, (2, 2, 1))

    def _acts(self, paper: Paper) -> None:
        paper.heading("Acts, in the order of the log", 2)
        paper.text("Uses of keys, logins and queries are counted above and not listed here.")
        heads = ("event", "UTC", "London", "what", "by", "about")
        rows = [
            (
                event.index,
                utc(event.time)[:19],
                local(event.time),
                f"{event.header['ty']} {event.header['out']}",
                f"{event.header['ac']} {event.name}".strip(),
                event.header["st"],
            )
            for event in self.acts
        ]
        paper.table(heads, rows, (1.5, 1.9, 2.2, 2.7, 2.1, 3.5))
        if self.more:
            paper.text(f"{self.more} more are in events.ndjson.")
