"""Acts that take approvals: which event says that one was done, and what was approved."""

from __future__ import annotations

from typing import Any

# An act that is done to a key and begins with an intent: its event, and the commands behind it.
ACTS = {
    "KEY.GENERATED": "generate-key",
    "KEY.IMPORTED": "import-key import-components import-envelope",
    "KEY.EXPORTED": "export-key export-components export-envelope",
    "KEY.ACTIVATED": "activate-key",
    "KEY.RESUMED": "resume-key",
    "KEY.DEACTIVATED": "deactivate-key",
    "KEY.DESTROYED": "destroy-key",
    "KEY.USE_ALLOWED": "allow-use",
    "KEK.ROTATED": "rotate-kek",
    "KEK.RETIRED": "retire-kek",
    "KEY.HOLD_LIFTED": "lift-hold",
    "BACKUP.KEY_MADE": "make-backup-key",
    "BACKUP.KEY_DESTROYED": "destroy-backup-key",
    "BACKUP.RESTORATION_BEGUN": "restore-backup",
    "CA.CERTIFIED": "certify-authority",
    "CA.SIGNER_CERTIFIED": "certify-signer",
}
BIRTHS = ("generate-key", "import-key", "import-components", "import-envelope")
# These change authority, by the method of their name in `Change`.
CHANGES = """
  register-person change-person remove-person review-screening suspend-person reinstate-person
  hold-person enrol-credential revoke-credential acknowledge-duty enrol-system rotate-system
  revoke-system set-rule remove-rule set-key-class set-duty set-standard set-spare-key
""".split()  # noqa: SIM905 - a list would be a line each


def subject_of(request: Any) -> str:
    """The key that an act is about: its id is that of the request that ordered it."""
    named = request["parameters"]
    key: str = named.get("key") or named.get("backup_key") or request["id"]
    return key
