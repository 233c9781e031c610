"""The witness itself: check, remember, and only then sign. One log's order is one line."""

import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from threading import Lock

from keyvault import signatures
from keyvault.domain.notes import Checkpoint, Note
from keyvault.domain.witnessing import (
    AddCheckpoint,
    WitnessError,
    check_follows,
    check_signed,
    contradicts,
)
from keyvault.witness.key import WitnessKey
from keyvault.witness.state import State, StateLostError, Watched


def _now() -> int:
    return int(time.time())


class Witness:
    """Cosigns for every log that its state trusts. Safe for threads and for other processes."""

    def __init__(self, state: State, key: WitnessKey, clock: Callable[[], int] = _now) -> None:
        self._state = state
        self._key = key
        self._clock = clock
        self._turn = Lock()  # one flock is enough between processes, not between threads
        if state.read().witness != key.verifier:
            raise StateLostError("its state belongs to another key")

    def add_checkpoint(self, body: bytes) -> str:
        """Answer a request with a cosignature line. Raises `WitnessError`, `StateLostError`.

        What the witness has seen is on the disk before the line is returned.
        """
        request = AddCheckpoint.parse(body)
        note, new = request.opened()
        with self._turn, self._state.alone():
            memory = self._state.read()
            log = memory.log(new.origin)
            if log is None:
                raise WitnessError(HTTPStatus.NOT_FOUND, "this witness watches no such log")
            signed = check_signed(note, log.keys, signatures.verify_note)
            self._check(request, new, log, body)
            line = self._key.cosign(note.text, self._time(log))
            cosigned = Note(note.text, (*signed.signatures, line)).to_bytes().decode()
            self._state.write(memory.with_log(replace(log, note=cosigned)))
        return line.line

    def newest(self, origin_sha256: str) -> str | None:
        """Return the note cosigned last of the log whose origin has this SHA-256, in hex."""
        for log in self._state.read().logs:
            if sha256(log.origin.encode()).hexdigest() == origin_sha256:
                return log.note or None
        return None

    def _check(self, request: AddCheckpoint, new: Checkpoint, log: Watched, body: bytes) -> None:
        try:
            check_follows(request, new, log.known)
        except WitnessError as error:
            refused = error.status is HTTPStatus.UNPROCESSABLE_ENTITY
            if refused or contradicts(new, log.known):  # the log signed both: that is evidence
                self._state.keep(sha256(body).hexdigest(), body)
            raise

    def _time(self, log: Watched) -> int:
        """Read the clock. A witness whose times go back proves nothing about time."""
        now = self._clock()
        if now < log.cosigned_at:
            raise WitnessError(
                HTTPStatus.SERVICE_UNAVAILABLE, "the witness's clock is behind its last signature"
            )
        return now
