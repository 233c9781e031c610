"""Writes docs/permissions.md from the permission matrix and the table of conflicts."""

from pathlib import Path

from keyvault.domain.access import OWN_ACTIONS, PERMISSIONS, SYSTEM_ACTIONS, Action, asking
from keyvault.domain.commands import COMMANDS
from keyvault.domain.people import Role
from keyvault.domain.standing import CONFLICTS

PAGE = Path(__file__).parents[1] / "docs" / "permissions.md"
HEAD = """# Who may do what

Written by `make permissions` from `keyvault/domain/access.py` and `keyvault/domain/standing.py`;
a test holds that it matches. What no cell allows is refused.

A role counts for the scope it was granted for, and only while it has not ended, the screening of
its holder is not due, every duty of the role is acknowledged, its holder is not on hold, and no
other role of theirs conflicts with it. All of that is looked at in the second of the call.

## What each role may do

`own` is what every registered person may do for themselves, whatever has lapsed, unless they are
on hold. `system` is the most that the enrolment of a system can allow it.
"""
ASKED = """
## Who may ask for what

Asking does nothing yet: the rule in force says who has to agree.

| Command | Action | Roles |
|---|---|---|
"""
APART = """
## Roles that nobody holds together for one scope

Refused when they are granted, and again whenever either is used.
"""


def page() -> str:
    """The whole page."""
    return HEAD + _matrix() + ASKED + "".join(map(_asked, sorted(COMMANDS))) + APART + _apart()


def _matrix() -> str:
    columns: dict[str, frozenset[Action]] = {str(role): PERMISSIONS[role] for role in Role}
    columns |= {"own": OWN_ACTIONS, "system": SYSTEM_ACTIONS}
    rows = [
        (f"`{action}`", *("yes" if action in column else "" for column in columns.values()))
        for action in Action
    ]
    return "\n" + _row(("Action", *columns)) + _row(["---"] * (len(columns) + 1)) + _rows(rows)


def _asked(name: str) -> str:
    action = asking(COMMANDS[name])
    roles = [str(role) for role in Role if action in PERMISSIONS[role]]
    return _row((f"`{name}`", f"`{action}`", ", ".join(roles) or "everybody, for themselves"))


def _apart() -> str:
    rows = [
        (str(role), *("apart" if {role, other} in CONFLICTS else "" for other in Role))
        for role in Role
    ]
    return "\n" + _row(("", *map(str, Role))) + _row(["---"] * (len(Role) + 1)) + _rows(rows)


def _rows(rows: list[tuple[str, ...]]) -> str:
    return "".join(map(_row, rows))


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
