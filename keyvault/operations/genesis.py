"""The ceremony that everything starts from: at least three officers sign who they are."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from hsm.types import VerifyPolicy
from keyvault import signatures
from keyvault.domain.approvals import Approval, Decision, Seen
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Services
from keyvault.domain.canonical import Document
from keyvault.domain.chain import Record, found
from keyvault.domain.commands import (
    KEY_COMMANDS,
    PEOPLE_COMMANDS,
    PROTECTIVE_COMMANDS,
    RULE_COMMANDS,
    RegisterPerson,
)
from keyvault.domain.errors import ConflictError
from keyvault.domain.founding import NO_RECORD, Genesis, sound
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import Duty, Role, thumbprint
from keyvault.domain.rules import ANYTHING, Rule, Standard
from keyvault.domain.times import day_text, text_of
from keyvault.domain.tree import Tree
from keyvault.signatures import Credential
from keyvault.store.unit_of_work import Database

DAY = 86_400  # seconds
OFFICER_LIFE = timedelta(days=5 * 365)  # what officers are granted at genesis ends then
DUTY = """Duties of everybody who keeps keys

I keep my card, my PIN and my passphrase to myself and report a loss at once, at any hour.
I read the whole request before I sign it, and compare its four check words.
I never sign for somebody else, nor what I do not understand.
I tell my line manager and a registrar when my work, my clearance or my circumstances change.
"""
_COMMON = frozenset({Role.KEY_APPROVER, Role.REGISTRAR, Role.INCIDENT_LEAD})
_PROTECTORS = (
    Role.KEY_CUSTODIAN,
    Role.KEY_APPROVER,
    Role.REGISTRAR,
    Role.INCIDENT_LEAD,
    Role.SENIOR_RESPONSIBLE_OFFICER,
)
DEFAULT_RULES = (
    Rule("keys", tuple(c.name for c in KEY_COMMANDS), (ANYTHING,), (Role.KEY_APPROVER,), 2, DAY),
    Rule(
        "authority",
        tuple(c.name for c in (*PEOPLE_COMMANDS, *RULE_COMMANDS)),
        (ANYTHING,),
        (Role.KEY_APPROVER,),
        2,
        DAY,
    ),
    Rule(
        "protection", tuple(c.name for c in PROTECTIVE_COMMANDS), (ANYTHING,), _PROTECTORS, 1, DAY
    ),
)
DEFAULT_CLASSES = (
    KeyClass("critical", Residence.RESIDENT, VerifyPolicy.ALWAYS),
    KeyClass("standard", Residence.RESIDENT, VerifyPolicy.SAMPLED),
    KeyClass("bulk", Residence.WRAPPED, VerifyPolicy.SAMPLED),
    KeyClass("exchange", Residence.RESIDENT, VerifyPolicy.ALWAYS, extractable=True),
)
# Announced, and in force from no day: which day that is, the body that sets it says, not we.
DEFAULT_STANDARDS = tuple(
    Standard(name, edition, None, None, "to be confirmed")
    for name, edition in (
        ("BS 7858", "2019"),
        ("BS 10008-1", "2020"),
        ("ISO/IEC 27001", "2022"),
        ("FIPS 140", "140-3"),
    )
)


def officer_roles(place: int) -> frozenset[Role]:
    """What the officer in this place (0 is the first) is by default.

    The first one owns keys and the others keep them: nobody may do both.
    """
    return _COMMON | {Role.KEY_CUSTODIAN if place else Role.KEY_OWNER}


def propose(
    origin: str,
    site: str,
    officers: Iterable[RegisterPerson],
    services: Services,
    now: datetime,
) -> Document:
    """Write the genesis document: what every officer reads and signs.

    Raises `AuthorityError` before anybody signs in vain.
    """
    holders = tuple(role for role in Role if role is not Role.AUDITOR)
    text = hashlib.sha256(DUTY.encode()).hexdigest()
    genesis = Genesis(
        origin=origin,
        site=site,
        created_at=text_of(now),
        nonce=secrets.token_bytes(16).hex(),
        officers=tuple(officers),
        rules=DEFAULT_RULES,
        key_classes=DEFAULT_CLASSES,
        duties=(Duty("keeping-keys", 1, text, holders, day_text(now)),),
        standards=DEFAULT_STANDARDS,
        services=services,
    )
    sound(genesis, now)
    return genesis.document()


def sign(document: Document, officer: str, credential: Credential, now: datetime) -> Approval:
    """Sign the genesis document as one of its officers."""
    seen = Seen(0, Tree().root.hex())
    unsigned = Approval(
        officer, thumbprint(credential.spki), Decision.APPROVE, "genesis", text_of(now), seen
    )
    signature = credential.sign(unsigned.message(document))
    return replace(unsigned, signature=signature)


def complete(database: Database, document: Document, approvals: Iterable[Approval]) -> Record:
    """Check every signature and write the first record and the first leaf of the log.

    Raises `AuthorityError` if a signature is missing, `ConflictError` if there is a genesis
    already. The record's hash is what gates and auditors pin.
    """
    record = Record(0, NO_RECORD, document, tuple(approvals), str(document["created_at"]))
    found(record, signatures.verify)
    with database.work() as work:
        if work.authority.records():
            raise ConflictError("this database has a genesis already and is left alone")
        work.authority.add(record)
        work.commit(
            AuditEvent(
                type=EventType.AUTHORITY_CHANGED,
                outcome=Outcome.OK,
                operation=uuid4(),
                stream="authority",
                actor=f"person:{record.approvals[0].approver}",
                payload={"record": record.document(), "hash": record.hash},
            )
        )
    return record
