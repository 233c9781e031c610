"""The log gate: signs the heads of one log, which only ever grows."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from hsm.device import Device
from hsm.types import Algorithm, Mechanism, VerifyPolicy
from keyvault.domain.approvals import Request
from keyvault.domain.canonical import Document
from keyvault.domain.commands import RecoverLog
from keyvault.domain.errors import ConflictError, InvalidInputError, RolledBackError
from keyvault.domain.keys import service_key_id
from keyvault.domain.notes import (
    ED25519_SIZE,
    Checkpoint,
    NoteError,
    Sign,
    SignatureType,
    VerifierKey,
    sign_checkpoint,
)
from keyvault.gate.anchor import LogAnchor
from keyvault.gate.clearance import Trust
from keyvault.gate.services import LOG, LOG_ED25519, sign_p256
from keyvault.settings import Settings

log = logging.getLogger("keyvault.gate")


class LogGate:
    """The methods of the log gate. Each checkpoint is built here from a size and a root."""

    def __init__(self, device: Device, settings: Settings) -> None:
        self._device = device
        self._origin = settings.origin
        self._clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        memory = settings.state / "log-authority.json"
        self._trust = Trust(settings.origin, settings.genesis, memory, self._clock)
        self._signers = signers(device, settings.origin)
        self._anchor = LogAnchor(device, settings.state / "log-anchor.json")
        self._newest, self._epoch, self._trouble = self._remembered()

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "anchor": self.anchor,
            "recover": self.recover,
            "seal": self.seal,
            "log_keys": self.log_keys,
            "inventory": self.inventory,
        }

    def _remembered(self) -> tuple[Checkpoint, int, RolledBackError | None]:
        """What was sealed last, by whichever process; an old token is said to whoever asks."""
        try:
            seen = self._anchor.read()
        except RolledBackError as error:
            return Checkpoint(self._origin, 0, bytes(32)), 1, error
        root = bytes.fromhex(seen["root"]) or bytes(32)
        return Checkpoint(self._origin, seen["size"], root), seen["epoch"], None

    def anchor(self) -> Document:
        """The largest log that this gate has seen. Raises `RolledBackError`: its token is old."""
        if self._trouble is not None:
            raise self._trouble
        return {"size": self._newest.size, "root": self._newest.root, "epoch": self._epoch}

    def recover(
        self, records: list[Document], document: Document, approvals: list[Document]
    ) -> Document:
        """Begin a new epoch at an older copy of the log, if people approved just that.

        Raises `RolledBackError` where this gate has seen another log than the one that is lost.
        """
        self._trust.extend(records)
        request = Request.read(document)
        command = request.command
        if not isinstance(command, RecoverLog):
            raise InvalidInputError("this is no recovery of a log")
        self._trust.clear(request, approvals, None, self._clock())
        newest = self._newest
        seen = (newest.size, newest.root.hex(), self._epoch + 1)
        if (command.lost_size, command.lost_root, command.epoch) != seen:
            raise ConflictError("this gate has seen another log", next_step="propose it again")
        root = bytes.fromhex(command.kept_root)
        self._anchor.note(command.kept_size, root, command.epoch, at_once=True)
        self._newest = Checkpoint(self._origin, command.kept_size, root)
        self._epoch = command.epoch
        log.warning("epoch %s begins at %s", command.epoch, command.kept_size)
        return {"epoch": command.epoch, "size": command.kept_size}

    def status(self) -> Document:
        return {"info": asdict(self._device.info), "sealed": self._newest.size}

    def seal(self, size: int, root: bytes) -> str:
        """Return a signed note. Raises `ConflictError` if the log would shrink or fork."""
        try:
            checkpoint = Checkpoint(self._origin, size, bytes(root))
        except (NoteError, TypeError) as error:
            raise InvalidInputError("not the size and root of a log") from error
        newest = self._newest
        if self._trouble is not None:
            raise self._trouble
        if size < newest.size or (size == newest.size and newest.size and root != newest.root):
            raise ConflictError(
                f"this contradicts the checkpoint of size {newest.size} that was signed before",
                next_step="stop sealing and examine the log",
            )
        note = sign_checkpoint(checkpoint, self._signers)
        self._newest = checkpoint
        self._anchor.note(size, checkpoint.root, self._epoch)
        return note.to_bytes().decode()

    def inventory(self) -> list[Document]:
        return [asdict(record) for record in self._device.inventory()]

    def log_keys(self) -> list[str]:
        return [key.vkey for key, _ in self._signers]


def signers(device: Device, origin: str) -> list[tuple[VerifierKey, Sign]]:
    """The log's keys as notes name them, with what signs: P-256, and Ed25519 if the module can."""
    ecdsa = VerifierKey(origin, SignatureType.ECDSA, device.public_key(service_key_id(LOG)))
    pairs: list[tuple[VerifierKey, Sign]] = [
        (ecdsa, lambda message: sign_p256(device, LOG, message))
    ]
    if has_ed25519(device):
        key_id = service_key_id(LOG_ED25519)
        raw = device.public_key(key_id)[-ED25519_SIZE:]  # the SPKI of RFC 8410 ends in the key

        def sign(message: bytes) -> bytes:
            return device.sign(key_id, Mechanism.EDDSA, message, verify=VerifyPolicy.ALWAYS)

        pairs.append((VerifierKey(origin, SignatureType.ED25519, raw), sign))
    return pairs


def has_ed25519(device: Device) -> bool:
    info = device.info
    return Algorithm.ED25519 in info.algorithms and Mechanism.EDDSA in info.mechanisms
