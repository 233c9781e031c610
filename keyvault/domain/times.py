"""Times as documents write them: RFC 3339, UTC, whole seconds."""

from datetime import UTC, datetime

from keyvault.domain.errors import InvalidInputError

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def text_of(moment: datetime) -> str:
    """Write an aware time, cut to the second."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def time_of(text: object) -> datetime:
    """Read what `text_of` wrote. Raises `InvalidInputError`."""
    try:
        return datetime.strptime(str(text), _FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInputError(
            f"{str(text)[:40]!r} is not a time like 2026-01-31T12:00:00Z"
        ) from error


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
