"""The papers of a ceremony: the script with blanks to fill in, and what was done."""

from datetime import datetime

from cli.local.acts import line_of
from cli.output import grouped
from keyvault.domain.ceremonies import Kind, Script, Step
from keyvault.domain.journals import Journal, Mark, Mode, Transcript, outcome_of, participants, told
from keyvault.domain.times import time_of
from keyvault.paper import Paper

_REHEARSAL = "REHEARSAL on throw-away tokens: nothing here was done in earnest"
_EMPTY = "\n\n"  # room to write in a cell of a table


def blank_script(script: Script, at: datetime) -> Paper:
    """The script as it is taken to the table: every step with room for time, value and initials."""
    paper = Paper(
        script.title,
        at,
        subtitle=f"Ceremony {script.name}, version {script.version}",
        reference=f"script SHA-256 {script.sha256}",
    )
    paper.text(script.purpose).facts([("script SHA-256", grouped(script.sha256))])
    rows = [(role, duty, _EMPTY, "") for role, duty in script.roles.items()]
    paper.heading("Who is there").table(
        ("role", "is there to", "name", "signature"), rows, (2, 4, 3, 3)
    )
    if script.bring:
        paper.heading("What lies on the table")
        paper.table(("☐", "what"), [("☐", thing) for thing in script.bring], (1, 16))
    paper.blank("Place").blank("Date, and time of the first step").heading("Steps")
    for number, step in enumerate(script.steps, 1):
        _blank_step(paper, number, step)
    paper.heading("Deviations and remarks").blank("", 8)
    return paper


def _blank_step(paper: Paper, number: int, step: Step) -> None:
    paper.heading(f"{number}. {step.id} ({step.kind})", 3).text(step.text)
    heads, cells = ["time"], [_EMPTY]
    if step.kind is Kind.RUN:
        paper.text("keyvault " + " ".join(line_of(step.command, step.options)), fixed=True)
        heads, cells = [*heads, "what it answered"], [*cells, ""]
    if step.kind is Kind.RECORD:
        heads, cells = [*heads, f"value, such as {step.example}"], [*cells, ""]
    if step.kind is Kind.VERIFY:
        heads, cells = [*heads, step.value, step.expected or "has to be"], [*cells, "", ""]
    heads += [f"initials: {role}" for role in step.sign]
    paper.table(heads, [[*cells, *("" for _ in step.sign)]])


def transcript_paper(transcript: Transcript, script: Script, sha256: str) -> Paper:
    """What was done, by whom and when, with every signature."""
    journal, rehearsed = transcript.journal, transcript.mode is Mode.REHEARSAL
    paper = Paper(
        f"Transcript: {script.title}",
        time_of(journal.entries[-1].at),
        subtitle=f"Ceremony {transcript.ceremony}",
        banner=_REHEARSAL if rehearsed else "",
        reference=f"transcript SHA-256 {sha256}",
    )
    paper.facts(
        [
            ("outcome", outcome_of(journal)),
            ("deviations", journal.deviations()),
            ("script", f"{script.name}, version {script.version}"),
            ("script SHA-256", grouped(script.sha256)),
            ("transcript SHA-256", grouped(sha256)),
        ]
    )
    people = participants(journal.opening)
    paper.heading("Who was there").table(
        ("role", "person", "name"), [(p.role, p.person, p.name) for p in people], (3, 2, 3)
    )
    _entries(paper, journal)
    return _steps(paper, script).qr(f"keyvault:transcript:{sha256}", "SHA-256 of the transcript")


def _entries(paper: Paper, journal: Journal) -> None:
    rows = []
    for entry, words in told(journal.entries):
        signers = ", ".join(one.person for one in entry.signatures) or "-"
        time = entry.at.rstrip("Z").replace("T", " ")
        rows.append((entry.number, time, entry.step, words, signers))
    paper.heading("What was done")
    paper.table(("no.", "time (UTC)", "step", "what", "signed by"), rows, (1, 2.6, 2.8, 8, 3.2))
    deviations = [e for e in journal.entries if e.mark is Mark.DEVIATED]
    if deviations:
        paper.heading("Deviations")
        paper.table(
            ("step", "reason", "signed by"),
            [
                (e.step, e.details.get("reason", ""), ", ".join(s.person for s in e.signatures))
                for e in deviations
            ],
            (2, 6, 3),
        )


def _steps(paper: Paper, script: Script) -> Paper:
    rows = [(at, step.id, step.kind, step.text) for at, step in enumerate(script.steps, 1)]
    paper.heading("The script that was held")
    return paper.table(("no.", "step", "kind", "text"), rows, (1, 3, 2, 10))
