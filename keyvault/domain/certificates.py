"""A certificate's life, from the request to its end, and what an answer is held against.

Key and certificate are two linked things: a key is renewed by a new certificate, and a new key
always gets one of its own. Others' certificates are watched by the same table: they begin in use.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple
from uuid import UUID

from keyvault.domain import profiles, x509
from keyvault.domain.csr import Csr, usage_text
from keyvault.domain.der import DerError
from keyvault.domain.errors import CertificateStateError
from keyvault.domain.scopes import Scope
from keyvault.domain.x509 import X509

BATCH_LIMIT = 50_000  # requests in one archive
WARNINGS = (180, 90, 30)  # days before the end


class CertificateState(StrEnum):
    CSR_BUILT = "csr-built"
    SUBMITTED = "submitted"
    ISSUED = "issued"  # came back, fits its request, waits for a person
    ACCEPTED = "accepted"
    REJECTED = "rejected"  # by the authority or by us; its request may be sent again
    IN_USE = "in-use"
    REVOKED = "revoked"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"  # the request was given up


_S = CertificateState
# Every arrow, and no other. The end of its validity comes by the clock, see `at`.
MOVES: dict[CertificateState, frozenset[CertificateState]] = {
    _S.CSR_BUILT: frozenset({_S.SUBMITTED, _S.WITHDRAWN}),
    _S.SUBMITTED: frozenset({_S.ISSUED, _S.REJECTED, _S.WITHDRAWN}),
    _S.ISSUED: frozenset({_S.ACCEPTED, _S.REJECTED}),
    _S.REJECTED: frozenset({_S.SUBMITTED, _S.WITHDRAWN}),
    _S.ACCEPTED: frozenset({_S.IN_USE, _S.REVOKED, _S.EXPIRED}),
    _S.IN_USE: frozenset({_S.REVOKED, _S.EXPIRED}),
    _S.REVOKED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.WITHDRAWN: frozenset(),
}
# While a key has one of these, it is not activated, and gets no second request.
OPEN = frozenset({_S.CSR_BUILT, _S.SUBMITTED, _S.ISSUED, _S.REJECTED})
GOOD = frozenset({_S.ACCEPTED, _S.IN_USE})


class Kind(StrEnum):
    """Whose certificate it is. An answer is believed under a root or issuing one alone."""

    OWN = "own"
    ROOT = "root"
    ISSUING = "issuing"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of one certificate. `version` rises with every change, and is compared."""

    id: UUID
    kind: Kind
    state: CertificateState
    version: int
    created_at: datetime
    spki_sha256: str
    subject: str
    scope: Scope | None = None
    key: UUID | None = None
    profile: str = ""
    interface: str = ""
    system: str = ""
    batch: UUID | None = None
    csr: bytes = b""
    certificate: bytes = b""
    issuer: str = ""
    serial: str = ""  # hex
    not_before: datetime | None = None
    not_after: datetime | None = None
    received_at: datetime | None = None
    decide_until: datetime | None = None  # after that the issuer takes it as accepted
    overdue: bool = False  # that it came so far was written down
    reference: str = ""  # of the submission, at whoever it was sent to
    reason: str = ""

    def to(self, state: CertificateState, **changes: object) -> "Certificate":
        """Take one arrow of `MOVES`. Raises `CertificateStateError`; nothing changes in place."""
        if state not in MOVES[self.state]:
            names = ", ".join(sorted(MOVES[self.state])) or "nothing more"
            raise CertificateStateError(
                f"a certificate that is {self.state} cannot become {state}",
                next_step=f"from {self.state} it can become: {names}",
            )
        return replace(self, state=state, version=self.version + 1, **changes)  # type: ignore[arg-type]  # by name

    def noted_overdue(self) -> "Certificate":
        """The same, with a note that the time to reject it is over."""
        return replace(self, overdue=True, version=self.version + 1)

    def at(self, now: datetime) -> CertificateState:
        """The state by the clock: no job has to run for a certificate to end."""
        ended = self.not_after is not None and self.not_after <= now
        return _S.EXPIRED if ended and self.state in GOOD else self.state

    def days_left(self, now: datetime) -> int | None:
        """Whole days until it ends, negative after that."""
        return None if self.not_after is None else (self.not_after - now).days

    def warning(self, now: datetime) -> Literal["", "expired", "30", "90", "180"]:
        """Which warning is due: expired, 30, 90 or 180 days, or none."""
        left = self.days_left(now)
        if left is None or self.state not in GOOD or left >= WARNINGS[0]:
            return ""
        if left < 0:
            return "expired"
        return "30" if left < WARNINGS[2] else "90" if left < WARNINGS[1] else "180"


def received(mine: Certificate, found: X509, now: datetime, patience: timedelta) -> Certificate:
    """The certificate of a request came, and fits: a person has until `decide_until` to decide."""
    return mine.to(
        CertificateState.ISSUED,
        certificate=found.data,
        issuer=x509.name_text(found.issuer),
        serial=serial_text(found.serial),
        not_before=found.not_before,
        not_after=found.not_after,
        received_at=now,
        decide_until=now + patience,
        overdue=False,
        reason="",
    )


def serial_text(serial: int) -> str:
    return f"{serial:X}" if serial >= 0 else f"-{-serial:X}"


# Comparing -----------------------------------------------------------------------------------


class Mismatch(NamedTuple):
    """One field of a certificate that is not what was asked for."""

    field: str
    wanted: str
    found: str


def mismatches(csr: Csr, found: X509, now: datetime) -> tuple[Mismatch, ...]:
    """Hold a certificate against its request, field by field. Nothing: it may be accepted."""
    differ = [
        Mismatch("version", "3", str(found.version + 1)) if found.version != 2 else None,  # noqa: PLR2004  (v3)
        Mismatch("key", _short(csr.spki), _short(found.spki)) if found.spki != csr.spki else None,
        *_names(csr.subject, found.subject),
        *_usages(csr, found),
        Mismatch("ca", "no", "yes") if found.is_ca else None,
        Mismatch("serial", "above 0", str(found.serial)) if found.serial <= 0 else None,
        _period(found, now),
    ]
    return tuple(each for each in differ if each is not None)


_FIELDS = {profiles.ORGANISATIONAL_UNIT: "role", profiles.UNIQUE_IDENTIFIER: "eui"}


def _names(wanted: bytes, found: bytes) -> list[Mismatch]:
    """Compare what names say: an issuer may write a text as another kind of string."""
    try:
        ours, theirs = _said(wanted), _said(found)
    except DerError:
        return [Mismatch("subject", x509.name_text(wanted), x509.name_text(found))]
    differ = [
        Mismatch(_FIELDS.get(kind, "subject"), _joined(ours, kind), _joined(theirs, kind))
        for kind in sorted({kind for kind, _ in {*ours} ^ {*theirs}})
    ]
    if not differ and len(ours) != len(theirs):
        differ = [Mismatch("subject", x509.name_text(wanted), x509.name_text(found))]
    return differ


def _said(name: bytes) -> list[tuple[bytes, str]]:
    return [(each.kind, each.text) for each in x509.attributes_of(name)]


def _joined(said: list[tuple[bytes, str]], kind: bytes) -> str:
    return ", ".join(text for each, text in said if each == kind) or "nothing"


def _usages(csr: Csr, found: X509) -> list[Mismatch]:
    usage = found.extension(x509.KEY_USAGE)
    if usage is None:
        return [Mismatch("usage", usage_text(csr.usages()), "nothing")]
    differ = []
    try:
        bits = x509.usages_of(usage.value)
    except DerError:
        return [Mismatch("usage", usage_text(csr.usages()), "unreadable")]
    if bits != csr.usages():
        differ.append(Mismatch("usage", usage_text(csr.usages()), usage_text(bits) or "nothing"))
    if not usage.critical:
        differ.append(Mismatch("usage-critical", "critical", "not critical"))
    return differ


def _period(found: X509, now: datetime) -> Mismatch | None:
    if found.not_before < found.not_after and now < found.not_after:
        return None
    text = f"{found.not_before:%Y-%m-%d %H:%M} to {found.not_after:%Y-%m-%d %H:%M}"
    return Mismatch("validity", f"a period that lasts beyond {now:%Y-%m-%d %H:%M}", text)


def _short(spki: bytes) -> str:
    """The last bytes of a key, enough to see that it is another one."""
    return spki[-16:].hex()
