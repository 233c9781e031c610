"""What is done to a finished card: at a station, or before its holder wherever they are.

The same relay as for issuing. The card is recognised by the identity that its issue gave it, and
by its management key (challenge and response), before anything of its secrets is opened. A PIN
that a holder chooses is typed where they are, and comes from there to the card alone.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from hsm.errors import CardForeignError, TokenSpoiledError
from hsm.pcsc import profiles
from hsm.pcsc.apdu import Channel, TransmissionProtocol
from hsm.pcsc.piv import PivCard
from hsm.pcsc.relay import Message, Relay
from hsm.pcsc.token import PivToken
from hsm.tokens import SecretChange
from keyvault.domain.access import Action, Permit, Principal, decide
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.errors import IssueStateError, NotPermittedError
from keyvault.domain.issuing import IssueJob, PinRoute
from keyvault.domain.statements import Deliver
from keyvault.domain.tokens import MASTER, PIN_CHOSEN, PUK_SPENT, Step, Token, TokenState
from keyvault.operations import tokens
from keyvault.operations.issuing import said, station_of
from keyvault.operations.issuing_house import GateOwnKey, event
from keyvault.operations.vault import Vault, permit
from keyvault.store.tokens import DONE
from keyvault.store.unit_of_work import Reading


class Service(StrEnum):
    UNBLOCK = "unblock"  # a new PIN by the PUK, and at a station another PUK
    REKEY = "rekey"  # the management key of the newest master
    ROTATE_PUK = "rotate-puk"  # another PUK for one that was used before its holder
    WIPE = "wipe"  # nothing of its holder is left; before it is destroyed
    CHOOSE_PIN = "choose-pin"  # the holder's own, before the token is activated


AT_STATIONS = frozenset(Service) - {Service.CHOOSE_PIN}
BEFORE_HOLDERS = frozenset({Service.CHOOSE_PIN, Service.UNBLOCK})


@dataclass(frozen=True, slots=True)
class Card:
    """A card in a reader: what it is for, and whether a management key may pass in clear.

    `station` is empty at a holder's own terminal: what passes there counts as seen by them.
    """

    service: Service
    atr: bytes
    protocol: int
    station: str = ""
    statement: UUID | None = None


def begin(vault: Vault, who: Principal, token_id: UUID, card: Card) -> tuple[UUID, Message]:
    """A card is in a reader at a station. Return the session and what to do first.

    Unblocking takes the release that two people signed.
    """
    permit(vault, who, Action.TOKEN_ISSUE)
    trusted = station_of(vault, card.station).trusted
    if card.service not in AT_STATIONS:
        raise IssueStateError("a holder chooses their PIN at their own terminal")
    return _begun(vault, who, token_id, card, trusted=trusted)


def begin_before_holder(
    vault: Vault, who: Principal, token_id: UUID, card: Card
) -> tuple[UUID, Message]:
    """A card is in a reader before its holder. They are logged in, or who may vouch for them is.

    The PUK goes by such a reader once, and is replaced when the card is at a station again.
    """
    with vault.database.reading() as work:
        token = work.tokens.get(token_id)
    alone = card.service is Service.CHOOSE_PIN  # nobody vouches for that
    if who.id != token.holder and (alone or not _vouches(vault, who)):
        raise NotPermittedError(
            "this token is somebody else's", next_step="its holder does it, logged in"
        )
    if card.service not in BEFORE_HOLDERS:
        raise IssueStateError(f"{card.service} takes a station")
    return _begun(vault, who, token_id, card, trusted=False)


def _vouches(vault: Vault, who: Principal) -> bool:
    now = vault.clock()
    return any(
        isinstance(decide(who, action, now), Permit)
        for action in (Action.TOKEN_VET, Action.TOKEN_WITNESS)
    )


def _begun(
    vault: Vault, who: Principal, token_id: UUID, card: Card, *, trusted: bool
) -> tuple[UUID, Message]:
    if vault.relays.busy(token_id, who.id):
        raise IssueStateError("a desk works on this token now")
    with vault.database.reading() as work:
        job, token = work.issuing.of_token(token_id), work.tokens.get(token_id)
    _check(vault, job, token, card)
    at_work = _Servicing(vault, who, replace(job, station=card.station), card, trusted=trusted)
    relay = Relay(card.atr, TransmissionProtocol(card.protocol), vault.settings.issuing.idle)
    relay.run(at_work.run)
    return vault.relays.add(relay, who.id, token_id), said(relay, None)


def _check(vault: Vault, job: IssueJob, token: Token, card: Card) -> None:
    if card.service is Service.UNBLOCK:
        token.check(Step.UNBLOCK)
        _check_release(vault, job, card.statement)
    if card.service is Service.WIPE and token.state is not TokenState.RETURNED:
        raise IssueStateError("only a token that came back is wiped")
    sent = job.facts.get("pin_route") == PinRoute.ACTIVATION
    if card.service is Service.CHOOSE_PIN and (token.state is not TokenState.DELIVERED or not sent):
        raise IssueStateError(
            "a PIN is chosen so once, for a token that was delivered with one nobody knows",
            next_step="to change your PIN: keyvault desk pin",
        )


def _check_release(vault: Vault, job: IssueJob, statement: UUID | None) -> None:
    """Two people let it be unblocked. The gate believes their signatures, not us."""
    if statement is None:
        raise IssueStateError(
            "two people have to let a token be unblocked",
            next_step=f"keyvault tokens release {job.token}",
        )
    if job.facts.get("released") == str(statement):
        return  # a session that was cut off goes on
    tokens.check_release(vault, job.token, statement)


class _Servicing:
    """One card in a reader. `job` is the one that issued it, with its journal."""

    def __init__(
        self, vault: Vault, who: Principal, job: IssueJob, card: Card, *, trusted: bool
    ) -> None:
        self._vault = vault
        self._who = who
        self._job = job
        self._card = card
        self._trusted = trusted

    def run(self, relay: Relay) -> Message:
        driver = self._recognised(relay)
        do: dict[Service, Callable[[PivToken, Relay], Message]] = {
            Service.UNBLOCK: self._unblock if self._card.station else self._unblock_remotely,
            Service.REKEY: self._rekey,
            Service.ROTATE_PUK: lambda _, __: {"guidance": "The card's PUK is nobody's."},
            Service.WIPE: self._wipe,
            Service.CHOOSE_PIN: self._choose_pin,
        }
        if self._card.station and self._job.facts.get("puk_spent"):
            self._rotate(driver)
        return {"standing": "done", **do[self._card.service](driver, relay)}

    def _recognised(self, relay: Relay) -> PivToken:
        card = PivCard(Channel(relay))
        known = profiles.load(self._vault.settings.issuing.profiles)
        profile = profiles.recognise(known, relay.atr, card.label)
        if card.chuid().guid != self._token:
            raise CardForeignError("this is another token", next_step="Put in the right one.")
        newest = len(self._vault.settings.issuing.masters)
        if self._job.begun("rekey") and newest != self._version:
            try:  # a session that was cut off may have set the key already
                return _obeying(PivToken(card, profile, self._own(newest)))
            except TokenSpoiledError:
                pass
        return _obeying(PivToken(card, profile, self._own(self._version)))

    @property
    def _token(self) -> bytes:
        return self._job.token.bytes

    @property
    def _version(self) -> int:
        return int(str(self._job.facts["master"]))

    def _own(self, version: int) -> GateOwnKey:
        return GateOwnKey(self._vault.gate, self._token, version, self._trusted)

    def _save(self, job: IssueJob, kind: EventType, what: str, **noted: object) -> None:
        """Write the journal, and what the token's register keeps of it."""
        saved = replace(job, version=job.version + 1, changed_at=self._vault.clock())
        with self._vault.database.work() as work:
            work.issuing.change(saved)
            if noted:
                tokens.note(work, job.token, **noted)
            work.commit(event(kind, self._who, saved, {"what": what}))
        self._job = saved

    # Sealed secrets

    def _opened(self, name: str) -> bytes:
        sealed = b64decode(self._job.by_slot("sealed")[name])
        return self._vault.gate.card_open(self._token, name.removeprefix("next_"), sealed)

    def _closed(self, *names: str) -> None:
        for name in names:
            self._vault.gate.card_close(self._token, b64decode(self._job.by_slot("sealed")[name]))

    def _drawing(self, job: IssueJob, *names: str) -> IssueJob:
        """The job with other secrets drawn for these, sealed."""
        gate, sealed = self._vault.gate, job.by_slot("sealed")
        fresh = {name: gate.card_seal(self._token, name.removeprefix("next_")) for name in names}
        drawn = {name: b64encode(each).decode() for name, each in fresh.items()}
        return job.noting(sealed={**sealed, **drawn})

    def _given_out(self, *opened: str) -> None:
        """Two people's statement opens what is closed, for this session."""
        gate = self._vault.gate
        with self._vault.database.reading() as work:
            found = _statement(work, self._job.token, self._card.statement)
        gate.card_release(self._token, *found)
        if opened:
            begun = {**dict(self._job.facts.get("begun", {})), "remote": 0}
            # The card may have the next PUK already, where a session with another release was cut.
            kept = {"next_puk"} if self._job.begun("unblock") else set()
            job = self._drawing(self._job.noting(begun=begun), *(set(opened) - kept))
            job = job.noting(released=str(self._card.statement))
            self._save(job, EventType.ISSUE_STEP, "released for unblocking")

    # Unblocking

    def _unblock(self, driver: PivToken, relay: Relay) -> Message:
        """Another PUK, and by it a PIN that its holder changes at once."""
        if self._job.facts.get("released") != str(self._card.statement):
            self._given_out("next_puk", "pin")
        if self._job.begun("remote"):
            raise IssueStateError(
                "it was begun before its holder with this release",
                next_step="end it there, or have two people sign another",
            )
        change = self._change("unblock")
        self._save(self._job.beginning("unblock"), EventType.ISSUE_STEP, "begins to unblock")
        pin, old = self._opened("pin"), b64decode(self._job.by_slot("sealed")["puk"])
        driver.unblock(change, pin)
        self._chosen(driver, relay, pin)
        self._replaced("unblocked")
        self._closed("puk", "pin")
        self._vault.gate.card_close(self._token, old)
        return self._unblocked()

    def _unblock_remotely(self, driver: PivToken, relay: Relay) -> Message:
        """By the PUK as it is: another one is not shown to a holder's terminal.

        SP 800-73-4 knows no other way to a new PIN, and no way to hide the PUK from the reader.
        So the one that was used here opens without a release from now on, and is replaced at the
        next contact with a station.
        """
        if self._job.begun("unblock"):
            raise IssueStateError(
                "it was begun at a station", next_step="end it there: the card may have another PUK"
            )
        if self._job.facts.get("released") != str(self._card.statement):
            self._given_out("pin")
        puk, pin = self._opened("puk"), self._opened("pin")
        self._vault.gate.card_spend(self._token, b64decode(self._job.by_slot("sealed")["puk"]))
        job, what = self._job.beginning("remote"), "begins to unblock before its holder"
        self._save(job.noting(puk_spent=True), EventType.PUK_SPENT, what, **{PUK_SPENT: True})
        driver.unblock_by(puk, pin)
        self._chosen(driver, relay, pin)
        self._closed("pin")
        return self._unblocked()

    def _unblocked(self) -> Message:
        statement = self._card.statement
        assert statement is not None  # noqa: S101  (checked before the session)
        begun = {**dict(self._job.facts.get("begun", {})), "unblock": 0, "remote": 0}
        self._save(self._job.noting(begun=begun), EventType.ISSUE_STEP, "unblocked")
        tokens.unblocked(self._vault, self._who, self._job.token, statement)
        return {"guidance": "The card has its holder's own PIN."}

    def _chosen(self, driver: PivToken, relay: Relay, given: bytes) -> None:
        """The holder sets a PIN of their own, and the card is seen to refuse the one given."""
        relay.own_pin(given)
        driver.prove_pin_dead(
            {"the PIN that it was given": given, "its factory's PIN": driver.factory_pin},
            lambda: relay.own_pin(b""),
        )

    # The PUK

    def _change(self, what: str) -> SecretChange:
        return SecretChange(self._opened("puk"), self._opened("next_puk"), self._job.begun(what))

    def _replaced(self, what: str, **noted: object) -> None:
        """The next PUK is the PUK now, which nobody has seen."""
        sealed = self._job.by_slot("sealed")
        job = self._job.noting(sealed={**sealed, "puk": sealed["next_puk"]}, puk_spent=False)
        begun = {**dict(self._job.facts.get("begun", {})), "rotate": 0}
        self._save(job.noting(begun=begun), EventType.ISSUE_STEP, what, **noted)

    def _rotate(self, driver: PivToken) -> None:
        if not self._job.begun("rotate"):
            self._save(
                self._drawing(self._job, "next_puk"), EventType.ISSUE_STEP, "another PUK drawn"
            )
        change = self._change("rotate")
        self._save(self._job.beginning("rotate"), EventType.ISSUE_STEP, "begins to replace the PUK")
        driver.replace_puk(change)
        self._replaced("PUK replaced", **{PUK_SPENT: False})
        self._closed("puk")

    # The others

    def _choose_pin(self, driver: PivToken, relay: Relay) -> Message:
        self._given_out()
        given, before = self._opened("pin"), self._job.begun("choose_pin")
        self._save(self._job.beginning("choose_pin"), EventType.ISSUE_STEP, "holder chooses a PIN")
        if before and not driver.takes(given):
            dead = {"its factory's PIN": driver.factory_pin}
            relay.own_pin(b"")  # a session that was cut off had set it
            driver.prove_pin_dead(dead, lambda: relay.own_pin(b""))
        else:
            self._chosen(driver, relay, given)
        chosen = {PIN_CHOSEN: self._vault.clock().isoformat()}
        self._save(self._job, EventType.PIN_CHOSEN, "what it was sent with is dead", **chosen)
        self._closed("pin")
        return {"guidance": f"Activate it now: keyvault tokens activate {self._job.token} --card"}

    def _rekey(self, driver: PivToken, _: Relay) -> Message:
        newest = len(self._vault.settings.issuing.masters)
        if newest == self._version:
            return {"guidance": "The card has the newest master's key already."}
        self._save(self._job.beginning("rekey"), EventType.ISSUE_STEP, "begins to rekey")
        driver.rekey(self._own(newest))
        job, told = self._job.noting(master=newest), f"master {newest}"
        self._save(job, EventType.ISSUE_REKEYED, told, **{MASTER: newest})
        self._vault.gate.card_key_set(self._token, newest)
        return {"guidance": "The card obeys the newest master's key. Take it out."}

    def _wipe(self, driver: PivToken, _: Relay) -> Message:
        driver.wipe()
        self._save(self._job.noting(wiped=True), EventType.ISSUE_STEP, "wiped")
        return {"guidance": "Nothing of its holder is left. Have it destroyed before a witness."}


def _statement(work: Reading, token: UUID, named: UUID | None) -> tuple[Document, Document]:
    """A release as it was named, or the receipt of the token's delivery: both signatures."""
    if named is not None:
        found = work.tokens.statement(named)
    else:
        [*_, found] = work.tokens.statements(token=token, state=DONE, step=Deliver.name)
    if found.second is None:
        raise NotPermittedError("the statement has one signature, and takes two")
    return found.signed.document(), found.second.document()


def _obeying(driver: PivToken) -> PivToken:
    driver.take_over(begun=True, taken=True)
    return driver
