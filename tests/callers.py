"""People and systems who call a service over mutual TLS, as tests make them."""

import ssl
import tempfile
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from keyvault.domain.approvals import Approval, Decision, Seen
from keyvault.domain.canonical import canonical
from keyvault.domain.commands import AcknowledgeDuty, Command, RegisterPerson
from keyvault.domain.people import (
    EVERYWHERE,
    Assurance,
    Credential,
    Grant,
    Role,
    Screening,
    Vetting,
    thumbprint,
)
from keyvault.domain.times import day_text, text_of
from keyvault.signatures import SoftwareCredential, spki_der

Document = dict[str, Any]


class Service(Protocol):
    """What they call: a stack, or whatever has a folder and hands out clients."""

    folder: Path

    def client(self, certificate: Path | None = None, key: Path | None = None) -> httpx.Client: ...


class Someone:
    """A person with a software credential, logged in when first needed."""

    def __init__(self, stack: Service, name: str, credential: SoftwareCredential) -> None:
        self.id = name
        self.credential = credential
        self._stack = stack
        self._client: httpx.Client | None = None

    def client(self) -> httpx.Client:
        """An HTTP client in this person's session."""
        if self._client is None:
            self._client = self._stack.client(*self.log_in())
        return self._client

    def log_in(self, *, hours: int = 1) -> tuple[Path, Path]:
        """Open a new session and return its certificate and key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        door = self._stack.client()
        challenge = ok(door.post("/v1/login/challenges"))
        body = self.login(challenge, key, hours=hours)
        opened = ok(door.post("/v1/login/sessions", json=body))
        return _pair(self._stack.folder, self.id, opened["certificate"].encode(), key)

    def login(
        self,
        challenge: Document,
        key: ec.EllipticCurvePrivateKey,
        *,
        hours: int = 1,
        signer: SoftwareCredential | None = None,
    ) -> Document:
        """A delegation to `key`, signed by this person or, wrongly, by another `signer`."""
        now = datetime.now(UTC)
        delegation = {
            "ctx": "keyvault-login-v1",
            "origin": challenge["origin"],
            "person": self.id,
            "credential": thumbprint(self.credential.spki),
            "session_spki": b64encode(spki_der(key.public_key())).decode(),
            "challenge": challenge["challenge"],
            "issued_at": text_of(now),
            "not_after": text_of(now + timedelta(hours=hours)),
        }
        signature = (signer or self.credential).sign(canonical(delegation))
        return {"delegation": delegation, "signature": b64encode(signature).decode()}

    def approval(self, request: Document, decision: Decision = Decision.APPROVE) -> Document:
        """Sign a decision on the whole of a request's document."""
        unsigned = Approval(
            approver=self.id,
            credential=thumbprint(self.credential.spki),
            decision=decision,
            reason="for a test",
            at=text_of(datetime.now(UTC)),
            seen=Seen(**request["document"]["seen"]),
        )
        signature = self.credential.sign(unsigned.message(request["document"]))
        return replace(unsigned, signature=signature).document()

    def acknowledge(self) -> None:
        """Give their word on every duty, which nobody else has to sign."""
        for duty in ok(self.client().get("/v1/rules"))["duties"]:
            word = AcknowledgeDuty(self.id, duty["name"], duty["version"], duty["sha256"])
            self.alone(word)

    def alone(self, command: Command) -> Document:
        """Ask for, sign and carry out what one person may decide."""
        asked = self._stack.ask(command, by=self.id)
        ok(self.decide(asked))
        return ok(self.client().post(f"/v1/requests/{asked['id']}/executions"))

    def decide(self, request: Document, decision: Decision = Decision.APPROVE) -> httpx.Response:
        """Hand in a decision and return the answer."""
        path = f"/v1/requests/{request['id']}/approvals"
        return self.client().post(path, json=self.approval(request, decision))


class Machine:
    """A DCC system with its own key and self-signed certificate."""

    def __init__(
        self, stack: Service, name: str, key: ec.EllipticCurvePrivateKey | None = None
    ) -> None:
        self.id = name
        self._stack = stack
        self._client: httpx.Client | None = None
        self.private_key = key or ec.generate_private_key(ec.SECP256R1())
        pem = self_signed(name, self.private_key)
        self.certificate, self.key = _pair(stack.folder, name, pem, self.private_key)

    @property
    def der(self) -> bytes:
        """Its certificate in DER."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())

    def client(self) -> httpx.Client:
        if self._client is None:
            self._client = self._stack.client(self.certificate, self.key)
        return self._client


def in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def joiner(name: str, credential: SoftwareCredential, *roles: Role, **more: Any) -> RegisterPerson:
    """Somebody to register: screened last month, with these roles everywhere for a year."""
    given: Document = {
        "person": name,
        "full_name": name.title(),
        "organisation": "Acme Energy",
        "site": "Leeds",
        "manager": None,
        "credential": Credential(credential.spki, Assurance.SOFTWARE),
        "grants": tuple(Grant(role, EVERYWHERE, text_of(in_days(365))) for role in roles),
        "screening": Screening(
            *("BS 7858:2019", Vetting.BASELINE, "HR-1"),
            *(day_text(in_days(-30)), day_text(in_days(300))),
        ),
    }
    return RegisterPerson(**{**given, **more})


def self_signed(name: str, key: ec.EllipticCurvePrivateKey, *, days: int = 30) -> bytes:
    """A client certificate in PEM that nobody has enrolled yet."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def ok(response: httpx.Response) -> Document:
    """The body of an answer that has to be a success."""
    assert response.is_success, (response.status_code, response.text)
    document: Document = response.json()
    return document


def _pair(
    folder: Path, name: str, certificate: bytes, key: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    (place / "certificate.pem").write_bytes(certificate)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / "key.pem").write_bytes(pem)
    return place / "certificate.pem", place / "key.pem"
