"""A ceremony, step by step: every step is shown, done, signed and on disk before the next.

Whatever goes wrong, the ceremony stands still where it is: what is in the journal is done, what is
not in it is not, and going on begins with the first step that is not settled.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

from cli.confirm import screen
from cli.errors import CeremonyPausedError
from cli.local import acts
from cli.local.book import Book
from cli.local.seats import Seat
from cli.output import grouped, say
from cli.passphrases import Secrets, line_of
from hsm.errors import HsmError
from keyvault.domain.canonical import Document
from keyvault.domain.ceremonies import ACTS, Act, Kind, Script, Step, filled, fits, same
from keyvault.domain.errors import VaultError
from keyvault.domain.journals import (
    Entry,
    Journal,
    Mark,
    Mode,
    Signature,
    deviation_signers,
)
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of

TRIES = 3  # of typing a value
_WORDS = "yes, pause, deviate REASON or abort REASON"


def _now() -> str:
    return text_of(datetime.now(UTC))


@dataclass
class Purse:
    """Where passphrases come from, for us and for the commands that we run."""

    secrets: Secrets
    descriptor: int | None = None

    def for_command(self, need: "Need") -> dict[str, int]:
        """Descriptors for a command, by its options; without any it asks at the terminal."""
        if self.descriptor is None or not need.act.secrets:
            return {}
        typed = {"--component-fd": self.descriptor} if need.act.component else {}
        return {**typed, "--passphrase-fd": self.descriptor}


@dataclass(frozen=True, slots=True)
class Need:
    """A command that is about to ask its person for something unseen, so many times."""

    act: Act
    times: int = 1
    seat: Seat | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Table:
    """What a ceremony is held with. `enter` returns the folder of somebody's session."""

    folder: Path
    script: Script
    seats: Mapping[str, Seat]
    purse: Purse
    opening: Document
    enter: Callable[[Seat], Path] | None = None
    values: Mapping[str, str] = field(default_factory=dict)  # given beforehand, by step
    yes: bool = False
    work: Path = field(default_factory=Path.cwd)  # where commands run
    before: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # what a rehearsal had
    officers: Sequence[str] = ()  # what `init` is told of them, in a rehearsal

    @property
    def rehearsed(self) -> bool:
        return bool(self.opening["mode"] == Mode.REHEARSAL)


@dataclass
class Conductor:
    """Holds one ceremony by its script. Raises what stops it; the journal knows how far it came."""

    table: Table
    book: Book

    def hold(self) -> Journal:
        """Go on from where the journal ends to the end of the script."""
        if not self.book.journal.entries:
            self._open()
        else:
            self._write(Mark.RESUMED, "", {})
        settled = len(self.book.journal.settled())
        for step in self.table.script.steps[settled:]:
            if not self._take(step):
                return self.book.journal
        everybody = tuple(self.table.script.roles)
        self._write(Mark.CLOSED, "", {"outcome": "completed"}, everybody)
        return self.book.journal

    def _open(self) -> None:
        script, opening = self.table.script, self.table.opening
        pairs = [
            ("ceremony", f"{script.title}, version {script.version}"),
            ("purpose", script.purpose),
            ("mode", str(opening["mode"]).upper()),
            ("script", grouped(script.sha256)),
            ("steps", len(script.steps)),
            *((one["role"], f"{one['name']} ({one['person']})") for one in opening["people"]),
            ("you approve", "this very script: compare its SHA-256 with the one you reviewed"),
        ]
        screen("open the ceremony", pairs)
        if not self.table.yes:
            self._demand_yes()
        self._write(Mark.OPENED, "", opening, tuple(script.roles))

    def _demand_yes(self) -> None:
        print("keyvault: type yes to go on: ", end="", file=sys.stderr, flush=True)
        if line_of(sys.stdin.fileno()).strip() != b"yes":
            raise CeremonyPausedError("nothing was begun", next_step="read the script, and repeat")

    def _take(self, step: Step) -> bool:
        """Settle one step; False if the ceremony was aborted at it."""
        screen(self._title(step), self._about(step))
        word, _, reason = self._asked(step).partition(" ")
        if word == "abort":
            first = tuple(self.table.script.roles)[:1]
            self._write(Mark.ABORTED, step.id, {"reason": reason}, first)
            return False
        if word == "deviate":
            signers = deviation_signers(step, self.table.script)
            self._write(Mark.DEVIATED, step.id, {"reason": reason}, signers)
            return True
        if word == "pause":
            self._pause(step, reason or "asked for")
        self._write(Mark.DONE, step.id, self._done(step), step.sign)
        if step.kind is Kind.PAUSE:
            self._pause(None, step.text)
        return True

    def _title(self, step: Step) -> str:
        steps = self.table.script.steps
        mode = "REHEARSAL, " if self.table.rehearsed else ""
        return f"{mode}step {steps.index(step) + 1} of {len(steps)}: {step.id}, {step.kind}"

    def _about(self, step: Step) -> list[tuple[str, object]]:
        pairs: list[tuple[str, object]] = [("do", step.text)]
        if step.kind is Kind.RUN:
            options = ", ".join(f"{k} {v}" for k, v in self._options(step).items())
            pairs += [("runs", f"keyvault {step.command}"), ("with", options or "nothing more")]
            pairs.append(("by", self.table.seats[step.by].participant.name))
        last = self.book.journal.entries[-1:]
        if last and last[0].mark is Mark.BEGAN:
            pairs.append(("cut off", "this was begun before; asked for again, it is done once"))
        names = [self.table.seats[role].participant.name for role in step.sign]
        return [*pairs, ("signed by", ", ".join(names) or "nobody")]

    def _asked(self, step: Step) -> str:
        """What the people at the terminal want: a word of `_WORDS`, with its reason."""
        if self.table.yes:
            return "yes"
        for _ in range(TRIES):
            print(f"keyvault: type {_WORDS}: ", end="", file=sys.stderr, flush=True)
            typed = line_of(sys.stdin.fileno()).decode(errors="replace").strip()
            word, _, reason = typed.partition(" ")
            if word in {"yes", "pause"} or (word in {"deviate", "abort"} and fits("", reason)):
                return typed
        self._pause(step, "nobody said what to do")
        raise AssertionError  # a pause is raised

    def _pause(self, step: Step | None, reason: str) -> None:
        self._write(Mark.PAUSED, step.id if step else "", {"reason": reason})
        raise self._standing(step, f"the ceremony is paused: {reason}")

    def _standing(self, step: Step | None, why: str) -> CeremonyPausedError:
        where = f" before step {step.id}" if step else ""
        return CeremonyPausedError(
            f"{why}; it stands{where}",
            next_step=f"go on: keyvault ceremony resume {self.table.folder}",
        )

    # What is done in a step

    def _done(self, step: Step) -> Document:
        try:
            match step.kind:
                case Kind.RUN:
                    return self._run(step)
                case Kind.RECORD:
                    return {"value": self._value(step, "what you read", step.example)}
                case Kind.VERIFY:
                    return self._verified(step)
                case _:
                    return {}
        except (VaultError, HsmError) as error:
            if isinstance(error, CeremonyPausedError):
                raise
            details = {"code": error.code, "message": str(error)[:500]}
            self._write(Mark.FAILED, step.id, details)
            raise self._standing(step, f"{step.id} failed: {error}") from error

    def _value(self, step: Step, prompt: str, example: str) -> str:
        given = example if self.table.rehearsed else self.table.values.get(step.id)
        if self.table.rehearsed and step.rehearsed:
            given = filled(step.rehearsed, self.table.before)
        for _ in range(1 if given is not None else TRIES):
            if given is None:
                print(f"keyvault: {prompt}: ", end="", file=sys.stderr, flush=True)
            typed = given or line_of(sys.stdin.fileno()).decode(errors="replace").strip()
            if fits(step.pattern, typed):
                return typed
            say(f"that does not fit; it looks like: {example or step.pattern or 'printable text'}")
        raise self._standing(step, "no value was given that fits")

    def _verified(self, step: Step) -> Document:
        values = self._values()
        value = filled(step.value, values)
        expected = (
            filled(step.expected, values)
            if step.expected
            else self._value(step, "what it has to be", value)
        )
        if same(value, expected):
            return {"value": value, "expected": expected}
        details = {"code": "mismatch", "value": value, "expected": expected}
        self._write(Mark.FAILED, step.id, details)
        raise self._standing(step, f"{value} is not {expected}: they have to be the same")

    def _values(self) -> dict[str, dict[str, str]]:
        people = {role: seat.participant.person for role, seat in self.table.seats.items()}
        return {**self.book.journal.values(), "people": people}

    def _options(self, step: Step) -> dict[str, str]:
        values = self._values()
        return {name: filled(text, values) for name, text in step.options.items()}

    def _run(self, step: Step) -> Document:
        """Run the step's command, unless it has ended well before."""
        ran = self.book.journal.ran(step.id)
        if ran is not None:
            return ran
        options = self._options(step)
        marks = [e.mark for e in self.book.journal.entries if e.step == step.id]
        self._write(Mark.BEGAN, step.id, {"command": f"keyvault {step.command}", **options})
        found = None
        if step.command == "init" and Mark.BEGAN in marks:
            found = acts.founded(self.table.work / options["folder"])
        if found is None:
            found = acts.kept(step.command, acts.run(self._call(step, options, marks)))
        self._write(Mark.RAN, step.id, found)
        return found

    def _call(self, step: Step, options: Mapping[str, str], marks: Sequence[Mark]) -> acts.Call:
        act, seat = ACTS[step.command], self.table.seats[step.by]
        words, asked = acts.line_of(step.command, options), act.secrets
        if step.command == "init":
            officers = self._officers(options)
            words += [word for one in officers for word in ("--officer", one)]
            asked = len(officers)
        elif act.signs:
            words += seat.door
        if not act.local and self.table.enter:
            words += ["--session", str(self.table.enter(seat))]
        if act.asks and self.table.yes:
            words.append("--yes")
        secrets = self.table.purse.for_command(Need(act, asked, seat, options))
        ceremony = UUID(str(self.table.opening["ceremony"]))
        seed = uuid5(ceremony, f"{step.id}/{marks.count(Mark.FAILED)}")
        return acts.Call(words, self.table.work, secrets, seed)

    def _officers(self, options: Mapping[str, str]) -> list[str]:
        if self.table.officers:
            return list(self.table.officers)
        roles = options.get("officers", "").split() or list(self.table.seats)
        return [self.table.seats[role].officer for role in roles]

    # The journal

    def _write(self, mark: Mark, step: str, details: Document, signers: Sequence[str] = ()) -> None:
        entry = self.book.journal.next(mark, step, details, _now())
        signed = tuple(self._signed(entry, role) for role in signers)
        self.book.add(replace(entry, signatures=signed))

    def _signed(self, entry: Entry, role: str) -> Signature:
        seat = self.table.seats[role]
        who = seat.participant
        told = "; ".join(f"{k}: {v}" for k, v in entry.details.items() if k != "people")
        say(f"{who.name} signs {entry.step or 'the ceremony'}: {entry.mark} {told[:300]}".strip())
        credential = seat.place.to_decide(self.table.purse.secrets, [who.spki])
        unsigned = Signature(role, who.person, thumbprint(who.spki), _now())
        return replace(unsigned, signature=credential.sign(unsigned.message(entry)))
