"""What several rooms write on the wire: ids, base64, times, scopes, pages."""

import re
from base64 import b64decode, b64encode
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from keyvault.domain.documents import BYTES_LIMIT, TEXT_LIMIT
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of, time_of

T = TypeVar("T")

UUID_TEXT = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
UUID_PATTERN = f"^{UUID_TEXT}$"
_DATE = r"[12][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
INSTANT_PATTERN = rf"^{_DATE}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
SCOPE_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
HEX_64 = r"^[0-9a-f]{64}$"
# No control characters, no space at the ends; `_printable` is stricter beyond ASCII.
TEXT_PATTERN = r"^[^\x00-\x20\x7f-\xa0]([^\x00-\x1f\x7f-\xa0]*[^\x00-\x20\x7f-\xa0])?$"
MAX_PAGE = 500
DATA_LIMIT = 262_144  # bytes to sign, encrypt or MAC in one item


# Default of a field that may be left out but not be null: defaults are not validated.
ABSENT: Any = None


class Wire(BaseModel):
    """A body as it travels."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _unbase64(value: object) -> bytes:
    """Base64 in its one canonical form: no other alphabet, no white space, no spare bits."""
    if not isinstance(value, str):
        raise ValueError("base64 was expected")  # noqa: TRY004  (pydantic wants a ValueError)
    try:
        data = b64decode(value, validate=True)
    except ValueError as error:
        raise ValueError("not base64") from error
    if b64encode(data).decode() != value:
        raise ValueError("not base64 in its canonical form")
    return data


def _sized(low: int, high: int) -> AfterValidator:
    def check(data: bytes) -> bytes:
        if not low <= len(data) <= high:
            raise ValueError(f"{low} to {high} bytes were expected")
        return data

    return AfterValidator(check)


def base64_schema(low: int, high: int) -> WithJsonSchema:
    """The JSON schema of `low` to `high` bytes in base64."""
    quads = "[A-Za-z0-9+/]{4}"
    tail = "(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?"
    return WithJsonSchema(
        {
            "type": "string",
            "contentEncoding": "base64",
            "pattern": f"^(?:{quads})*{tail}$",
            "minLength": -(-low // 3) * 4,
            "maxLength": -(-high // 3) * 4,
        }
    )


def _bytes(low: int, high: int) -> Any:
    high -= high % 3  # so that the schema's length of the text is exactly ours of the bytes
    encode = PlainSerializer(lambda data: b64encode(data).decode(), return_type=str)
    return Annotated[
        bytes, BeforeValidator(_unbase64), _sized(low, high), encode, base64_schema(low, high)
    ]


def canonical_uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    text = str(value)
    if len(text) != 36 or (found := UUID(text)).urn[9:] != text:  # noqa: PLR2004  (RFC 9562)
        raise ValueError("a UUID in lower case with hyphens was expected")
    return found


def _printable(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("printable characters without space at the ends were expected")
    return value


def _whole(value: object) -> int:
    """JSON knows no integers: 76.0 is one, "76" and true are not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number was expected")  # noqa: TRY004  (as above)
    return value


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(INSTANT_PATTERN, value):
        raise ValueError("a time like 2026-01-31T12:00:00Z was expected")
    return time_of(value)


Blob = _bytes(1, BYTES_LIMIT)
Data = _bytes(0, DATA_LIMIT)
Item = _bytes(1, DATA_LIMIT)
Signature = _bytes(1, 512)
Bytes = Annotated[bytes, PlainSerializer(lambda data: b64encode(data).decode(), return_type=str)]


WHOLE = BeforeValidator(_whole)  # after the range, which would hide it from the schema
Id = Annotated[
    UUID,
    BeforeValidator(canonical_uuid),
    WithJsonSchema({"type": "string", "format": "uuid", "pattern": UUID_PATTERN}),
]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Hex64 = Annotated[str, StringConstraints(pattern=HEX_64)]
Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TEXT_LIMIT, pattern=TEXT_PATTERN),
    AfterValidator(_printable),
]
ScopeText = Annotated[
    str, StringConstraints(pattern=f"^{SCOPE_PART}/{SCOPE_PART}/{SCOPE_PART}$", max_length=194)
]
ScopePart = Annotated[str, StringConstraints(pattern=f"^{SCOPE_PART}$")]
Cursor = Annotated[str, StringConstraints(pattern=rf"^[0-9]{{1,18}}\.{UUID_TEXT}$")]
EventCursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}\.[0-9]{1,15}$")]
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN}),
]
InstantText = Annotated[
    str,
    StringConstraints(pattern=INSTANT_PATTERN),
    Field(json_schema_extra={"format": "date-time"}),
]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]


class ScopeIn(Wire):
    """For whom a record is kept."""

    party: ScopePart
    user_role: ScopePart
    user_id: ScopePart

    def read(self) -> Scope:
        return Scope(self.party, self.user_role, self.user_id)


class ScopeOut(ScopeIn):
    """For whom a record is kept."""

    @classmethod
    def of(cls, scope: Scope) -> "ScopeOut":
        return cls(party=scope.party, user_role=scope.user_role, user_id=scope.user_id)


Moment = Annotated[
    datetime,
    PlainSerializer(text_of, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Page(Wire, Generic[T]):
    """A part of a list. `next` is the cursor to give as `after` for what follows, or null."""

    items: list[T]
    next: str | None


class ReasonIn(Wire):
    """Why: it stands in the event for ever."""

    reason: Text


class EventRef(Wire):
    """Where the event of this call stands in the log: ask for its proof by these."""

    index: int
    leaf_hash: Hex64
