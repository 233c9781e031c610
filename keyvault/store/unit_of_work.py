"""A transaction with the rooms in it. Nothing is saved without saying what happened."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from hsm.types import WrappedKey
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import canonical
from keyvault.domain.errors import EventMisfitError
from keyvault.domain.keys import Key
from keyvault.domain.schemas import misfit
from keyvault.store import engine, migrating
from keyvault.store.audit import Audit, Seals
from keyvault.store.authority import AuthorityRecords
from keyvault.store.backups import Backups
from keyvault.store.callers import Callers
from keyvault.store.ceremonies import Ceremonies
from keyvault.store.certificates import Certificates
from keyvault.store.compromise import Compromises
from keyvault.store.counters import Counters
from keyvault.store.custody import Custody
from keyvault.store.emergency import EmergencyCodes
from keyvault.store.forecast import Forecast
from keyvault.store.handovers import Handovers
from keyvault.store.idempotency import Idempotency
from keyvault.store.issued import IssuedCertificates
from keyvault.store.issuing import Issuing
from keyvault.store.keys import Keys, both
from keyvault.store.log import Log, Memory, Receipt
from keyvault.store.notices import Notices
from keyvault.store.pace import Paces
from keyvault.store.payloads import Payloads, erase
from keyvault.store.reconciliations import Reconciliations
from keyvault.store.requests import Requests
from keyvault.store.sessions import Sessions
from keyvault.store.stations import Stations
from keyvault.store.tokens import Tokens
from keyvault.store.traces import Traces


class Reading:
    """One snapshot of everything."""

    def __init__(self, connection: Connection, *, writes: bool = False) -> None:
        self.keys = Keys(connection)
        self.certificates = Certificates(connection)
        self.paces = Paces(connection)
        self.issuing = Issuing(connection)
        self.traces = Traces(connection)
        self.stations = Stations(connection)
        self.custody = Custody(connection)
        self.backups = Backups(connection)
        self.compromises = Compromises(connection)
        self.ceremonies = Ceremonies(connection)
        self.forecast = Forecast(connection)
        self.emergency = EmergencyCodes(connection)
        self.reconciliations = Reconciliations(connection)
        self.handovers = Handovers(connection)
        self.requests = Requests(connection, writes=writes)
        self.authority = AuthorityRecords(connection)
        self.counters = Counters(connection, writes=writes)
        self.audit, self.payloads = Audit(connection), Payloads(connection)
        self.sessions = Sessions(connection)
        self.callers = Callers(connection)
        self.tokens = Tokens(connection)
        self.issued = IssuedCertificates(connection)
        self.notices = Notices(connection)
        self.idempotency = Idempotency(connection)


class Work(Reading):
    """A transaction: changes in the rooms, then one `commit` with their events."""

    def __init__(self, connection: Connection, node: str, memory: Memory | None) -> None:
        super().__init__(connection, writes=True)
        self._connection = connection
        self.log = Log(connection, node, memory)

    def erase(self, events: Sequence[int], now: datetime) -> None:
        """Erase payload and salt of these events; the event of it is committed with this."""
        erase(self._connection, events, now)

    def commit(
        self, event: AuditEvent, *more: AuditEvent, note: Callable[[list[Receipt]], object] = list
    ) -> list[Receipt]:
        """Append the events, lock the head last and commit, once. What is returned is durable.

        `note` may write the receipts down in the same transaction. Raises `LogUnavailableError`
        and `EventMisfitError`: nothing happened; `OutcomeUnknownError`: the connection broke
        during the commit.
        """
        if self.tokens.changed or self.issued.changed:
            self.callers.changed()  # after every other row, so that no two wait for each other
        events = [event, *more]
        told = self._misfits(events)
        receipts = self.log.append([*events, *told], self.authority.newest)[: len(events)]
        note(receipts)
        engine.commit(self._connection)
        return receipts

    def _misfits(self, events: Sequence[AuditEvent]) -> list[AuditEvent]:
        """Refuse an intent that does not fit the list; tell of others, each kind once. ADR 47."""
        found = [(event, what) for event in events if (what := misfit(event))]
        told = {}
        for event, what in found:
            if event.outcome is Outcome.INTENT:
                raise EventMisfitError(
                    f"nothing was done: {what}", next_step="report this fault of the program"
                )
            said, stream = {"about": str(event.type), "what": what}, f"misfit:{event.type}"
            newest = self.audit.newest_of(stream)
            if newest is None or newest.payload != canonical(said):
                kind, outcome = EventType.AUDIT_MISFIT, Outcome.FAIL
                told[what] = AuditEvent(kind, outcome, event.operation, stream, "service:log", said)
        return list(told.values())


class Database:
    """A database by its SQLAlchemy URL. `node` names this host in the log."""

    def __init__(self, url: str, node: str = "local") -> None:
        self._engine = engine.open_engine(url)
        self._node = node
        self._standing: list[engine.Standing] = []

    @contextmanager
    def work(self, memory: Memory | None = None) -> Iterator[Work]:
        """Open a transaction, rolled back unless it commits. Never hold one across a device call.

        `memory` is for a writer that comes back at once, see `keyvault.store.log`.
        """
        with self._writing(memory) as connection:
            yield Work(connection, self._node, memory)

    def _writing(self, memory: Memory | None) -> AbstractContextManager[Connection]:
        if memory is None:
            return engine.writing(self._engine)
        if memory.standing is None:
            memory.standing = engine.Standing(self._engine)
            self._standing.append(memory.standing)
        return memory.standing.writing()

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Open a snapshot to read from; it ends with the block."""
        with engine.reading(self._engine) as connection:
            yield Reading(connection)

    def key(self, key_id: UUID) -> tuple[Key, WrappedKey | None]:
        """Read a key and its wrapped record, if it has one, at once. Raises `NotFoundError`."""
        with engine.glancing(self._engine) as connection:
            return both(connection, self._engine.dialect, key_id)

    @contextmanager
    def sealing(self) -> Iterator[Seals]:
        """Open a transaction without an event: what it adds is made of the log itself.

        Committed at the block's end.
        """
        with engine.writing(self._engine) as connection:
            yield Seals(connection)
            engine.commit(connection)

    @contextmanager
    def hearing(self) -> Iterator[Stations]:
        """Open the other one without: when a desk was last heard is no history, see ADR 43.

        Committed at the block's end.
        """
        with engine.writing(self._engine) as connection:
            yield Stations(connection)
            engine.commit(connection)

    @contextmanager
    def election(self, office: str) -> Iterator[Callable[[], bool]]:
        """Stand for an office that one process holds at a time: ask whether this one does."""
        with engine.elected(self._engine, office) as holds:
            yield holds

    def migrate(self, revision: str = "head") -> None:
        """Bring the tables to a revision, forward or back; "base" is an empty database."""
        migrating.migrate(self._engine, revision)

    def version(self) -> str | None:
        """Return the revision of the tables, or None for a database without any."""
        return migrating.version(self._engine)

    def wanted_version(self) -> str:
        """Return the newest revision that this program knows."""
        return migrating.newest()

    def is_current(self) -> bool:
        """Whether the tables are at the newest revision."""
        return migrating.is_current(self._engine)

    def close(self) -> None:
        for standing in self._standing:
            standing.close()
        self._engine.dispose()
