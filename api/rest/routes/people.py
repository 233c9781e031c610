"""Persons, systems, and the signed chain that says what they may do."""

import hashlib
from base64 import b64encode

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Depends

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Name, ReasonIn
from api.rest.schemas.people import (
    PeopleOut,
    PersonIn,
    PersonOut,
    RecordsOut,
    SystemIn,
    SystemOut,
    SystemsOut,
)
from api.rest.schemas.requests import RequestOut
from keyvault.domain.commands import command_of
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import thumbprint
from keyvault.operations import approvals, people

router = APIRouter(tags=["people"], dependencies=[Depends(known_parameters)])
_READ = documented(403)
_ASK = documented(403, 404, 408, 409, 413, 415)


@router.get("/v1/people", operation_id="list_people", responses=_READ)
def list_people(vault: V, who: Who) -> PeopleOut:
    """List the registered persons with their roles and keys."""
    found = people.people(vault, who)
    return PeopleOut(items=[PersonOut.of(person, thumbprint(person.spki)) for person in found])


@router.post("/v1/people", status_code=202, operation_id="register_person", responses=_ASK)
def register_person(body: PersonIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a person to be registered."""
    document = body.model_dump(mode="json")
    document["spki"] = document.pop("public_key")
    command = command_of("register-person", document)
    return RequestOut.of(approvals.ask(vault, who, command, None, repeat))


@router.post(
    "/v1/people/{person}/removals", status_code=202, operation_id="remove_person", responses=_ASK
)
def remove_person(person: Name, body: ReasonIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a person to be removed."""
    command = command_of("remove-person", {"person": person, "reason": body.reason})
    return RequestOut.of(approvals.ask(vault, who, command, None, repeat))


@router.get("/v1/systems", operation_id="list_systems", responses=_READ)
def list_systems(vault: V, who: Who) -> SystemsOut:
    """List the enrolled systems."""
    found = people.systems(vault, who)
    return SystemsOut(
        items=[
            SystemOut.of(system, hashlib.sha256(system.certificate).hexdigest()) for system in found
        ]
    )


@router.post("/v1/systems", status_code=202, operation_id="enrol_system", responses=_ASK)
def enrol_system(body: SystemIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a DCC system's client certificate to be enrolled for one scope."""
    document = body.model_dump(mode="json", exclude={"scope"})
    document["certificate"] = _der(body.certificate)
    command = command_of("enrol-system", document)
    return RequestOut.of(approvals.ask(vault, who, command, body.scope.read(), repeat))


@router.post(
    "/v1/systems/{system}/revocations",
    status_code=202,
    operation_id="revoke_system",
    responses=_ASK,
)
def revoke_system(system: Name, body: ReasonIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a system's enrolment to end."""
    command = command_of("revoke-system", {"system": system, "reason": body.reason})
    return RequestOut.of(approvals.ask(vault, who, command, None, repeat))


@router.get("/v1/authority", operation_id="show_authority", responses=_READ)
def show_authority(vault: V, who: Who) -> RecordsOut:
    """Return the chain of signed authority records, genesis first."""
    return RecordsOut(items=[record.document() for record in people.records(vault, who)])


def _der(pem: str) -> str:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise InvalidInputError(
            "not an X.509 certificate in PEM", next_step="send the one certificate, no chain"
        ) from error
    return b64encode(certificate.public_bytes(Encoding.DER)).decode()
