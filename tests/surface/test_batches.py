"""Archives of requests and answers: hostile ones are refused, each by its own code."""

import io
import struct
import zipfile
import zlib
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli import errors
from cli.remote.batches import MEMBER_LIMIT, members, written
from keyvault.domain.certificates import BATCH_LIMIT
from keyvault.domain.errors import VaultError

FILES = {"a.csr": b"first" * 100, "b.csr": b"second", "c.csr": b""}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "batch.zip"


def archive(files=FILES, how=zipfile.ZIP_DEFLATED, **more) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as made:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            for field, value in more.items():
                setattr(info, field, value)
            made.writestr(info, data)
    return buffer.getvalue()


def refusal(path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(VaultError) as caught:
        list(members(path, (".csr",)))
    return caught.value.code


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_what_was_packed_is_read_again_in_its_order(path, how) -> None:
    path.write_bytes(archive(how=how))
    assert dict(members(path)) == FILES
    assert [name for name, _ in members(path)] == list(FILES)
    with written(path) as add:
        for name, data in FILES.items():
            add(name, data)
    assert dict(members(path, (".csr",))) == FILES
    assert zipfile.ZipFile(path).testzip() is None
    path.write_bytes(archive({}))
    assert list(members(path)) == []


def _write(path, names, **more) -> None:
    with written(path, **more) as add:
        for name in names:
            add(name, b"")


def test_an_archive_takes_no_name_twice_and_no_member_too_many(path) -> None:
    path.write_bytes(b"the one before")
    with pytest.raises(errors.BatchNameTakenError):
        _write(path, ["a.csr", "A.CSR"])
    with pytest.raises(errors.BatchNotFlatError):
        _write(path, ["../a.csr"])
    with pytest.raises(errors.BatchTooManyError):
        _write(path, ["a.csr", "b.csr", "c.csr"], limit=2)
    assert path.read_bytes() == b"the one before"  # nothing is lost
    assert list(path.parent.iterdir()) == [path]


def test_the_fifty_thousand_and_first_member_is_refused_before_any_is_looked_at(path) -> None:
    data = archive()
    many = struct.pack("<2H", BATCH_LIMIT + 1, BATCH_LIMIT + 1)
    assert refusal(path, data[:-14] + many + data[-10:]) == "batch-too-many"


def lying(data: bytes, at: int, form: str, *values: int) -> bytes:
    """Write other values into the first entry of the directory."""
    changed, entry = bytearray(data), data.index(b"PK\x01\x02")
    struct.pack_into(form, changed, entry + at, *values)
    return bytes(changed)


BOMB = archive({"a.csr": bytes(60_000)})
HOSTILE = {
    "no archive": (b"hello", "batch-no-archive"),
    "nothing": (b"", "batch-no-archive"),
    "an archive behind a program": (b"MZ" + archive(), "batch-no-archive"),
    "something behind the end": (archive() + b"x", "batch-cut-off"),
    "cut off before the directory": (archive()[:60], "batch-cut-off"),
    "cut off in the directory": (archive()[:-30], "batch-cut-off"),
    "a folder": (archive({"x/a.csr": b""}), "batch-not-flat"),
    "a way out": (archive({"../a.csr": b""}), "batch-not-flat"),
    "a root": (archive({"/a.csr": b""}), "batch-not-flat"),
    "a way out of another system": (archive({"..\\a.csr": b""}), "batch-not-flat"),
    "a hidden file": (archive({".a.csr": b""}), "batch-not-flat"),
    "another ending": (archive({"a.exe": b""}), "batch-not-flat"),
    "a link": (archive({"a.csr": b"/etc/passwd"}, external_attr=0o120777 << 16), "batch-not-flat"),
    "encrypted": (lying(archive(), 8, "<H", 1), "batch-encrypted"),
    "says too much": (archive({"a.csr": bytes(MEMBER_LIMIT + 1)}), "batch-member-too-large"),
    "unpacks to more than it says": (lying(BOMB, 24, "<L", 10), "batch-bomb"),
    "unpacks to less than it says": (lying(BOMB, 24, "<L", 60_001), "batch-cut-off"),
    "another checksum": (lying(BOMB, 16, "<L", 0), "batch-cut-off"),
    "an unknown way to pack": (lying(archive(), 10, "<H", 99), "batch-no-archive"),
    "bzip2": (archive(how=zipfile.ZIP_BZIP2), "batch-no-archive"),
    "directory says fewer": (archive()[:-14] + b"\2\0\2\0" + archive()[-10:], "batch-cut-off"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_by_its_own_code(path, what) -> None:
    data, code = HOSTILE[what]
    assert refusal(path, data) == code


def test_two_members_of_one_name_are_refused(path) -> None:
    assert refusal(path, archive().replace(b"b.csr", b"a.csr")) == "batch-name-taken"
    assert refusal(path, archive({"a.csr": b"", "A.csr": b""})) == "batch-name-taken"


def test_members_that_share_their_bytes_are_a_bomb(path) -> None:
    """As of a bomb of overlapping files: each entry of the directory names the same bytes."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = kernel.compress(bytes(60_000)) + kernel.flush()
    crc, name = zlib.crc32(bytes(60_000)), b"0.csr"
    sizes = (crc, len(packed), 60_000, len(name), 0)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, *sizes) + name + packed
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, 0, 0, 0, 0, 0)
    directory = b"".join(entry + b"%d.csr" % number for number in range(9))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, len(directory), len(local), 0)
    assert refusal(path, local + directory + end) == "batch-bomb"


def test_a_member_that_is_called_otherwise_where_it_lies_is_refused(path) -> None:
    data = archive().replace(b"PK\x03\x04", b"PK\x03\x04", 1)
    at = data.index(b"a.csr")
    assert refusal(path, data[:at] + b"z.csr" + data[at + 5 :]) == "batch-not-flat"


OTHERS = (
    *(errors.BatchCutOffError, errors.BatchBombError, errors.BatchNotFlatError),
    *(errors.BatchEncryptedError, errors.BatchMemberTooLargeError, errors.BatchNameTakenError),
    errors.BatchTooManyError,
)


@given(at=st.integers(0, 2_000), flip=st.integers(1, 255), cut=st.booleans())
@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_anywhere_is_noticed_or_harmless_and_never_upsets(path, at, flip, cut) -> None:
    data = bytearray(archive())
    data[at % len(data)] ^= flip
    path.write_bytes(bytes(data[: at % len(data)]) if cut else bytes(data))
    with suppress(errors.BatchNoArchiveError, *OTHERS):
        assert [content for _, content in members(path)] == list(FILES.values())
