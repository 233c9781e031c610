"""Asking a witness over HTTP: what the feeder does all day, and every start once."""

import re
import time
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from keyvault import signatures
from keyvault.domain.errors import InvalidInputError, VaultError
from keyvault.domain.notes import Note, NoteError, Signature, cosignature_parts
from keyvault.domain.policy import Party, Policy, PolicyError
from keyvault.domain.witnessing import AddCheckpoint, WitnessError
from keyvault.outside import Place
from keyvault.settings import WitnessSettings

TIMEOUT = 5.0  # seconds for a whole call
ANSWER_LIMIT = 65_536  # bytes
CLOCK_LEEWAY = 300  # seconds that a witness's clock may be ahead of ours
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_FINAL = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class WitnessUnreachableError(VaultError):
    """No answer came that a witness would give. Trying again may help."""

    code = "witness-unreachable"


@dataclass(frozen=True, slots=True)
class WitnessClient:
    """One witness, as the policy names it. Every call has a connection of its own."""

    name: str
    party: Party
    ca: Path | None = None

    def add_checkpoint(self, request: AddCheckpoint) -> Signature:
        """Return the witness's verified line.

        Raises `WitnessError` where it says no, with the size it has seen where that is why, and
        `WitnessUnreachableError`.
        """
        status, body = self._call("POST", "/add-checkpoint", request.to_bytes())
        if status == HTTPStatus.OK:
            return self.line_in(body, request.note)
        size = _SIZE.fullmatch(body) if status == HTTPStatus.CONFLICT else None
        if size is not None:
            seen = int(size[1])
            raise WitnessError(status, f"witness {self.name} has seen {seen} leaves", size=seen)
        if status in (*_FINAL, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise WitnessError(status, f"witness {self.name} refuses with status {int(status)}")
        raise WitnessUnreachableError(f"witness {self.name} answered with status {int(status)}")

    def newest(self, origin: str) -> bytes | None:
        """Return the note that it cosigned last of this log, unverified; None if it shows none.

        Raises `WitnessUnreachableError`.
        """
        status, body = self._call("GET", f"/{sha256(origin.encode()).hexdigest()}/checkpoint")
        return body if status == HTTPStatus.OK else None

    def line_in(self, lines: bytes, note: bytes) -> Signature:
        """Find this witness's good cosignature among lines for a note; others are ignored.

        Raises `WitnessUnreachableError` if there is none, or if it is of the future.
        """
        key = self.party.key
        try:
            with_lines = Note.parse(Note.parse(note).to_bytes() + lines)
            with_lines.check([key], signatures.verify_note)
            wanted = (key.name, key.key_id)
            found = next(s for s in with_lines.signatures if (s.name, s.key_id) == wanted)
            seconds, _ = cosignature_parts(found.value)
        except NoteError as error:
            raise WitnessUnreachableError(f"witness {self.name} sent no cosignature") from error
        if seconds > time.time() + CLOCK_LEEWAY:
            raise WitnessUnreachableError(f"the clock of witness {self.name} is ahead of ours")
        return found

    def _call(self, method: str, path: str, body: bytes | None = None) -> tuple[HTTPStatus, bytes]:
        try:
            place = Place(self.party.url, self.ca, TIMEOUT, ANSWER_LIMIT, signed=True)
        except InvalidInputError as error:
            raise PolicyError(f"witness {self.name} has no URL of http or https") from error
        try:
            status, answer = place.call(method, place.below(path), body, {})
            return HTTPStatus(status), answer
        except (OSError, ValueError) as error:
            raise WitnessUnreachableError(
                f"witness {self.name} gives no answer ({type(error).__name__})",
                next_step="see that it runs and that its URL in the policy is right",
            ) from error


def read_policy(settings: WitnessSettings, origin: str) -> Policy:
    """Read the policy file. Raises `PolicyError`, also where it is for another log."""
    try:
        policy = Policy.parse(settings.policy.read_bytes())
    except OSError as error:
        raise PolicyError(f"cannot read {settings.policy}: {error.strerror}") from error
    if policy.logs and all(log.key.name != origin for log in policy.logs):
        raise PolicyError(f"{settings.policy} is for other logs than {origin}")
    return policy


def clients(policy: Policy, settings: WitnessSettings) -> list[WitnessClient]:
    """Every witness of the policy that has a URL."""
    named = policy.witnesses.items()
    return [WitnessClient(name, party, settings.ca) for name, party in named if party.url]
