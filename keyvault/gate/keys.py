"""The keys gate: every use of a key, and every act on one that approvals have to allow."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from hsm.device import Device
from hsm.errors import DeviceUnavailableError, HsmError
from hsm.types import KeySpec
from keyvault.domain.approvals import Request
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    ActivateKey,
    AllowUse,
    CertifyAuthority,
    CertifySigner,
    Command,
    DeactivateKey,
    DestroyBackupKey,
    DestroyKey,
    ExportComponents,
    ExportEnvelope,
    ExportKey,
    GenerateKey,
    ImportKey,
    MakeBackupKey,
    NewKey,
    RestoreBackup,
    ResumeKey,
)
from keyvault.domain.errors import (
    AuthorityError,
    InvalidInputError,
    VaultError,
)
from keyvault.domain.keys import KeyClass, KeyState, Residence
from keyvault.gate import destruction, reports, services, sessions
from keyvault.gate.agreement import AgreementGate
from keyvault.gate.anchor import RedeemedAnchor
from keyvault.gate.authorities import Authorities
from keyvault.gate.backups import Backups
from keyvault.gate.cards import CardGate, refuse_reserved
from keyvault.gate.certification import Certification
from keyvault.gate.clearance import Trust
from keyvault.gate.declared import Declared
from keyvault.gate.documents import made_document, ordered
from keyvault.gate.handovers import HandoverGate, check_may_leave, check_resident
from keyvault.gate.inventory import Inventory
from keyvault.gate.keks import ON_KEKS, Keks
from keyvault.gate.register import Register
from keyvault.gate.restoring import Restoring
from keyvault.gate.services import ordinary
from keyvault.gate.siblings import Siblings
from keyvault.gate.uses import Uses
from keyvault.settings import Settings

MAX_REQUESTS = 64  # certification requests in one call, so that no other call waits for long

METHODS = (
    *("authority", "execute", "stop", "issue_session", "session_ca", "sign_manifest"),
    *("sign_destruction", "sign_report", "report_certificate"),
    *("withdraw", "certification_requests", "forget"),
)
USES = (
    *("load", "forget", "sign", "sign_part", "verify", "encrypt", "decrypt", "mac", "random"),
    *("seal_agreed", "open_agreed"),
)

_CERTIFIED = (CertifyAuthority, CertifySigner)
_FINISHABLE = (*_CERTIFIED, DestroyKey, ActivateKey, ResumeKey, DeactivateKey, AllowUse)
_ON_A_KEY = (ExportKey, ExportComponents, ExportEnvelope, *_FINISHABLE)
_REPEATED = (*_FINISHABLE, *ON_KEKS)
_STATES: dict[type[Command], KeyState] = {
    ActivateKey: KeyState.ACTIVE,
    ResumeKey: KeyState.ACTIVE,
    DeactivateKey: KeyState.DEACTIVATED,
}

log = logging.getLogger("keyvault.gate")


class KeysGate:
    """The methods of the keys gate, over one device and the gate's own idea of authority."""

    def __init__(
        self,
        device: Device,
        settings: Settings,
        worker: int = 1,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        spare: bool = False,
    ) -> None:
        self._device = device
        self._first = worker == 1
        self._siblings = Siblings(settings.keys.socket)
        self._clock = clock
        self._register = Register(settings.state / "gate.db", settings.keys.cache)
        self._certification = Certification(device, self._register, settings.state / "requests")
        memory = settings.state / "authority.json"
        self._trust = Trust(settings.origin, settings.genesis, memory, clock)
        self._declared = Declared(device, settings.keys)
        self._anchor = RedeemedAnchor(device, self._register, settings.node)
        self._anchor.check()
        self._restoring = Restoring(device, self._register, settings, may_restore=spare)
        self._work_with(device, settings)

    def _work_with(self, device: Device, settings: Settings) -> None:
        """Set up what has a part of its own."""
        clock, folder = self._clock, settings.state / "authorities"
        self._keks = Keks(device, self._siblings.forget)
        self._backups = Backups(device, self._register)
        self._handovers = HandoverGate(device, self._trust, settings, clock)
        known = self._register, self._trust, clock
        self._authorities = Authorities(device, *known, folder, settings.ca.url)
        self._cards = CardGate(device, settings, self._register, self._trust, clock)
        parts = self._authorities, self._cards
        self._uses = Uses(device, self._register, *parts, settings.keys.cache)
        known_by = self._uses.usable, self._register.get
        self._agreement = AgreementGate(device, settings, *known_by, gives=self._first)

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        """What may be asked: everything at the first gate, and at those beside it only uses."""
        own = {name: getattr(self, name) for name in METHODS}
        parts = (
            *(self._uses, self._agreement, self._authorities, self._cards),
            *(self._handovers, self._backups, self._restoring, self._keks),
            Inventory(self._device),
        )
        every = own | {name: how for part in parts for name, how in part.methods().items()}
        return every if self._first else {name: every[name] for name in USES}

    def status(self) -> Document:
        authority = {**self._trust.position(), "seen": self._trust.seen}
        return {"info": asdict(self._device.info), "authority": authority}

    def authority(self, records: list[Document]) -> Document:
        return self._trust.extend(records)

    # Acts on keys: each needs the signatures of people.

    def execute(self, document: Document, approvals: list[Document]) -> Document:
        """Check the approvals, write down that they are redeemed, then act, once.

        What changes a key's state, or destroys it, may be finished by the same request again.
        """
        request = Request.read(document)
        command = request.command
        self._check_scope(request)
        known = self._class_of(command)
        again = isinstance(command, _REPEATED) and self._register.get(request.id) == request
        now = self._clock()
        if not again:  # or it was cleared before: who left meanwhile does not undo that
            self._trust.clear(request, approvals, known, now)
        key_class = None if known is None else self._trust.current.key_class(known)
        self._declared.check(command, key_class)
        act = self._handovers.act(request, key_class) or self._keks.act(command)
        act = act or self._act(request, command, key_class)
        if not again:
            self._register.redeem(request, key_class, now)
            self._anchor.note()
        log.info("%s %s, asked for by %s", command.name, request.id, request.requester)
        return act()

    def stop(self, key_id: bytes, state: str) -> None:
        """Suspend a key, or mark it as compromised: that takes nobody's approval."""
        if state not in (KeyState.SUSPENDED, KeyState.COMPROMISED):
            raise InvalidInputError("only approvals let a key go on")
        self._register.move(ordinary(key_id), KeyState(state))

    def _check_scope(self, request: Request) -> None:
        """Else those who decide for one scope could act on the keys of another."""
        command = request.command
        made = self._register.get(command.key) if isinstance(command, _ON_A_KEY) else None
        if made is not None and made.scope != request.scope:
            raise AuthorityError(
                f"the request is for {request.scope or 'every scope'}, and the key for {made.scope}"
            )

    def _class_of(self, command: Command) -> str | None:
        if isinstance(command, NewKey):
            return command.key_class
        life = self._register.life(command.key.bytes) if isinstance(command, _ON_A_KEY) else None
        return life.key_class if life else None

    def _act(
        self, request: Request, command: Command, key_class: KeyClass | None
    ) -> Callable[[], Document]:
        """Find what to do. Whatever is wrong with the request is said before it is redeemed."""
        match command:
            case GenerateKey():
                return self._generate(ordered(request, command, key_class), key_class)
            case ImportKey():
                return self._import(command, ordered(request, command, key_class), key_class)
            case ExportKey():
                return self._export(command, key_class)
            case DestroyKey():
                return partial(self._destroy, ordinary(command.key.bytes))
            case ActivateKey() | ResumeKey() | DeactivateKey():
                return partial(self._move, ordinary(command.key.bytes), _STATES[type(command)])
            case _:
                return self._act_on_others(request, command)

    def _act_on_others(self, request: Request, command: Command) -> Callable[[], Document]:
        match command:
            case AllowUse():
                return lambda: {"uses": command.uses}
            case CertifyAuthority() | CertifySigner():
                self._authorities.check(command)
                return lambda: self._authorities.certify(command, self._clock())
            case MakeBackupKey():
                return self._backups.making(request, command, self._trust.current)
            case DestroyBackupKey():
                return self._backups.destroying(command)
            case RestoreBackup():
                return self._restoring.beginning(request, command)
            case _:
                raise InvalidInputError(f"{command.name} is nothing that the gate does")

    def _move(self, key_id: bytes, state: KeyState) -> Document:
        """Change a key's state. The one that an active one follows protects nothing new then."""
        order = self._register.get(UUID(bytes=key_id)) if state is KeyState.ACTIVE else None
        if order is not None and isinstance(order.command, GenerateKey):
            self._register.succeed(key_id, order.command.supersedes)
        else:
            self._register.move(key_id, state)
        return {"state": str(state)}

    def _generate(self, spec: KeySpec, key_class: KeyClass | None) -> Callable[[], Document]:
        if key_class is None or key_class.residence is Residence.RESIDENT:
            make = partial(self._device.generate, spec)
            return lambda: made_document(self._certification.born(make, spec))
        return lambda: self._generate_wrapped(spec)

    def _generate_wrapped(self, spec: KeySpec) -> Document:
        make = partial(self._device.generate_wrapped, spec, *self._keks.resting)
        made = self._certification.born(make, spec)
        if made.wrapped is not None:
            self._uses.hold(made.wrapped)
        return made_document(made)

    def _import(
        self, command: ImportKey, spec: KeySpec, key_class: KeyClass | None
    ) -> Callable[[], Document]:
        kek = ordinary(command.kek.bytes)
        check_resident(command, key_class)
        if spec.algorithm.is_pair:
            raise InvalidInputError(
                "a wrapped private key does not say which public key it belongs to",
                next_step="import secret keys; order pairs here",
            )
        return lambda: made_document(self._device.unwrap(kek, command.blob, spec))

    def _export(self, command: ExportKey, key_class: KeyClass | None) -> Callable[[], Document]:
        kek, key_id = ordinary(command.kek.bytes), ordinary(command.key.bytes)
        refuse_reserved(self._cards.reserved, key_id)
        check_may_leave(key_class)
        return lambda: {"blob": self._device.wrap(kek, key_id)}

    def _destroy(self, key_id: bytes) -> Document:
        self._register.move(key_id, KeyState.DESTROYED)
        self._uses.drop(key_id)
        destroyed = self._device.destroy(key_id)
        self._siblings.forget(key_id)
        return {"destroyed": destroyed}

    def forget(self, key_id: bytes) -> None:
        """Hold nothing of a key that another gate has destroyed, and see that it has."""
        self._register.refresh()
        self._uses.drop(key_id)
        self._device.drop(key_id)

    # What a key signs before it is active: its own certification request, and only that.

    def certification_requests(self, items: list[Document]) -> list[Document]:
        """Return {"csr"} for each key, or why there is none: {"code", "message", "next_step"}.

        An item has key_id, profile, interface, system, and wrapped: the key's record, or None.
        """
        if not 0 < len(items) <= MAX_REQUESTS:
            raise InvalidInputError(f"ask for 1 to {MAX_REQUESTS} requests")
        return [self._certification_request(item) for item in items]

    def _certification_request(self, item: Document) -> Document:
        key_id = ordinary(item["key_id"])
        try:
            if item["wrapped"] is not None:
                self._uses.load(item["wrapped"])
            terms = item["profile"], item["interface"], item["system"]
            return {"csr": self._certification.request(key_id, self._uses.key(key_id), *terms)}
        except DeviceUnavailableError:
            raise
        except (HsmError, VaultError) as error:
            return {"code": error.code, "message": str(error), "next_step": error.next_step}

    # The service's own keys, each with its one message.

    def issue_session(self, delegation: Document, signature: bytes) -> bytes:
        authority = self._trust.current
        return sessions.issue(self._device, authority, delegation, signature, self._clock())

    def session_ca(self) -> bytes:
        return sessions.ca_certificate(self._device)

    def sign_manifest(self, manifest: bytes) -> bytes:
        return services.sign_manifest(self._device, manifest)

    def sign_destruction(self, statement: bytes) -> bytes:
        told = self._siblings.forget
        return destruction.sign_destruction(self._device, self._register, told, statement)

    def sign_report(self, attributes: bytes) -> bytes:
        return reports.sign(self._device, attributes)

    def report_certificate(self) -> bytes:
        return reports.certificate(self._device, self._trust.current.origin)

    def withdraw(self, request_id: bytes) -> None:
        """From here on this request can make nothing, also if it is on its way to the gate."""
        self._register.withdraw(UUID(bytes=request_id))
