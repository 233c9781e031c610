"""Traces of sessions with tokens, beside the bundle: whether they are those that the log names."""

from __future__ import annotations

import hashlib
from typing import Any

from keyvault.evidence.verifier.catalogue import SCHEMAS
from keyvault.evidence.verifier.sections import Section
from keyvault.evidence.verifier.words import lines_of, loads, need

TRACE = "keyvault-trace-v1"


class TraceFile:
    """One session's text, its digest up to each exchange, and what the events say of it."""

    def __init__(self, file: str, data: bytes) -> None:
        lines = lines_of(data)
        about = loads(lines[0]) if lines else {}
        need(isinstance(about, dict) and about.get("ctx") == TRACE, "is no trace of a session")
        self.file, self.session, self.job = file, about["session"], about["job"]
        running = hashlib.sha256()
        self.digests = []
        for line in lines:
            running.update(line + b"\n")
            self.digests.append(running.hexdigest())
        self.index: int | None = None  # of the event that names the most exchanges
        self.named, self.stream, self.wrong, self.proved = -1, "", "", False

    def event(self, index: int, header: Any, payload: Any) -> None:
        """Hold what an event says of this session against the text; the first fault is kept."""
        said, job = payload["trace"], payload["job"]
        count = said["exchanges"]
        if self.wrong:
            return
        self.index, self.named, self.stream = index, max(self.named, count), header["st"]
        if count >= len(self.digests):
            self.wrong = f"is cut off: the log names {count} exchanges of this session"
        elif (self.digests[count], self.job) != (said["sha256"], job):
            self.wrong = f"is not what the log names, in its first {count} exchanges"


class Traces(Section):
    """Each trace that the reader gave is, to its last line, the one that the log names."""

    types = tuple(kind for kind, fields in SCHEMAS.items() if "trace" in fields)

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.hidden: dict[str, int] = {}  # how many of each token's events

    def event(self, index: int, header: Any, payload: Any) -> None:
        if payload is None:
            self.hidden[header["st"]] = self.hidden.get(header["st"], 0) + 1
            return
        said = payload.get("trace") or {}
        for trace in self.report.traces:
            if trace.session == said.get("session"):
                trace.event(index, header, payload)

    def finish(self) -> None:
        for trace in self.report.traces:
            self.report.at(trace.file, trace.index)
            more, all_hidden = len(trace.digests) - 1 - trace.named, sum(self.hidden.values())
            hidden = all_hidden if trace.index is None else self.hidden.get(trace.stream, 0)
            if trace.wrong:
                self.report.wrong(trace.wrong)
            elif trace.index is not None and not more:
                trace.proved = True
                said = f"the trace that the log names: event {trace.index}, {trace.named} exchanges"
                self.report.say("trace", f"{trace.file} is {said}")
            elif hidden:
                said = f"open, since {hidden} events of issuing are withheld"
                self.report.say("trace", f"{trace.file}: {said}")
            elif trace.index is None:
                self.report.wrong("is named by no event of this bundle")
            else:
                self.report.wrong(f"has {more} exchanges that no event of this bundle names")
