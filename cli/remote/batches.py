"""Archives of requests and of answers: ZIP, written and read member by member.

An archive comes from elsewhere. Its size, its directory and each member are measured before they
are unpacked, and nothing is ever written to the disk under a name that stands in it.
"""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cli.errors import (
    BatchBombError,
    BatchCutOffError,
    BatchEncryptedError,
    BatchMemberTooLargeError,
    BatchNameTakenError,
    BatchNoArchiveError,
    BatchNotFlatError,
    BatchTooManyError,
)
from keyvault.domain.certificates import BATCH_LIMIT

MEMBER_LIMIT = 65_536  # bytes, unpacked: a request or a certificate with its armour
TABLE_LIMIT = 8 * 1024 * 1024  # bytes, unpacked: a line for each request of a batch
ARCHIVE_LIMIT = 512 * 1024 * 1024  # bytes, packed and unpacked
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_END = struct.Struct("<4s4H2LH")  # end of central directory (APPNOTE 4.3.16)
_LOCAL = struct.Struct("<4s5H3L2H")  # local file header (4.3.7)
_COMMENT_LIMIT = 65_535  # bytes
_ENTRY_LIMIT = 512  # bytes of one entry of the directory
_ENCRYPTED = 0x41  # flags: encrypted, and strongly

Add = Callable[[str, bytes], None]


@contextmanager
def written(path: Path, limit: int = BATCH_LIMIT) -> Iterator[Add]:
    """Write an archive, in place only when it is whole. The function adds a member.

    It raises `BatchNameTakenError` and `BatchTooManyError`.
    """
    names: set[str] = set()
    draft = path.with_name(f".{path.name}.draft")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:

            def add(name: str, data: bytes) -> None:
                _take_name(names, name, limit)
                archive.writestr(name, data)

            yield add
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _take_name(names: set[str], name: str, limit: int) -> None:
    if not NAME.fullmatch(name):
        raise BatchNotFlatError(f"{name[:80]!r} is no name for a member of a batch")
    if name.casefold() in names:
        raise BatchNameTakenError(
            f"{name} stands twice in the archive", next_step="give every member its own name"
        )
    if len(names) >= limit:
        raise BatchTooManyError(
            f"a batch has at most {limit} members", next_step="make a second batch"
        )
    names.add(name.casefold())


def members(path: Path, endings: Iterable[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Read an archive member by member, in its order; only names with these endings pass.

    Everything about its directory is checked before the first member is read. Raises one of
    the errors of archives, each with its own code.
    """
    with path.open("rb") as file:
        for info in _directory(file, tuple(endings)):
            yield info.filename, _unpacked(file, info)


def _directory(file: BinaryIO, endings: tuple[str, ...]) -> list[zipfile.ZipInfo]:
    size = file.seek(0, 2)
    if size > ARCHIVE_LIMIT:
        raise BatchNoArchiveError(f"an archive has at most {ARCHIVE_LIMIT} bytes, not {size}")
    entries, begin = _end(file, size)
    try:
        found = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise _cut_off("its directory cannot be read") from error
    if len(found) != entries:
        raise _cut_off("its directory has another number of members than it says")
    names: set[str] = set()
    for info in found:
        _check(info, endings)
        _take_name(names, info.filename, BATCH_LIMIT)
    _check_layout(found, begin)
    return found


def _check_start(file: BinaryIO) -> None:
    file.seek(0)
    start = file.read(4)
    if start not in (b"PK\x03\x04", b"PK\x05\x06"):
        raise BatchNoArchiveError(
            "the file is no ZIP archive",
            next_step="give the archive itself, with nothing before it",
        )


def _end(file: BinaryIO, size: int) -> tuple[int, int]:
    """Find the end of the directory; return how many members it has, and where it begins."""
    _check_start(file)
    tail_size = min(size, _COMMENT_LIMIT + _END.size)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise _cut_off("it has no end")
    _, disk, first, here, entries, length, begin, comment = _END.unpack_from(tail, at)
    if entries > BATCH_LIMIT:
        raise BatchTooManyError(
            f"a batch has at most {BATCH_LIMIT} members, not {entries}",
            next_step="ask for two archives",
        )
    if disk or first or here != entries or length > entries * _ENTRY_LIMIT:
        raise BatchNoArchiveError("the archive is of several parts, or its directory is too large")
    end = size - tail_size + at
    if begin + length != end or end + _END.size + comment != size:
        raise _cut_off("its directory is not where it says")
    return entries, begin


def _check(info: zipfile.ZipInfo, endings: tuple[str, ...]) -> None:
    name = info.orig_filename
    if info.flag_bits & _ENCRYPTED:
        raise BatchEncryptedError(
            f"{name[:80]!r} is encrypted", next_step="ask for the archive without a password"
        )
    link = stat.S_ISLNK(info.external_attr >> 16)
    flat = NAME.fullmatch(name) is not None and not link and not info.is_dir()
    if not flat or not name.lower().endswith(endings or ("",)):
        raise BatchNotFlatError(
            f"{name[:80]!r} is no member of a batch",
            next_step="members lie at the root of the archive and are named as docs/certificates.md"
            " says",
        )
    limit = TABLE_LIMIT if name.lower().endswith(".csv") else MEMBER_LIMIT
    if info.file_size > limit:
        raise BatchMemberTooLargeError(
            f"{name} says that it has {info.file_size} bytes, and {limit} are allowed"
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BatchNoArchiveError(f"{name} is packed in a way that is not read here")


def _check_layout(found: list[zipfile.ZipInfo], begin: int) -> None:
    """Members lie one after another: those that share bytes unpack to far more than there is."""
    if sum(info.file_size for info in found) > ARCHIVE_LIMIT:
        raise BatchBombError(f"the archive unpacks to more than {ARCHIVE_LIMIT} bytes")
    at = 0
    for info in sorted(found, key=lambda each: each.header_offset):
        if info.header_offset < at:
            raise BatchBombError(f"{info.filename} shares its bytes with another member")
        at = info.header_offset + _LOCAL.size + len(info.filename) + info.compress_size
    if at > begin:
        raise BatchBombError("a member shares its bytes with the directory")


def _unpacked(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    packed = _packed(file, info)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        packed = _inflated(packed, info)
    if len(packed) != info.file_size or zlib.crc32(packed) != info.CRC:
        raise _cut_off(f"{info.filename} is not what it was when it was packed")
    return packed


def _packed(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    file.seek(info.header_offset)
    head = file.read(_LOCAL.size)
    if len(head) != _LOCAL.size or head[:4] != b"PK\x03\x04":
        raise _cut_off(f"{info.filename} is not where the directory says")
    name_size, extra_size = _LOCAL.unpack(head)[-2:]
    name = file.read(name_size)
    if name != info.orig_filename.encode():
        raise BatchNotFlatError(f"{info.filename} is called otherwise where it lies")
    file.seek(extra_size, 1)
    return file.read(info.compress_size)


def _inflated(packed: bytes, info: zipfile.ZipInfo) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, info.file_size + 1)
    except zlib.error as error:
        raise _cut_off(f"{info.filename} cannot be unpacked") from error
    if len(data) > info.file_size:
        raise BatchBombError(
            f"{info.filename} unpacks to more than the {info.file_size} bytes it says"
        )
    if not inflater.eof:
        raise _cut_off(f"{info.filename} ends too early")
    return data


def _cut_off(what: str) -> BatchCutOffError:
    return BatchCutOffError(
        f"the archive is cut off or damaged: {what}",
        next_step="fetch it again; nothing was changed",
    )
