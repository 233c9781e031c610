"""Sessions with desks, in the one process that a desk's connection reached.

A connection that breaks ends its session, and to the job the token was pulled: nothing here has
to outlive the process.
"""

import threading
import time
from uuid import UUID, uuid4

from hsm.pcsc.relay import Relay
from keyvault.domain.errors import BusyError, NotFoundError

LIMIT = 32  # sessions at once
ENDING = 5.0  # seconds that a session may take to notice that it is over
SILENT = 300.0  # seconds after which a session that nobody asks about is forgotten


class Relays:
    """The sessions of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[UUID, tuple[Relay, str, UUID]] = {}

    def add(self, relay: Relay, person: str, about: UUID) -> UUID:
        session = uuid4()
        with self._lock:
            self._forget()
            if len(self._open) >= LIMIT:
                relay.hang_up()
                raise BusyError("too many desks work at once", retry_after=30.0)
            self._open[session] = (relay, person, about)
        return session

    def get(self, session: UUID, person: str) -> Relay:
        """Whoever began a session goes on with it, and nobody else learns that it is there."""
        with self._lock:
            relay, owner, _ = self._open.get(session, (None, "", session))
        if relay is None or owner != person:
            raise NotFoundError(
                "there is no such session here", next_step="begin again: the job goes on"
            )
        return relay

    def busy(self, about: UUID, person: str) -> bool:
        """Whether a session is about this. One of the same person is ended first: they are back."""
        with self._lock:
            found = [(r, owner) for r, owner, what in self._open.values() if what == about]
        for relay, owner in found:
            if owner == person and not relay.ended:
                relay.hang_up()
                relay.wait(ENDING)
        return any(not relay.ended for relay, _ in found)

    def _forget(self) -> None:
        now = time.monotonic()
        for session, (relay, _, _) in list(self._open.items()):
            if relay.ended or now - relay.heard > SILENT:
                relay.hang_up()
                del self._open[session]
