"""What the house refuses, each with a stable code and what to do next.

Surfaces translate these by table. A message never holds a secret: it may be shown and logged.
"""


class VaultError(Exception):
    """The operation did not happen. `code` is stable; `next_step` is a sentence for people."""

    code = "vault-error"

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class InvalidInputError(VaultError):
    """The caller's values are outside the contract."""

    code = "invalid-input"


class NotAuthenticatedError(VaultError):
    """Nobody we know is calling."""

    code = "not-authenticated"


class NotPermittedError(VaultError):
    """We know who calls, and the answer is no."""

    code = "not-permitted"


class NotFoundError(VaultError):
    code = "not-found"


class KeyStateError(VaultError):
    """The key's state, dates or version do not allow this."""

    code = "key-state"


class ModuleLevelError(VaultError):
    """The key's class asks for a better validated module than this one is declared to be."""

    code = "module-level"


class ModuleLocationError(VaultError):
    """The key's class binds it to a place, and this module is not declared to stand there."""

    code = "module-location"


class UseNotAllowedError(VaultError):
    """The key is guarded, and no approval allows this use of it."""

    code = "use-not-allowed"


class RequestStateError(VaultError):
    """The approval request is finished, expired or already under way."""

    code = "request-state"


class QuorumError(VaultError):
    """Fewer valid approvals than the rule asks, or one that does not count."""

    code = "quorum"


class ApprovalInvalidError(QuorumError):
    """One approval's signature, signer, time or content is not valid."""

    code = "approval-invalid"


class RequestAlteredError(ApprovalInvalidError):
    """The stored request is not the one whose asking the log tells of."""

    code = "request-altered"


class AuthorityError(VaultError):
    """The chain of signed authority records is broken, forged or behind what was seen."""

    code = "authority"


class AuthorityMissingError(AuthorityError):
    """The gate holds less of the chain than it needs; pushing the records helps."""

    code = "authority-missing"


class AuthorityChangedError(VaultError):
    """Who may do what changed between the decision and the commit; it has to be decided anew."""

    code = "authority-changed"


class RuleError(AuthorityError):
    """A rule that would let too few people decide, or that nobody could meet."""

    code = "rule"


class ConflictError(VaultError):
    """The Idempotency-Key was used for another request, or the object changed meanwhile."""

    code = "conflict"


class ReplayedError(ConflictError):
    """An approved request is carried out once, and it was before."""

    code = "replayed"


class OutcomeUnknownError(VaultError):
    """The first attempt is still under way or was cut off; reconciling will settle it."""

    code = "outcome-unknown"


class LogUnavailableError(VaultError):
    """The event could not be written, so the operation did not happen."""

    code = "log-unavailable"


class EventMisfitError(VaultError):
    """What would be written before an act is not what the closed list has, so nothing was done."""

    code = "event-misfit"


class BusyError(VaultError):
    """Too much work at once; nothing was begun. `retry_after` is in seconds."""

    code = "busy"

    def __init__(self, message: str, *, next_step: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, next_step=next_step)
        self.retry_after = retry_after


class OverloadedError(BusyError):
    """All callers together ask for more than this process can do now; nothing was begun."""

    code = "overloaded"


class RateLimitedError(BusyError):
    """A caller, or all of their scope together, asks more often than is allowed."""

    code = "rate-limited"


class LockedOutError(BusyError):
    """An identity failed too often of late, and is not heard until later."""

    code = "locked-out"


class NotReadyError(VaultError):
    """A part that signatures need is missing, behind or full."""

    code = "not-ready"


class CsrRefusedError(VaultError):
    """A certification request is not as its profile wants it. The message names every code."""

    code = "csr-refused"


class CertificateDiffersError(VaultError):
    """A token's certificate is not what its request asked for, or nobody believes its issuer."""

    code = "certificate-differs"


class CertificateUnreadableError(VaultError):
    """What should be a certificate is too large, or no X.509 in DER."""

    code = "certificate-unreadable"


class KeyNeededError(KeyStateError):
    """The key is on hold, or something depends on it: the message lists what. It stays."""

    code = "key-needed"


class TokenStateError(VaultError):
    """The token's state does not allow this step, or what it needs is missing."""

    code = "token-state"


class FileSignatureError(VaultError):
    """A signed file is not what was signed, or not by somebody who may sign it."""

    code = "file-signature"


class CardChangedError(VaultError):
    """A card's data objects are not what its issuer signed, or nobody believed signed them."""

    code = "card-changed"


class StatementInvalidError(VaultError):
    """What was signed about a token is not what stands there, or its signature does not count."""

    code = "statement-invalid"


class CertificateStateError(VaultError):
    """The certificate's state, or its key's, does not allow this step."""

    code = "certificate-state"


class CertificatePendingError(KeyStateError):
    """The key has a request or a certificate that nobody has accepted or withdrawn yet."""

    code = "certificate-pending"


class InterfaceTakenError(ConflictError):
    """A key or the name of a system serves another interface already."""

    code = "interface-taken"


class SubmissionLimitError(VaultError):
    """The authority takes no more certification requests of this party now."""

    code = "submission-limit"


class CounterRegressionError(ConflictError):
    """These originator counters were given before: the database is older than the gate's memory."""

    code = "counter-regression"


class CounterNotIssuedError(ConflictError):
    """Nobody was given this originator counter, or it is void."""

    code = "counter-not-issued"


class CounterUsedError(ConflictError):
    """A message with this originator counter was protected before; a second one would be forged."""

    code = "counter-used"


class CellUsageError(VaultError):
    """The key was ordered for devices' slots of the other usage."""

    code = "cell-usage"


class HandoverEndedError(VaultError):
    """The handover is over, by its own end, an abort or the clock, or the gate started anew."""

    code = "handover-ended"


class ComponentRefusedError(VaultError):
    """Not this person's component, or theirs a second time, or a session that brought another."""

    code = "component-refused"


class ComponentInvalidError(InvalidInputError):
    """What was handed over does not open, has the wrong size, or another check value."""

    code = "component-invalid"


class CheckValueError(VaultError):
    """The whole key is not the one whose check value people approved; it was not made."""

    code = "check-value"


class BagMismatchError(VaultError):
    """The bag that came back has another number than what was put away in it."""

    code = "bag-mismatch"


class PublishedKeyError(InvalidInputError):
    """The private half of this key is published, as those of public test systems are."""

    code = "published-key"


class ShareStateError(VaultError):
    """The share's state does not allow this, or its bag is another one."""

    code = "share-state"


class ShareInvalidError(VaultError):
    """A share with a wrong word, of another set, or one that was entered before: not counted."""

    code = "share-invalid"


class BackupInvalidError(VaultError):
    """A backup that was altered, cut off, or is not the one that was approved."""

    code = "backup-invalid"


class NotWitnessedError(VaultError):
    """Too few witnesses have seen the event that has to come first, so the act did not happen."""

    code = "not-witnessed"


class RolledBackError(VaultError):
    """The log is shorter than somebody has seen it, or another: nothing is served from it."""

    code = "rolled-back"


class IssueStateError(VaultError):
    """The issuing job is not where this could be done, or somebody else is at it."""

    code = "issue-state"


class TokenDuplicateError(ConflictError):
    """The token, its serial number or its key is known of another token."""

    code = "token-duplicate"


class CeremonyError(VaultError):
    """A script, journal or transcript of a ceremony that does not hold."""

    code = "ceremony-invalid"


class RetainedError(VaultError):
    """What events say has to be kept for longer, by their class or by a hold."""

    code = "retained"
