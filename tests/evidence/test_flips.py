"""No byte of a bundle can change unnoticed: none is outside what is checked."""

import io
import os
import subprocess
import sys

import pytest

from tests.evidence.built import verify
from tests.evidence.conftest import examined
from tests.evidence.world import World, rezip, unzip

STRIDE = 29  # bytes between flips where each costs a whole examination


def small():
    world = World()
    world.generate()
    return world.bundle(since=1)


DATA = small()
FILES = unzip(DATA)
SIGNED = {"manifest.json", "manifest.sig"}


def flipped(data, at, mask=0x01):
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def unnoticed(places):
    """Where a flipped byte leaves an archive that can be read."""
    found = []
    for at in places:
        try:
            verify.Bundle(io.BytesIO(flipped(DATA, at)))
        except (verify.Wrong, *verify.MALFORMED):
            continue
        found.append(at)
    return found


def test_a_sample_of_flipped_bytes_of_the_archive_is_noticed():
    assert unnoticed(range(0, len(DATA), STRIDE)) == []


@pytest.mark.soak
def test_every_flipped_byte_of_the_archive_is_noticed():
    assert unnoticed(range(len(DATA))) == []


def misnamed(data):
    """Whether the files' hashes alone show it: the one check that a file not read further gets."""
    bundle = verify.Bundle(io.BytesIO(data))
    named = verify.loads(bundle.read("manifest.json"))["files"]
    return any(named[name]["sha256"] != bundle.digests[name] for name in named)


@pytest.mark.soak
def test_every_flipped_byte_inside_a_file_is_noticed_when_the_archive_is_made_to_fit():
    for name in sorted(set(FILES) - SIGNED):
        for at in range(len(FILES[name])):
            changed = rezip({**FILES, name: flipped(FILES[name], at, 1 << at % 8)})
            if name == "verify.py":  # so long that a whole examination of each takes hours
                assert misnamed(changed), (name, at)
            else:
                assert examined(changed)[1].exit == 1, (name, at)


@pytest.mark.soak
def test_every_flipped_byte_of_the_manifest_and_its_signature_is_noticed(check):
    for name in sorted(SIGNED):
        for at in range(len(FILES[name])):
            assert check(rezip({**FILES, name: flipped(FILES[name], at)}))[0] == 1, (name, at)


@pytest.mark.parametrize("name", sorted(set(FILES) - SIGNED))
def test_flips_inside_a_file_are_noticed_when_the_archive_is_made_to_fit(name):
    content = FILES[name]
    step = STRIDE if len(content) > 500 else 1
    if name == "verify.py":
        step *= STRIDE
    for at in range(0, len(content), step):
        _, report = examined(rezip({**FILES, name: flipped(content, at, 1 << at % 8)}))
        assert report.exit == 1, (name, at)


def test_flips_inside_the_manifest_and_its_signature_are_noticed(check):
    for name, step in (("manifest.json", 4 * STRIDE), ("manifest.sig", 6)):
        for at in range(0, len(FILES[name]), step):
            status, _ = check(rezip({**FILES, name: flipped(FILES[name], at)}))
            assert status == 1, (name, at)


def test_the_separate_program_notices_a_sample_of_all_flips(tmp_path):
    path = tmp_path / "evidence.zip"
    for at in range(0, len(DATA), len(DATA) // 25):
        path.write_bytes(flipped(DATA, at))
        done = subprocess.run(
            [sys.executable, "-I", "-S", verify.__file__, str(path)],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"]},
            check=False,
        )
        assert (done.returncode, done.stderr) == (1, ""), at
        assert "THE EVIDENCE IS WRONG" in done.stdout
