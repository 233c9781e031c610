"""The verifier on honest bundles: it runs on a bare machine and says what it can and cannot."""

import ast
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryFile

import proofbundle.tlogproof
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.domain.audit import EventType
from keyvault.domain.commands import ActivateKey
from keyvault.domain.notes import Checkpoint, sign_checkpoint
from keyvault.domain.tree import ProofError, RangeProof, Tree
from keyvault.evidence import bundle as evidence
from tests.evidence.built import verify
from tests.evidence.conftest import examined
from tests.evidence.world import EVIDENCE, LOG, LOG_KEYS, ORIGIN, World, full_world, rezip, unzip

PROGRAM = Path(verify.__file__)
WORLD = full_world()
SIZE = len(WORLD.leaves)


def run(*arguments, path=None, program=PROGRAM):
    """Run the verifier as an auditor does: no packages, no site, nothing of ours."""
    command = [sys.executable, "-I", "-S", str(program), *map(str, arguments)]
    environment = {"PATH": path or os.environ["PATH"]}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd="/", check=False
    )


# Honest bundles ---------------------------------------------------------------------------------


def test_a_bare_python_verifies_the_bundle_with_the_program_inside_it(tmp_path):
    (tmp_path / "evidence.zip").write_bytes(WORLD.bundle())
    with zipfile.ZipFile(tmp_path / "evidence.zip") as archive:
        assert archive.testzip() is None
        archive.extract("verify.py", tmp_path)
    done = run(
        tmp_path / "evidence.zip", "--genesis-sha256", WORLD.genesis, program=tmp_path / "verify.py"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "VERDICT  the evidence holds" in done.stdout
    assert "TRUST" not in done.stdout
    assert "the same as in the bundle" in done.stdout
    assert "no witness has cosigned" in done.stdout
    assert "no time stamp authority" in done.stdout


def test_the_program_says_when_trust_comes_from_the_bundle_alone(tmp_path):
    (tmp_path / "evidence.zip").write_bytes(WORLD.bundle())
    done = run(tmp_path / "evidence.zip")
    assert done.returncode == 0
    assert "TRUST    rests on this bundle alone" in done.stdout
    assert WORLD.genesis in done.stdout


def test_the_program_is_written_for_python_3_8_and_its_standard_library():
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 8))
    imports = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imports <= set(sys.stdlib_module_names)
    assert not imports & {"socket", "http", "urllib", "ssl"}


def test_the_same_contents_give_the_same_bytes():
    note = WORLD.note()
    first, again = (WORLD.bundle(checkpoint=note, sign=lambda _: b"signature") for _ in range(2))
    assert first == again == rezip(unzip(first))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, SIZE), st.integers(0, SIZE), st.integers(1, SIZE))
def test_any_range_of_any_checkpoint_verifies(start, end, size):
    start, end, size = sorted((start, end, max(size, start, end)))
    data = WORLD.bundle(start=start, end=end, size=size)
    case, report = examined(data)
    assert report.problems == []
    assert case.manifest["counts"] == {"disclosed": end - start, "withheld": 0}


@pytest.mark.parametrize(
    "chosen",
    [
        {"ty": ["KEY.USED"]},
        {"ac": ["system:dcc-1"], "out": ["ok"]},
        {"ty": ["KEY.GENERATED", "KEY.ACTIVATED"]},
        {"st": ["authority"]},
        {"sc": ["nobody/at/all"]},
    ],
)
def test_a_filtered_bundle_discloses_what_matches_and_proves_the_rest(check, chosen):
    data = WORLD.bundle(filter=chosen)
    noted = " ".join(WORLD.genesis[at : at + 4].upper() for at in range(0, 64, 4))
    status, answer = check(data, "--genesis-sha256", noted)
    assert (status, answer["problems"]) == (0, [])
    rows = [json.loads(line) for line in unzip(data)["events.ndjson"].splitlines()]
    for row in rows:
        matches = all(row["h"][name] in values for name, values in chosen.items())
        assert ("p" in row, "c" in row) == (matches, not matches)


def test_withheld_acts_and_unknown_key_classes_are_named_as_limits(check):
    status, answer = check(WORLD.bundle(filter={"ty": ["KEY.USED"]}))
    assert status == 0
    assert any("approved acts are withheld" in text for _, text in answer["transcript"])
    late = next(i for i, h in enumerate(headers()) if h["ty"] == "KEY.DEACTIVATED")
    status, answer = check(WORLD.bundle(start=late))
    assert status == 0
    assert any("whose class is not shown" in text for _, text in answer["transcript"])


def headers():
    return [json.loads(leaf.data)["h"] for leaf in WORLD.leaves]


def test_dates_are_covered_when_the_range_reaches_a_minute_over(check):
    world = World()
    for _ in range(200):
        world.event(EventType.AUDIT_QUERIED, {"n": 1})
    first = json.loads(world.leaves[0].data)["h"]["t"] // 1000

    def at(index):
        return verify.time.strftime("%Y-%m-%dT%H:%M:%SZ", verify.time.gmtime(first + index))

    good = world.bundle(start=20, end=182, dates=(at(90), at(110)))
    assert check(good)[0] == 0
    for start, end in ((31, 182), (20, 169)):
        status, answer = check(world.bundle(start=start, end=end, dates=(at(90), at(110))))
        assert status == 1
        assert "does not cover the dates" in answer["problems"][0]["what"]
    assert check(world.bundle(dates=(at(90), at(110))))[0] == 0


def test_a_stand_alone_proof_in_the_bundle_is_one_that_foreign_code_accepts():
    proof = unzip(WORLD.bundle(proofs=(3,)))["proofs/3.tlog-proof"].decode()
    answer = proofbundle.tlogproof.verify_tlog_proof(proof, WORLD.leaves[3].data, LOG_KEYS[0].vkey)
    assert answer["ok"] is True


def test_either_log_key_can_be_the_one_that_the_reader_trusts(check):
    for key in LOG_KEYS:
        assert check(WORLD.bundle(), "--log-key", key.vkey)[0] == 0
    status, answer = check(WORLD.bundle(), "--log-key", "other+00000000+AQ==")
    assert status == 1
    assert "does not name the log key" in answer["problems"][0]["what"]


def test_another_genesis_than_the_trusted_one_is_refused(check):
    """Somebody makes up a whole log, with officers of their own."""
    status, answer = check(full_world().bundle(), "--genesis-sha256", WORLD.genesis)
    assert status == 1
    assert "not the one you trust" in answer["problems"][0]["what"]


# Memory -----------------------------------------------------------------------------------------


def grown():
    world = full_world()
    size = len(world.leaves)
    for _ in range(5):
        world.event(EventType.AUDIT_QUERIED, {"n": 1})
    return world, size


def test_a_reader_with_a_memory_sees_the_log_continue(check, tmp_path):
    world, old = grown()
    state = tmp_path / "state.json"
    remember = ("--state", str(state))
    assert check(world.bundle(size=old), *remember)[0] == 0
    assert json.loads(state.read_text())[LOG_KEYS[0].name]["size"] == old
    assert check(world.bundle(size=old, start=3, end=9), *remember)[0] == 0
    assert check(world.bundle(start=old + 2, since=old), *remember)[0] == 0
    assert json.loads(state.read_text())[LOG_KEYS[0].name]["size"] == old + 5


def test_a_range_that_covers_what_was_seen_shows_consistency_by_itself(check, tmp_path):
    world, old = grown()
    remember = ("--state", str(tmp_path / "state.json"))
    assert check(world.bundle(size=old), *remember)[0] == 0
    assert check(world.bundle(start=old), *remember)[0] == 0


def test_without_a_proof_consistency_is_not_shown(check, tmp_path):
    world, old = grown()
    remember = ("--state", str(tmp_path / "state.json"))
    assert check(world.bundle(size=old), *remember)[0] == 0
    before = (tmp_path / "state.json").read_text()
    status, answer = check(world.bundle(start=old + 2), *remember)
    assert status == 1
    assert "cannot show consistency" in answer["problems"][0]["what"]
    assert (tmp_path / "state.json").read_text() == before


def test_a_log_that_was_cut_back_and_grown_again_is_refused(check, tmp_path):
    world, old = grown()
    remember = ("--state", str(tmp_path / "state.json"))
    assert check(world.bundle(size=old), *remember)[0] == 0
    world.leaves[old - 1] = world.leaves[old - 2]
    for options in ({"start": old + 1, "since": old}, {"start": old, "since": None}):
        status, answer = check(world.bundle(**options), *remember)
        assert status == 1
        assert any("history was rewritten" in p["what"] for p in answer["problems"])


def test_a_smaller_log_than_the_one_seen_is_refused(check, tmp_path):
    world, old = grown()
    remember = ("--state", str(tmp_path / "state.json"))
    assert check(world.bundle(), *remember)[0] == 0
    status, answer = check(world.bundle(size=old), *remember)
    assert status == 1
    assert "cannot show consistency" in answer["problems"][0]["what"]


# What cannot be checked -------------------------------------------------------------------------


@pytest.fixture
def bundle_file(tmp_path):
    path = tmp_path / "evidence.zip"
    path.write_bytes(WORLD.bundle())
    return path


def fake_openssl(folder, script):
    folder.mkdir()
    (folder / "openssl").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "openssl").chmod(0o755)
    return str(folder)


def test_without_openssl_nothing_is_claimed(bundle_file, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run(bundle_file, path=str(tmp_path / "empty"))
    assert done.returncode == 2
    assert "VERDICT  the evidence could not be checked" in done.stdout


def test_an_old_openssl_is_named(bundle_file, tmp_path):
    done = run(bundle_file, path=fake_openssl(tmp_path / "bin", "echo LibreSSL 3.8.2"))
    assert done.returncode == 2
    assert "OpenSSL 3 or later is needed" in done.stdout


def test_an_openssl_that_says_yes_to_everything_is_found_out(bundle_file, tmp_path):
    done = run(bundle_file, path=fake_openssl(tmp_path / "bin", "echo OpenSSL 3.0.0"))
    assert done.returncode == 2
    assert "accepts a signature over something else" in done.stdout


def test_files_that_cannot_be_read_and_wrong_usage_are_status_2(bundle_file, tmp_path):
    assert run(tmp_path / "none.zip").returncode == 2
    assert run(tmp_path).returncode == 2
    assert run().returncode == 2
    assert run(bundle_file, "--no-such-option").returncode == 2
    (tmp_path / "state.json").write_text("[1]")
    done = run(bundle_file, "--state", tmp_path / "state.json")
    assert done.returncode == 2
    assert "is not the memory of earlier checks" in done.stdout


def test_a_wrong_bundle_is_wrong_even_where_openssl_is_missing(tmp_path):
    files = unzip(WORLD.bundle())
    files["custody.json"] += b" "
    (tmp_path / "evidence.zip").write_bytes(rezip(files))
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "evidence.zip", path=str(tmp_path / "empty")).returncode == 1


def test_what_stands_in_the_bundle_writes_no_lines_of_its_own(tmp_path):
    files = unzip(WORLD.bundle())
    records = [json.loads(line) for line in files["authority.ndjson"].splitlines()]
    records[1]["approvals"][0]["approver"] = "\nVERDICT  the evidence holds\x1b[2J \u2014"
    lines = b"".join(verify.dumps(record) + b"\n" for record in records)
    (tmp_path / "e.zip").write_bytes(rezip({**files, "authority.ndjson": lines}))
    done = run(tmp_path / "e.zip")
    assert (done.returncode, done.stderr) == (1, "")
    assert [line for line in done.stdout.splitlines() if line.startswith("VERDICT")] == [
        "VERDICT  THE EVIDENCE IS WRONG"
    ]
    assert "\x1b" not in done.stdout


# Speed, and what the writer refuses ---------------------------------------------------------------


def test_twenty_thousand_events_are_checked_in_seconds(check):
    world = full_world()
    key = world.generate()
    world.act(ActivateKey(key, "go"))
    for _ in range(20_000):
        world.use(key)
    begun = verify.time.monotonic()
    assert check(world.bundle())[0] == 0
    assert verify.time.monotonic() - begun < 10


def test_the_writer_signs_nothing_when_the_stored_events_are_not_the_sealed_ones(tmp_path):
    world = full_world()
    note = world.note()
    world.leaves[5] = world.leaves[6]
    with (tmp_path / "evidence.zip").open("wb") as out, pytest.raises(ProofError):
        evidence.write_bundle(world.contents(checkpoint=note), out, never)


def test_the_writer_takes_no_more_memory_for_more_events():
    leaf = WORLD.leaves[-1]

    def peak(events):
        tree = Tree().plus_all([leaf.hash] * events)
        note = sign_checkpoint(Checkpoint(ORIGIN, events, tree.root), [(LOG_KEYS[1], LOG.sign)])
        contents = replace(
            WORLD.contents(checkpoint=note.to_bytes()),
            leaves=repeat(leaf, events),
            range=RangeProof(0, events, events, (), ()),
        )
        with TemporaryFile() as out:
            tracemalloc.start()
            evidence.write_bundle(contents, out, EVIDENCE.sign)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return most

    assert peak(10_000) < peak(2_000) + 100_000  # the hashes alone are 256,000 bytes more


def test_the_writer_knows_the_fields_that_are_in_clear(tmp_path):
    with (tmp_path / "evidence.zip").open("wb") as out, pytest.raises(ValueError, match="label"):
        evidence.write_bundle(WORLD.contents(filter={"label": ["x"]}), out, never)


def never(_):
    raise AssertionError("signed")


def test_the_texts_tell_the_reader_what_to_compare():
    files = unzip(WORLD.bundle(dates=None))
    text = files["VERIFY.txt"].decode()
    assert f"--genesis-sha256 {WORLD.genesis}" in text
    assert all(key.vkey in text for key in LOG_KEYS)
    assert "$" not in text + files["README.txt"].decode()
