"""Certificates of our keys: requests, what came of them, and what ends when."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.certificates import (
    AcceptanceIn,
    AnswersIn,
    AnswersOut,
    BatchOut,
    BatchRequestsOut,
    BuiltOut,
    CertificateOut,
    CertificatesOut,
    CertificateWholeOut,
    CsrOut,
    CsrsIn,
    CsrsOut,
    MovedOut,
    SubmissionIn,
    TakenOut,
    WatchIn,
)
from api.rest.schemas.common import Cursor, Id, Limit, ReasonIn, ScopeText
from keyvault.domain.certificates import CertificateState, Kind
from keyvault.domain.scopes import Scope
from keyvault.operations import certificates, csr, expiry, responses
from keyvault.operations.certificates import Moved
from keyvault.operations.vault import Vault

router = APIRouter(tags=["certificates"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)
_PATH = "/v1/certificates"
_ONE = _PATH + "/{certificate_id:id}"


@router.post(
    f"{_PATH}/requests",
    status_code=201,
    operation_id="build_requests",
    responses=documented(403, 408, 409, 413, 415, 502),
)
def build_requests(body: CsrsIn, vault: V, who: Who, repeat: Repeat) -> CsrsOut:
    """Make certification requests from the records of keys, each signed by its key."""
    wanted = [item.read() for item in body.items]
    built = csr.build(vault, who, body.profile, wanted, body.batch, repeat)
    return CsrsOut(items=[BuiltOut.of(each, vault.clock()) for each in built])


@router.post(f"{_PATH}/submissions", operation_id="submit_requests", responses=_CHANGE)
def submit_requests(body: SubmissionIn, vault: V, who: Who, repeat: Repeat) -> MovedOut:
    """Record that requests go to the authority now, at its pace; of a batch 200 at a time."""
    return _moved(vault, certificates.submit(vault, who, body.read(), body.reference, repeat))


@router.post(f"{_PATH}/answers", operation_id="take_answers", responses=_CHANGE)
def take_answers(body: AnswersIn, vault: V, who: Who, repeat: Repeat) -> AnswersOut:
    """Take in what the authority answered; what differs from its request is rejected at once."""
    taken = responses.take(vault, who, [item.read() for item in body.items], repeat)
    return AnswersOut(items=[TakenOut.of(each, vault.clock()) for each in taken])


@router.post(f"{_PATH}/acceptances", operation_id="accept_certificates", responses=_CHANGE)
def accept_certificates(body: AcceptanceIn, vault: V, who: Who, repeat: Repeat) -> MovedOut:
    """Accept certificates that fit; of a batch 200 at a time."""
    return _moved(vault, certificates.accept(vault, who, body.read(), body.reason, repeat))


@router.post(f"{_ONE}/rejections", operation_id="reject_certificate", responses=_CHANGE)
def reject_certificate(
    certificate_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat
) -> MovedOut:
    """Reject a certificate that came."""
    return _moved(vault, certificates.reject(vault, who, certificate_id, body.reason, repeat))


@router.post(f"{_ONE}/withdrawals", operation_id="withdraw_request", responses=_CHANGE)
def withdraw_request(
    certificate_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat
) -> MovedOut:
    """Give a request up."""
    return _moved(vault, certificates.withdraw(vault, who, certificate_id, body.reason, repeat))


@router.post(f"{_ONE}/revocations", operation_id="revoke_certificate", responses=_CHANGE)
def revoke_certificate(
    certificate_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat
) -> MovedOut:
    """Record that a certificate is revoked, or that another's is believed no more."""
    return _moved(vault, certificates.revoke(vault, who, certificate_id, body.reason, repeat))


def _moved(vault: Vault, moved: Moved) -> MovedOut:
    return MovedOut.of(moved, vault.clock())


@router.post(
    f"{_PATH}/watched", status_code=201, operation_id="watch_certificate", responses=_CHANGE
)
def watch_certificate(body: WatchIn, vault: V, who: Who, repeat: Repeat) -> CertificateOut:
    """Import another's certificate, to be told when it ends or to believe others by."""
    kind = Kind(body.kind)
    return CertificateOut.of(
        responses.watch(vault, who, body.certificate, kind, repeat), vault.clock()
    )


@router.get(_PATH, operation_id="list_certificates", responses=_READ)
def list_certificates(  # noqa: PLR0913  (each filter has its name)
    *,
    vault: V,
    who: Who,
    scope: Annotated[ScopeText | None, Query()] = None,
    state: CertificateState | None = None,
    kind: Kind | None = None,
    key: Annotated[Id | None, Query()] = None,
    batch: Annotated[Id | None, Query()] = None,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> CertificatesOut:
    """List certificates, newest first. A system sees those of its own scope."""
    chosen = Scope.parse(scope) if scope else None
    query = certificates.Query(chosen, state, kind, key, batch)
    items, following = certificates.page(vault, who, query, after, limit)
    now = vault.clock()
    return CertificatesOut(items=[CertificateOut.of(one, now) for one in items], next=following)


@router.get(f"{_PATH}/ending", operation_id="list_ending", responses=_READ)
def list_ending(
    *,
    vault: V,
    who: Who,
    within: Annotated[int, Query(ge=0, le=36_525)] = 180,
    scope: Annotated[ScopeText | None, Query()] = None,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> CertificatesOut:
    """List what ends within so many days, ours and others', the first to end first."""
    chosen = Scope.parse(scope) if scope else None
    items, following = expiry.ending(vault, who, within, chosen, after, limit)
    now = vault.clock()
    return CertificatesOut(items=[CertificateOut.of(one, now) for one in items], next=following)


@router.get(_PATH + "/batches/{batch:id}", operation_id="show_batch", responses=_READ)
def show_batch(batch: Id, vault: V, who: Who) -> BatchOut:
    """Say how many of a batch are in which state."""
    return BatchOut(states=certificates.counts(vault, who, batch))


@router.get(
    _PATH + "/batches/{batch:id}/requests",
    operation_id="list_batch_requests",
    responses=_READ,
)
def list_batch_requests(
    batch: Id,
    vault: V,
    who: Who,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> BatchRequestsOut:
    """List the requests of a batch in DER, to be written into an archive."""
    items, following = certificates.requests(vault, who, batch, after, limit)
    return BatchRequestsOut(items=[CsrOut(id=o.id, csr=o.csr) for o in items], next=following)


@router.get(_ONE, operation_id="show_certificate", responses=_READ)
def show_certificate(certificate_id: Id, vault: V, who: Who) -> CertificateWholeOut:
    """Show a certificate with its request and itself, in DER."""
    found = certificates.get(vault, who, certificate_id)
    return CertificateWholeOut.of(found, vault.clock())
