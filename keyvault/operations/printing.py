"""Reports on paper: what the registers say, with what people signed under it."""

import json
from typing import Any

from keyvault.domain.reconciliation import Reconciliation
from keyvault.domain.times import text_of
from keyvault.paper import Paper

_KEYS = ("drift", "module", "key", "label", "detail")
_TOKEN = ("name", "label", "serial", "model", "firmware", "level", "location", "owner")


def reconciliation_paper(made: Reconciliation) -> Paper:
    """Print a reconciliation: the tokens, what differs, what is declared foreign, who signed."""
    report = json.loads(made.report)
    verdict = f"{made.findings} FINDINGS" if made.findings else "nothing differs"
    paper = Paper(
        "Reconciliation of keys and tokens",
        made.taken_at,
        subtitle=f"{report['origin']}: {verdict}",
        reference=f"reconciliation {made.id}",
    )
    paper.facts(_facts(made, report))
    paper.heading("Tokens", 2)
    paper.table(_TOKEN, [[one[name] for name in _TOKEN] for one in report["tokens"]])
    _list(paper, "Findings", _KEYS, report["findings"], report["finding_count"])
    _list(
        paper,
        "Declared to be of others",
        ("module", "key", "class"),
        report["foreign"],
        report["foreign_count"],
    )
    paper.heading("SHA-256 of the report", 2).text(made.sha256, fixed=True)
    _signatures(paper, made)
    return paper


def _facts(made: Reconciliation, report: dict[str, Any]) -> list[tuple[str, object]]:
    return [
        ("taken by", made.taken_by),
        ("keys in the register", report["keys"]),
        ("of these, resting wrapped", report["wrapped"]),
        *((f"objects on the {name} token", n) for name, n in report["objects"].items()),
    ]


def _list(
    paper: Paper, title: str, names: tuple[str, ...], rows: list[dict[str, Any]], count: int
) -> None:
    paper.heading(title, 2)
    if not rows:
        paper.text("none")
        return
    paper.table(names, [[row[name] for name in names] for row in rows])
    if count > len(rows):
        paper.text(f"and {count - len(rows)} more")


def _signatures(paper: Paper, made: Reconciliation) -> None:
    paper.heading("Signed", 2)
    if made.signed:
        rows = [(one.person, text_of(one.at), one.signature.hex()) for one in made.signed]
        paper.table(("person", "at", "signature"), rows, (1, 2, 5))
    else:
        paper.text("Nobody has signed this report yet.")
        paper.blank("Name, date, signature")
