"""A real log in a real database, sealed by the real sealer with keys in memory."""

from contextlib import contextmanager

from keyvault.domain.notes import Checkpoint, VerifierKey
from keyvault.sealer import Sealer
from keyvault.settings import WitnessSettings
from keyvault.store import Database
from tests.store.events import used
from tests.witness.logs import Log

ORIGIN = "vault.example/site-1/2026-1"


class SealedLog:
    """Grows and seals on demand. Its keys are those of a `Log`, so that witnesses can trust it."""

    def __init__(self, url, origin=ORIGIN):
        self.keys = Log(origin=origin)
        self.origin, self.ed25519 = origin, self.keys.ed25519
        self.url, self.database = url, Database(url, node="test-node")
        self.sealer = self.fresh_sealer()

    def fresh_sealer(self):
        return Sealer(self.database, self._seal, self.keys.keys, self.origin)

    def _seal(self, size, root):
        return self.keys.signed(Checkpoint(self.origin, size, root)).decode()

    def grow(self, count=1):
        with self.database.work() as work:
            work.commit(*[used() for _ in range(count)])
        return self

    def seal(self, count=1):
        """Append so many events and return the size of the checkpoint over them."""
        self.grow(count)
        return self.sealer.seal().size

    def cosigned(self, witness):
        with self.database.reading() as reading:
            return reading.audit.cosigned_by(VerifierKey.parse(witness.vkey))

    def events(self, kind):
        with self.database.reading() as reading:
            found, _ = reading.audit.page(type=kind, limit=100)
        return found

    def close(self):
        self.database.close()


def settings_for(path, **more):
    return WitnessSettings(policy=path, **more)


@contextmanager
def opened(url, **more):
    log = SealedLog(url, **more)
    try:
        yield log
    finally:
        log.close()
