"""Times as documents write them: RFC 3339, UTC, whole seconds."""

from datetime import UTC, datetime

from keyvault.domain.errors import InvalidInputError

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def text_of(moment: datetime) -> str:
    """Write an aware time, cut to the second."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def time_of(text: object) -> datetime:
    """Read what `text_of` wrote, in that form only. Raises `InvalidInputError`."""
    try:
        moment = datetime.strptime(str(text), _FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise _not_a_time(text) from error
    if text_of(moment) != text:  # strptime takes 2026-1-31, too
        raise _not_a_time(text)
    return moment


def _not_a_time(text: object) -> InvalidInputError:
    return InvalidInputError(f"{str(text)[:40]!r} is not a time like 2026-01-31T12:00:00Z")


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
