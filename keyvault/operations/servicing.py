"""What is done to a finished card: at a station, or before its holder wherever they are.

The same relay as for issuing. The card is recognised by the identity that its issue gave it, and
by its management key (challenge and response), before anything of its secrets is opened. A PIN
that a holder chooses is typed where they are, and comes from there to the card alone.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from hsm import usb
from hsm.errors import CardForeignError, HsmError, TokenSpoiledError
from hsm.pcsc import profiles
from hsm.pcsc.apdu import Channel, TransmissionProtocol
from hsm.pcsc.piv import PivCard
from hsm.pcsc.profiles import CardProfile
from hsm.pcsc.relay import Message, Relay
from hsm.pcsc.secured import token_of
from hsm.pcsc.token import PivToken
from hsm.tokens import FinishedToken, SecretChange, Secrets
from keyvault.domain.access import Action, Permit, Principal, decide
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import IssueStateError, NotPermittedError, VaultError
from keyvault.domain.issuing import AT_STATIONS, BEFORE_HOLDERS, IssueJob, PinRoute, Service
from keyvault.domain.statements import Deliver, GiveBack
from keyvault.domain.tokens import (
    MASTER,
    PIN_CHOSEN,
    PUK_SPENT,
    Step,
    Token,
    TokenKind,
    TokenState,
)
from keyvault.operations import statements, tokens
from keyvault.operations.issuing import said, station_of
from keyvault.operations.issuing_house import GateOwnKey, event
from keyvault.operations.traces import Tracing
from keyvault.operations.vault import Vault, permit


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
    relay.run(at_work.session)
    return vault.relays.add(relay, who.id, token_id), said(relay, None)


def _check(vault: Vault, job: IssueJob, token: Token, card: Card) -> None:
    if card.service is Service.UNBLOCK:
        token.check(Step.UNBLOCK)
        _check_release(vault, job, card.statement)
    if card.service is Service.WIPE and token.state is not TokenState.RETURNED:
        raise IssueStateError("only a token that came back is wiped")
    if card.service is Service.REKEY and token.kind is TokenKind.PKCS11:
        raise IssueStateError(
            "a USB token has no management key; its SO-PIN is replaced after it was used",
            next_step=f"see whether it was: keyvault desk rotate-puk {token.id}",
        )
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

    def session(self, relay: Relay) -> Message:
        """All of it; how it ended is written down, with what the token was told till then."""
        self._tracing = Tracing(self._vault, relay, self._job.id, self._card.station)
        try:
            return self._run(relay)
        except (HsmError, VaultError) as error:
            self._save(self._job, EventType.ISSUE_STOPPED, error.code)
            raise

    def _run(self, relay: Relay) -> Message:
        driver = self._recognised(relay)
        do: dict[Service, Callable[[FinishedToken, Relay], Message]] = {
            Service.UNBLOCK: self._unblock if self._card.station else self._unblock_remotely,
            Service.REKEY: self._rekey,
            Service.ROTATE_PUK: lambda _, __: {"guidance": "The token's PUK is nobody's."},
            Service.WIPE: self._wipe,
            Service.CHOOSE_PIN: self._choose_pin,
        }
        if self._card.station and self._job.facts.get("puk_spent"):
            self._rotate(driver)
        return {"standing": "done", **do[self._card.service](driver, relay)}

    def _recognised(self, relay: Relay) -> FinishedToken:
        if self._job.kind == TokenKind.PKCS11:
            return self._recognised_module(relay)
        return self._recognised_card(relay)

    def _recognised_module(self, relay: Relay) -> FinishedToken:
        models = usb.load(self._vault.settings.issuing.profiles)
        driver = usb.Pkcs11Token(relay.call, self._job.token, models, self._to_wipe)
        driver.recognise(self._job.facts["model"], self._job.facts["serial"])
        return driver

    def _recognised_card(self, relay: Relay) -> PivToken:
        card = PivCard(Channel(relay))
        known = profiles.load(self._vault.settings.issuing.profiles)
        profile = profiles.recognise(known, relay.atr, card.label)
        if card.chuid().guid != self._token:
            raise CardForeignError("this is another token", next_step="Put in the right one.")
        newest = len(self._vault.settings.issuing.masters)
        if not self._job.begun("rekey") or newest == self._version:
            return _obeying(self._driver(card, profile, self._version))
        try:  # a session that was cut off may have set a key already, or several
            return _obeying(self._driver(card, profile, newest, self._version))
        except TokenSpoiledError:
            return _obeying(self._driver(card, profile, self._version, newest))

    def _driver(self, card: PivCard, profile: CardProfile, *versions: int) -> PivToken:
        """Through its secure channel, if the card was issued with one; otherwise as ever."""
        own, *also = map(self._own, versions)
        return token_of(card, profile, own, channel=bool(self._job.channel), also=also)

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
            told: Document = {"what": what, "trace": self._tracing.keep(work)}
            stopped = kind is EventType.ISSUE_STOPPED
            told |= {"code": what, "last": self._tracing.last()} if stopped else {}
            outcome = Outcome.FAIL if stopped else Outcome.OK
            work.commit(event(kind, self._who, saved, told, outcome))
        self._job = saved

    # Sealed secrets

    def _opened(self, name: str) -> bytes:
        sealed = b64decode(self._job.by_slot("sealed")[name])
        return self._vault.gate.card_open(self._token, name.removeprefix("next_"), sealed)

    def _to_wipe(self) -> Secrets:
        """The SO-PIN of a token that was given back: whose it was and who has it signed that."""
        with self._vault.database.reading() as work:
            found = statements.both_signatures(work, self._job.token, GiveBack)
        self._vault.gate.card_release(self._token, *found)
        so_pin = self._opened("puk")
        return Secrets(SecretChange(b"", b""), SecretChange(so_pin, so_pin))

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
            found = statements.both_signatures(work, self._job.token, Deliver, self._card.statement)
        gate.card_release(self._token, *found)
        if opened:
            begun = {**dict(self._job.facts.get("begun", {})), "remote": 0}
            # The card may have the next PUK already, where a session with another release was cut.
            kept = {"next_puk"} if self._job.begun("unblock") else set()
            job = self._drawing(self._job.noting(begun=begun), *(set(opened) - kept))
            job = job.noting(released=str(self._card.statement))
            self._save(job, EventType.ISSUE_STEP, "released for unblocking")

    # Unblocking

    def _unblock(self, driver: FinishedToken, relay: Relay) -> Message:
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

    def _unblock_remotely(self, driver: FinishedToken, relay: Relay) -> Message:
        """By the PUK as it is: another one is not shown to a holder's terminal.

        SP 800-73-4 knows no other way to a new PIN, and no way to hide the PUK from the reader.
        So the one that was used here opens without a release from now on, and is replaced at the
        next contact with a station; unless it went through the card's secure channel.
        """
        if self._job.begun("unblock"):
            raise IssueStateError(
                "it was begun at a station", next_step="end it there: the card may have another PUK"
            )
        if self._job.facts.get("released") != str(self._card.statement):
            self._given_out("pin")
        puk, pin = self._opened("puk"), self._opened("pin")
        self._begin_remotely()
        driver.unblock_by(puk, pin)
        self._chosen(driver, relay, pin)
        self._closed("pin")
        return self._unblocked()

    def _begin_remotely(self) -> None:
        job, what = self._job.beginning("remote"), "begins to unblock before its holder"
        if job.channel:
            self._save(job, EventType.ISSUE_STEP, f"{what}, through its secure channel")
            return
        self._vault.gate.card_spend(self._token, b64decode(self._job.by_slot("sealed")["puk"]))
        self._save(job.noting(puk_spent=True), EventType.PUK_SPENT, what, **{PUK_SPENT: True})

    def _unblocked(self) -> Message:
        statement = self._card.statement
        assert statement is not None  # noqa: S101  (checked before the session)
        begun = {**dict(self._job.facts.get("begun", {})), "unblock": 0, "remote": 0}
        self._save(self._job.noting(begun=begun), EventType.ISSUE_STEP, "unblocked")
        tokens.unblocked(self._vault, self._who, self._job.token, statement)
        return {"guidance": "The token has its holder's own PIN."}

    def _chosen(self, driver: FinishedToken, relay: Relay, given: bytes) -> None:
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

    def _rotate(self, driver: FinishedToken) -> None:
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

    def _choose_pin(self, driver: FinishedToken, relay: Relay) -> Message:
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

    def _rekey(self, driver: FinishedToken, _: Relay) -> Message:
        newest = len(self._vault.settings.issuing.masters)
        if newest == self._version:
            return {"guidance": "The card has the newest master's key already."}
        assert isinstance(driver, PivToken)  # noqa: S101  (checked before the session)
        self._save(self._job.beginning("rekey"), EventType.ISSUE_STEP, "begins to rekey")
        driver.rekey(self._own(newest))
        job, told = self._job.noting(master=newest), f"master {newest}"
        self._save(job, EventType.ISSUE_REKEYED, told, **{MASTER: newest})
        self._vault.gate.card_key_set(self._token, newest)
        return {"guidance": "The card obeys the newest master's key. Take it out."}

    def _wipe(self, driver: FinishedToken, _: Relay) -> Message:
        driver.wipe()
        self._save(self._job.noting(wiped=True), EventType.ISSUE_STEP, "wiped")
        self._closed("puk")
        return {"guidance": "Nothing of its holder is left. Have it destroyed before a witness."}


def _obeying(driver: PivToken) -> PivToken:
    driver.take_over(begun=True, taken=True)
    return driver
