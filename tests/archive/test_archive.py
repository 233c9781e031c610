"""An archive stands alone: others read it, it answers exports, and a changed byte is found."""

import io
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from keyvault.archive import MANIFEST, reader, writer
from keyvault.domain.audit import EventType
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.times import text_of, time_of
from keyvault.domain.tree import inclusion_proof
from keyvault.evidence.bundle import MANIFEST_CONTEXT
from keyvault.evidence.lone import Lone
from keyvault.operations.archive import export
from keyvault.operations.audit import EventQuery
from tests.archive.conftest import year_of
from tests.evidence.test_doctored_purges import Purged
from tests.evidence.world import EVIDENCE, unzip

ROOT = Path(__file__).parents[2]
FOREIGN = """
import sys
from aics_tlog import FileSystemTileReader, leaf_hash, read_entry, tree_root_from_tiles
from aics_tlog import inclusion_proof_from_tiles, consistency_proof_from_tiles, verify_inclusion
from aics_tlog import verify_consistency
folder, size, root = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
tiles = FileSystemTileReader(folder)
assert tree_root_from_tiles(tiles, size) == root
for index in range(0, size, 97):
    leaf = leaf_hash(read_entry(tiles, index, size))
    proof = inclusion_proof_from_tiles(tiles, index, size)
    assert verify_inclusion(leaf, index, size, proof, root)
    assert not verify_inclusion(leaf, index, size, proof, bytes(32))
old = 512  # as many as full tiles hold: a log serves partial ones of its own size alone
proof = consistency_proof_from_tiles(tiles, old, size)
assert verify_consistency(old, size, tree_root_from_tiles(tiles, old), root, proof)
print("read")
"""


def exported(archive, query, sign=EVIDENCE.sign):
    out = io.BytesIO()
    export(archive, query, "host:test", out, lambda m: sign(MANIFEST_CONTEXT + m))
    return out.getvalue()


def test_another_makes_tool_reads_the_archive_and_proves_from_it(archive, folder):
    point = archive.checkpoint
    line = [sys.executable, "-c", FOREIGN, str(folder), str(point.size), point.root.hex()]
    done = subprocess.run(
        line, env={"PYTHONPATH": str(ROOT / ".judges")}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"read\n"), done.stderr


def test_an_archive_checks_itself(archive, world):
    assert archive.check() == len(world.leaves)


def test_the_archive_alone_answers_a_filtered_export_that_verifies(archive, check):
    query = EventQuery(type=EventType.AUDIT_QUERIED, actor="person:bob")
    data = exported(archive, query)
    status, answer = check(data)
    assert (status, answer["problems"]) == (0, [])
    shown = [row for row in unzip(data)["events.ndjson"].splitlines() if b'"s":' in row]
    assert len(shown) > 300


def test_an_archive_of_what_was_purged_says_why_and_its_exports_verify(tmp_path, check):
    purged = Purged()
    world, size = purged.world, len(purged.world.leaves)
    lines = tuple(
        Lone(at, world.leaves[at], inclusion_proof(world.reader, at, size)).line()
        for at in purged.told
    )
    writer.write(tmp_path / "2026", year_of(world, erasures=lines))
    archive = reader.opened(tmp_path / "2026")
    assert archive.check() == size
    status, answer = check(exported(archive, EventQuery()))
    assert (status, answer["problems"]) == (0, [])
    assert "purged under certificate" in dict(answer["transcript"])["purged"]


def test_a_span_of_days_is_answered_from_the_archive_too(archive, world, check):
    times = [json.loads(leaf.data)["h"]["t"] for leaf in world.leaves]
    since = time_of(text_of(world.now)).replace(microsecond=0).timestamp() - 200
    query = EventQuery(since=time_of(text_of(_moment(since))), until=None)
    data = exported(archive, query)
    status, answer = check(data)
    assert (status, answer["problems"]) == (0, [])
    start = json.loads(unzip(data)["manifest.json"])["range"]["start"]
    assert 0 < start < len(times)
    assert times[start] < since * 1_000 - 60_000


def _moment(seconds):
    return datetime.fromtimestamp(int(seconds), UTC)


TILES = ["tile/0/000", "tile/1/000.p/2", "tile/entries/001"]
BESIDE = ["payload/001", "authority.ndjson"]  # held against the leaves when evidence is verified


@pytest.mark.parametrize("name", [*TILES, *BESIDE])
def test_a_changed_byte_is_found(folder, tmp_path, name):
    with pytest.raises((InvalidInputError, ValueError)):
        reader.opened(_changed(folder, tmp_path / "copy", name)).check()


@pytest.mark.parametrize("name", TILES)
def test_a_changed_byte_of_the_tree_is_found_where_the_list_was_changed_too(folder, tmp_path, name):
    _relisted(_changed(folder, tmp_path / "copy", name), name)
    with pytest.raises((InvalidInputError, ValueError)):
        reader.opened(tmp_path / "copy").check()


def _changed(folder, copy, name):
    shutil.copytree(folder, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    return copy


def _relisted(folder, name):
    about = json.loads((folder / MANIFEST).read_bytes())
    about["files"][name] = sha256((folder / name).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(about))


def test_a_year_has_its_own_entries_and_all_hashes(world, tmp_path):
    size = len(world.leaves)
    later = year_of(world, start=512, leaves=world.leaves[512:], end=size)
    writer.write(tmp_path / "2027", later)
    archive = reader.opened(tmp_path / "2027")
    assert archive.check() == size - 512
    assert not (tmp_path / "2027" / "tile/entries/000").exists()
    with pytest.raises(InvalidInputError, match="holds events 512"):
        list(archive.leaves(0, 10))


def test_a_list_that_leads_out_of_the_archive_is_none(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    about = json.loads((tmp_path / "copy" / MANIFEST).read_bytes())
    about["files"]["../outside"] = "00"
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps(about))
    with pytest.raises(InvalidInputError, match="no archive"):
        reader.opened(tmp_path / "copy")


def test_an_archive_is_not_written_over_another(folder, world):
    with pytest.raises(InvalidInputError, match="left alone"):
        writer.write(folder, year_of(world))
