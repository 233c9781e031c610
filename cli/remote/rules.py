"""Rules: who has to sign for what, whether they still can, and asking for changes."""

from dataclasses import replace
from typing import Annotated

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.errors import FindingsError
from cli.output import answer, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.remote.given import File, Reason, Yes, current, differences, options_of, wanted
from cli.remote.screens import Pairs, about_rule
from cli.state import SessionDir
from keyvault.domain.commands import COMMANDS, RemoveRule, SetRule
from keyvault.domain.documents import read
from keyvault.domain.people import Assurance, Role, Vetting
from keyvault.domain.quorums import Level
from keyvault.domain.rules import GroupBy, Rule

app = group("See who must sign for what, whether they can, and ask for changes.")

RuleId = Annotated[str, typer.Argument(metavar="RULE", help="Id, such as keys.")]
Names = Annotated[
    list[str] | None,
    typer.Option("--command", metavar="NAME", help=f"Repeat; * or: {', '.join(COMMANDS)}."),
]
Classes = Annotated[
    list[str] | None, typer.Option("--class", metavar="CLASS", help="Of keys; repeat; * is all.")
]
Roles = Annotated[list[Role] | None, typer.Option("--role", help="Who may sign; repeat.")]
Count = Annotated[int | None, typer.Option(min=1, help="How many must sign.")]
Seconds = Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="A request's life.")]
Wait = Annotated[
    int | None, typer.Option(min=0, metavar="SECONDS", help="Time to object before it is done.")
]
Group = Annotated[GroupBy | None, typer.Option(help="What makes them independent.")]
Groups = Annotated[int | None, typer.Option(min=1, help="From so many of them.")]
Kept = Annotated[Assurance | None, typer.Option(help="How their key is kept.")]
Depth = Annotated[Vetting | None, typer.Option(help="How deeply they are screened.")]
Glass = Annotated[
    bool | None, typer.Option("--break-glass/--no-break-glass", help="For emergencies.")
]


@command(app, "list", "keyvault rules list", "keyvault rules list --json")
def list_(session: SessionDir = None) -> None:
    """List the rules in force: for what, and who has to sign."""
    page = connect(session).get("/v1/rules")
    rules = [read(Rule, item, "a rule") for item in page["rules"]]
    rows = [(one.id, _covered(one), about_rule(one), f"{one.expires_after} s") for one in rules]
    answer(page["rules"], table(("rule", "for", "signed by", "expires after"), rows))


@command(
    app,
    "set",
    "keyvault rules set keys --approvals 3 --reason 'a fourth approver has joined'",
    "keyvault rules set critical --file critical.toml --reason 'agreed on 2026-01-31'",
)
def set_(
    rule: RuleId,
    reason: Reason,
    file: File = None,
    commands: Names = None,
    key_classes: Classes = None,
    roles: Roles = None,
    approvals: Count = None,
    expires_after: Seconds = None,
    wait: Wait = None,
    group_by: Group = None,
    groups: Groups = None,
    assurance: Kept = None,
    vetting: Depth = None,
    break_glass: Glass = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask for a new rule, or to change some fields of one. What would change is shown first."""
    options = {**options_of(Rule, locals()), "id": rule}
    before = current(session, Rule, "rules", id=rule)
    after = wanted(Rule, "rule", file, options, before)
    if groups == 1:  # from anywhere: then nothing makes them independent
        after = replace(after, group_by=None)
    confirm(f"ask to set rule {rule}", _change(before, after), yes=yes)
    ask(session, SetRule(after, reason))


@command(app, "remove", "keyvault rules remove critical --reason 'merged into keys'")
def remove(rule: RuleId, reason: Reason, session: SessionDir = None) -> None:
    """Ask to remove a rule. What no rule covers any more, nobody can do."""
    ask(session, RemoveRule(rule, reason))


@command(app, "health", "keyvault rules health", "keyvault rules health --json")
def health(session: SessionDir = None) -> None:
    """Say for every rule who can sign, and how many may fall away: now, in 30 days and in 90."""
    page = connect(session).get("/v1/quorums")
    rows = [
        (q["rule"], len(q["outlooks"][0]["able"]), q["needed"], *_margins(q), q["level"], q["text"])
        for q in page["items"]
    ]
    names = ("rule", "can sign", "must", "room now", "in 30 days", "in 90", "is", "that means")
    answer(page, table(names, rows))
    if any(q["level"] in (Level.AT_RISK, Level.BROKEN) for q in page["items"]):
        raise FindingsError(
            "a rule cannot be met, or soon", next_step="see docs/runbooks/quorum-at-risk.md"
        )


def _change(before: Rule | None, after: Rule) -> Pairs:
    now = about_rule(before) if before else f"there is no rule {after.id}"
    return [("now", now), ("then", about_rule(after)), *differences(before, after)]


def _covered(rule: Rule) -> str:
    classes = "" if "*" in rule.key_classes else f", class {' or '.join(rule.key_classes)}"
    return ", ".join(rule.commands) + classes


def _margins(quorum: dict[str, list[dict[str, object]]]) -> list[object]:
    return [outlook["margin"] for outlook in quorum["outlooks"]]
