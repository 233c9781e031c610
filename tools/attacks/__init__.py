"""The attempts of the authority drill, threat by threat; docs/threats.md says what each is.

Each function is one threat: its first line is the step's title. A refusal at a gate's socket is
told by `GATE.REFUSED`, since who owns the api would not write it down themselves.
"""

from tools.attacks import database, host, last, people
from tools.attacks.common import SCOPE

__all__ = ["ATTACKS", "LAST", "SCOPE"]

ATTACKS = (
    *(people.alone, people.together),
    *(database.rows, database.history, database.code),
    *(host.credential, host.host, host.swapped, host.again),
    *(people.cards, people.relay),
)
LAST = (last.false_evidence, last.false_event, last.second_history)
