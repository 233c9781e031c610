"""Whether enough people, independent enough and in good standing, signed for exactly this.

One pure function, `clear`, is asked wherever it matters: before an operation begins, in the gate
before the device acts, and again by whoever loads the authority chain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from keyvault.domain.access import asking, roles_for
from keyvault.domain.approvals import (
    CLOCK_LEEWAY,
    Approval,
    Decision,
    Request,
    Verify,
)
from keyvault.domain.commands import (
    PERSONAL_COMMANDS,
    PROTECTIVE_COMMANDS,
    AcknowledgeDuty,
    Command,
    ReviewScreening,
)
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    QuorumError,
    RequestStateError,
)
from keyvault.domain.people import Person, Role
from keyvault.domain.rules import ANYTHING, MAX_EXPIRY, Rule
from keyvault.domain.standing import SCREENING_DUE, Electorate, Lapse, Reach, Where
from keyvault.domain.times import text_of, time_of

MIN_APPROVALS = 2  # no single point of vulnerability
MIN_ELIGIBLE = 3  # with two, the one who asks would know every approver

# What people say for themselves follows one rule that no record can change.
OWN_RULE = Rule(
    "own", tuple(c.name for c in PERSONAL_COMMANDS), (ANYTHING,), tuple(Role), 1, MAX_EXPIRY
)


@dataclass(frozen=True, slots=True)
class Clearance:
    """Proof, made by `clear` alone, that enough people signed for exactly this command."""

    request: Request
    approvers: tuple[str, ...]


def where_of(request: Request) -> Where:
    """Where rights have to reach: a request without a scope concerns them all."""
    return request.scope or Reach.ALL


def alone(request: Request) -> bool:
    """Whether the one who asks may also be the one who signs.

    Then it only takes power away, or is their own word.
    """
    return request.rule.approvals == 1 and isinstance(
        request.command, PROTECTIVE_COMMANDS + PERSONAL_COMMANDS
    )


def _is_own(command: Command, person: str) -> bool:
    return isinstance(command, AcknowledgeDuty) and command.person == person


def check_requester(electorate: Electorate, request: Request) -> None:
    """Raise `AuthorityError` unless the requester could ask for this when they did."""
    person = electorate.people.get(request.requester)
    if person is None:
        raise AuthorityError(f"{request.requester} is no person known to authority")
    if _is_own(request.command, person.id):
        return
    where, at = where_of(request), request.requested_at
    lapses = [
        electorate.lapses(person, role, where, at)
        for role in roles_for(asking(type(request.command)))
    ]
    if isinstance(request.command, ReviewScreening):  # to ask for it decides nothing
        lapses = [_but_screening(found) for found in lapses]
    if all(lapses):
        raise AuthorityError(f"{person.name} could not ask for {request.command.name} then")


def check_approval(
    electorate: Electorate, request: Request, approval: Approval, verify: Verify, at: datetime
) -> Person:
    """Return who signed. Raises `ApprovalInvalidError` unless it counts for this request at `at`.

    One that is dated after `at` does not: the log would show it after what it allowed. Who signed
    in good standing has to be in good standing still.
    """
    person = electorate.people.get(approval.approver)
    if person is None:
        raise ApprovalInvalidError(f"{approval.approver} is no person known to authority")
    if approval.approver == request.requester and not alone(request):
        raise ApprovalInvalidError(
            f"{person.name} asked for this and cannot approve it",
            next_step="two other people have to decide",
        )
    _check_uninvolved(request, person)
    signed_at = time_of(approval.at)
    until = min(request.expires_at, at + CLOCK_LEEWAY)
    if not request.requested_at - CLOCK_LEEWAY <= signed_at <= until:
        raise ApprovalInvalidError(f"the approval of {person.name} is outside the request's time")
    for moment in (signed_at, at):
        _check_standing(electorate, request, person, moment)
    _check_signature(request, approval, person, verify)
    return person


def _check_uninvolved(request: Request, person: Person) -> None:
    if getattr(request.command, "person", "") == person.id and not alone(request):
        raise ApprovalInvalidError(
            f"{person.name} cannot decide on themselves", next_step="somebody else has to decide"
        )
    if person.id in getattr(request.command, "custodians", ()):
        raise ApprovalInvalidError(
            f"{person.name} is to carry a part of this key, and cannot approve it",
            next_step="somebody who holds no part has to decide",
        )


def _check_standing(electorate: Electorate, request: Request, person: Person, at: datetime) -> None:
    rule = request.rule
    if isinstance(request.command, PERSONAL_COMMANDS):
        if not _is_own(request.command, person.id) or (person.hold and person.hold.binds(at)):
            raise ApprovalInvalidError(f"{person.name} cannot say this, or not now")
        return
    held = [role for role in rule.roles if role in person.roles] or rule.roles[:1]
    reasons = [_counted(electorate, request, person, role, at) for role in held]
    if all(reasons):
        texts = "; ".join(lapse.text for lapse in reasons[0])
        raise ApprovalInvalidError(texts, next_step="somebody else has to decide")
    if not person.screening.vetting.meets(rule.vetting):
        raise ApprovalInvalidError(f"{person.name} is not screened to the level {rule.vetting}")


def _counted(
    electorate: Electorate, request: Request, person: Person, role: Role, at: datetime
) -> tuple[Lapse, ...]:
    """The lapses that count.

    When too few are left in good standing to review anybody, those whose own screening is due
    may review others': there would be no way back without.
    """
    lapses = electorate.lapses(person, role, where_of(request), at)
    if isinstance(request.command, ReviewScreening) and _too_few(electorate, request, at):
        return _but_screening(lapses)
    return lapses


def _but_screening(lapses: tuple[Lapse, ...]) -> tuple[Lapse, ...]:
    return tuple(lapse for lapse in lapses if lapse.code != SCREENING_DUE)


def _too_few(electorate: Electorate, request: Request, at: datetime) -> bool:
    beside = {request.requester, getattr(request.command, "person", "")}
    left = [
        person
        for person in electorate.people.values()
        if person.id not in beside
        and able(person, request.rule)
        and electorate.role_of(person, request.rule.roles, where_of(request), at)
    ]
    return len(left) < request.rule.approvals


def able(person: Person, rule: Rule) -> bool:
    """Whether the person has a key that decides, and was screened, as the rule asks."""
    return person.screening.vetting.meets(rule.vetting) and any(
        one.assurance.meets(rule.assurance) for one in person.deciding
    )


def _check_signature(request: Request, approval: Approval, person: Person, verify: Verify) -> None:
    credential = person.credential(approval.credential)
    if credential is None:
        raise ApprovalInvalidError(f"this is not an enrolled key of {person.name}")
    if credential.login_only:
        raise ApprovalInvalidError(
            f"{person.name} signed with a key that only logs in",
            next_step="sign with the key that decides: on a card, that of slot 9C",
        )
    if not credential.assurance.meets(request.rule.assurance):
        raise ApprovalInvalidError(
            f"rule {request.rule.id} asks {person.name} to sign with a {request.rule.assurance}"
        )
    if not verify(credential.spki, approval.signature, approval.message(request.document)):
        raise ApprovalInvalidError(f"the signature of {person.name} is not valid")


def clear(
    electorate: Electorate,
    rule: Rule,
    request: Request,
    approvals: Iterable[Approval],
    verify: Verify,
    at: datetime,
) -> Clearance:
    """Redeem approvals at `at`, under the rule in force.

    Raises `QuorumError` if anything is missing, `RequestStateError` if it is too late or too soon,
    and `AuthorityError` if the request quotes another rule than the one in force.
    """
    if request.rule != rule:
        step = "ask again under the new rule"
        raise AuthorityError("the rule changed after this was asked for", next_step=step)
    _check_time(request, at)
    check_requester(electorate, request)
    yes: dict[str, Person] = {}
    for approval in approvals:
        person = check_approval(electorate, request, approval, verify, at)
        if approval.decision is Decision.REFUSE:
            raise QuorumError(f"{approval.approver} refused this request")
        yes[person.id] = person
    missing = shortfall(request, yes.values())
    if missing:
        raise QuorumError(missing[0], next_step=missing[1])
    return Clearance(request, tuple(sorted(yes)))


def shortfall(request: Request, yes: Iterable[Person]) -> tuple[str, str] | None:
    """What is missing while only these persons said yes, and what to do; None if nothing is."""
    rule, people = request.rule, list(yes)
    needed = rule.approvals if alone(request) else max(rule.approvals, MIN_APPROVALS)
    if len(people) < needed:
        roles = " or ".join(rule.roles)
        step = f"wait for {needed - len(people)} more from people who hold {roles}"
        return f"{len(people)} of {needed} approvals are there", step
    groups = {rule.group_of(person) for person in people}
    if len(groups) < rule.groups:
        step = f"wait for people of {rule.groups - len(groups)} more {rule.group_by} group(s)"
        return f"they come from {len(groups)} of {rule.groups} {rule.group_by} groups", step
    return None


def _check_time(request: Request, at: datetime) -> None:
    if at > request.expires_at:
        raise RequestStateError("the request has expired", next_step="ask again")
    if request.requested_at > at + CLOCK_LEEWAY:
        raise RequestStateError("the request is from the future", next_step="check the clocks")
    if at < request.due_at:
        due = text_of(request.due_at)
        raise RequestStateError(
            f"rule {request.rule.id} lets this be carried out from {due} on",
            next_step="wait until then; to object: keyvault approvals refuse, or cancel",
        )
