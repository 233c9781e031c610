"""How much of the log a quorum of witnesses has cosigned, believed only after checking it."""

from threading import Lock

from keyvault import signatures
from keyvault.domain.notes import Checkpoint, Note, NoteError
from keyvault.domain.policy import Policy
from keyvault.domain.tree import tree_at
from keyvault.store.audit import Audit

LOOK_BACK = 50  # checkpoints with lines enough that are tried, newest first


class Cosigned:
    """Remembers the largest size that it has found good; rows of the database are claims."""

    def __init__(self, policy: Policy | None, origin: str) -> None:
        self.policy = policy
        self._origin = origin
        self._size = 0
        self._lock = Lock()

    @property
    def asks(self) -> bool:
        """Whether there is a policy, and one that wants witnesses."""
        return self.policy is not None and self.policy.asks

    def size(self, audit: Audit) -> int:
        """Return how many leaves stand under the largest checkpoint that holds the policy."""
        if self.policy is None or not self.policy.asks:
            return 0
        sizes = audit.cosigned_sizes(self._size + 1, self.policy.fewest, LOOK_BACK)
        good = next((size for size in sizes if self.holds(audit, size)), 0)
        with self._lock:
            self._size = max(self._size, good)
            return self._size

    def holds(self, audit: Audit, size: int) -> bool:
        """Whether the checkpoint of this size is of our tree, and cosigned by enough."""
        try:
            note = Note.parse(audit.cosigned(size).encode())
            checkpoint = Checkpoint.parse(note.text)
            cosigners = self.policy.cosigners(note, signatures.verify_note) if self.policy else {}
        except NoteError:
            return False
        ours = Checkpoint(self._origin, size, tree_at(audit.hashes(), size).root)
        return checkpoint == ours and self.policy is not None and self.policy.holds(cosigners)
