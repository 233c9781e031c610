"""Traces of sessions with tokens: written with the journal, bound to the log, read by who may.

Each entry of a job's journal that a session makes is committed with the exchanges up to it, and
its event has their digest. So nobody takes a line away later, or writes one, and who gets a trace
holds it against the log.
"""

import hashlib
from datetime import timedelta
from uuid import UUID, uuid4

from hsm.pcsc.relay import Relay
from keyvault.domain.access import Action, Principal
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.times import text_of
from keyvault.operations.vault import Vault, permit
from keyvault.store.traces import KeptTrace
from keyvault.store.unit_of_work import Work

FORMAT = "keyvault-trace-v1"
SESSIONS = 50  # of one job, the newest


class Tracing:
    """One session with one token, and what of it is written down."""

    def __init__(self, vault: Vault, relay: Relay, job: UUID, station: str) -> None:
        self._trace = relay.trace
        self._began = vault.clock()
        self._days = vault.settings.issuing.traces
        self._id, self._job = uuid4(), job
        about: Document = {"ctx": FORMAT, "session": str(self._id), "job": str(job)}
        about |= {"station": station, "began": text_of(self._began)}
        self._lines, self._taken = [_line(about)], 0

    def keep(self, work: Work) -> Document:
        """Write down what there is, and return what the event of this transaction says of it."""
        new = self._trace.exchanges[self._taken :]
        self._lines += [_line(each.document()) for each in new]
        self._taken += len(new)
        text = "".join(self._lines)
        work.traces.keep(KeptTrace(self._id, self._job, self._began, text, self._taken))
        if self._taken == len(new):  # its first entry
            work.traces.forget(self._job, SESSIONS, self._began - timedelta(days=self._days))
        return {"session": str(self._id), "exchanges": self._taken, "sha256": digest(text)}

    def last(self) -> Document:
        """The last instruction to the token, and how it ended."""
        return dict(self._trace.last())


def digest(text: str) -> str:
    """SHA-256 of a whole trace, hex; of its first n + 1 lines for an event with n exchanges."""
    return hashlib.sha256(text.encode()).hexdigest()


def _line(document: Document) -> str:
    return canonical(document).decode() + "\n"


def of_job(vault: Vault, who: Principal, job: UUID) -> list[KeptTrace]:
    """The traces of a job that are kept, oldest first."""
    permit(vault, who, Action.TRACE_READ)
    with vault.database.reading() as work:
        work.issuing.get(job)
        return work.traces.of_job(job)


def get(vault: Vault, who: Principal, trace: UUID) -> KeptTrace:
    """Raises `NotFoundError` where it is not kept, or not any more."""
    permit(vault, who, Action.TRACE_READ)
    with vault.database.reading() as work:
        return work.traces.get(trace)
