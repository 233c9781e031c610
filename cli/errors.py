"""What goes wrong at this door, and the one table from an error's code to an exit status."""

import os

from hsm.errors import HsmError
from keyvault.domain.errors import VaultError


class UsageError(VaultError):
    """The command line itself is wrong."""

    code = "usage"


class DeclinedError(VaultError):
    """The person said no, or could not be asked."""

    code = "declined"


class ServerUnreachableError(VaultError):
    """No answer came over the network; a call that writes may or may not have happened."""

    code = "server-unreachable"


class LogForkError(VaultError):
    """The log went back, was rewritten, or is not signed by the keys of the genesis."""

    code = "log-fork"


class TransportKeyError(VaultError):
    """The key to seal to is not the gate's: its statement is not signed by the evidence key."""

    code = "transport-key"


class EvidenceError(VaultError):
    """The verifier found the evidence to be wrong."""

    code = "evidence-wrong"


class FindingsError(VaultError):
    """A check of the service found something that people have to put right."""

    code = "findings"


class CertificateRefusedError(VaultError):
    """A certificate or request that came in is not what it should be; what came is kept."""

    code = "certificate-refused"


class BatchTooManyError(VaultError):
    """An archive with more members than one batch may have."""

    code = "batch-too-many"


class BatchNameTakenError(VaultError):
    """Two members of an archive have the same name."""

    code = "batch-name-taken"


class BatchNoArchiveError(VaultError):
    """The file is no ZIP archive of the simple kind that a batch is."""

    code = "batch-no-archive"


class BatchCutOffError(VaultError):
    """The archive, or one of its members, ends too early or is damaged."""

    code = "batch-cut-off"


class BatchEncryptedError(VaultError):
    """A member of the archive is encrypted."""

    code = "batch-encrypted"


class BatchNotFlatError(VaultError):
    """A member lies in a folder, or its name leads elsewhere or has another ending."""

    code = "batch-not-flat"


class BatchMemberTooLargeError(VaultError):
    """A member says that it is larger than a request or certificate can be."""

    code = "batch-member-too-large"


class BatchBombError(VaultError):
    """A member unpacks to more than it says."""

    code = "batch-bomb"


class CeremonyPausedError(VaultError):
    """A ceremony stands still; what was done stays done."""

    code = "ceremony-paused"


class ProblemError(VaultError):
    """The server refused: its own code, words and next step (RFC 9457)."""

    def __init__(self, code: str, status: int, message: str, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.code = code
        self.status = status


INTERRUPTED = 130  # what a shell says of a command that ^C ended: 128 and SIGINT

# Exit statuses of sysexits.h, by stable error code: the same whether the error arose here or at
# the server. What is not listed is EX_SOFTWARE.
EXIT: dict[str, int] = {
    "usage": os.EX_USAGE,
    "invalid-input": os.EX_DATAERR,
    "too-large": os.EX_DATAERR,
    "evidence-wrong": os.EX_DATAERR,
    "hsm-data-invalid": os.EX_DATAERR,
    "hsm-key-unusable": os.EX_DATAERR,
    "card-foreign": os.EX_DATAERR,
    "token-spoiled": os.EX_DATAERR,
    "not-found": os.EX_NOINPUT,
    "hsm-key-not-found": os.EX_NOINPUT,
    "card-object-missing": os.EX_NOINPUT,
    "key-state": os.EX_UNAVAILABLE,
    "key-needed": os.EX_UNAVAILABLE,
    "retained": os.EX_UNAVAILABLE,
    "share-state": os.EX_UNAVAILABLE,
    "share-invalid": os.EX_DATAERR,
    "backup-invalid": os.EX_DATAERR,
    "handover-ended": os.EX_UNAVAILABLE,
    "component-refused": os.EX_NOPERM,
    "component-invalid": os.EX_DATAERR,
    "check-value": os.EX_DATAERR,
    "bag-mismatch": os.EX_DATAERR,
    "transport-key": os.EX_PROTOCOL,
    "use-not-allowed": os.EX_NOPERM,
    "module-level": os.EX_UNAVAILABLE,
    "module-location": os.EX_UNAVAILABLE,
    "request-state": os.EX_UNAVAILABLE,
    "conflict": os.EX_UNAVAILABLE,
    "replayed": os.EX_UNAVAILABLE,
    "hsm-mechanism-unsupported": os.EX_UNAVAILABLE,
    "hsm-full": os.EX_UNAVAILABLE,
    "findings": os.EX_UNAVAILABLE,
    "card-service-unavailable": os.EX_UNAVAILABLE,
    "card-reader-not-found": os.EX_UNAVAILABLE,
    "counter-regression": os.EX_UNAVAILABLE,
    "counter-not-issued": os.EX_UNAVAILABLE,
    "counter-used": os.EX_UNAVAILABLE,
    "cell-usage": os.EX_UNAVAILABLE,
    "published-key": os.EX_DATAERR,
    "hsm-key-exists": os.EX_CANTCREAT,
    "server-unreachable": os.EX_TEMPFAIL,
    "outcome-unknown": os.EX_TEMPFAIL,
    "busy": os.EX_TEMPFAIL,
    "overloaded": os.EX_TEMPFAIL,
    "rate-limited": os.EX_TEMPFAIL,
    "locked-out": os.EX_TEMPFAIL,
    "authority-changed": os.EX_TEMPFAIL,
    "not-ready": os.EX_TEMPFAIL,
    "not-witnessed": os.EX_TEMPFAIL,
    "witness-unreachable": os.EX_TEMPFAIL,
    "rolled-back": os.EX_PROTOCOL,
    "log-unavailable": os.EX_TEMPFAIL,
    "event-misfit": os.EX_SOFTWARE,
    "hsm-unavailable": os.EX_TEMPFAIL,
    "hsm-timeout": os.EX_TEMPFAIL,
    "card-reader-busy": os.EX_TEMPFAIL,
    "hsm-error": os.EX_IOERR,
    "card-error": os.EX_IOERR,
    "card-absent": os.EX_IOERR,
    "card-removed": os.EX_IOERR,
    "card-mute": os.EX_IOERR,
    "log-fork": os.EX_PROTOCOL,
    "witness-refused": os.EX_PROTOCOL,
    "witness-state-lost": os.EX_NOINPUT,
    "policy-invalid": os.EX_DATAERR,
    "log-broken": os.EX_DATAERR,
    "time-stamp-refused": os.EX_PROTOCOL,
    "card-data-invalid": os.EX_PROTOCOL,
    "hsm-integrity": os.EX_PROTOCOL,
    "declined": os.EX_NOPERM,
    "not-authenticated": os.EX_NOPERM,
    "not-permitted": os.EX_NOPERM,
    "quorum": os.EX_NOPERM,
    "approval-invalid": os.EX_NOPERM,
    "request-altered": os.EX_NOPERM,
    "authority": os.EX_NOPERM,
    "authority-missing": os.EX_TEMPFAIL,
    "card-refused": os.EX_NOPERM,
    "rule": os.EX_NOPERM,
    "hsm-pin-incorrect": os.EX_NOPERM,
    "hsm-pin-locked": os.EX_NOPERM,
    "hsm-token-not-found": os.EX_CONFIG,
    "hsm-uri": os.EX_CONFIG,
    "csr-refused": os.EX_DATAERR,
    "certificate-unreadable": os.EX_DATAERR,
    "certificate-differs": os.EX_DATAERR,
    "certificate-refused": os.EX_DATAERR,
    "certificate-state": os.EX_UNAVAILABLE,
    "certificate-pending": os.EX_UNAVAILABLE,
    "token-state": os.EX_UNAVAILABLE,
    "issue-state": os.EX_UNAVAILABLE,
    "token-duplicate": os.EX_UNAVAILABLE,
    "statement-invalid": os.EX_DATAERR,
    "file-signature": os.EX_DATAERR,
    "card-changed": os.EX_DATAERR,
    "interface-taken": os.EX_UNAVAILABLE,
    "submission-limit": os.EX_TEMPFAIL,
    "batch-too-many": os.EX_DATAERR,
    "batch-name-taken": os.EX_DATAERR,
    "batch-no-archive": os.EX_DATAERR,
    "batch-cut-off": os.EX_DATAERR,
    "batch-encrypted": os.EX_DATAERR,
    "batch-not-flat": os.EX_DATAERR,
    "batch-member-too-large": os.EX_DATAERR,
    "batch-bomb": os.EX_DATAERR,
    "ceremony-invalid": os.EX_DATAERR,
    "ceremony-paused": os.EX_TEMPFAIL,
    "vault-error": os.EX_SOFTWARE,
}


def exit_status(error: VaultError | HsmError) -> int:
    return EXIT.get(error.code, os.EX_SOFTWARE)
