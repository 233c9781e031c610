"""What the steps of an issuing job ask of the vault: journal, register, CA and sealed secrets."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from cryptography import x509

from hsm import usb
from hsm.errors import CardForeignError, HsmError
from hsm.pcsc import profiles
from hsm.pcsc.piv import PivAlgorithm
from hsm.pcsc.piv_issue import ManagementKey
from hsm.pcsc.scp03 import ChannelKeys, SessionKeys
from hsm.tokens import SecretChange, Secrets, TokenFacts, TokenSlot
from keyvault.domain.access import Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import (
    NotFoundError,
    NotPermittedError,
    TokenDuplicateError,
    VaultError,
)
from keyvault.domain.issuing import IssueJob, IssueStep, PinRoute, Standing, progress
from keyvault.domain.people import thumbprint
from keyvault.domain.tokens import Token, TokenKind
from keyvault.gate.client import Gate
from keyvault.operations import attestation, ca, outside, signing_cards, tokens
from keyvault.operations.personalising import keys_of
from keyvault.operations.traces import Tracing
from keyvault.operations.vault import Vault
from keyvault.store.unit_of_work import Reading

_KINDS = {
    Standing.DONE: (EventType.ISSUE_DONE, Outcome.OK),
    Standing.OPEN: (EventType.ISSUE_STEP, Outcome.OK),
    Standing.AWAITING: (EventType.ISSUE_STEP, Outcome.OK),
}


@dataclass(frozen=True, slots=True)
class GateManagementKey:
    """A card's own management key, which answers behind the gate."""

    gate: Gate
    token: bytes
    version: int
    algorithm: PivAlgorithm

    def answer(self, witness: bytes, challenge: bytes) -> tuple[bytes, bytes]:
        return self.gate.card_answer(self.token, self.version, self.algorithm, witness, challenge)


@dataclass(frozen=True, slots=True)
class GateOwnKey:
    """`trusted`: the maker's command that sets the key may carry it through this station."""

    gate: Gate
    token: bytes
    version: int
    trusted: bool

    def answering(self, algorithm: PivAlgorithm) -> ManagementKey:
        return GateManagementKey(self.gate, self.token, self.version, algorithm)

    def to_set(self, algorithm: PivAlgorithm) -> bytes:
        if not self.trusted:
            raise NotPermittedError(
                "this model is given its management key in clear, and the station is not trusted",
                next_step="use a station that the settings call trusted, or another model",
            )
        return self.gate.card_key(self.token, self.version, algorithm)

    def channel(self, size: int) -> "GateChannel":
        return GateChannel(self.gate, self.token, self.version, size, self.trusted)


@dataclass(frozen=True, slots=True)
class GateChannel:
    """The card's own key set for its secure channel, which stays behind the gate."""

    gate: Gate
    token: bytes
    version: int
    size: int
    trusted: bool

    def keys(self) -> ChannelKeys:
        return self

    def challenge(self) -> bytes:
        return bytes(self._ask("challenge"))

    def session(self, challenge: bytes, cryptogram: bytes) -> SessionKeys:
        return SessionKeys(*map(bytes, self._ask("session", self.size, challenge, cryptogram)))

    def to_put(self, *, lengths: bool, dek: bytes = b"", older: int = 0) -> bytes:
        if dek and not self.trusted:
            raise NotPermittedError(
                "this model gets its own keys under those of its factory, which many know, and the "
                "station is not trusted",
                next_step="use a station that the settings call trusted, or another model",
            )
        return bytes(self._ask("keys", self.size, lengths, dek, older))

    def _ask(self, what: str, *more: Any) -> Any:
        return self.gate.card_channel(what, self.token, self.version, *more)


class VaultHouse:
    """The house of one session: who works at which kind of station."""

    def __init__(self, vault: Vault, who: Principal, *, trusted: bool) -> None:
        self._vault = vault
        self._who = who
        self.trusted = trusted
        self.tell: Callable[[str], None] = lambda _: None  # how far it is, for who waits
        self.tracing: Tracing | None = None  # of the session with the token, while there is one

    def save(self, job: IssueJob, what: str) -> IssueJob:
        """Write the next version down. What has to come before, does, and may be repeated."""
        self._before(job)
        kind, outcome = _KINDS.get(job.standing, (EventType.ISSUE_STOPPED, Outcome.FAIL))
        told: Document = {"what": what, "cause": str(job.facts.get("cause", ""))}
        if kind is EventType.ISSUE_STOPPED:
            told |= self._stopped(str(job.facts.get("code", "")))
        saved = self._written(job, kind, told, outcome)
        self.tell(progress(saved, what))
        if saved.standing is Standing.OPEN and saved.step is IssueStep.TAKEN_OVER:
            self._vault.gate.card_key_set(job.token.bytes, _master(job))
        return saved

    def _written(
        self, job: IssueJob, kind: EventType, told: Document, outcome: Outcome
    ) -> IssueJob:
        saved = replace(job, version=job.version + 1, changed_at=self._vault.clock())
        with self._vault.database.work() as work:
            work.issuing.change(saved)
            if self.tracing:
                told = {**told, "trace": self.tracing.keep(work)}
            work.commit(event(kind, self._who, saved, told, outcome))
        return saved

    def _stopped(self, code: str) -> Document:
        """Why a session ended before its time: our code, and the token's last word."""
        return {"code": code, "last": self.tracing.last()} if self.tracing else {}

    def turned_away(self, job_id: UUID, error: CardForeignError) -> None:
        """Another token was put in: to the job nothing happened, and it is written down."""
        with self._vault.database.reading() as work:
            job = work.issuing.get(job_id)
        told = {"what": "another token", "cause": error.code, **self._stopped(error.code)}
        self._written(job, EventType.ISSUE_STOPPED, told, Outcome.FAIL)

    def _before(self, job: IssueJob) -> None:
        vault, who = self._vault, self._who
        if job.standing is Standing.QUARANTINED:
            tokens.spoiled(vault, who, job.token, str(job.facts.get("cause", "")))
        if job.standing is Standing.DONE:
            facts, ends = _facts(job), outside.ends(job)
            tokens.personalised(vault, who, job.token, job.id, keys_of(job), facts, ends)
            self._close(job)

    def _close(self, job: IssueJob) -> None:
        sealed = job.by_slot("sealed")
        kinds = ("puk",) if job.facts["pin_route"] == PinRoute.MAILER else ("pin", "puk")
        for kind in kinds:
            self._vault.gate.card_close(job.token.bytes, b64decode(sealed[kind]))

    def interrupted(self, job: IssueJob, error: Exception) -> None:
        """A job that could not even begin."""
        code = error.code if isinstance(error, HsmError | VaultError) else "internal"
        self.save(job.to(Standing.INTERRUPTED, cause=code, code=code), "interrupted")

    def check_free(self, job: IssueJob, facts: TokenFacts) -> None:
        with self._vault.database.reading() as work:
            token = work.tokens.get(job.token)
            known = _known(work, facts.guid)
        if known is not None and known.id != job.token:
            raise CardForeignError(
                f"this is token {known.serial}, which was issued before",
                next_step="Put in the blank token that the job is for.",
            )
        if facts.serial and facts.serial != token.serial:
            raise CardForeignError(
                f"the card says that its serial number is {facts.serial}, and the stock's is "
                f"{token.serial}",
                next_step="Put in the token that the job is for.",
            )

    def check_fresh(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> None:
        with self._vault.database.reading() as work:
            other = work.tokens.token_of_key(thumbprint(spki))
        if other is not None and other.id != job.token:
            raise TokenDuplicateError(
                f"the key in {slot} is that of token {other.serial}",
                next_step="quarantine both, and ask who made them",
            )

    def check_attestation(self, job: IssueJob, spki: bytes, chain: Sequence[bytes]) -> None:
        path = self._vault.settings.issuing.attesters
        makers = x509.load_pem_x509_certificates(path.read_bytes()) if path else []
        attestation.check(spki, str(job.facts["serial"]), chain, makers, self._vault.clock())

    def seal(self, job: IssueJob) -> dict[str, str]:
        gate, token = self._vault.gate, job.token.bytes
        return {kind: b64encode(gate.card_seal(token, kind)).decode() for kind in ("pin", "puk")}

    def secrets(self, job: IssueJob) -> Secrets:
        gate, token, begun = self._vault.gate, job.token.bytes, job.begun("secure")
        new = {
            kind: gate.card_open(token, kind, b64decode(sealed))
            for kind, sealed in job.by_slot("sealed").items()
        }
        pin, puk = self._factory(job)
        return Secrets(SecretChange(pin, new["pin"], begun), SecretChange(puk, new["puk"], begun))

    def opened(self, job_id: UUID) -> Secrets:
        """The secrets of a job as it was last written down."""
        with self._vault.database.reading() as work:
            job = work.issuing.get(job_id)
        return self.secrets(job)

    def _factory(self, job: IssueJob) -> tuple[bytes, bytes]:
        """PIN and PUK, or SO-PIN, that the model comes with."""
        path, model = self._vault.settings.issuing.profiles, job.facts["model"]
        if job.kind == TokenKind.PKCS11:
            token = next(each for each in usb.load(path) if each.name == model)
            return b"", token.so_pin.encode()
        card = next(each for each in profiles.load(path) if each.name == model)
        return card.factory_pin, card.factory_puk

    def certify(self, job: IssueJob, slot: TokenSlot, spki: bytes, proof: bytes) -> bytes:
        vault, who = self._vault, self._who
        return ca.issue_token_certificate(vault, who, job.token, slot, spki, proof, job.id)

    def request_info(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> bytes:
        return outside.request_info(self._vault, job, slot, spki)

    def request(self, spki: bytes, info: bytes, signature: bytes) -> bytes:
        return outside.request(spki, info, signature)

    def agreement_peer(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> bytes:
        return self._vault.gate.agreement_peer(str(job.id), slot, spki)

    def check_signer(self, room: int) -> None:
        signing_cards.check(self._vault, room)

    def sign_card(
        self, job: IssueJob, certificates: Mapping[TokenSlot, bytes], room: int
    ) -> dict[str, str]:
        return signing_cards.sign_card(self._vault, job.token, certificates, room)

    def random(self, size: int) -> bytes:
        return self._vault.gate.random(size)


def event(
    kind: EventType,
    who: Principal,
    job: IssueJob,
    told: Document,
    outcome: Outcome = Outcome.OK,
) -> AuditEvent:
    """What happened to a job, in its token's own stream."""
    about: Document = {
        "token": str(job.token),
        "job": str(job.id),
        "step": str(job.step),
        "standing": str(job.standing),
        "station": job.station,
    }
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=uuid4(),
        stream=tokens.token_stream(job.token),
        actor=who.actor,
        payload={**about, **told},
    )


_MORE = ("pin_route", "issuer", "elsewhere", "firmware", "fips_140", "security_object")


def _facts(job: IssueJob) -> Document:
    """What the register keeps of a finished job."""
    names = ("model", "serial", "atr", "obeys", "objects", "master", "nonce", "proofs", "sealed")
    kept = {name: job.facts[name] for name in (*names, *_MORE) if name in job.facts}
    return {**kept, "station": job.station}


def _known(work: Reading, guid: str) -> Token | None:
    """The token of ours that a card says it is; a stranger's identity is simply overwritten."""
    try:
        return work.tokens.get(UUID(hex=guid)) if guid else None
    except NotFoundError:
        return None


def _master(job: IssueJob) -> int:
    return int(str(job.facts["master"]))
