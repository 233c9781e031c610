"""What our signer of cards says of each: its identity, and the hashes of all that is on it.

The gate signs, by what people signed when the token was allocated (SP 800-73-4 part 1, 3.1.2 and
3.1.7).
"""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from hsm.pcsc import containers
from hsm.tokens import TokenSlot
from keyvault.domain.errors import NotPermittedError
from keyvault.domain.times import text_of
from keyvault.operations.ca import allocation
from keyvault.operations.vault import Vault
from keyvault.store.issued import SIGNER, Issued, Status

NONE = "none"


def sign_card(
    vault: Vault, token: UUID, certificates: Mapping[TokenSlot, bytes], room: int
) -> dict[str, str]:
    """Return "chuid" and "security" (CMS in base64), or "none" and why there is nothing.

    `room` are the bytes that one object may have. Raises `NotPermittedError` where the signer in
    the settings has no certificate in force, and what the gate raises.
    """
    named = vault.settings.issuing.signer
    if not named or not room:
        return {NONE: "this model has no place for one" if named else "the settings name no signer"}
    check(vault, room)
    with vault.database.reading() as work:
        words = allocation(work, token)
    own = {str(slot): data for slot, data in certificates.items()}
    signed = vault.gate.sign_card(UUID(named).bytes, words, own)
    return fitting(token, certificates, {k: bytes(v) for k, v in signed.items()}, room)


def check(vault: Vault, room: int) -> None:
    """Raise `NotPermittedError` where a card with this room could not be signed now."""
    named = vault.settings.issuing.signer
    if named and room:
        with vault.database.reading() as work:
            in_force(work.issued.of_job(named, SIGNER), vault.clock())


def fitting(
    token: UUID, certificates: Mapping[TokenSlot, bytes], signed: Mapping[str, bytes], room: int
) -> dict[str, str]:
    """What was signed as a journal keeps it, or that it does not fit."""
    objects = containers.of_card(token.bytes, certificates, signed["chuid"])
    sealed = containers.security_object(objects, signed["security"])
    largest = max(len(containers.chuid(token.bytes, signed["chuid"])), len(sealed))
    if largest > room:
        return {NONE: f"it has {largest} bytes, and this model takes {room}"}
    return {name: b64encode(each).decode() for name, each in signed.items()}


def in_force(signer: Issued | None, now: datetime) -> None:
    """Raise `NotPermittedError`, with what is wrong, unless this certificate counts now."""
    if signer is None or signer.status is Status.INTENT:
        wrong = "has no certificate"
    elif signer.status is Status.REVOKED:
        at = text_of(signer.revoked_at) if signer.revoked_at else "unknown"
        wrong = f"was revoked ({signer.reason}), at {at}"
    elif now >= signer.not_after:
        wrong = f"ended at {text_of(signer.not_after)}"
    elif now < signer.not_before:
        wrong = f"counts only from {text_of(signer.not_before)}"
    else:
        return
    raise NotPermittedError(
        f"no card is signed: the signer in the settings {wrong}",
        next_step="order a new key, keyvault ca certify-signer, keyvault keys activate, name it in"
        " [issuing] signer, restart; then go on with the same token",
    )
