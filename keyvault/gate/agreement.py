"""Keys for messages, agreed on with a meter or a party: what GBCS derives, and nothing else.

Callers name the parts of a transaction, never the bytes that are hashed, so that this is no way
to derive a key for another purpose. Z stays below the device's calls.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from hsm.device import Device
from hsm.types import Agreed, Agreement, WrappedKey
from keyvault.domain.approvals import Request
from keyvault.domain.canonical import Document
from keyvault.domain.commands import Command, GenerateKey
from keyvault.domain.errors import CellUsageError, CounterNotIssuedError, InvalidInputError
from keyvault.domain.gbcs import TAGS, CellUsage, MessageKind, Transaction
from keyvault.domain.keys import Purpose
from keyvault.gate import published
from keyvault.gate.counters import CounterMemory
from keyvault.settings import Settings

PEER_LIMIT = 1_024  # bytes of an SPKI
KEPT = 10_000  # orders remembered at once


class AgreementGate:
    """The part of the keys gate that agrees, and that remembers counters."""

    def __init__(
        self,
        device: Device,
        settings: Settings,
        usable: Callable[[bytes, Purpose], bytes | WrappedKey],
        order: Callable[[UUID], Request | None],
        *,
        gives: bool = True,
    ) -> None:
        """`gives`: this gate is the one of its host that gives counters."""
        self._device = device
        self._usable = usable
        self._order = order
        self._cells: dict[bytes, CellUsage] = {}  # an order never changes
        self._sandbox = settings.accept_published_keys
        self._counters = CounterMemory(settings.state / "counters", gives=gives)

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "counter": self._counters.highest,
            "issue_counters": self._counters.issue,
            "raise_counter": self._counters.raise_to,
            "seal_agreed": self.seal,
            "open_agreed": self.open,
        }

    def seal(
        self, key_id: bytes, terms: Document, series: str, plaintext: bytes, aad: bytes
    ) -> Document:
        """MAC or encrypt a message of ours. Its counter has to be one that was given.

        Answers with {"data", "in_module", "highest"}: the last is the series' highest number.
        """
        transaction, agreement = self._terms(key_id, terms)
        highest = self._counters.highest(series)
        if transaction.counter > highest:
            raise CounterNotIssuedError(
                f"{transaction.counter:016X} of {series} was not given to anybody",
                next_step="reserve counters first",
            )
        agreed = self._device.seal_agreed(
            self._usable(key_id, Purpose.PROTECT), agreement, plaintext, aad
        )
        return {**_document(agreed), "highest": highest}

    def open(self, key_id: bytes, terms: Document, sealed: bytes, aad: bytes) -> Document:
        """Decrypt, or with nothing but a tag check, a message of the peer's."""
        _, agreement = self._terms(key_id, terms)
        key = self._usable(key_id, Purpose.PROCESS)
        return _document(self._device.open_agreed(key, agreement, sealed, aad))

    def _terms(self, key_id: bytes, document: Document) -> tuple[Transaction, Agreement]:
        try:
            peer, cell = bytes(document["peer"]), CellUsage(document["cell_usage"])
            transaction = Transaction(
                MessageKind(document["kind"]),
                str(document["originator"]),
                int(document["counter"]),
                str(document["recipient"]),
            )
            info, iv = transaction.other_info, transaction.iv
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError("not the terms of an agreement") from error
        if len(peer) > PEER_LIMIT:
            raise InvalidInputError("not the terms of an agreement")
        if not self._sandbox:
            published.refuse(peer)
        self._check_cell(key_id, cell)
        return transaction, Agreement(peer, info, iv, TAGS[cell])

    def _check_cell(self, key_id: bytes, wanted: CellUsage) -> None:
        """Hold a use against the order that people signed."""
        ordered = self._cells.get(key_id)
        if ordered is None:
            order = self._order(UUID(bytes=key_id))
            ordered = _ordered(order.command if order else None)
            self._cells[key_id] = ordered
            if len(self._cells) > KEPT:
                del self._cells[next(iter(self._cells))]
        if ordered is not wanted:
            raise CellUsageError(
                f"the key was ordered for {ordered}, not for {wanted}",
                next_step="one purpose per key: use the one that was ordered for this",
            )


def _ordered(command: Command | None) -> CellUsage:
    named = command.cell_usage if isinstance(command, GenerateKey) else None
    return named or CellUsage.MANAGEMENT


def _document(agreed: Agreed) -> Document:
    return {"data": agreed.data, "in_module": agreed.in_module}
