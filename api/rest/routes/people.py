"""Persons, systems and rules, and the signed chain that says so.

What changes them is asked for like every act that needs approvals, with `POST /v1/requests`.
"""

from fastapi import APIRouter, Depends

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Name
from api.rest.schemas.people import (
    PeopleOut,
    PersonOut,
    RecordsOut,
    RulesOut,
    SystemOut,
    SystemsOut,
)
from api.rest.schemas.quorums import LeavingOut, QuorumOut, QuorumsOut
from api.rest.schemas.tasks import TaskOut, TasksOut
from keyvault.operations import leaving, mine, people, quorums

router = APIRouter(tags=["people"], dependencies=[Depends(known_parameters)])
_LIST = documented(403)
_READ = documented(403, 404)


@router.get("/v1/people", operation_id="list_people", responses=_LIST)
def list_people(vault: V, who: Who) -> PeopleOut:
    """List the registered persons, what they were granted and what of it counts now."""
    authority, now = people.authority(vault, who), vault.clock()
    listed = sorted(authority.people.values(), key=lambda person: person.id)
    return PeopleOut(items=[PersonOut.of(person, authority.duties, now) for person in listed])


@router.get("/v1/people/{person}", operation_id="show_person", responses=_READ)
def show_person(person: Name, vault: V, who: Who) -> PersonOut:
    authority = people.authority(vault, who)
    return PersonOut.of(authority.person(person), authority.duties, vault.clock())


@router.get("/v1/people/{person}/leaving", operation_id="show_leaving", responses=_READ)
def show_leaving(person: Name, vault: V, who: Who) -> LeavingOut:
    """Show what is hurt if this person leaves: quorums, keys, open requests, sessions."""
    return LeavingOut.of(leaving.report(vault, who, person))


@router.get("/v1/duties/mine", operation_id="list_my_duties", responses=_LIST)
def list_my_duties(vault: V, who: Who) -> TasksOut:
    """List what waits for the caller, what is due first at the top."""
    return TasksOut(items=[TaskOut.of(one) for one in mine.tasks(vault, who)])


@router.get("/v1/systems", operation_id="list_systems", responses=_LIST)
def list_systems(vault: V, who: Who) -> SystemsOut:
    """List the enrolled systems."""
    systems = people.authority(vault, who).systems.values()
    return SystemsOut(items=[SystemOut.of(one) for one in sorted(systems, key=lambda one: one.id)])


@router.get("/v1/rules", operation_id="show_rules", responses=_LIST)
def show_rules(vault: V, who: Who) -> RulesOut:
    """Show the rules, key classes, duties and standards in force."""
    return RulesOut.of(people.rules(vault, who))


@router.get("/v1/quorums", operation_id="list_quorums", responses=_LIST)
def list_quorums(vault: V, who: Who) -> QuorumsOut:
    """Show for every rule who can sign now, in 30 and in 90 days, and what room that leaves."""
    return QuorumsOut(items=[QuorumOut.of(quorum) for quorum in quorums.health(vault, who)])


@router.get("/v1/authority", operation_id="show_authority", responses=_LIST)
def show_authority(vault: V, who: Who) -> RecordsOut:
    """Return the chain of signed authority records, genesis first."""
    return RecordsOut(items=[record.document() for record in people.records(vault, who)])
