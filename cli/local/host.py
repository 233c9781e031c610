"""Doctor's look at the host: database, clock, disk, sockets, certificate, process limits."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keyvault.domain.errors import InvalidInputError
from keyvault.operations.health import DISK_FLOOR, Check
from keyvault.settings import Settings
from keyvault.store.unit_of_work import Database

EXPIRY_WARNING = timedelta(days=30)
OTHERS_WRITE = 0o022  # mode bits
CLOCK_LEEWAY = timedelta(seconds=5)
SOCKET_PATH_LIMIT = 107  # bytes: sockaddr_un on Linux, without its final zero


def database(settings: Settings) -> Iterator[Check]:
    """Reachable, migrated, and founded by the genesis that the settings name."""
    with closing(Database(settings.database, node=settings.node)) as opened:
        current, wanted = opened.version(), opened.wanted_version()
        is_new = current == wanted
        advice = "" if is_new else "keyvault migrate"
        yield Check("database", ok=is_new, reason=f"migration {current}", next_step=advice)
        if not is_new:
            return
        with opened.reading() as work:
            records = work.authority.records()
    trusted = bool(records) and records[0].hash == settings.genesis
    yield Check(
        "genesis",
        ok=trusted,
        reason=f"{len(records)} records from {settings.genesis or 'nothing'}",
        next_step="" if trusted else "database and settings do not belong together",
    )


def clock(settings: Settings) -> Iterator[Check]:
    """Not behind what the log says; the log itself refuses to go back in time."""
    now = datetime.now(UTC)
    with (
        closing(Database(settings.database, node=settings.node)) as opened,
        opened.reading() as work,
    ):
        size = work.audit.head().size
        last = work.audit.event(size - 1).time if size else now
    sane = now >= last - CLOCK_LEEWAY
    yield Check(
        "clock",
        ok=sane,
        reason=f"{now:%Y-%m-%d %H:%M:%S} UTC, newest event {last:%Y-%m-%d %H:%M:%S} UTC",
        next_step="" if sane else "the clock is behind the log: set it by NTP",
    )


def disk(settings: Settings) -> Iterator[Check]:
    """Room for the log."""
    free = shutil.disk_usage(settings.state).free
    enough = free >= DISK_FLOOR
    advice = "" if enough else "make room: without it nothing can be logged, so nothing is done"
    yield Check("disk", ok=enough, reason=f"{free // 2**20} MiB free", next_step=advice)


def sockets(settings: Settings) -> Iterator[Check]:
    """Paths that fit, in a folder where nobody else can put one."""
    paths = (*settings.keys.sockets, settings.log.socket, settings.recorder)
    too_long = [path for path in paths if len(os.fsencode(path)) > SOCKET_PATH_LIMIT]
    yield Check(
        "socket paths",
        ok=not too_long,
        reason=f"at most {max(len(os.fsencode(path)) for path in paths)} bytes long",
        next_step=f"at most {SOCKET_PATH_LIMIT}: move the folder" if too_long else "",
    )
    folders = {path.parent for path in paths}
    open_ones = sorted(str(folder) for folder in folders if folder.stat().st_mode & OTHERS_WRITE)
    yield Check(
        "socket folders",
        ok=not open_ones,
        reason=f"open to others: {', '.join(open_ones)}" if open_ones else "private",
        next_step="chmod go-w" if open_ones else "",
    )


def certificate(settings: Settings) -> Iterator[Check]:
    """The server's certificate: its key, its dates."""
    parsed = x509.load_pem_x509_certificate(settings.api.certificate.read_bytes())
    left = parsed.not_valid_after_utc - datetime.now(UTC)
    yield Check(
        "server certificate",
        ok=left > EXPIRY_WARNING,
        reason=f"{settings.api.certificate}, {left.days} days left",
        next_step="" if left > EXPIRY_WARNING else "have a new one issued, and tell the clients",
    )
    matches = _public(settings.api.private_key) == parsed.public_key()
    advice = "" if matches else "give the key that belongs to the certificate"
    yield Check("server key", ok=matches, reason=str(settings.api.private_key), next_step=advice)


def _public(path: Path) -> object:
    try:
        return load_pem_private_key(path.read_bytes(), None).public_key()
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{path} holds no private key that opens by itself") from error


def process(settings: Settings) -> Iterator[Check]:  # noqa: ARG001  (asked like the others)
    """What this user's processes leave behind."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    yield Check(
        "core dumps",
        ok=True,
        reason="off" if soft == 0 else "on for this shell; gates switch their own off",
    )
    mask = os.umask(0o077)
    os.umask(mask)
    shut = mask & OTHERS_WRITE == OTHERS_WRITE
    advice = "" if shut else "umask 077, in the unit or the shell that starts the service"
    yield Check("umask", ok=shut, reason=f"{mask:03o}", next_step=advice)
