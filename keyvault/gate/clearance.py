"""What the gate believes: an authority chain of its own, folded from signed records.

Records, requests and approvals come from a process and a database that may both be lying, so
nothing is taken but raw signatures, and the chain has to begin with the genesis that is pinned.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from keyvault import durable, signatures
from keyvault.domain.approvals import CLOCK_LEEWAY, Approval, Request
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.chain import Record, extend, found, rule_of
from keyvault.domain.errors import (
    AuthorityError,
    AuthorityMissingError,
)
from keyvault.domain.founding import NO_RECORD
from keyvault.domain.quorum import Clearance, clear
from keyvault.domain.rules import strictest
from keyvault.domain.times import time_of


class Trust:
    """The authority chain as pushed so far, never shorter than what this gate saw before."""

    def __init__(
        self, origin: str, genesis: str, memory: Path, clock: Callable[[], datetime]
    ) -> None:
        self._clock = clock
        self._origin = origin
        self._genesis = genesis
        self._memory = memory
        self._seen_size, self._seen_head = _remembered(memory)
        self._chain: Authority | None = None
        self._hashes: list[str] = []

    @property
    def current(self) -> Authority:
        """The whole chain. Raises `AuthorityMissingError` until it was pushed."""
        if self._chain is None or self._chain.size < self._seen_size:
            raise AuthorityMissingError(
                f"the gate holds {len(self._hashes)} authority records and has seen "
                f"{self._seen_size}",
                next_step="push the records; if some are gone from the database, restore it",
            )
        return self._chain

    @property
    def seen(self) -> int:
        """How many records this gate has ever seen in force."""
        return self._seen_size

    def position(self) -> Document:
        """How many records the gate holds, and the hash of the last one."""
        return {
            "size": len(self._hashes),
            "head": self._hashes[-1] if self._hashes else NO_RECORD,
        }

    def extend(self, documents: Iterable[Document]) -> Document:
        """Add records. Those held already are compared. Raises `AuthorityError`."""
        try:
            for document in documents:
                self._add(Record.read(document))
        finally:  # what came before a bad record is in force, so it is not to be forgotten
            self._note()
        return self.position()

    def _note(self) -> None:
        if self._chain is not None and self._chain.size > self._seen_size:
            durable.replace(self._memory, canonical(self.position()))
            self._seen_size, self._seen_head = self._chain.size, self._chain.head

    def clear(
        self,
        request: Request,
        approvals: Iterable[Document],
        key_class: str | None,
        at: datetime,
    ) -> Clearance:
        """Redeem approvals at `at` under the rule in force for this class of key.

        Where the class is not known (None), that is the strictest rule that any class has.
        """
        authority = self.current
        if request.origin != authority.origin:
            raise AuthorityError("the request belongs to another log")
        classes = sorted(authority.key_classes) if key_class is None else [key_class]
        rules = [rule_of(authority, request, name) for name in classes]
        rule = strictest(rules)
        given = [Approval.read(approval) for approval in approvals]
        return clear(authority.electorate, rule, request, given, signatures.verify, at)

    def _add(self, record: Record) -> None:
        if record.number < len(self._hashes):
            if record.hash != self._hashes[record.number]:
                raise AuthorityError(f"record {record.number} differs from the one held here")
            return
        chain = self._begin(record) if self._chain is None else self._continue(record)
        if chain.size == self._seen_size and chain.head != self._seen_head:
            self._chain, self._hashes = None, []
            raise AuthorityError(
                "this is not the authority chain that the gate has seen before",
                next_step="somebody exchanged the database: call your officers",
            )
        self._chain = chain
        self._hashes.append(chain.head)

    def _begin(self, record: Record) -> Authority:
        if not self._genesis or record.hash != self._genesis:
            raise AuthorityError(
                "this is not the genesis record that the gate's settings pin",
                next_step="compare the hash with the one that the officers noted at genesis",
            )
        chain = found(record, signatures.verify)
        if chain.origin != self._origin:
            raise AuthorityError("the genesis record is of another log")
        return chain

    def _continue(self, record: Record) -> Authority:
        assert self._chain is not None  # noqa: S101  (its caller asked)
        if time_of(record.at) > self._clock() + CLOCK_LEEWAY:
            raise AuthorityError(f"record {record.number} is from the future")
        return extend(self._chain, record, signatures.verify, signatures.spki_of_certificate)


def _remembered(memory: Path) -> tuple[int, str]:
    """Read the position last written. A file that cannot be read stops the gate, as it must."""
    try:
        document = json.loads(memory.read_bytes())
        return int(document["size"]), str(document["head"])
    except FileNotFoundError:
        return 0, NO_RECORD
    except (ValueError, KeyError, TypeError) as error:
        raise AuthorityError(
            f"{memory} does not say what the gate has seen", next_step="restore it from backup"
        ) from error
