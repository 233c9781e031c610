"""Handovers: keys that custodians bring in or take out, each of them their own part alone.

What a handover holds is in this process, and in a key pair of its session with the module: when
the process ends nothing of it is left. Who brought what is believed to the signature of the
custodian's own credential, not to the process that calls.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from hsm.device import Device
from hsm.errors import KeyUnusableError
from hsm.types import Algorithm, Carried, CheckValues, KeySpec
from keyvault import components, hpke, sealed, signatures
from keyvault.domain.approvals import CLOCK_LEEWAY, Request
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.commands import (
    ExportComponents,
    ExportEnvelope,
    ImportComponents,
    ImportEnvelope,
    NewKey,
)
from keyvault.domain.errors import (
    BusyError,
    CheckValueError,
    ComponentInvalidError,
    ComponentRefusedError,
    HandoverEndedError,
    InvalidInputError,
)
from keyvault.domain.handovers import (
    STATEMENT_CONTEXT,
    TRANSCRIPT_CONTEXT,
    Delivery,
    digest,
    hold_against,
    sealing_context,
    told,
)
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import Role
from keyvault.domain.standing import Reach
from keyvault.domain.times import text_of, time_of
from keyvault.gate import published
from keyvault.gate.clearance import Trust
from keyvault.gate.documents import made_document, ordered
from keyvault.gate.services import EVIDENCE, ordinary, sign_p256
from keyvault.settings import Settings

METHODS = ("deliver", "end_handover", "handovers")
MAX_OPEN = 32
ENVELOPE = Algorithm.RSA_3072
NO_CHECK = CheckValues("", "")
Command = ImportComponents | ImportEnvelope | ExportComponents


@dataclass(frozen=True, slots=True)
class Given:
    """One delivery that counted."""

    delivery: Delivery
    signature: bytes


@dataclass(slots=True)
class Open:
    """One handover under way. `components` are those of an export, until they are handed out."""

    request: Request
    command: Command
    spec: KeySpec | None  # of the key that is to be
    transport: bytes
    public_key: bytes
    opened_at: datetime
    until: datetime
    statement: bytes = b""
    given: dict[int, Given] = field(default_factory=dict)
    components: list[bytearray] = field(default_factory=list)
    checks: list[CheckValues] = field(default_factory=list)
    whole: CheckValues = NO_CHECK

    @property
    def ordered(self) -> KeySpec:
        """The key that is to be. Raises `InvalidInputError` where one goes out instead."""
        if self.spec is None:
            raise InvalidInputError(f"{self.command.name} makes no key")
        return self.spec

    @property
    def complete(self) -> bool:
        return len(self.given) == len(self.command.custodians)


class HandoverGate:
    """The handovers that one gate has open."""

    def __init__(
        self, device: Device, trust: Trust, settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self._device = device
        self._trust = trust
        self._clock = clock
        self._take_published = settings.accept_published_keys
        self._open: dict[UUID, Open] = {}

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {name: getattr(self, name) for name in METHODS}

    def handovers(self) -> list[str]:
        """The ids of those under way."""
        return [str(request) for request in self._open]

    # Begin and end

    def act(self, request: Request, key_class: KeyClass | None) -> Callable[[], Document] | None:
        """What carries a request out that is about a key being carried; None for any other.

        Raises `VaultError` for what is wrong with it.
        """
        command = request.command
        if isinstance(command, ExportComponents | ExportEnvelope):
            check_may_leave(key_class)
            key_id = ordinary(command.key.bytes)
        if isinstance(command, ExportEnvelope):
            self._check_known(command.recipient)
            return lambda: {"blob": self._device.seal_envelope(key_id, command.recipient)}
        if not isinstance(command, Command):
            return None
        if not isinstance(command, ExportComponents):
            check_resident(command, key_class)
            self._check_known(getattr(command, "public_half", None))
        if len(self._open) >= MAX_OPEN:
            raise BusyError(f"{MAX_OPEN} handovers are open", next_step="end one of them")
        return partial(self._begin, request, command, key_class)

    def _check_known(self, spki: bytes | None) -> None:
        """Raise `PublishedKeyError` for a key whose private half everybody can read."""
        if spki is not None and not self._take_published:
            published.refuse(spki)

    def _begin(self, request: Request, command: Command, key_class: KeyClass | None) -> Document:
        now = self._clock()
        until = now + timedelta(minutes=command.minutes)
        spec = None
        if not isinstance(command, ExportComponents):
            spec = ordered(request, command, key_class)
        begun = Open(request, command, spec, uuid4().bytes, b"", now, until)
        if isinstance(command, ExportComponents):
            parts, begun.whole = self._device.split(command.key.bytes, len(command.custodians))
            begun.components = parts
            begun.checks = [components.check_values(part) for part in parts]
        else:
            kind = ENVELOPE if isinstance(command, ImportEnvelope) else Algorithm.EC_P256
            begun.public_key = self._device.open_transport(begun.transport, kind)
        begun.statement = canonical(_statement(begun))
        self._open[request.id] = begun
        signature = sign_p256(self._device, EVIDENCE, STATEMENT_CONTEXT + begun.statement)
        return {"statement": begun.statement, "signature": signature, "until": text_of(until)}

    def end_handover(self, request_id: bytes, outcome: str, reason: str) -> Document:
        """End one, whatever it holds: it takes nobody's approval. {} where there is none."""
        ended = self._open.get(UUID(bytes=request_id))
        return {} if ended is None else self._end(ended, outcome, reason)

    def _end(self, ended: Open, outcome: str, reason: str, combined: str = "") -> Document:
        self._forget(ended)
        transcript = canonical(_transcript(ended, self._clock(), outcome, reason, combined))
        signature = sign_p256(self._device, EVIDENCE, TRANSCRIPT_CONTEXT + transcript)
        return {"transcript": transcript, "transcript_signature": signature}

    def _forget(self, ended: Open) -> None:
        self._open.pop(ended.request.id, None)
        for component in ended.components:
            components.wipe(component)
        self._device.close_transport(ended.transport)

    # What custodians hand over

    def deliver(self, document: Document, signature: bytes) -> Document:
        """Take in a part, or hand one out. The same delivery again has the same answer.

        Returns check_values, missing, and sealed for a part that goes out. With the last one that
        comes in also made, whole, combined, and the transcript with its signature.
        """
        delivery = Delivery.read(document)
        handover = self._find(delivery)
        again = handover.given.get(delivery.number)
        if again is None or again.delivery != delivery:
            self._check(handover, delivery, signature)
        if isinstance(handover.command, ExportComponents):
            return self._hand_out(handover, Given(delivery, signature))
        if again is None:
            return self._take_in(handover, Given(delivery, signature))
        return _received(handover, again.delivery)

    def _find(self, delivery: Delivery) -> Open:
        found = self._open.get(delivery.request)
        if found is not None and self._clock() >= found.until:
            self._forget(found)
            found = None
        if found is None or digest(found.statement) != delivery.statement:
            raise HandoverEndedError(
                "this handover is over, or the gate started anew meanwhile",
                next_step="ask for another one",
            )
        return found

    def _check(self, handover: Open, delivery: Delivery, signature: bytes) -> None:
        """Raise `ComponentRefusedError` unless it is this person's, once, and signed by them."""
        named = handover.command.custodians
        if not 0 < delivery.number <= len(named) or named[delivery.number - 1] != delivery.person:
            raise ComponentRefusedError(
                f"component {delivery.number} is not one of {delivery.person}",
                next_step="each custodian brings the one that the approved request names them for",
            )
        before = handover.given.get(delivery.number)
        if before and not isinstance(handover.command, ExportComponents):
            raise ComponentRefusedError(f"component {delivery.number} is there already")
        others = (g.delivery for n, g in handover.given.items() if n != delivery.number)
        if delivery.session in {other.session for other in others}:
            raise ComponentRefusedError(
                "this session has handed over another component",
                next_step="every custodian has a session and a terminal of their own",
            )
        self._check_person(handover, delivery, signature)

    def _check_person(self, handover: Open, delivery: Delivery, signature: bytes) -> None:
        authority, now = self._trust.current, self._clock()
        person = authority.person(delivery.person)
        held = authority.electorate.role_of(
            person, (Role.KEY_CUSTODIAN,), handover.request.scope or Reach.ALL, now
        )
        key = person.decides_with(delivery.credential)
        if not held or key is None:
            raise ComponentRefusedError(
                f"{person.name} is no key custodian now, or signed with a key that does not decide"
            )
        if abs(time_of(delivery.at) - now) > CLOCK_LEEWAY or not signatures.verify(
            key.spki, signature, delivery.message
        ):
            raise ComponentRefusedError(
                f"the signature of {person.name} is not valid, or not of this minute",
                next_step="sign again; compare the clocks",
            )

    def _take_in(self, handover: Open, given: Given) -> Document:
        number = given.delivery.number
        if isinstance(handover.command, ImportComponents):
            self._try(handover, given.delivery)
        handover.given[number] = given
        if not handover.complete:
            return _received(handover, given.delivery)
        try:
            carried = self._made(handover)
        except CheckValueError:
            raise  # nobody knows whose it is: the caller ends it, and the transcript names them all
        except BaseException:
            del handover.given[number]
            raise
        handover.whole = carried.check
        combined = _combined(handover.command, carried)
        ended = self._end(handover, "done", "", combined)
        return {
            **_received(handover, given.delivery),
            **ended,
            "made": made_document(carried.made),
            "whole": told(carried.check),
            "combined": combined,
        }

    def _try(self, handover: Open, delivery: Delivery) -> None:
        """Raise `ComponentInvalidError` unless it opens and is what its custodian read off."""
        component = self._opened(handover, delivery)
        try:
            if len(component) != components.SIZES[handover.ordered.algorithm]:
                raise ComponentInvalidError("the component has another size than the key")
            if components.check_values(component) != delivery.check:
                raise ComponentInvalidError("the component has another check value than was said")
        finally:
            components.wipe(component)

    def _opened(self, handover: Open, delivery: Delivery) -> bytearray:
        peer = hpke.ephemeral(delivery.content)
        z = self._device.transport_secret(handover.transport, peer)
        try:
            context = _context(handover, delivery)
            return hpke.opened(z, handover.public_key, delivery.content, context)
        finally:
            components.wipe(z)

    def _made(self, handover: Open) -> Carried:
        command = handover.command
        if isinstance(command, ImportEnvelope):
            accept = partial(hold_against, command.expected)
            envelope, spec = handover.given[1].delivery.content, handover.ordered
            public = command.public_half or b""
            return self._device.open_envelope(
                handover.transport, envelope, spec, accept, public_key=public
            )
        parts = [partial(self._opened, handover, g.delivery) for g in handover.given.values()]
        accept = partial(hold_against, getattr(command, "expected", None))
        return self._device.combine(handover.ordered, parts, accept)

    def _hand_out(self, handover: Open, given: Given) -> Document:
        delivery = given.delivery
        component = handover.components[delivery.number - 1]
        context = _context(handover, delivery)
        out = sealed.seal(delivery.content, bytes(component), context)
        handover.given[delivery.number] = given
        answer = {**_received(handover, delivery), "sealed": out}
        answer["check_values"] = told(handover.checks[delivery.number - 1])
        return answer


def check_resident(command: NewKey, key_class: KeyClass | None) -> None:
    """Raise unless keys of this class rest in the token, where alone keys are brought in."""
    if key_class is None or key_class.residence is not Residence.RESIDENT:
        raise InvalidInputError(
            f"keys of class {command.key_class} rest outside the token and are not imported",
            next_step="choose a class whose keys are resident",
        )


def check_may_leave(key_class: KeyClass | None) -> None:
    """Raise `KeyUnusableError` unless keys of this class may leave the device."""
    if key_class is not None and not key_class.extractable:
        raise KeyUnusableError(f"keys of class {key_class.name} never leave the device")


def _context(handover: Open, delivery: Delivery) -> bytes:
    return sealing_context(delivery.request, handover.statement, delivery.number, delivery.person)


def _combined(command: Command, carried: Carried) -> str:
    if isinstance(command, ImportEnvelope):
        return "unwrapped-in-module"
    return "xor-in-module" if carried.in_module else "xor-in-gate-overwritten"


def _received(handover: Open, delivery: Delivery) -> Document:
    missing = len(handover.command.custodians) - len(handover.given)
    return {"check_values": told(delivery.check), "missing": missing}


def _statement(begun: Open) -> Document:
    """What the gate says of a handover when it opens it."""
    request = begun.request
    return {
        "v": 1,
        "origin": request.origin,
        "request": str(request.id),
        "request_sha256": request.digest.hex(),
        "command": begun.command.name,
        "algorithm": str(begun.spec.algorithm) if begun.spec else None,
        "custodians": list(begun.command.custodians),
        "public_key": b64encode(begun.public_key).decode() or None,
        "check_values": told(begun.whole) if begun.components else None,
        "opened_at": text_of(begun.opened_at),
        "until": text_of(begun.until),
    }


def _transcript(ended: Open, now: datetime, outcome: str, reason: str, combined: str) -> Document:
    """What the gate says of it at its end."""
    return {
        **_statement(ended),
        "statement_sha256": digest(ended.statement),
        "ended_at": text_of(now),
        "outcome": outcome,
        "reason": reason,
        "parts": [_part(ended, number) for number in sorted(ended.given)],
        "check_values": told(ended.whole) if ended.whole != NO_CHECK else None,
        "combined": combined,
    }


def _part(ended: Open, number: int) -> Document:
    given = ended.given[number]
    check = ended.checks[number - 1] if ended.checks else NO_CHECK
    return {
        **given.delivery.told(),
        **({"handed_out": told(check)} if ended.checks else {}),
        "signature": b64encode(given.signature).decode(),
    }
