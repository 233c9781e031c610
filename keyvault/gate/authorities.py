"""Our own certification authorities: what their keys sign is made and judged in this process.

A key becomes an authority by approval, before it has signed anything, and signs certificates,
lists and answers about them from then on, and nothing else. A certificate for a person takes the
signatures of who nominated and who vetted them: a process that lies to this gate gets none.

In the same way a key becomes a signer of cards: what a card says of itself, and nothing else.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hsm.device import Device
from hsm.errors import KeyUnusableError
from hsm.pcsc import containers, contents
from hsm.tokens import TokenSlot
from hsm.types import Algorithm, KeyUsage, Mechanism, VerifyPolicy
from keyvault import durable, signatures
from keyvault.domain import csr, token_profiles
from keyvault.domain.access import roles_for
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.commands import CertifyAuthority, CertifySigner, GenerateKey
from keyvault.domain.errors import InvalidInputError, StatementInvalidError
from keyvault.domain.keys import KeyState, Purpose
from keyvault.domain.people import Person
from keyvault.domain.standing import Electorate, Reach
from keyvault.domain.statements import Allocate, CertifyKey, Nominate, Signed, Statement
from keyvault.domain.times import text_of, time_of
from keyvault.domain.token_profiles import LeafProfile
from keyvault.domain.x509 import read_certificate
from keyvault.gate import pki
from keyvault.gate.clearance import Trust
from keyvault.gate.possession import Possession
from keyvault.gate.register import Register

LIST_LIMIT = 100_000  # certificates on one list
PLAIN_LIMIT = 4_096  # keys that are known to be no authorities
BACKDATED = timedelta(minutes=5)  # for clocks that are behind ours
METHODS = ("issue_leaf", "sign_crl", "sign_ocsp", "authority_certificate", "sign_card")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate is for, out of what people signed."""

    name: x509.Name
    profile: LeafProfile
    names: tuple[str, ...] = ()


class Authorities:
    """What the keys gate does as a certification authority. `folder` keeps their certificates."""

    def __init__(
        self,
        device: Device,
        register: Register,
        trust: Trust,
        clock: Callable[[], datetime],
        folder: Path,
        url: str = "",
    ) -> None:
        self._device = device
        self._register = register
        self._trust = trust
        self._clock = clock
        self._folder = folder
        self._url = url
        self._certificates: dict[bytes, x509.Certificate] = {}
        self._plain: set[bytes] = set()
        self._possession = Possession(device.random(32))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {name: getattr(self, name) for name in METHODS} | dict(self._possession.methods())

    def refuse(self, key_id: bytes) -> None:
        """Raise `KeyUnusableError` if this usable key is an authority's.

        A key that may be used and is none will never be one, so that is remembered.
        """
        if key_id in self._plain:
            return
        if self._file(key_id).exists() or self._signer_file(key_id).exists():
            raise KeyUnusableError(
                "the key is that of an authority and signs certificates alone, or cards",
                next_step="choose another key",
            )
        if len(self._plain) >= PLAIN_LIMIT:
            self._plain.clear()
        self._plain.add(key_id)

    def authority_certificate(self, key_id: bytes) -> bytes:
        """Return the certificate (DER) of an authority. Raises `KeyUnusableError`."""
        return self._certificate(key_id).public_bytes(Encoding.DER)

    def _file(self, key_id: bytes) -> Path:
        return self._folder / f"{key_id.hex()}.der"

    def _signer_file(self, key_id: bytes) -> Path:
        return self._folder / f"{key_id.hex()}.signer.der"

    def _certificate(self, key_id: bytes) -> x509.Certificate:
        if key_id not in self._certificates:
            try:
                data = self._file(key_id).read_bytes()
            except FileNotFoundError as error:
                raise KeyUnusableError(
                    "for this gate the key is no authority",
                    next_step="make it one: keyvault ca certify",
                ) from error
            self._certificates[key_id] = x509.load_der_x509_certificate(data)
        return self._certificates[key_id]

    def _signer(self, key_id: bytes) -> pki.Sign:
        def sign(message: bytes) -> bytes:
            digest = sha256(message).digest()
            raw = self._device.sign(key_id, Mechanism.ECDSA, digest, verify=VerifyPolicy.ALWAYS)
            half = len(raw) // 2
            return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

        return sign

    def _acting(self, key_id: bytes) -> x509.Certificate:
        """The certificate of an authority whose key may be used now."""
        self._register.check_use(key_id, Purpose.PROTECT)
        return self._certificate(key_id)

    def _certifying(self, key_id: bytes) -> x509.Certificate:
        """The same of one that has not ended. Lists and answers it signs afterwards, too."""
        own = self._acting(key_id)
        if self._clock() >= own.not_valid_after_utc:
            raise KeyUnusableError(
                f"this authority ended at {text_of(own.not_valid_after_utc)}",
                next_step="have another certify: keyvault ca list",
            )
        return own

    # Authorities ---------------------------------------------------------------------------

    def check(self, command: CertifyAuthority | CertifySigner) -> None:
        """Raise what forbids to make this key an authority, or a signer of cards."""
        order = self._register.get(command.key)
        life = self._register.life(command.key.bytes)
        made = order.command if order else None
        if not isinstance(made, GenerateKey) or life is None:
            raise KeyUnusableError("this gate did not make the key")
        if (made.algorithm, made.usage) != (Algorithm.EC_P256, KeyUsage.SIGN):
            raise InvalidInputError("authorities and signers have an EC-P256 key to sign with")
        if life.state is not KeyState.PRE_ACTIVE:
            raise KeyUnusableError(
                f"the key is {life.state}, so it may have signed other things before",
                next_step="order a new key for it",
            )
        other = self._signer_file if isinstance(command, CertifyAuthority) else self._file
        if other(command.key.bytes).exists():
            raise KeyUnusableError("the key was certified for something else")
        if command.parent is not None:
            self._certifying(command.parent.bytes)

    def certify(self, command: CertifyAuthority | CertifySigner, now: datetime) -> Document:
        """Make the certificate of an authority or signer, once: a repeated call returns it."""
        if isinstance(command, CertifySigner):
            return self._certify_signer(command, now)
        key_id = command.key.bytes
        with suppress(KeyUnusableError):
            return {"certificate": self.authority_certificate(key_id)}
        spki = self._device.public_key(key_id)
        parent = self._certificate(command.parent.bytes) if command.parent else None
        subject = pki.name_of([(NameOID.COMMON_NAME, command.title)])
        builder = pki.authority(subject, spki, parent, self._life(command.days, parent, now))
        made = self._judged(builder, command.parent.bytes if command.parent else key_id, None)
        durable.create(self._file(key_id), made)
        return {"certificate": made}

    def _life(self, days: int, parent: x509.Certificate | None, now: datetime) -> pki.Life:
        begin = now.replace(microsecond=0) - BACKDATED
        serial = int.from_bytes(b"\x01" + self._device.random(token_profiles.SERIAL_SIZE - 1))
        end = begin + timedelta(days=days)
        if parent is not None:
            begin = max(begin, parent.not_valid_before_utc)
            end = min(end, parent.not_valid_after_utc)
        return pki.Life(serial, begin, end)

    # Signers of cards ----------------------------------------------------------------------

    def _certify_signer(self, command: CertifySigner, now: datetime) -> Document:
        file = self._signer_file(command.key.bytes)
        if file.exists():
            return {"certificate": file.read_bytes()}
        issuer, profile = command.parent.bytes, LeafProfile.CONTENT_SIGNING
        theirs, spki = self._certifying(issuer), self._device.public_key(command.key.bytes)
        subject = pki.name_of([(NameOID.COMMON_NAME, command.title)])
        life, url = self._life(command.days, theirs, now), self._status_of(issuer)
        builder = pki.leaf(profile, subject, spki, theirs, life, url=url)
        made = self._judged(builder, issuer, profile)
        durable.create(file, made)
        return {"certificate": made}

    def sign_card(
        self, key_id: bytes, words: list[Document], certificates: dict[str, bytes]
    ) -> Document:
        """Sign the CHUID of an allocated token, and the hashes of all that is put on it.

        `words` are the signed nomination and allocation, `certificates` (DER) by slot. The
        objects are built here, so that what is signed is of this form and of this token. What a
        signer signs after its certificate has ended would count for nobody: `KeyUnusableError`.
        """
        own, sign = self._signing_cards(key_id), self._signer(key_id)
        guid = self._allocated(words).bytes
        chuid = contents.sign_chuid(containers.chuid(guid, None), own, sign)
        by_slot = {TokenSlot(slot): data for slot, data in certificates.items()}
        objects = containers.of_card(guid, by_slot, chuid)
        return {"chuid": chuid, "security": contents.sign_objects(objects, own, sign)}

    def _signing_cards(self, key_id: bytes) -> bytes:
        """The certificate (DER) of a signer whose key may be used now, and which counts now."""
        self._register.check_use(key_id, Purpose.PROTECT)
        file = self._signer_file(key_id)
        if not file.exists():
            raise KeyUnusableError(
                "for this gate the key signs no cards", next_step="keyvault ca certify-signer"
            )
        own = file.read_bytes()
        read = read_certificate(own)
        if not read.not_before <= self._clock() < read.not_after:
            raise KeyUnusableError(
                f"the certificate of this signer of cards ended at {text_of(read.not_after)}",
                next_step="have another key certified: keyvault ca certify-signer",
            )
        return own

    def _allocated(self, words: list[Document]) -> UUID:
        signed = [_believed(self._trust.current, each) for each in words]
        match [each.said for each in signed]:
            case [Nominate(), Allocate(nomination=about)] if about == signed[0].id:
                token = signed[1].token
            case _:
                token = None
        if token is None:
            raise StatementInvalidError("these statements allocate no token")
        return token

    def _judged(
        self, builder: x509.CertificateBuilder, issuer: bytes, profile: LeafProfile | None
    ) -> bytes:
        """Lint, sign, and lint what was signed with another reader than the one that wrote it."""
        draft = pki.draft(builder)
        theirs = self._file(issuer).read_bytes() if self._file(issuer).exists() else draft
        _lint(draft, profile, theirs)
        made = pki.signed(draft, self._signer(issuer))
        read = read_certificate(made)
        key = read_certificate(theirs).spki
        good = signatures.verify_x509(key, read.signature_algorithm, read.signed, read.signature)
        _lint(made, profile, theirs)
        if not good or read.signed != read_certificate(draft).signed:
            raise KeyUnusableError("the signature is not one of this certificate")
        return made

    # Leaves --------------------------------------------------------------------------------

    def issue_leaf(self, terms: Document, words: list[Document], proof: bytes) -> bytes:
        """Issue a certificate (DER) by what people signed. The same terms make the same one.

        `terms`: issuer, job, slot, serial, not_before, not_after, spki. `words` are the signed
        nomination and allocation of a token, or the one that has a request certified.
        """
        issuer, spki = terms["issuer"], terms["spki"]
        theirs = self._certifying(issuer)
        subject = self._subject(terms, words, proof)
        begin, end = time_of(terms["not_before"]), time_of(terms["not_after"])
        life = pki.Life(int(terms["serial"], 16), begin, end)
        builder = pki.leaf(
            subject.profile,
            subject.name,
            spki,
            theirs,
            life,
            names=subject.names,
            url=self._status_of(issuer),
        )
        return self._judged(builder, issuer, subject.profile)

    def _status_of(self, issuer: bytes) -> str:
        return f"{self._url}/{UUID(bytes=issuer)}" if self._url else ""

    def _subject(self, terms: Document, words: list[Document], proof: bytes) -> Subject:
        authority = self._trust.current
        signed = [_believed(authority, each) for each in words]
        match [each.said for each in signed]:
            case [Nominate() as named, Allocate(nomination=about)] if about == signed[0].id:
                self._possession.check(terms, proof)
                profile = token_profiles.profile_of(str(terms["slot"]))
                return Subject(_person(authority.person(named.holder), signed[1]), profile)
            case [CertifyKey() as asked]:
                return _requested(asked, terms, proof)
            case _:
                raise StatementInvalidError("these statements ask for no certificate")

    # Lists and answers ---------------------------------------------------------------------

    def sign_crl(self, key_id: bytes, number: int, dates: list[str], entries: list[Any]) -> bytes:
        """Sign a list: `entries` are [serial in hex, time, reason] each."""
        if len(entries) > LIST_LIMIT:
            raise InvalidInputError(f"a list has at most {LIST_LIMIT} certificates")
        issuer = self._acting(key_id)
        begin, end = map(time_of, dates)
        revoked = [pki.Revoked(int(s, 16), time_of(at), reason) for s, at, reason in entries]
        return pki.revocation_list(issuer, number, (begin, end), revoked, self._signer(key_id))

    def sign_ocsp(self, key_id: bytes, answer: Document, dates: list[str], nonce: bytes) -> bytes:
        """Sign an answer about one certificate."""
        issuer = self._acting(key_id)
        begin, end = map(time_of, dates)
        gone = answer["revoked"]
        revoked = (
            pki.Revoked(int(answer["serial"], 16), time_of(gone[0]), gone[1]) if gone else None
        )
        told = pki.Answer(
            answer["name_hash"],
            answer["key_hash"],
            answer["algorithm"],
            int(answer["serial"], 16),
            answer["known"],
            revoked,
        )
        return pki.response(issuer, told, (begin, end), nonce, self._signer(key_id))


def _lint(made: bytes, profile: LeafProfile | None, issuer: bytes) -> None:
    certificate, theirs = read_certificate(made), read_certificate(issuer)
    if profile is None:
        found = token_profiles.lint_ca(certificate, theirs)
    else:
        found = token_profiles.lint_leaf(certificate, profile, theirs)
    if found:
        raise InvalidInputError(f"this certificate is not signed: {'; '.join(found)}")


def _believed(authority: Authority, document: Document) -> Statement:
    """A statement whose signer was allowed to make it when they did."""
    signed = Signed.read(document)
    said = signed.statement
    person = authority.people.get(said.person)
    credential = person.decides_with(said.credential) if person else None
    if said.origin != authority.origin or credential is None:
        raise StatementInvalidError(f"nobody known here signed this {said.said.name}")
    if not signatures.verify(credential.spki, signed.signature, said.message()):
        raise StatementInvalidError(f"the signature under this {said.said.name} is wrong")
    electorate = Electorate(authority.people, authority.duties)
    roles, at = roles_for(said.said.action), time_of(said.at)
    if person is None or electorate.role_of(person, roles, Reach.ANY, at) is None:
        raise StatementInvalidError(f"{said.person} may not sign this {said.said.name}")
    return said


def _person(holder: Person, allocated: Statement) -> x509.Name:
    return pki.name_of(
        [
            (NameOID.ORGANIZATION_NAME, holder.organisation[:64]),
            (NameOID.COMMON_NAME, holder.name[:64]),
            (NameOID.SERIAL_NUMBER, holder.id),
            (NameOID.USER_ID, str(allocated.token)),
        ]
    )


def _requested(asked: CertifyKey, terms: Document, request: bytes) -> Subject:
    """A key on no token: its own request proves possession, and a registrar signed its digest."""
    if sha256(request).hexdigest() != asked.request or asked.issuer.bytes != terms["issuer"]:
        raise StatementInvalidError("the registrar signed another request")
    found = csr.lint(request, signatures.verify_x509).csr
    if found is None or found.spki != terms["spki"]:
        raise InvalidInputError("the request cannot be read, or is for another key")
    if not signatures.verify_x509(
        found.spki, found.signature_algorithm, found.info, found.signature
    ):
        raise InvalidInputError("the request does not prove possession of its key")
    profile = LeafProfile(asked.profile)
    if profile not in (LeafProfile.CLIENT, LeafProfile.SERVER):
        raise InvalidInputError("a key on no token gets a client's or a server's certificate")
    name = pki.name_of([(NameOID.COMMON_NAME, asked.subject[:64])])
    names = asked.names or ()
    return Subject(name, profile, names if profile is LeafProfile.SERVER else ())
