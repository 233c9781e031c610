"""Times as documents write them: RFC 3339, UTC, whole seconds; and days."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from keyvault.domain.errors import InvalidInputError

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_DAY = "%Y-%m-%d"
LAST_YEAR = 9000  # so that every time that is counted from one has a year


def text_of(moment: datetime) -> str:
    """Write an aware time, cut to the second."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def time_of(text: object) -> datetime:
    """Read what `text_of` wrote, in that form only. Raises `InvalidInputError`."""
    return _read(text, _FORMAT, "a time like 2026-01-31T12:00:00Z")


def day_of(text: object) -> datetime:
    """Read a day, as the second it begins at in UTC. Raises `InvalidInputError`."""
    return _read(text, _DAY, "a day like 2026-01-31")


def day_after(text: object) -> datetime:
    """The second at which a day is over, in UTC. Raises `InvalidInputError`."""
    return day_of(text) + timedelta(days=1)


def day_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_DAY)


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _read(text: object, form: str, like: str) -> datetime:
    if not isinstance(text, str):
        raise InvalidInputError(f"{str(text)[:40]!r} is not {like}")
    try:
        return _parsed(text, form)
    except ValueError as error:
        raise InvalidInputError(f"{text[:40]!r} is not {like}") from error


@lru_cache(maxsize=4_096)
def _parsed(text: str, form: str) -> datetime:
    """Remembered, since whose rights count is asked about the same few days again and again."""
    moment = datetime.strptime(text, form).replace(tzinfo=UTC)
    if moment.strftime(form) != text:  # strptime takes 2026-1-31, too
        raise ValueError("written in another way")
    if moment.year > LAST_YEAR:
        raise ValueError("too far away to be counted from")
    return moment
