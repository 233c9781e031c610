"""What a custodian signs and seals at their terminal, once the gate's own statement is checked."""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from cryptography import x509

from cli.desk.signing import Place, place_of
from cli.errors import TransportKeyError
from cli.passphrases import Secrets
from cli.remote import log
from cli.remote.client import Server
from cli.remote.requests import rebuilt
from cli.state import Session, open_session
from hsm.types import Algorithm, CheckValues
from keyvault import signatures
from keyvault.domain.approvals import Request
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.errors import ComponentRefusedError
from keyvault.domain.handovers import (
    STATEMENT_CONTEXT,
    Delivery,
    digest,
    sealing_context,
    statement_of,
)
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of

_NO_VALUES = CheckValues("", "")  # of an envelope, which nobody has opened
_STEP = "type nothing, keep what the server said, and call your officers"


@dataclass(frozen=True, slots=True)
class Checked:
    """A handover whose statement the evidence key of the genesis has signed."""

    request: Request
    authority: Authority
    statement: bytes
    said: Document
    until: str

    @property
    def public_key(self) -> bytes:
        """What to seal, or to wrap for: the gate's own key for this handover."""
        return b64decode(str(self.said["public_key"] or ""))

    @property
    def algorithm(self) -> Algorithm:
        return Algorithm(str(self.said["algorithm"]))

    @property
    def count(self) -> int:
        return len(list(self.said["custodians"]))

    def number_of(self, person: str) -> int:
        """Whose component this person's is. Raises `ComponentRefusedError`."""
        custodians = list(self.said["custodians"])
        if person not in custodians:
            raise ComponentRefusedError(
                f"{person} is no custodian of this handover",
                next_step=f"it is for {', '.join(custodians)}",
            )
        return custodians.index(person) + 1

    def context(self, person: str) -> bytes:
        """What this person's component is sealed for."""
        number = self.number_of(person)
        return sealing_context(self.request.id, self.statement, number, person)


def checked(here: Session, server: Server, request_id: UUID) -> Checked:
    """Fetch a handover, and hold its statement against the genesis and the approved request.

    Raises `TransportKeyError` where it is not the gate's, `LogForkError`.
    """
    item = server.get(f"/v1/handovers/{request_id}")
    view = log.look(server, here)
    log.keep(here, view)
    asked = rebuilt(server.get(f"/v1/requests/{request_id}")).request
    statement, signature = b64decode(item["statement"]), b64decode(item["signature"])
    evidence = view.authority.services.evidence
    said = statement_of(statement)
    wanted = (here.origin, str(asked.id), asked.digest.hex(), asked.command.name)
    names = ("origin", "request", "request_sha256", "command")
    if not signatures.verify(evidence, signature, STATEMENT_CONTEXT + statement):
        raise TransportKeyError("the key to seal to is not the gate's", next_step=_STEP)
    if tuple(said.get(name) for name in names) != wanted:
        raise TransportKeyError("the gate's statement is about another request", next_step=_STEP)
    return Checked(asked, view.authority, statement, said, str(item["until"]))


@dataclass(frozen=True, slots=True)
class Desk:
    """A custodian at their terminal: the handover that was checked, and what they sign with."""

    here: Session
    server: Server
    found: Checked
    place: Place | None
    secrets: Secrets


def at_desk(
    session: Path | None, request: UUID, place: Place | None, passphrase_fd: int | None
) -> Desk:
    """Check a handover for whoever is logged in. Raises what `checked` raises."""
    here = open_session(session)
    server = Server.of(here)
    return Desk(here, server, checked(here, server, request), place, Secrets(passphrase_fd))


def hand_over(desk: Desk, content: bytes, check: CheckValues = _NO_VALUES) -> Document:
    """Sign a delivery of the person in session and hand it in; return what the server answers."""
    here, found = desk.here, desk.found
    place = desk.place or place_of(here.credential)
    signer = place.to_decide(desk.secrets, log.deciding(found.authority, here.person))
    delivery = Delivery(
        origin=here.origin,
        request=found.request.id,
        statement=digest(found.statement),
        number=found.number_of(here.person),
        person=here.person,
        credential=thumbprint(signer.spki),
        session=_session(here),
        content=content,
        check=check,
        at=text_of(datetime.now(UTC)),
    )
    signature = signer.sign(delivery.message)
    body = {"delivery": delivery.document(), "signature": b64encode(signature).decode()}
    return desk.server.post(f"/v1/handovers/{found.request.id}/deliveries", body)


def _session(here: Session) -> str:
    """The thumbprint of the session's own key."""
    certificate = x509.load_pem_x509_certificate(here.pair[0].read_bytes())
    return thumbprint(signatures.spki_der(certificate.public_key()))  # type: ignore[arg-type]  # P-256, as login makes it
