"""Whether a person's rights count at a second."""

from __future__ import annotations

from typing import Any, NamedTuple

from keyvault.evidence.verifier.forms import ROLES
from keyvault.evidence.verifier.words import (
    DAY,
    day,
    seconds,
    when,
)

EVERYWHERE = "*"
PROTECTIVE, PERSONAL = {"hold-person", "revoke-system"}, {"acknowledge-duty"}
# Acts, and who may ask for them. What a person acknowledges, they say for themselves.
ASKING_TABLE = """
generate-key import-key import-components import-envelope: key-owner
export-key export-components export-envelope
  activate-key resume-key deactivate-key destroy-key allow-use lift-hold
  certify-authority certify-signer make-backup-key destroy-backup-key restore-backup
  rotate-kek retire-kek recover-log: key-owner
  key-custodian
register-person change-person remove-person review-screening suspend-person reinstate-person
  enrol-credential revoke-credential enrol-system rotate-system erase-payload
  purge-payloads lift-log-hold: registrar senior-responsible-officer
set-rule remove-rule set-key-class set-duty set-standard set-spare-key: registrar
hold-person revoke-system: key-custodian key-approver registrar senior-responsible-officer
  incident-lead
"""
ASKING: dict[str, list[str]] = {
    command: line.split(": ")[1].split()
    for line in ASKING_TABLE.replace("\n  ", " ").strip().split("\n")
    for command in line.split(": ")[0].split()
}
# Separation of duties: nobody holds both for the same scope.
APART = {
    *map(frozenset, (("key-owner", "key-custodian"), ("hsm-security-officer", "key-custodian"))),
    *map(frozenset, (("hsm-security-officer", "key-approver"), ("registrar", "token-issuer"))),
    frozenset(("registrar", "senior-responsible-officer")),
    *(frozenset(("auditor", role)) for role in {*ROLES} - {"auditor", "token-holder", "witness"}),
    *(
        frozenset(("system-administrator", role))
        for role in {*ROLES} - {"system-administrator", "auditor", "token-holder"}
    ),
}


class State(NamedTuple):
    """Who may do what after one record. It never changes: the next record makes the next one."""

    people: dict[str, Any]
    systems: dict[str, Any]
    rules: list[Any]
    classes: dict[str, Any]
    duties: list[Any]
    at: int  # when that was carried out


def reaches(grant: Any, scope: str | None) -> bool:
    """`scope` is where a right has to reach: one scope, all of them (*), or any (None)."""
    return grant["scope"] == EVERYWHERE or scope is None or grant["scope"] == scope


def apart(grants: list[Any]) -> list[tuple[Any, Any]]:
    """Pairs of grants that one person must not hold."""
    return [
        (one, other)
        for at, one in enumerate(grants)
        for other in grants[at + 1 :]
        if frozenset((one["role"], other["role"])) in APART
        and (EVERYWHERE in (one["scope"], other["scope"]) or one["scope"] == other["scope"])
    ]


def held(person: Any, at: float) -> bool:
    hold = person["hold"]
    return hold is not None and (hold["until"] is None or at < hold["until"])


def lapses(state: State, person: Any, role: str, scope: str | None, at: float) -> dict[str, str]:
    """Everything that keeps a role from counting there and then, in plain words. Empty: it does."""
    name, screening = person["name"], person["screening"]
    grants = [g for g in person["grants"] if g["role"] == role and reaches(g, scope)]
    if not grants:
        return {"granted": f"{name} does not hold the role {role}"}
    found, until = {}, max(seconds(grant["until"]) for grant in grants)
    if at >= until:
        found["expired"] = f"the role {role} of {name} ended {when(until)}"
    if held(person, at):
        found["hold"] = f"{name} is on hold: {person['hold']['reason']}"
    if at >= day(screening["due"]) + DAY:
        found["screening"] = f"the screening of {name} was due for review on {screening['due']}"
    for duty in state.duties:
        asked = role in duty["roles"] and at >= day(duty["since"])
        if asked and person["acknowledged"].get(duty["name"], 0) < duty["version"]:
            version = f"{duty['name']}, version {duty['version']}"
            found[f"duty {version}"] = f"{name} has not acknowledged {version}"
    live = [grant for grant in person["grants"] if at < seconds(grant["until"])]
    both = [pair for pair in apart(live) if pair[0] in grants or pair[1] in grants]
    if both:
        pair = " and ".join(grant["role"] for grant in both[0])
        found["conflict"] = f"{name} holds {pair}, which nobody may do together"
    return found
