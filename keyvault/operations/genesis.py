"""The ceremony that everything starts from: at least three officers sign who they are."""

import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from hsm.types import VerifyPolicy
from keyvault import signatures
from keyvault.domain.approvals import Approval, Decision, Rule, Seen
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import NO_RECORD, Record, Services, found, genesis_document
from keyvault.domain.canonical import Document
from keyvault.domain.commands import AUTHORITY_COMMANDS, KEY_COMMANDS
from keyvault.domain.errors import ConflictError
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import Person, Role, thumbprint
from keyvault.domain.times import text_of
from keyvault.domain.tree import Tree
from keyvault.signatures import Credential
from keyvault.store.unit_of_work import Database

DAY = 86_400  # seconds
OFFICER_ROLES = frozenset(
    {
        Role.KEY_OWNER,
        Role.KEY_CUSTODIAN,
        Role.KEY_APPROVER,
        Role.REGISTRAR,
        Role.INCIDENT_LEAD,
    }
)
DEFAULT_RULES = (
    Rule("keys", tuple(c.name for c in KEY_COMMANDS), ("*",), Role.KEY_APPROVER, 2, DAY),
    Rule("authority", tuple(c.name for c in AUTHORITY_COMMANDS), ("*",), Role.KEY_APPROVER, 2, DAY),
)
DEFAULT_CLASSES = (
    KeyClass("critical", Residence.RESIDENT, VerifyPolicy.ALWAYS),
    KeyClass("standard", Residence.RESIDENT, VerifyPolicy.SAMPLED),
    KeyClass("bulk", Residence.WRAPPED, VerifyPolicy.SAMPLED),
    KeyClass("exchange", Residence.RESIDENT, VerifyPolicy.ALWAYS, extractable=True),
)


def propose(
    origin: str, site: str, officers: Iterable[Person], services: Services, now: datetime
) -> Document:
    """Write the genesis document: what every officer reads and signs."""
    return genesis_document(
        origin=origin,
        site=site,
        officers=officers,
        rules=DEFAULT_RULES,
        key_classes=DEFAULT_CLASSES,
        services=services,
        created_at=text_of(now),
        nonce=secrets.token_bytes(16),
    )


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
    record = Record(0, NO_RECORD, document, tuple(approvals))
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
