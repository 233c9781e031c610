"""Bringing a backup back into the second token: shares come in sealed, and keys come out proved.

A restoration lives in this process alone. If the process dies, its shares are gone. What it put
on the token stands in a journal before it is there, and the next process destroys it.
"""

import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec

from hsm.device import Device
from hsm.errors import DeviceUnavailableError, HsmError
from keyvault import durable, sealed, splitting
from keyvault.domain.approvals import Request
from keyvault.domain.backups import ENTRY_CONTEXT, entry_statement
from keyvault.domain.canonical import Document
from keyvault.domain.commands import RestoreBackup
from keyvault.domain.errors import (
    BackupInvalidError,
    InvalidInputError,
    RequestStateError,
    ShareInvalidError,
    VaultError,
)
from keyvault.domain.keys import KeyState
from keyvault.domain.people import thumbprint
from keyvault.gate.backups import enter, spec_of
from keyvault.gate.carried import LINE_LIMIT, Item, parsed, prove
from keyvault.gate.register import Register
from keyvault.gate.services import SPARE, service_spec, sign_p256
from keyvault.settings import Settings
from keyvault.signatures import spki_der

log = logging.getLogger("keyvault.gate")
KEY_ID_SIZE = 16  # bytes
LINES_LIMIT = 1_048_576  # bytes of one call
_SPARE = "set the token up under [spare] in the settings"


@dataclass
class _Open:
    """A restoration that waits for shares, or goes on."""

    command: RestoreBackup
    entry: ec.EllipticCurvePrivateKey
    words: dict[int, str] = field(default_factory=dict)
    rebuilt: bool = False
    digest: Any = field(default_factory=sha256)
    size: int = 0  # bytes of the file that have come
    tail: bytes = b""
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("restored", "compared", "opened", "skipped"), 0)
    )
    failed: list[Document] = field(default_factory=list)


class Restoring:
    """What the gate of the second token does. `may_restore` is False at every other gate."""

    def __init__(
        self, device: Device, register: Register, settings: Settings, *, may_restore: bool
    ) -> None:
        self._device = device
        self._origin = settings.origin
        self._journal = settings.state / "restoring"  # CKA_IDs in hex that were not there before
        self._register = register
        self._may = may_restore
        self._open: dict[bytes, _Open] = {}
        if may_restore:
            # Who asks that people believe this key, and who approves it, compares it with this line
            # on its own host, where whoever has taken over the api or the database cannot write.
            log.info("the own key of this gate is %s", thumbprint(self.own_key()))
            self._clear_up()

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "enter_share": self.enter_share,
            "restore_lines": self.restore_lines,
            "end_restoration": self.end,
            "own_key": self.own_key,
            "restorations": self.restorations,
        }

    def own_key(self) -> bytes:
        """The key (SPKI) that says what is this gate's; it is made when it is first wanted."""
        spec = service_spec(SPARE)
        if not self._may:
            raise InvalidInputError("the gate in use has no such key", next_step=_SPARE)
        if self._device.find(spec.key_id):
            return self._device.public_key(spec.key_id)
        return self._device.generate(spec).public_key

    def beginning(self, request: Request, command: RestoreBackup) -> Callable[[], Document]:
        if not self._may:
            raise InvalidInputError(
                "a backup is restored into the second token, and this is the one in use",
                next_step=_SPARE,
            )
        return lambda: self._begin(request.id, command)

    def _begin(self, request_id: UUID, command: RestoreBackup) -> Document:
        self._open.clear()  # one at a time: whoever began another has to begin again
        self._clear_up()
        entry = ec.generate_private_key(ec.SECP256R1())
        self._open[request_id.bytes] = _Open(command, entry)
        spki = spki_der(entry.public_key())
        # Until people believe its own key, they compare this line with what a terminal shows.
        log.info("restoration %s takes shares for the key %s", request_id, thumbprint(spki))
        said = entry_statement(self._origin, request_id, spki)
        return {"entry": spki, "entry_signature": sign_p256(self._device, SPARE, said)}

    def restorations(self) -> list[str]:
        """Ids of those that are under way here."""
        return [str(UUID(bytes=one)) for one in self._open]

    def enter_share(self, request_id: bytes, number: int, box: bytes) -> Document:
        """Take share `number` in. The last one that is needed rebuilds the backup key.

        Raises `ShareInvalidError`: that share does not count, and the others still do.
        """
        here = self._here(request_id)
        if here.rebuilt:
            raise RequestStateError("enough shares are in already", next_step="go on restoring")
        words = _words(sealed.opened(here.entry, box, ENTRY_CONTEXT + request_id))
        part = splitting.part_of(words)
        if (part.share_set, part.threshold) != (here.command.share_set, here.command.threshold):
            raise ShareInvalidError(
                f"this share is of set {part.share_set}, and the backup key of set "
                f"{here.command.share_set}",
                next_step="bring the share of the right set: keyvault shares list",
            )
        if part.number != number:
            raise ShareInvalidError(
                f"this is share {part.number}, and share {number} was to be entered",
                next_step="everybody enters their own share, at their own terminal",
            )
        if part.number in here.words:
            raise ShareInvalidError(
                f"share {part.number} was entered already", next_step="another holder goes on"
            )
        here.words[part.number] = words
        if len(here.words) == here.command.threshold:
            self._rebuild(here)
        return {"number": part.number, "entered": len(here.words), "rebuilt": here.rebuilt}

    def _rebuild(self, here: _Open) -> None:
        command, words = here.command, list(here.words.values())
        here.words.clear()  # also where it fails: then all of them are entered again
        secret = splitting.joined(words)
        spec = spec_of(command.backup_key, "restored")
        if self._device.find(spec.key_id):
            found = self._device.inspect(spec).check_value
        else:
            self._note(spec.key_id)
            found = enter(self._device, spec, secret)
        if not hmac.compare_digest(found, command.check_value):
            self._undo()
            raise ShareInvalidError(
                f"the shares give a key with the check value {found}, and not "
                f"{command.check_value}",
                next_step="find out whose share is not what it was; nothing was restored",
            )
        here.rebuilt = True

    def restore_lines(self, request_id: bytes, offset: int, lines: bytes) -> Document:
        """Take the part of the file at `offset` in, and restore the keys of its whole lines.

        A part that came before is passed over, so that it may be sent again.
        """
        here = self._here(request_id)
        if not here.rebuilt:
            raise RequestStateError("the backup key is not there yet", next_step="enter shares")
        if len(lines) > LINES_LIMIT:
            raise InvalidInputError(f"at most {LINES_LIMIT} bytes in one call")
        if offset + len(lines) > here.size >= offset + 1 or offset > here.size:
            raise BackupInvalidError("a part of the backup is missing", next_step="begin again")
        if offset == here.size:
            self._take(here, lines)
        return {**here.counts, "failed": len(here.failed)}

    def _take(self, here: _Open, lines: bytes) -> None:
        here.digest.update(lines)
        here.size += len(lines)
        *whole, here.tail = (here.tail + lines).split(b"\n")
        if len(here.tail) > LINE_LIMIT:
            raise BackupInvalidError("a line of the backup is too long", next_step="compare copies")
        for line in whole:
            self._line(here, line)

    def _line(self, here: _Open, line: bytes) -> None:
        document = parsed(line)
        if document.get("kind") not in ("key", "wrapped"):
            return
        try:
            self._restore(here, document)
        except DeviceUnavailableError:
            raise
        except (HsmError, VaultError) as error:
            told = {"key": str(document.get("key")), "code": error.code, "reason": str(error)}
            here.failed.append(told)

    def _restore(self, here: _Open, document: Document) -> None:
        item = Item.read(document)
        life = self._register.life(item.spec.key_id)
        if life is not None and life.state is KeyState.DESTROYED:
            here.counts["skipped"] += 1  # what was destroyed never comes back
        elif item.wrapped is not None:
            prove(self._device, item.wrapped)
            here.counts["opened"] += 1
        else:
            self._unwrap(here, item)

    def _unwrap(self, here: _Open, item: Item) -> None:
        key_id, kek = item.spec.key_id, here.command.backup_key.bytes
        if self._device.find(key_id):
            made = self._device.inspect(item.spec)
        else:
            self._note(key_id)
            made = self._device.unwrap(kek, item.blob, item.spec, public_key=item.public_key)
            here.counts["restored"] += 1
        if (made.public_key, made.check_value) != (item.public_key, item.check_value):
            raise BackupInvalidError(
                f"the check value is {made.check_value or 'none'}, and not "
                f"{item.check_value or 'none'}, or the public key is another"
            )
        here.counts["compared"] += 1

    def end(self, request_id: bytes, keep: bool) -> Document:
        """End a restoration and say what came of it. What was a drill, or failed, is undone."""
        here = self._open.pop(request_id, None)
        if here is None:
            raise _gone()
        whole = here.rebuilt and here.digest.hexdigest() == here.command.sha256
        good = keep and whole and not here.failed
        undone = 0 if good and not here.command.drill else self._undo()
        self._journal.unlink(missing_ok=True)
        return {
            **here.counts,
            "failed": here.failed[:100],
            "failed_count": len(here.failed),
            "whole": whole,
            "undone": undone,
            "ok": good,
        }

    def _note(self, key_id: bytes) -> None:
        """Write down that this key was not on the token before it is put there."""
        durable.append(self._journal, key_id.hex().encode() + b"\n")

    def _undo(self) -> int:
        """Destroy what was put on the token, and nothing that was there before."""
        lines = self._journal.read_bytes().splitlines() if self._journal.exists() else []
        ids = [bytes.fromhex(line.decode()) for line in lines if len(line) == 2 * KEY_ID_SIZE]
        return sum(self._device.destroy(key_id) for key_id in ids)

    def _clear_up(self) -> None:
        """Undo a restoration that was cut off, by a crash or by the next one."""
        if undone := self._undo():
            log.warning("a restoration was cut off: %s objects of it are destroyed", undone)
        self._journal.unlink(missing_ok=True)

    def _here(self, request_id: bytes) -> _Open:
        here = self._open.get(request_id)
        if here is None:
            raise _gone()
        return here


def _gone() -> RequestStateError:
    return RequestStateError(
        "the gate knows of no such restoration: it was restarted, or another was begun",
        next_step="ask for it again; nothing that was half restored is used",
    )


def _words(opened: bytes) -> str:
    try:
        return opened.decode("ascii")
    except UnicodeDecodeError as error:
        raise ShareInvalidError("this is no share") from error
