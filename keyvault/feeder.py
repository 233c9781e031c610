"""The feeder: brings each sealed checkpoint to the outside witnesses and keeps what they sign.

It holds no key of ours. All witnesses are asked for the same checkpoint, so that their lines
stand under one note; a new one is taken when the quorum has signed, or nobody is left to wait
for. A witness that is slow or away delays none of the others.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from http import HTTPStatus
from uuid import uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, VaultError
from keyvault.domain.notes import Signature
from keyvault.domain.policy import Policy, shown, stream_of
from keyvault.domain.tree import consistency_proof
from keyvault.domain.witnessing import AddCheckpoint, WitnessError
from keyvault.office import Stop, hold
from keyvault.settings import Settings, WitnessSettings
from keyvault.store import Database, StoredCheckpoint
from keyvault.witness.client import (
    WitnessClient,
    WitnessUnreachableError,
    clients,
    read_policy,
)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a witness that failed is asked again
TRIES = 3  # in one turn: a 409 says where to start
GRACE = 0.5  # seconds that the others get once the quorum has signed
log = logging.getLogger("feeder")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a witness does not cosign now, how long it is left alone, and until when."""

    kind: EventType
    pause: float = 0.0
    until: float = 0.0  # of the monotonic clock

    def again(self, kind: EventType) -> "Trouble":
        pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        return Trouble(kind, pause, time.monotonic() + pause)


class Feeder:
    """Feeds the witnesses of one policy. One thread turns it; each witness has one of its own."""

    def __init__(self, database: Database, policy: Policy, settings: WitnessSettings) -> None:
        self._database = database
        self._policy = policy
        self._clients = clients(policy, settings)
        self._trouble = self._remembered()
        self._asked: dict[str, Future[None]] = {}
        self._threads = ThreadPoolExecutor(max(1, len(self._clients)), thread_name_prefix="witness")

    def _remembered(self) -> dict[str, Trouble]:
        """What the log says last of each witness, so that a change is told after a restart too."""
        with self._database.reading() as reading:
            events = {c.name: reading.audit.newest_of(stream_of(c.name)) for c in self._clients}
        kinds = {name: event.header["ty"] for name, event in events.items() if event}
        bad = (EventType.WITNESS_FAILED, EventType.WITNESS_REFUSED)
        return {name: Trouble(EventType(kind)) for name, kind in kinds.items() if kind in bad}

    def turn(self) -> None:
        """Ask everybody who can be asked for the newest checkpoint; wait until it is enough."""
        newest = self._newest()
        if newest is None:
            return
        for client in self._ready():
            self._asked[client.name] = self._threads.submit(self._feed, client, newest)
        self._gather(newest.size)

    def close(self) -> None:
        """Wait for the calls under way, which end by themselves within seconds."""
        self._threads.shutdown(cancel_futures=True)

    def _ready(self) -> Iterable[WitnessClient]:
        for client in self._clients:
            trouble, asked = self._trouble.get(client.name), self._asked.get(client.name)
            free = asked is None or asked.done()
            if free and (trouble is None or time.monotonic() >= trouble.until):
                yield client

    def _gather(self, size: int) -> None:
        """Wait for all, but for those that a quorum does not need only a moment."""
        waiting = {future for future in self._asked.values() if not future.done()}
        enough = 0.0
        while waiting and not (enough and time.monotonic() > enough):
            waiting = wait(waiting, timeout=0.1).not_done
            if not enough and self._policy.asks and self._policy.holds(self._signed(size)):
                enough = time.monotonic() + GRACE

    def _signed(self, size: int) -> list[str]:
        parties = self._policy.witnesses.items()
        with self._database.reading() as reading:
            known = {name: reading.audit.cosigned_by(party.key) for name, party in parties}
        return [name for name, largest in known.items() if largest == size]

    def _feed(self, client: WitnessClient, newest: StoredCheckpoint) -> None:
        """Have one witness cosign one checkpoint; what goes wrong is noted, never raised."""
        try:
            self._fed(client, newest)
        except (VaultError, OSError) as error:  # of the database: no fault of the witness
            log.warning("witness %s was not asked: %s", shown(client.name), error)
        except Exception:
            log.exception("asking witness %s went wrong", shown(client.name))

    def _fed(self, client: WitnessClient, newest: StoredCheckpoint) -> None:
        with self._database.reading() as reading:
            known = reading.audit.cosigned_by(client.party.key)
        if known >= newest.size:
            return
        try:
            size, line = self._ask(client, newest, known)
        except WitnessError as error:
            self._failed(client, EventType.WITNESS_REFUSED, newest.size, error)
        except WitnessUnreachableError as error:
            self._failed(client, EventType.WITNESS_FAILED, newest.size, error)
        else:
            with self._database.sealing() as seals:
                seals.add_cosignature(size, client.party.key, line.line)
            self._recovered(client, size)

    def _ask(
        self, client: WitnessClient, newest: StoredCheckpoint, known: int
    ) -> tuple[int, Signature]:
        """Ask from what it was seen to know on, and again from what it then says it knows."""
        old = known
        for _ in range(TRIES):
            try:
                return newest.size, client.add_checkpoint(self._request(old, newest))
            except WitnessError as error:
                if error.size is None:
                    raise
                newest = self._newest() or newest  # another feeder may have been here before
                _check_size(error.size, old, known, newest.size)
                old = error.size
        raise WitnessUnreachableError(f"witness {shown(client.name)} names a new size each time")

    def _newest(self) -> StoredCheckpoint | None:
        with self._database.reading() as reading:
            return reading.audit.checkpoint()

    def _request(self, old: int, newest: StoredCheckpoint) -> AddCheckpoint:
        with self._database.reading() as reading:
            proof = consistency_proof(reading.audit.hashes(), old, newest.size)
        return AddCheckpoint(old, tuple(proof), newest.note.encode())

    # What is written down: one event for each change ---------------------------------------------

    def _failed(self, client: WitnessClient, kind: EventType, size: int, error: VaultError) -> None:
        before = self._trouble.get(client.name)
        self._trouble[client.name] = (before or Trouble(kind)).again(kind)
        if before is None or before.kind is not kind:
            log.warning("%s. %s", error, error.next_step)
            outcome = Outcome.REFUSED if kind is EventType.WITNESS_REFUSED else Outcome.FAIL
            self._note(client, kind, outcome, {"size": size, "reason": str(error)})

    def _recovered(self, client: WitnessClient, size: int) -> None:
        if self._trouble.pop(client.name, None) is not None:
            log.warning("witness %s cosigns again", shown(client.name))
            self._note(client, EventType.WITNESS_RECOVERED, Outcome.OK, {"size": size})

    def _note(
        self, client: WitnessClient, kind: EventType, outcome: Outcome, payload: Document
    ) -> None:
        event = AuditEvent(
            type=kind,
            outcome=outcome,
            operation=uuid4(),
            stream=stream_of(client.name),
            actor="service:feeder",
            payload={"witness": client.party.key.vkey, **payload},
        )
        with self._database.work() as work:
            work.commit(event)


def _check_size(seen: int, old: int, known: int, newest: int) -> None:
    """Refuse what a witness of this log could not have seen. Raises `WitnessError`."""
    if seen > newest:
        reason = f"it has seen {seen} leaves, and this log is sealed up to {newest}"
    elif seen == old:
        reason = f"it has seen another tree of {seen} leaves"
    elif seen < known:
        reason = f"it cosigned {known} leaves and now knows {seen}: it has lost its memory"
    else:
        return
    raise WitnessError(HTTPStatus.CONFLICT, reason, size=seen)


def run(settings: Settings, stop: Stop) -> None:
    """Feed while this process is the elected one, until `stop`."""
    if settings.witnesses is None:
        raise InvalidInputError("the settings name no witnesses", next_step="see docs/witness.md")
    policy = read_policy(settings.witnesses, settings.origin)
    database = Database(settings.database, settings.node)
    try:
        feeder = Feeder(database, policy, settings.witnesses)
        with database.election("feeder") as holds:
            while not stop.wait(settings.witnesses.interval):
                _turn(feeder, holds)
        feeder.close()
    finally:
        database.close()


def _turn(feeder: Feeder, holds: Callable[[], bool]) -> None:
    try:
        if holds():
            feeder.turn()
    except (VaultError, OSError) as error:
        log.warning("%s", error)


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    return hold("feeder", __doc__, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
