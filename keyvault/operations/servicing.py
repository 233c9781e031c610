"""What is done to a finished card at a desk: unblock it, give it another management key, wipe it.

The same relay as for issuing. The card is recognised by the identity that its issue gave it, and
by its management key, before anything of its secrets is opened.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from uuid import UUID

from hsm.errors import CardForeignError, TokenSpoiledError
from hsm.pcsc import profiles
from hsm.pcsc.apdu import Channel, TransmissionProtocol
from hsm.pcsc.piv import PivCard
from hsm.pcsc.relay import Message, Relay
from hsm.pcsc.token import PivToken
from hsm.tokens import SecretChange
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import EventType
from keyvault.domain.errors import IssueStateError
from keyvault.domain.issuing import IssueJob
from keyvault.domain.tokens import Step, TokenState
from keyvault.operations import tokens
from keyvault.operations.issuing import said, station_of
from keyvault.operations.issuing_house import GateOwnKey, event
from keyvault.operations.vault import Vault, permit


class Service(StrEnum):
    UNBLOCK = "unblock"  # a new PIN by the PUK, and another PUK
    REKEY = "rekey"  # the management key of the newest master
    WIPE = "wipe"  # nothing of its holder is left; before it is destroyed


def begin(
    vault: Vault,
    who: Principal,
    token_id: UUID,
    service: Service,
    place: tuple[str, bytes, int],
    statement: UUID | None = None,
) -> tuple[UUID, Message]:
    """A card is in a reader at `place`: station, ATR, protocol. Return the session and what to do.

    Unblocking takes the release that two people signed: `statement`.
    """
    permit(vault, who, Action.TOKEN_ISSUE)
    station, atr, protocol = place
    trusted = station_of(vault, station).trusted
    if vault.relays.busy(token_id, who.id):
        raise IssueStateError("a desk works on this token now")
    with vault.database.reading() as work:
        job, token = work.issuing.of_token(token_id), work.tokens.get(token_id)
    if service is Service.UNBLOCK:
        token.check(Step.UNBLOCK)
        _check_release(vault, job, statement)
    if service is Service.WIPE and token.state is not TokenState.RETURNED:
        raise IssueStateError("only a token that came back is wiped")
    at_work = _Servicing(vault, who, replace(job, station=station), trusted, statement)
    relay = Relay(atr, TransmissionProtocol(protocol), vault.settings.issuing.idle)
    relay.run(lambda over: at_work.run(over, service))
    return vault.relays.add(relay, who.id, token_id), said(relay, None)


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
        self, vault: Vault, who: Principal, job: IssueJob, trusted: bool, statement: UUID | None
    ) -> None:
        self._vault = vault
        self._who = who
        self._job = job
        self._trusted = trusted
        self._statement = statement

    def run(self, relay: Relay, service: Service) -> Message:
        driver = self._recognised(relay)
        do: dict[Service, Callable[[PivToken], Message]] = {
            Service.UNBLOCK: self._unblock,
            Service.REKEY: self._rekey,
            Service.WIPE: self._wipe,
        }
        return {"standing": "done", **do[service](driver)}

    def _recognised(self, relay: Relay) -> PivToken:
        card = PivCard(Channel(relay))
        known = profiles.load(self._vault.settings.issuing.profiles)
        profile = profiles.recognise(known, relay.atr, card.label)
        if card.chuid().guid != self._job.token.bytes:
            raise CardForeignError("this is another token", next_step="Put in the right one.")
        newest = len(self._vault.settings.issuing.masters)
        if self._job.begun("rekey") and newest != self._version:
            try:  # a session that was cut off may have set the key already
                return _obeying(PivToken(card, profile, self._own(newest)))
            except TokenSpoiledError:
                pass
        return _obeying(PivToken(card, profile, self._own(self._version)))

    @property
    def _version(self) -> int:
        return int(str(self._job.facts["master"]))

    def _own(self, version: int) -> GateOwnKey:
        return GateOwnKey(self._vault.gate, self._job.token.bytes, version, self._trusted)

    def _save(self, job: IssueJob, kind: EventType, what: str) -> None:
        saved = replace(job, version=job.version + 1, changed_at=self._vault.clock())
        with self._vault.database.work() as work:
            work.issuing.change(saved)
            work.commit(event(kind, self._who, saved, {"what": what}))
        self._job = saved

    # Unblocking

    def _unblock(self, driver: PivToken) -> Message:
        """The holder's own PIN is set at the desk afterwards: the one here is for minutes."""
        gate, token = self._vault.gate, self._job.token.bytes
        if self._job.facts.get("released") != str(self._statement):
            self._release()
        sealed = self._job.by_slot("sealed")
        old, new = b64decode(sealed["puk"]), b64decode(sealed["next_puk"])
        pin = gate.card_open(token, "pin", b64decode(sealed["pin"]))
        change = SecretChange(
            gate.card_open(token, "puk", old),
            gate.card_open(token, "puk", new),
            self._job.begun("unblock"),
        )
        self._save(self._job.beginning("unblock"), EventType.ISSUE_STEP, "begins to unblock")
        driver.unblock(change, pin)
        return self._unblocked(sealed, pin)

    def _release(self) -> None:
        gate, token = self._vault.gate, self._job.token.bytes
        assert self._statement is not None  # noqa: S101  (checked before the session)
        with self._vault.database.reading() as work:
            found = work.tokens.statement(self._statement)
        assert found.second is not None  # noqa: S101  (it is done)
        gate.card_release(token, found.signed.document(), found.second.document())
        fresh = {kind: gate.card_seal(token, kind.removeprefix("next_")) for kind in _FRESH}
        sealed = {name: b64encode(each).decode() for name, each in fresh.items()}
        begun = {**_counts(self._job), "unblock": 0}
        job = self._job.noting(
            sealed={**self._job.by_slot("sealed"), **sealed},
            released=str(self._statement),
            begun=begun,
        )
        self._save(job, EventType.ISSUE_STEP, "released for unblocking")

    def _unblocked(self, sealed: dict[str, str], pin: bytes) -> Message:
        gate, token = self._vault.gate, self._job.token.bytes
        statement = self._statement
        assert statement is not None  # noqa: S101  (checked before the session)
        kept = {**sealed, "puk": sealed["next_puk"]}
        self._save(self._job.noting(sealed=kept), EventType.ISSUE_STEP, "unblocked")
        for name in ("puk", "pin"):
            gate.card_close(token, b64decode(kept[name]))
        gate.card_close(token, b64decode(sealed["puk"]))
        tokens.unblocked(self._vault, self._who, self._job.token, statement)
        return {"pin": pin.decode(), "guidance": "The holder sets a PIN of their own now."}

    # The other two

    def _rekey(self, driver: PivToken) -> Message:
        newest = len(self._vault.settings.issuing.masters)
        if newest == self._version:
            return {"guidance": "The card has the newest master's key already."}
        self._save(self._job.beginning("rekey"), EventType.ISSUE_STEP, "begins to rekey")
        driver.rekey(self._own(newest))
        self._save(self._job.noting(master=newest), EventType.ISSUE_REKEYED, f"master {newest}")
        self._vault.gate.card_key_set(self._job.token.bytes, newest)
        return {"guidance": "The card obeys the newest master's key. Take it out."}

    def _wipe(self, driver: PivToken) -> Message:
        driver.wipe()
        self._save(self._job.noting(wiped=True), EventType.ISSUE_STEP, "wiped")
        return {"guidance": "Nothing of its holder is left. Have it destroyed before a witness."}


def _obeying(driver: PivToken) -> PivToken:
    driver.take_over(begun=True, taken=True)
    return driver


_FRESH = ("next_puk", "pin")


def _counts(job: IssueJob) -> dict[str, int]:
    return {name: job.begun(name) for name in ("take_over", "secure", "rekey")}
