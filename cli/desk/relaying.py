"""A desk lends its reader to the service: APDUs in, answers out, and nothing is decided here."""

import sys
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from hsm.errors import HsmError
from hsm.pcsc.apdu import TransmissionProtocol
from hsm.pcsc.relay import carry
from keyvault.domain.canonical import Document

ENDS = ("done", "failed")


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
    server: Caller, path: str, station: str, card: Card, tell: Callable[[str], None]
) -> Document:
    """Work through one insertion; return the service's last message: "done" or "failed".

    `path` is what the token is inserted for. Leaving in any other way, such as ^C, ends the
    session: to the service the token was pulled.
    """
    opened = {"station": station, "atr": card.atr.hex(), "protocol": int(card.protocol)}
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


def _leave(server: Caller, session: UUID) -> None:
    try:
        server.delete(f"/v1/issuing/sessions/{session}")
    except (HsmError, Exception) as error:  # noqa: BLE001  (it hears of the silence anyway)
        sys.stderr.write(f"kv: the session could not be ended: {type(error).__name__}\n")
