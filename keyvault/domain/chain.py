"""The chain of signed records from the genesis ceremony, each approved under the one before it.

Nobody can add power by editing a database: a record that is not signed, not next, not allowed
or not sound is refused by whoever loads it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from keyvault.domain.approvals import CLOCK_LEEWAY, Approval, Request, Verify
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document, canonical, equal
from keyvault.domain.changes import SpkiOf, applied
from keyvault.domain.errors import AuthorityError, VaultError
from keyvault.domain.founding import NO_RECORD, founded
from keyvault.domain.linting import lint
from keyvault.domain.quorum import clear
from keyvault.domain.rules import Rule
from keyvault.domain.times import text_of, time_of


@dataclass(frozen=True, slots=True)
class Record:
    """One link: a request for a change of authority, with the signatures that allow it."""

    number: int
    previous: str  # hash of the record before, hex
    request: Document
    approvals: tuple[Approval, ...]
    at: str  # when it was carried out: whose rights counted is judged by it

    def document(self) -> Document:
        return {
            "v": 1,
            "seq": self.number,
            "prev": self.previous,
            "at": self.at,
            "request": self.request,
            "approvals": [approval.document() for approval in self.approvals],
        }

    @property
    def hash(self) -> str:
        return hashlib.sha256(canonical(self.document())).hexdigest()

    @classmethod
    def read(cls, document: Document) -> "Record":
        """Read what `document` wrote, strictly. Raises `AuthorityError`."""
        try:
            record = cls(
                number=int(document["seq"]),
                previous=str(document["prev"]),
                request=dict(document["request"]),
                approvals=tuple(map(Approval.read, document["approvals"])),
                at=text_of(time_of(document["at"])),
            )
        except (KeyError, TypeError, ValueError, VaultError) as error:
            raise AuthorityError("not an authority record") from error
        if not equal(record.document(), document):
            raise AuthorityError("an authority record with fields that nobody knows")
        return record


def found(record: Record, verify: Verify) -> Authority:
    """Read the genesis record: complete, sound, signed by every officer. `AuthorityError` else."""
    if record.number != 0 or record.previous != NO_RECORD:
        raise AuthorityError("the chain does not begin with a genesis record")
    return founded(record.request, record.approvals, time_of(record.at), record.hash, verify)


def extend(authority: Authority, record: Record, verify: Verify, spki_of: SpkiOf) -> Authority:
    """Check one record against the chain so far and apply it.

    Raises `AuthorityError` where it does not fit, and what `Request.read` and `clear` raise.
    """
    if record.number != authority.size or record.previous != authority.head:
        raise AuthorityError(f"record {record.number} does not follow record {authority.size - 1}")
    request, at = Request.read(record.request), time_of(record.at)
    if request.origin != authority.origin:
        raise AuthorityError(f"record {record.number} belongs to another log")
    if str(request.id) in authority.used:
        raise AuthorityError(f"record {record.number} uses a request a second time")
    if at < authority.at - CLOCK_LEEWAY:
        raise AuthorityError(f"record {record.number} is older than the one before it")
    rule = rule_of(authority, request)
    clear(authority.electorate, rule, request, record.approvals, verify, at)
    changed = applied(authority, request.command, request.scope, at, spki_of)
    lint(changed, request.command, before=authority)
    return replace(
        changed,
        size=authority.size + 1,
        head=record.hash,
        used=authority.used | {str(request.id)},
    )


def rule_of(authority: Authority, request: Request, key_class: str = "") -> Rule:
    """The rule in force for a request; who breaks the glass says so in what they ask."""
    broken = request.rule.break_glass
    return authority.rule_in_force(request.command, key_class, break_glass=broken)


def load(
    records: Iterable[Record],
    verify: Verify,
    spki_of: SpkiOf,
    known: Authority | None = None,
) -> Authority:
    """Fold a chain, genesis first or on from what is `known`.

    Raises `AuthorityError` naming the record that fails.
    """
    authority = known
    for record in records:
        try:
            authority = (
                found(record, verify)
                if authority is None
                else extend(authority, record, verify, spki_of)
            )
        except VaultError as error:
            raise AuthorityError(
                f"authority record {record.number} is not valid: {error}", next_step=error.next_step
            ) from error
    if authority is None:
        raise AuthorityError("there is no genesis record", next_step="run: keyvault init")
    return authority
