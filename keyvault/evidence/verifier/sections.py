"""What each kind of evidence adds to the check: a section is a part of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.archive import EVENTS, Bundle
from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.report import Report


class Section:
    """Sees the events of its types in the order of the log, and the files of the bundle.

    To add one: a part between `sections` and `events` in `PARTS` with a subclass of this. It is
    found by being one. What is wrong is raised by `need(holds, words)`; signatures are put aside
    by `self.report.signed`. It must not keep every event: a log has millions.
    """

    claim = ""  # what is said when all of it held, and it had anything to look at
    types: tuple[str, ...] = ()  # event types, as in docs/events.md

    def __init__(self, bundle: Bundle, authority: Authority, report: Report) -> None:
        self.bundle, self.authority, self.report = bundle, authority, report
        self.looked = 0  # events, or files, that were there to be checked

    def key_of(self, person: str, credential: str) -> bytes | None:
        """The key of this name, if it was that person's to decide with at any time up to now."""
        for state in self.authority.states:
            known = state.people.get(person, {}).get("credentials", {})
            found = known.get(credential)
            if found is not None and not found["login_only"]:
                return bytes(found["spki"])
        return None

    def event(self, index: int, header: Any, payload: Any) -> None:
        """Look at one event; `payload` is None where it is withheld or erased."""

    def finish(self) -> None:
        """Look at files, and at what the events left open."""

    def limits(self) -> Iterator[str]:
        """Say what could not be checked."""
        yield from ()


class Sections:
    """All of them, each with the event types that it wants to see."""

    def __init__(self, bundle: Bundle, authority: Authority, report: Report) -> None:
        self.all = [kind(bundle, authority, report) for kind in Section.__subclasses__()]
        self.by_type: dict[str, list[Section]] = defaultdict(list)
        for section in self.all:
            for name in section.types:
                self.by_type[name].append(section)

    def event(self, index: int, header: Any, payload: Any) -> None:
        for section in self.by_type.get(header["ty"], ()):
            section.looked += 1
            section.event(index, header, payload)

    def finish(self, report: Report) -> None:
        for section in self.all:
            with report.step(section.claim if section.looked else "", EVENTS):
                section.finish()

    def limits(self) -> Iterator[str]:
        for section in self.all:
            yield from section.limits()
