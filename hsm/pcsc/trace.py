"""What went between the service and a token in one session: for who asks later why it stopped.

No secret can be in it. Headers, lengths, status words and times are shown. Data is shown of SELECT
and GET DATA alone, and only where it is an application or an object that everybody knows. What a
token answers is never shown: whichever was told a PIN may say it again, in any answer.
"""

import re
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from hsm.errors import CardDataError, HsmError
from hsm.pcsc.apdu import CHAINED, EXTENDED_LE, GET_RESPONSE, SHORT_LE
from hsm.pcsc.piv import AID, Ins, PivReference, PivSlot, Tag
from hsm.pcsc.scp03 import SECURITY_DOMAIN

LIMIT = 1_000  # exchanges of one session; to issue a card takes fewer than 200
HEADER_SIZE = 4  # CLA INS P1 P2
STATUS_SIZE = 2
TAG_LIMIT = 3  # bytes of an object's tag
APPLICATIONS = {AID, SECURITY_DOMAIN}
NAMES = {
    **{int(ins): ins.name.replace("_", " ") for ins in Ins},
    GET_RESPONSE: "GET RESPONSE",
    0xF8: "GET SERIAL",
    0xF9: "ATTEST",
    0xFF: "SET MANAGEMENT KEY",
    0x50: "INITIALIZE UPDATE",
    0x82: "EXTERNAL AUTHENTICATE",
    0xD8: "PUT KEY",
}
WITH_SECRETS = {Ins.VERIFY, Ins.CHANGE_REFERENCE_DATA, Ins.RESET_RETRY_COUNTER}
WITH_KEYS = {Ins.GENERAL_AUTHENTICATE, Ins.GENERATE_ASYMMETRIC_KEY_PAIR}
# What a desk may say of its own: a name of PKCS#11, a code of PC/SC, a status word.
DESKS = re.compile(r"CKR_[A-Z_]{1,40}|8010[0-9A-F]{4}|[0-9A-F]{4}")
CALLS = re.compile(r"token-[a-z-]{1,32}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command and what came of it.

    `what` is the instruction, or a PKCS#11 token's call; `about` the slot, secret or object.
    `header` is CLA INS P1 P2, `data` the command's: both in hex. `lc` and `got` are bytes out and
    back, `at` milliseconds since 1970, `took` milliseconds. `status` is SW1-SW2 in hex.
    """

    at: int
    what: str
    about: str = ""
    header: str = ""
    lc: int = 0
    le: int = 0
    data: str = ""
    got: int = 0
    status: str = ""
    error: str = ""
    took: int = 0

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Trace:
    """The exchanges of one session, in order. Nothing is left out: at `LIMIT` the session ends."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._command = Exchange(0, "")  # that the last exchange belongs to
        self._begun = 0.0

    def asking(self, message: dict[str, Any]) -> None:
        """Note what is asked now. Raises `CardDataError` where there was too much of it."""
        if len(self.exchanges) >= LIMIT:
            raise CardDataError(f"more than {LIMIT} exchanges with one token in one session")
        self._begun = time.monotonic()
        asked = _asked(message, time.time_ns() // 1_000_000)
        if asked.what != NAMES[GET_RESPONSE]:
            if self._is_next_of_chain(asked):
                asked = replace(asked, about=self._command.about)
            self._command = asked
        self.exchanges.append(asked)

    def _is_next_of_chain(self, asked: Exchange) -> bool:
        before = self._command
        chained = bool(before.header) and int(before.header[:2], 16) & CHAINED
        return bool(chained) and before.what == asked.what

    def answered(self, answer: dict[str, Any]) -> None:
        """Of what came, size and status are kept, and nothing else."""
        try:
            came = bytes.fromhex(str(answer.get("response", "")))
        except ValueError:
            came = b""
        if len(came) >= STATUS_SIZE:
            status = came[-STATUS_SIZE:].hex().upper()
            self._end(got=len(came) - STATUS_SIZE, status=status)
        else:
            self._end(status="CKR_OK" if "result" in answer else "")

    def failed(self, error: HsmError) -> None:
        cause = error.cause if DESKS.fullmatch(error.cause) else ""
        self._end(status=cause, error=error.code)

    def _end(self, **came: Any) -> None:
        took = int((time.monotonic() - self._begun) * 1000)
        self.exchanges[-1] = replace(self.exchanges[-1], took=took, **came)

    def last(self) -> dict[str, str]:
        """The last instruction, what it was about, and how that ended; empty before the first."""
        if not self.exchanges:
            return {}
        end, command = self.exchanges[-1], self._command
        told = {"instruction": command.what, "about": command.about}
        return {**told, "status": end.status, "error": end.error}


def _asked(message: dict[str, Any], at: int) -> Exchange:
    if message["do"] == "apdu":
        return of_command(bytes.fromhex(message["apdu"]), at)
    call = dict(message.get("call", {}))
    name = str(call.get("do", ""))
    if message["do"] != "call" or not CALLS.fullmatch(name):
        return Exchange(at, {"reset": "reset", "pin": "own PIN"}.get(message["do"], "unknown"))
    slot = str(call.get("slot", ""))
    return Exchange(at, name, slot if slot in _SLOTS else "")


_SLOTS = {f"{slot:02X}" for slot in PivSlot}


def of_command(apdu: bytes, at: int = 0) -> Exchange:
    """What may be shown of a command (ISO/IEC 7816-4, 5.1), however it is encoded."""
    header, (data, le) = apdu[:HEADER_SIZE], _body(apdu[HEADER_SIZE:])
    if len(header) < HEADER_SIZE:
        return Exchange(at, "unknown")
    ins = header[1]
    asked = Exchange(at, NAMES.get(ins, f"INS {ins:02X}"), header=header.hex().upper())
    about, public = _about(header, data)
    shown = data.hex().upper() if public else ""
    return replace(asked, about=about, lc=len(data), le=le, data=shown)


def _about(header: bytes, data: bytes) -> tuple[str, bool]:
    """What a command is about, and whether its data may be shown."""
    cla, ins, p1, p2 = header
    if ins in WITH_SECRETS:
        return (PivReference(p2).name if p2 in tuple(PivReference) else "", False)
    if ins in WITH_KEYS or NAMES.get(ins) == "ATTEST":
        return f"{p1 if ins not in WITH_KEYS else p2:02X}", False
    if cla & ~CHAINED:
        return "", False  # in a secure channel, or of GlobalPlatform
    if ins in (Ins.GET_DATA, Ins.PUT_DATA):
        tag, rest = _tag(data)
        return tag.hex().upper(), bool(tag) and ins == Ins.GET_DATA and not rest
    return "", ins == Ins.SELECT and data in APPLICATIONS


def _tag(data: bytes) -> tuple[bytes, bytes]:
    """The object that a tag list names, and what follows it; empty where it is none."""
    if len(data) < 2 or data[0] != Tag.OBJECT or not 0 < data[1] <= TAG_LIMIT:  # noqa: PLR2004  (a tag and its length)
        return b"", data
    end = 2 + data[1]
    return (data[2:end], data[end:]) if len(data) >= end else (b"", data)


def _body(body: bytes) -> tuple[bytes, int]:
    """Data and Le: short, or extended with a zero in front."""
    extended = len(body) > 2 and body[0] == 0  # noqa: PLR2004  (a zero and a length of two)
    size, most = (2, EXTENDED_LE) if extended else (1, SHORT_LE)
    rest = body[1:] if extended else body
    data = b""
    if len(rest) > size:
        length = int.from_bytes(rest[:size], "big")
        data, rest = rest[size : size + length], rest[size + length :]
    return data, (int.from_bytes(rest, "big") or most) if rest else 0
