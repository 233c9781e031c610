"""A house for personalising without a server: journal, CA and secrets in this process.

It keeps every promise of `keyvault.operations.personalising.House`, and it counts.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

from hsm.errors import CardForeignError, CardRemovedError, HsmError
from hsm.pcsc import containers, contents, profiles
from hsm.pcsc.apdu import Channel, Transport
from hsm.pcsc.piv import PivAlgorithm, PivCard
from hsm.pcsc.piv_issue import KEY_SIZE, HeldKey
from hsm.pcsc.relay import Relay, carry
from hsm.pcsc.scp03 import HeldChannelKeys, StaticKeys, key_data
from hsm.pcsc.secured import token_of
from hsm.pcsc.token import PivToken
from hsm.pcsc.trace import Trace
from hsm.tokens import SecretChange, Secrets, TokenFacts, TokenSlot
from keyvault.domain import csr
from keyvault.domain import x509 as x509_of_ours
from keyvault.domain.errors import ConflictError, TokenDuplicateError, VaultError
from keyvault.domain.issuing import IssueJob, Standing
from keyvault.domain.token_profiles import LEAVES, profile_of, serial_text
from keyvault.gate.possession import Possession
from keyvault.operations import attestation, card_contents, outside, signing_cards
from keyvault.operations.personalising import personalise
from keyvault.store.issued import SIGNER, Issued, Status
from tests.authority import Authority, named, usage
from tests.cards.simulator.card import Card
from tests.cards.simulator.in_process import InProcess
from tests.cards.simulator.maker import MAKER
from tests.cards.simulator.models import FACTORY_PIN, FACTORY_PUK
from tests.cards.simulator.vpcd import CardSide, Pulled

PIN, PUK = b"271828", b"31415926"
OWN = bytes(range(100, 132))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Own:
    key: bytes = OWN
    version: int = 1

    def answering(self, algorithm: PivAlgorithm) -> HeldKey:
        return HeldKey(algorithm, self.to_set(algorithm))

    def to_set(self, algorithm: PivAlgorithm) -> bytes:
        return self.key[: KEY_SIZE[algorithm]]

    def channel(self, size: int) -> "OwnSet":
        return OwnSet(self.version, StaticKeys(*(_turned(self.key, by)[:size] for by in (1, 2, 3))))


def _turned(key: bytes, by: int) -> bytes:
    return key[by:] + key[:by]


@dataclass(frozen=True)
class OwnSet:
    version: int
    static: StaticKeys

    def keys(self) -> HeldChannelKeys:
        return HeldChannelKeys(self.version, self.static)

    def to_put(self, *, lengths: bool, dek: bytes = b"", older: int = 0) -> bytes:
        if older:
            dek = Own().channel(len(self.static.dek)).static.dek
        return key_data(self.version, self.static, dek, lengths=lengths)


@dataclass
class Signer:
    """What signs cards, under an authority of its own."""

    authority: Authority = field(default_factory=lambda: Authority(named("Cards Ltd")))
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        purpose = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.16.840.1.101.3.6.7")])
        extensions = [(usage("digital_signature"), True), (purpose, True)]
        asked = x509.CertificateSigningRequestBuilder(named("Signer of cards"))
        request = asked.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)
        self.certificate = self.authority.issue(request, extensions=extensions)
        self.root = self.authority.certificate()
        self.issued = issued_row(self.certificate)

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message, ec.ECDSA(hashes.SHA256()))

    def card(self, guid: bytes, certificates: Mapping[TokenSlot, bytes]) -> dict[str, bytes]:
        own = self.certificate
        chuid = contents.sign_chuid(containers.chuid(guid, None), own, self.sign)
        objects = containers.of_card(guid, certificates, chuid)
        return {"chuid": chuid, "security": contents.sign_objects(objects, own, self.sign)}


def issued_row(certificate: bytes) -> Issued:
    """What a register of certificates has of one that counts."""
    read, nobody = x509_of_ours.read_certificate(certificate), uuid4()
    texts = dict.fromkeys(("subject", "spki_sha256", "reason", "actor"), "")
    return Issued(
        serial_text(read.serial), nobody, str(nobody), SIGNER, "content-signing", **texts,
        token=None, status=Status.ISSUED, terms=b"", certificate=certificate,
        not_before=read.not_before, not_after=read.not_after,
    )  # fmt: skip


@dataclass
class Here:
    """Journal, register and CA. `asked` counts what the CA signed."""

    job: IssueJob
    asked: dict[str, bytes] = field(default_factory=dict)
    signed: int = 0
    known: set[bytes] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    signer: Signer | None = None
    possession: Possession = field(default_factory=lambda: Possession(os.urandom(32)))
    issuer: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def save(self, job: IssueJob, what: str) -> IssueJob:
        if job.version != self.job.version:
            raise ConflictError("somebody else was here")
        self.job = replace(job, version=job.version + 1)
        self.told.append(what)
        return self.job

    def check_free(self, _: IssueJob, facts: TokenFacts) -> None:
        if facts.guid:
            raise CardForeignError("issued before")

    def check_fresh(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> None:
        if spki in self.known:
            raise TokenDuplicateError(f"{slot} of {job.token} has a key of another token")

    def check_attestation(self, job: IssueJob, spki: bytes, chain: Sequence[bytes]) -> None:
        serial = str(job.facts["serial"])
        attestation.check(spki, serial, chain, [MAKER.certificate], datetime.now(UTC))

    def seal(self, _: IssueJob) -> dict[str, str]:
        return {"pin": "sealed", "puk": "sealed"}

    def secrets(self, job: IssueJob) -> Secrets:
        begun = job.begun("secure")
        return Secrets(SecretChange(FACTORY_PIN, PIN, begun), SecretChange(FACTORY_PUK, PUK, begun))

    def request_info(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(job.token))])
        usage = x509_of_ours.usage_of(LEAVES[profile_of(slot)].usages)
        return csr.plain_info(name.public_bytes(), spki, usage)

    def request(self, spki: bytes, info: bytes, signature: bytes) -> bytes:
        return outside.request(spki, info, signature)

    def agreement_peer(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> bytes:
        return self.possession.peer(str(job.id), slot, spki)

    def certify(self, job: IssueJob, slot: TokenSlot, spki: bytes, proof: bytes) -> bytes:
        key = load_der_public_key(spki)
        self.possession.check({"job": job.id, "slot": slot, "spki": spki}, proof)
        return self.certificate_of(key, slot)

    def certificate_of(self, key: ec.EllipticCurvePublicKey, slot: str) -> bytes:
        """The one certificate of a slot; asked for again it is the same."""
        if slot not in self.asked:
            self.signed += 1
            self.asked[slot] = self._certificate(key, f"{self.job.token} {slot}")
        assert x509.load_der_x509_certificate(self.asked[slot]).public_key() == key
        return self.asked[slot]

    def _certificate(self, key: ec.EllipticCurvePublicKey, name: str) -> bytes:
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key)
        built = built.serial_number(x509.random_serial_number()).not_valid_before(NOW)
        signed = built.not_valid_after(NOW + timedelta(days=365)).sign(self.issuer, hashes.SHA256())
        return signed.public_bytes(Encoding.DER)

    def check_signer(self, room: int) -> None:
        if self.signer is not None and room:
            signing_cards.in_force(self.signer.issued, datetime.now(UTC))

    def sign_card(
        self, job: IssueJob, certificates: Mapping[TokenSlot, bytes], room: int
    ) -> dict[str, str]:
        if self.signer is None or not room:
            return {"none": "for a test"}
        signed = self.signer.card(job.token.bytes, certificates)
        return signing_cards.fitting(job.token, certificates, signed, room)

    def random(self, size: int) -> bytes:
        return os.urandom(size)


def new_job() -> IssueJob:
    return IssueJob(uuid4(), uuid4(), "piv-card", "alice", NOW, NOW)


class Puller:
    """Pulls the card at its n-th APDU, before or after it was carried out; then never again."""

    def __init__(self, card: Card, at: int, *, executed: bool) -> None:
        self.card, self.atr = card, card.atr
        self._at, self._executed, self._count = at, executed, 0

    def reset(self) -> None:
        self.card.reset()

    def process(self, apdu: bytes) -> bytes:
        self._count += 1
        if self._count != self._at:
            return self.card.process(apdu)
        if self._executed:
            self.card.process(apdu)
        raise Pulled


class Halted(Puller):
    """Keeps silent at its n-th APDU until `go` is set, within the time that a reader waits."""

    def __init__(self, card: Card, at: int, go: Event) -> None:
        super().__init__(card, at, executed=True)
        self._go = go

    def process(self, apdu: bytes) -> bytes:
        self._count += 1
        if self._count == self._at:
            self._go.wait(5)
        return self.card.process(apdu)


class PulledAt(Puller):
    """Pulls the card when it has carried out this instruction."""

    def __init__(self, card: Card, instruction: int) -> None:
        super().__init__(card, 0, executed=True)
        self._instruction = instruction

    def process(self, apdu: bytes) -> bytes:
        answer = self.card.process(apdu)
        if apdu[1] == self._instruction:
            raise Pulled
        return answer


def insert(card: CardSide, table: object, house: Here) -> IssueJob:
    """One insertion: a reset card, recognised by its profile, and the job as far as it goes."""
    card.reset()
    if house.job.standing in (Standing.INTERRUPTED, Standing.AWAITING):
        house.job = house.job.to(Standing.OPEN)
    return worked(InProcess(card), card.atr, table, house)


def worked(transport: Transport, atr: bytes, table: object, house: Here) -> IssueJob:
    piv = PivCard(Channel(transport))
    profile = profiles.recognise(profiles.load(table), atr, piv.label)
    return personalise(driver_of(piv, profile, house.job), house.job, house)


def relayed(card: CardSide, table: object, house: Here) -> Trace:
    """One insertion at a desk, however it ends: what the service wrote down of it."""
    card.reset()
    if house.job.standing in (Standing.INTERRUPTED, Standing.AWAITING):
        house.job = house.job.to(Standing.OPEN)
    reader = InProcess(card)
    relay = Relay(card.atr, reader.protocol, 5.0)
    relay.run(lambda over: {"standing": worked(over, card.atr, table, house).standing})
    with suppress(HsmError, VaultError):
        message = relay.exchange(None)
        while message["do"] != "done":
            message = relay.exchange(carry(reader, message))
    return relay.trace


def driver_of(piv: PivCard, profile: profiles.CardProfile, job: IssueJob, *also: Own) -> PivToken:
    return token_of(piv, profile, Own(), channel=job.channel, also=also)


def checked(
    card: Card, *roots: bytes, revoked: Sequence[bytes] = (), now: datetime | None = None
) -> card_contents.Contents:
    """What is on a card, held against what its issuer signed of it."""
    card.reset()
    read = PivCard(Channel(InProcess(card))).get_data
    return card_contents.check(read, roots, now or datetime.now(UTC), revoked)


def sweep(make: object, table: object, step: int = 1) -> Iterator[tuple[int, bool, Card, Here]]:
    """Every `step`-th APDU of an issue, before and after its execution, each with a fresh card.

    Yields the place, the card and the house after the second insertion, which has to do it all.
    """
    clean, signer = make(), Signer()
    insert(clean, table, Here(new_job(), signer=signer))
    for at in range(1, len(clean.log) + 1, step):
        for executed in (False, True):
            card, house = make(), Here(new_job(), signer=signer)
            try:
                insert(Puller(card, at, executed=executed), table, house)
            except CardRemovedError:
                insert(card, table, house)
            yield at, executed, card, house
