"""Acts that take approvals: which event says that one was done, and what was approved."""

from __future__ import annotations

from keyvault.evidence.verifier.forms import COMMANDS

# An act that is done to a key and begins with an intent: its event, and the command behind it.
ACTS = {
    "KEY.GENERATED": "generate-key",
    "KEY.IMPORTED": "import-key",
    "KEY.EXPORTED": "export-key",
    "KEY.ACTIVATED": "activate-key",
    "KEY.RESUMED": "resume-key",
    "KEY.DEACTIVATED": "deactivate-key",
    "KEY.DESTROYED": "destroy-key",
    "KEY.USE_ALLOWED": "allow-use",
    "KEY.HOLD_LIFTED": "lift-hold",
}
BIRTHS = ("generate-key", "import-key")
# Every other command changes authority, by the method of its name in `Change`.
CHANGES = [command for command in COMMANDS if command not in ACTS.values()]
