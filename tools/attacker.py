"""What an attacker has in the drill: the database, the sockets of the running api, and people.

The database login is that of the api: on SQLite that is the file itself, and so also its guards,
which whoever owns the file can take away; on PostgreSQL it is the role `keyvault_app`.
"""

import json
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, text

from hsm.errors import HsmError
from keyvault.domain.approvals import Approval, Decision, Seen
from keyvault.domain.canonical import canonical
from keyvault.domain.errors import VaultError
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of
from keyvault.signatures import SoftwareCredential, spki_der
from keyvault.store.engine import open_engine, writing
from tools.narrated import Answer, Story

_TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"


class SucceededError(Exception):
    """An attack went through."""


def no(call: Callable[..., object], *args: object) -> str:
    """Say how a call to a socket was refused. Raises `SucceededError` if it was not."""
    try:
        answer = call(*args)
    except (HsmError, VaultError) as error:
        return f"{error.code}: {error}"
    raise SucceededError(f"it was done: {str(answer)[:200]}")


def turned_away(response: httpx.Response) -> str:
    """Say how a call of the API was refused. Raises `SucceededError` if it was not."""
    if response.is_success:
        raise SucceededError(f"it was done: {response.status_code} {response.text[:200]}")
    body = response.json()
    return f"{response.status_code} {body['code']}: {body['detail']}"


def done(response: httpx.Response) -> Answer:
    """Return the body of an answer that has to be a success."""
    if not response.is_success:
        raise ValueError(f"{response.status_code} {response.text[:500]}")
    return dict(response.json())


class Sql:
    """The database as the attacker reaches it."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self.postgresql = self._engine.dialect.name == "postgresql"

    @property
    def login(self) -> str:
        return "the role keyvault_app of PostgreSQL" if self.postgresql else "the SQLite file"

    def read(self, query: str, **values: object) -> Any:
        """Return the one value that a query asks for."""
        with self._engine.connect() as connection:
            return connection.scalar(text(query), values)

    def run(self, change: str, **values: object) -> str:
        """Change rows with the api's login; say what the database objected, or nothing."""
        try:
            with writing(self._engine) as connection:
                if self.postgresql:
                    connection.execute(text("SET LOCAL ROLE keyvault_app"))
                connection.execute(text(change), values)
                connection.commit()
        except Exception as error:  # noqa: BLE001  (each driver has its own)
            cause = error.__cause__ or error
            return str(getattr(cause, "orig", cause)).splitlines()[0]
        return ""

    def force(self, change: str, **values: object) -> None:
        """Change rows as the owner of the database: the guards are off for that moment."""
        with writing(self._engine) as connection:
            guards = self._disarmed(connection)
            connection.execute(text(change), values)
            for guard in guards:
                connection.execute(text(guard))
            connection.commit()

    def _disarmed(self, connection: Connection) -> list[str]:
        """Take the guards away, and return what makes them again."""
        if self.postgresql:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            return []
        guards = connection.execute(text(_TRIGGERS)).all()
        for name, _ in guards:
            connection.execute(text(f"DROP TRIGGER {name}"))
        return [str(again) for _, again in guards]

    @contextmanager
    def record(self, number: int, document: Answer | None) -> Iterator[None]:
        """Exchange a record of authority, delete it (None), or add one; then put all back."""
        here, value = "FROM authority_record WHERE number = :n", {"n": number}
        honest = self.read(f"SELECT document {here}", **value)
        add = "INSERT INTO authority_record (number, document) VALUES (:n, :document)"
        self.force(f"DELETE {here}", **value)
        try:
            if document is not None:
                self.force(add, **value, document=canonical(document).decode())
            yield
        finally:
            self.force(f"DELETE {here}", **value)
            if honest is not None:
                self.force(add, **value, document=honest)

    def records(self) -> list[Answer]:
        """Every record of authority."""
        with self._engine.connect() as connection:
            found = connection.scalars(
                text("SELECT document FROM authority_record ORDER BY number")
            )
            return [json.loads(document) for document in found]

    def close(self) -> None:
        self._engine.dispose()


class Person:
    """Somebody registered, with the key that signs for them and a session."""

    def __init__(self, story: Story, name: str) -> None:
        self.id, self._story = name, story
        path = story.folder / "people" / f"{name}.key"
        self.credential = SoftwareCredential.open(path, story.passphrases[name].encode())
        session = story.folder / "sessions" / name
        self.client = client_of(story, session / "certificate.pem", session / "key.pem")

    def approval(
        self, request: Answer, signer: SoftwareCredential | None = None, as_: str = ""
    ) -> Answer:
        """Sign a request; with another `signer`, or under another's name, as forgers do."""
        key = signer or self.credential
        unsigned = Approval(
            approver=as_ or self.id,
            credential=thumbprint(key.spki),
            decision=Decision.APPROVE,
            reason="for the drill",
            at=text_of(datetime.now(UTC)),
            seen=Seen(**request["seen"]),
        )
        return replace(unsigned, signature=key.sign(unsigned.message(request))).document()

    def approve(self, request: Answer) -> httpx.Response:
        """Hand in an approval, as the service asks for it."""
        path = f"/v1/requests/{request['id']}/approvals"
        return self.client.post(path, json=self.approval(request["document"]))

    def delegation(self, key: ec.EllipticCurvePrivateKey, origin: str = "") -> tuple[Answer, bytes]:
        """Sign for a session key, as at login; `origin` is another log's, for relays."""
        challenge = done(self.client.post("/v1/login/challenges"))
        now = datetime.now(UTC)
        document = {
            "ctx": "keyvault-login-v1",
            "origin": origin or challenge["origin"],
            "person": self.id,
            "credential": thumbprint(self.credential.spki),
            "session_spki": b64encode(spki_der(key.public_key())).decode(),
            "challenge": challenge["challenge"],
            "issued_at": text_of(now),
            "not_after": text_of(now + timedelta(hours=1)),
        }
        return document, self.credential.sign(canonical(document))

    def log_in(self, door: httpx.Client, origin: str = "") -> tuple[httpx.Response, bytes]:
        """Ask for a session; the answer, and the session's key in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        document, signature = self.delegation(key, origin)
        body = {"delegation": document, "signature": b64encode(signature).decode()}
        return door.post("/v1/login/sessions", json=body), pem_of(key)


def client_of(story: Story, certificate: Path | None = None, key: Path | None = None) -> Any:
    """An HTTP client of the service, with a client certificate if one is given."""
    context = ssl.create_default_context(cafile=story.summary["ca"])
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return httpx.Client(
        base_url=story.summary["server"], verify=context, timeout=60, trust_env=False
    )


def kept_as_files(story: Story, name: str, certificate: bytes, key: bytes) -> Any:
    """A client whose certificate and key (PEM) lie in the story's folder."""
    for kind, data in (("pem", certificate), ("key", key)):
        (story.folder / "system" / f"{name}.{kind}").write_bytes(data)
    folder = story.folder / "system"
    return client_of(story, folder / f"{name}.pem", folder / f"{name}.key")


def certificate_of(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: ec.EllipticCurvePrivateKey | None = None,
) -> x509.Certificate:
    """A client certificate, self-signed or by an issuer that nobody enrolled."""
    subject, other = ([x509.NameAttribute(NameOID.COMMON_NAME, n)] for n in (name, "another CA"))
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        x509.Name(other if issuer else subject), x509.Name(subject), key.public_key(),
        x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=30),
    ).sign(issuer or key, hashes.SHA256())  # fmt: skip


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def mutations(document: Any, path: Sequence[str | int] = ()) -> Iterator[tuple[str, Any]]:
    """Every field of a document, and the document with just that field changed."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inner:
        if isinstance(value, dict | list):
            changes = list(mutations(value, (*path, key)))
        else:
            changes = [(".".join(map(str, (*path, key))), _other(value))]
        for name, changed in changes:
            if isinstance(document, dict):
                yield name, {**document, key: changed}
            else:
                yield name, [changed if at == key else one for at, one in enumerate(document)]


_OTHERS = {"EC-P256": "EC-P384", "sign": "agree", "critical": "exchange"}


def _other(value: Any) -> Any:
    """Another value that could stand in the same place."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value is None:
        return "site"
    if value.endswith("Z"):
        return text_of(datetime.now(UTC) + timedelta(seconds=7))
    return _OTHERS.get(value) or ("1" if value[:1] != "1" else "2") + value[1:]
