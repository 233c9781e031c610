"""A desk lends its reader to the service: APDUs in, answers out, and nothing is decided here."""

import sys
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from hsm.errors import CardAbsentError, CardError, CardMuteError, CardRemovedError
from hsm.pcsc.apdu import TransmissionProtocol
from hsm.pcsc.reader import PcscCard
from hsm.pcsc.relay import carry
from keyvault.domain.canonical import Document

ENDS = ("done", "failed")
# What a token that is put in again may mend.
AGAIN = ("card-removed", "card-mute", "card-service-unavailable", "card-reader-busy")


class Caller(Protocol):
    def post(self, path: str, body: Document | None = None) -> Document: ...

    def delete(self, path: str) -> None: ...


class Card(Protocol):
    """A card that is in a reader: what `hsm.pcsc.reader.PcscCard` is."""

    @property
    def atr(self) -> bytes: ...

    @property
    def protocol(self) -> TransmissionProtocol: ...

    def transmit(self, apdu: bytes, seconds: float) -> bytes: ...

    def reset(self) -> None: ...


def relay(
    server: Caller,
    path: str,
    station: str,
    card: Card,
    tell: Callable[[str], None],
    more: Document | None = None,
) -> Document:
    """Work through one insertion; return the service's last message: "done" or "failed".

    `path` is what the token is inserted for, `more` what is said about that, `station` is empty
    where the token's holder sits. Leaving in any other way, such as ^C, ends the session: to
    the service the token was pulled.
    """
    opened: Document = {"station": station} if station else {}
    opened |= {"atr": card.atr.hex(), "protocol": int(card.protocol), **(more or {})}
    message = server.post(f"{path}/sessions", opened)
    session = UUID(str(message["session"]))
    said = ""
    try:
        while message["do"] not in ENDS:
            progress = str(message.get("progress") or "")
            if progress not in ("", said):
                said = progress
                tell(progress)
            answer = {} if message["do"] == "wait" else carry(card, message)
            message = server.post(f"/v1/issuing/sessions/{session}/answers", answer)
    except BaseException:
        _leave(server, session)
        raise
    return message


def inserted(
    server: Caller, path: str, station: str, reader: str, tell: Callable[[str], None]
) -> Document:
    """Open the card that is in a reader and work through this insertion, whatever comes of it."""
    try:
        with PcscCard(reader) as card:
            return relay(server, path, station, card, tell)
    except (CardRemovedError, CardMuteError, CardAbsentError) as error:
        return {"do": "failed", "code": AGAIN[0], "detail": str(error), "next_step": ""}
    except CardError as error:
        told = {"detail": str(error), "next_step": error.next_step}
        return {"do": "failed", "code": error.code, **told}


def _leave(server: Caller, session: UUID) -> None:
    try:
        server.delete(f"/v1/issuing/sessions/{session}")
    except Exception as error:  # noqa: BLE001  (it hears of the silence anyway)
        sys.stderr.write(f"kv: the session could not be ended: {type(error).__name__}\n")
