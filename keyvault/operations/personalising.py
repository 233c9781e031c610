"""From a blank token to one that is proven: the steps of a job, over any driver of tokens.

Before each change of the token its intent is in the journal; what the token answered is in it
before anything is built on that. So whoever pulls the token, at whatever moment, leaves a job
that the next insertion of the same token brings to the same end.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol

from hsm.errors import CardForeignError, HsmError, TokenSpoiledError
from hsm.tokens import IssuerSignatures, Secrets, TokenDriver, TokenFacts, TokenSlot
from keyvault.domain.canonical import Document
from keyvault.domain.errors import TokenDuplicateError, VaultError
from keyvault.domain.issuing import IssueJob, Issuer, IssueStep, Standing
from keyvault.domain.token_profiles import agreed, possession

PROOF = b"keyvault-token-proof-v1\n"  # in front of the nonce, so that it is nothing else
NONCE_SIZE = 32  # bytes


class House(Protocol):
    """What the steps need of the house. Each call is a transaction of its own, or none."""

    def save(self, job: IssueJob, what: str) -> IssueJob:
        """Write the job down with its event; return it as its next version.

        Raises `ConflictError` where somebody else has changed it meanwhile.
        """

    def check_free(self, job: IssueJob, facts: TokenFacts) -> None:
        """Raise `CardForeignError` unless this token may be the one of the job."""

    def check_fresh(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> None:
        """Raise `TokenDuplicateError` where any token ever had this key."""

    def seal(self, job: IssueJob) -> dict[str, str]:
        """Draw a PIN and a PUK and return them sealed, in base64."""

    def secrets(self, job: IssueJob) -> Secrets:
        """Open what `seal` returned, for this session."""

    def certify(self, job: IssueJob, slot: TokenSlot, spki: bytes, proof: bytes) -> bytes:
        """The one certificate of this job and slot (DER), made now or before."""

    def request_info(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> bytes:
        """What is to be signed of a request to another authority (CertificationRequestInfo)."""

    def request(self, spki: bytes, info: bytes, signature: bytes) -> bytes:
        """The request (PKCS#10, DER) with its signature, which was checked."""

    def agreement_peer(self, job: IssueJob, slot: TokenSlot, spki: bytes) -> bytes:
        """The key (SPKI) that the slot's own has to agree with before it is certified."""

    def check_attestation(self, job: IssueJob, spki: bytes, chain: Sequence[bytes]) -> None:
        """Raise `TokenSpoiledError` where the maker's statement is not about this key."""

    def check_signer(self, room: int) -> None:
        """Raise `NotPermittedError` where no signer is in force: asked before a card is changed."""

    def sign_card(
        self, job: IssueJob, certificates: Mapping[TokenSlot, bytes], room: int
    ) -> dict[str, str]:
        """Have the card's CHUID and objects signed: "chuid" and "security" (CMS in base64).

        Or "none", and why: no signer is set, or what is signed has no `room` (bytes).
        """

    def random(self, size: int) -> bytes: ...


def personalise(driver: TokenDriver, job: IssueJob, house: House) -> IssueJob:
    """Bring a job as far as it goes and return it done.

    Raises what stopped it, `CardError` or `VaultError`, after the job was written down as
    interrupted, or quarantined where the token is spoiled.
    """
    under_way = _UnderWay(driver, job, house)
    try:
        return under_way.run()
    except CardForeignError:
        raise  # another token: the job's own is where it was
    except (TokenSpoiledError, TokenDuplicateError) as error:
        under_way.stop(Standing.QUARANTINED, str(error), error.code)
        raise
    except (HsmError, VaultError) as error:
        under_way.stop(Standing.INTERRUPTED, error.code, error.code)
        raise


class _UnderWay:
    """A job with its token in a reader. `job` is always as it was last written down."""

    def __init__(self, driver: TokenDriver, job: IssueJob, house: House) -> None:
        self._driver = driver
        self._house = house
        self.job = job

    def run(self) -> IssueJob:
        self._recognise()
        if not self.job.reached(IssueStep.LOADED) and "signed" not in self.job.facts:
            self._house.check_signer(self._driver.signed_room)
        for step, take in self._STEPS.items():
            if not self.job.reached(step):
                found = take(self)
                if found is None:
                    return self._save(self.job.to(Standing.AWAITING), "waits for certificates")
                self._save(self.job.done(step, **found), str(step))
        return self._save(self.job.to(Standing.DONE), "done")

    def stop(self, standing: Standing, cause: str, code: str) -> None:
        if self.job.standing is Standing.OPEN:
            self._save(self.job.to(standing, cause=cause, code=code), str(standing))

    def _save(self, job: IssueJob, what: str) -> IssueJob:
        self.job = self._house.save(job, what)
        return self.job

    def _recognise(self) -> None:
        """Whether this is the token of the job; at the first insertion, make it so."""
        found = self._driver.identify()
        job = self.job = self.job.noting(tries=found.tries)  # written down with the next step
        if not job.reached(IssueStep.BOUND):
            self._house.check_free(job, found)
            bound = job.done(IssueStep.BOUND, model=found.model, serial=found.serial)
            more = {"firmware": found.firmware, "fips_140": found.certificate}
            self._save(bound.noting(guid=found.guid, channel=found.channel, **more), "bound")
            return
        there = (found.model, found.serial) == (job.facts["model"], job.facts["serial"])
        if not there or found.guid not in (job.facts["guid"], job.token.hex):
            raise CardForeignError(
                "this is another token than the one that the job began with",
                next_step="Put in the token that this job began with.",
            )
        if job.reached(IssueStep.TAKEN_OVER):
            self._driver.take_over(begun=True, taken=True)

    def _take_over(self) -> Document:
        if "sealed" not in self.job.facts:
            self._save(self.job.noting(sealed=self._house.seal(self.job)), "secrets drawn")
        before = bool(self.job.begun("take_over"))
        self._save(self.job.beginning("take_over"), "begins to take over")
        return {"obeys": self._driver.take_over(begun=before, taken=False)}

    def _make_keys(self) -> Document:
        """A key that no journal knows is overwritten; one that it knows is made for good."""
        for name, algorithm in self.job.plan.items():
            if name not in self.job.by_slot("keys"):
                self._make_key(TokenSlot(name), algorithm)
        return {}

    def _make_key(self, slot: TokenSlot, algorithm: str) -> None:
        spki = self._driver.make_key(slot, algorithm)
        if spki in keys_of(self.job).values():
            raise TokenSpoiledError("the token made the same key twice")
        self._house.check_fresh(self.job, slot, spki)
        job = _note(self.job, "keys", slot, spki)
        if chain := self._driver.attest(slot):
            self._house.check_attestation(self.job, spki, chain)
            for name, each in zip(("attestations", "attesters"), chain, strict=False):
                job = _note(job, name, slot, each)
        self._save(job, f"key made in {slot}")

    def _secure(self) -> Document:
        """First of all that may wait for people: a token in a safe has no factory secrets."""
        secrets = self._house.secrets(self.job)  # with what was begun before now
        self._save(self.job.beginning("secure"), "begins to change PUK and PIN")
        self._driver.secure(secrets)
        return {}

    def _certify(self) -> Document | None:
        """Possession first: no CA hears of a key that the token did not sign with.

        None where another authority's certificates have to come first.
        """
        secrets = self._house.secrets(self.job)
        certify = self._certify_key if self.job.issuer is Issuer.OWN else self._request
        for name, spki in keys_of(self.job).items():
            if name not in self.job.by_slot("certificates"):
                certify(TokenSlot(name), spki, secrets)
        return None if self.job.awaited else {}

    def _request(self, slot: TokenSlot, spki: bytes, secrets: Secrets) -> None:
        """A request (PKCS#10) that the key itself signs; made once, and kept."""
        if slot in self.job.by_slot("requests"):
            return
        info = self._house.request_info(self.job, slot, spki)
        signature = self._driver.sign(slot, spki, info, secrets)
        request = self._house.request(spki, info, signature)
        self._save(_note(self.job, "requests", slot, request), f"request for {slot}")

    def _certify_key(self, slot: TokenSlot, spki: bytes, secrets: Secrets) -> None:
        message = possession(str(self.job.id), slot, spki)
        if slot is TokenSlot.KEY_MANAGEMENT:
            peer = self._house.agreement_peer(self.job, slot, spki)
            proof = agreed(self._driver.agree(slot, spki, peer, secrets), message)
        else:
            proof = self._driver.sign(slot, spki, message, secrets)
        certificate = self._house.certify(self.job, slot, spki, proof)
        self._save(_note(self.job, "certificates", slot, certificate), f"certificate for {slot}")

    def _load(self) -> Document:
        kept = self.job.by_slot("certificates").items()
        certificates = {TokenSlot(name): b64decode(each) for name, each in kept}
        signed = self._signed(certificates)
        return {"objects": self._driver.load(self.job.token.bytes, certificates, signed)}

    def _signed(self, certificates: Mapping[TokenSlot, bytes]) -> IssuerSignatures:
        """Signed once, before any of it is written: the next insertion writes the same."""
        if "signed" not in self.job.facts:
            signed = self._house.sign_card(self.job, certificates, self._driver.signed_room)
            why = signed.get("none")
            told = f"no security object: {why}" if why else "identity and objects signed"
            self._save(self.job.noting(signed=signed, security_object=why or "signed"), told)
        kept = self.job.by_slot("signed").items()
        return IssuerSignatures(**{name: b64decode(text) for name, text in kept if name != "none"})

    def _prove(self) -> Document:
        nonce = self._house.random(NONCE_SIZE)
        keys = {TokenSlot(name): spki for name, spki in keys_of(self.job).items()}
        signed = self._driver.prove(self._house.secrets(self.job), keys, PROOF + nonce)
        proofs = {str(slot): b64encode(each).decode() for slot, each in signed.items()}
        return {"nonce": nonce.hex(), "proofs": proofs}

    _STEPS: ClassVar[dict[IssueStep, Callable[["_UnderWay"], Document | None]]] = {
        IssueStep.TAKEN_OVER: _take_over,
        IssueStep.KEYED: _make_keys,
        IssueStep.SECURED: _secure,
        IssueStep.CERTIFIED: _certify,
        IssueStep.LOADED: _load,
        IssueStep.PROVEN: _prove,
    }


def keys_of(job: IssueJob) -> dict[str, bytes]:
    """The public keys (SPKI) in the journal, by slot."""
    return {name: b64decode(spki) for name, spki in job.by_slot("keys").items()}


def _note(job: IssueJob, where: str, slot: str, value: bytes) -> IssueJob:
    return job.noting(**{where: {**job.by_slot(where), slot: b64encode(value).decode()}})
