"""How a ceremony at the table reaches the service: it is begun there, and ends there."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cli.errors import ServerUnreachableError
from cli.local.acts import Call, run
from cli.local.seats import Seat
from cli.output import say
from cli.remote import log
from cli.remote.client import Server
from cli.state import Session, open_session, remembered
from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError
from keyvault.domain.times import time_of


@dataclass(frozen=True, slots=True)
class Door:
    """A service, by the session of whoever holds the ceremony."""

    here: Session
    server: Server

    @classmethod
    def of(cls, session: Path | None) -> "Door":
        here = open_session(session)
        return cls(here, Server.of(here))

    def check(self, seats: Mapping[str, Seat]) -> None:
        """Raise `InvalidInputError` unless everybody is registered with the key they bring."""
        authority = log.look(self.server, self.here).authority
        for seat in seats.values():
            who = seat.participant
            if who.spki not in log.deciding(authority, who.person):
                raise InvalidInputError(
                    f"{who.person} is not registered with this credential",
                    next_step="everybody who signs is registered first: keyvault people register",
                )

    def start(self, ceremony: str, script: bytes) -> None:
        """Say that the ceremony begins; it may be said again."""
        self.server.post("/v1/ceremonies", {"id": ceremony, "script": b64encode(script).decode()})

    def close(self, ceremony: str, transcript: bytes) -> bool:
        """Hand in the transcript; False if nobody answers, which loses nothing."""
        body = {"transcript": b64encode(transcript).decode()}
        try:
            self.server.post(f"/v1/ceremonies/{ceremony}/transcript", body)
        except ServerUnreachableError as error:
            say(f"the transcript could not be handed in: {error}")
            return False
        return True

    def enter(self, seat: Seat, folder: Path, secrets: Mapping[str, int]) -> Path:
        """Return the folder of somebody's session, after a login where there is none."""
        session = folder / "sessions" / seat.participant.person
        if _lasts(session):
            return session
        words = ["login", "--person", seat.participant.person, *seat.door]
        words += ["--server", self.here.server, "--ca", str(self.here.ca)]
        memory = remembered(self.here.folder, self.here.origin)
        words += ["--genesis", memory.genesis] if memory else []
        run(Call([*words, "--session", str(session)], Path.cwd(), secrets))
        return session


def _lasts(session: Path) -> bool:
    if not session.exists():
        return False
    try:
        return time_of(open_session(session).until) > datetime.now(UTC)
    except NotAuthenticatedError:
        return False
