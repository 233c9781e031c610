"""Bundles that somebody changed after they were written, without and with the evidence key."""

import hashlib
import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from keyvault.domain.canonical import canonical
from keyvault.domain.notes import Checkpoint, SignatureType, VerifierKey, sign_checkpoint
from keyvault.domain.tree import leaf_hash
from tests.evidence.built import verify
from tests.evidence.world import (
    EVIDENCE,
    LOG,
    LOG_KEYS,
    ORIGIN,
    STRANGER,
    b64,
    full_world,
    resigned,
    rezip,
    unzip,
)

WORLD = full_world()
FILES = unzip(WORLD.bundle(start=2, since=10, proofs=(3,)))
FILTERED = unzip(WORLD.bundle(filter={"ty": ["KEY.USED"]}))
EVENTS, LEAVES, MANIFEST = "events.ndjson", "leaf-hashes.bin", "manifest.json"
AUTHORITY = "authority.ndjson"


def edited(files, name, change):
    return {**files, name: change(files[name])}


def rows_of(files):
    return [json.loads(line) for line in files[EVENTS].splitlines()]


def with_rows(files, rows):
    return {**files, EVENTS: b"".join(canonical(row) + b"\n" for row in rows)}


def test_the_bundle_is_good_before_anybody_touches_it(check):
    for files in (FILES, FILTERED):
        assert check(rezip(files))[0] == 0
        assert check(rezip(resigned(files)))[0] == 0


# Without any key --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(FILES) - {MANIFEST, "manifest.sig"}))
def test_a_file_that_was_changed_is_named(caught, name):
    changed = edited(FILES, name, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    words = "newline" if name == AUTHORITY else "is not the file that the manifest names"
    caught(rezip(changed), words, name)


def test_a_changed_letter_in_an_event_is_traced_to_the_event(caught):
    changed = edited(FILES, EVENTS, lambda data: data.replace(b"false alarm", b"false alarn", 1))
    caught(rezip(changed), "is not the file that the manifest names", EVENTS)
    index = 2 + [b"false alarm" in line for line in FILES[EVENTS].splitlines()].index(True)
    caught(rezip(changed), "event is not what the log holds at this place", EVENTS, index)


def test_a_changed_manifest_is_not_what_was_signed(caught):
    changed = edited(FILES, MANIFEST, lambda data: data.replace(b"person:erin", b"person:evan"))
    caught(rezip(changed), "signature of the evidence key on the manifest", "manifest.sig")


def test_a_manifest_signed_by_a_stranger_is_refused(caught):
    caught(rezip(resigned(FILES, STRANGER.sign)), "signature of the evidence key")


def test_a_manifest_signed_by_the_log_key_is_refused(caught):
    caught(rezip(resigned(FILES, LOG.sign)), "signature of the evidence key")


@pytest.mark.parametrize("name", sorted(verify.REQUIRED))
def test_a_missing_file_is_named(caught, name):
    files = {key: data for key, data in FILES.items() if key != name}
    caught(rezip(files), f"lacks {name}")


@pytest.mark.parametrize(
    "name", ["extra.txt", "../evil", "/etc/passwd", "proofs/01.tlog-proof", "tsa/A", "tsa/../x"]
)
def test_a_file_that_does_not_belong_is_refused(caught, name):
    caught(rezip({**FILES, name: b"x"}), "unexpected file")


def test_a_file_in_a_known_place_that_the_manifest_does_not_name_is_refused(caught):
    caught(rezip({**FILES, "tsa/token.tsr": b"x"}), "is not the file", "tsa/token.tsr")
    assert "tsa/token.tsr" not in json.loads(FILES[MANIFEST])["files"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda zip_: zip_[:0], "not a ZIP"),
        (lambda zip_: zip_[:-1], "not a ZIP"),
        (lambda zip_: zip_ + b"\0", "not a ZIP"),
        (lambda zip_: b"#!/bin/sh\n" + zip_, "not a ZIP"),
        (lambda zip_: zip_[: len(zip_) // 2], ""),
        (lambda zip_: zip_[:20], "cannot be read"),
        (lambda zip_: zip_.replace(b"PK\x01\x02", b"PK\x01\x03", 1), "not a ZIP"),
        (lambda zip_: zip_.replace(b"\x21\x00", b"\x22\x00", 1), "not as written"),
    ],
)
def test_a_damaged_archive_is_refused(caught, change, words):
    caught(change(rezip(FILES)), words)


def test_two_files_of_one_name_are_refused(caught):
    data = rezip({**FILES, "custody.jsoN": FILES["custody.json"]})
    caught(data.replace(b"custody.jsoN", b"custody.json"), "unexpected file")


# With the evidence key ----------------------------------------------------------------------------


def resealed(files, **changes):
    return rezip(resigned(files, EVIDENCE.sign, **changes))


def test_a_deleted_row_is_missed(caught):
    rows = rows_of(FILES)
    caught(resealed(with_rows(FILES, rows[:5] + rows[6:])), "a row is missing", EVENTS, 7)


def test_a_deleted_last_row_is_missed(caught):
    caught(resealed(with_rows(FILES, rows_of(FILES)[:-1])), "the rows end at", EVENTS)


def test_swapped_rows_are_noticed(caught):
    rows = rows_of(FILES)
    rows[4], rows[5] = rows[5], rows[4]
    caught(resealed(with_rows(FILES, rows)), "out of order", EVENTS, 6)
    rows[4]["i"], rows[5]["i"] = 6, 7
    caught(resealed(with_rows(FILES, rows)), "not what the log holds", EVENTS, 6)


def test_an_added_row_is_noticed(caught):
    rows = rows_of(FILES)
    extra = {**rows[-1], "i": rows[-1]["i"] + 1}
    caught(resealed(with_rows(FILES, [*rows, extra])), "more rows than the range", EVENTS)


@pytest.mark.parametrize(
    ("field", "value"), [("ac", "person:mallory"), ("t", 1), ("out", "fail"), ("ty", "AUTH.OK")]
)
def test_a_changed_header_is_not_what_the_log_holds(caught, field, value):
    rows = rows_of(FILES)
    rows[3]["h"][field] = value
    caught(resealed(with_rows(FILES, rows)), "not what the log holds", EVENTS, 5)


def test_a_changed_row_with_a_changed_leaf_hash_leads_to_another_root(caught):
    rows = rows_of(FILES)
    rows[-1]["h"]["ac"] = "system:dcc-2"
    rows[-1]["h"]["as"] = 0
    leaf = canonical({"h": rows[-1]["h"], "p": json.loads(WORLD.leaves[-1].data)["p"]})
    files = edited(with_rows(FILES, rows), LEAVES, lambda hashes: hashes[:-32] + leaf_hash(leaf))
    caught(resealed(files), "do not lead to the signed root", "range.proof")


def test_a_row_in_another_spelling_is_refused(caught):
    lines = FILES[EVENTS].splitlines(keepends=True)
    for spelled in (b" " + lines[3], lines[3].replace(b'"h":', b'"h": ', 1)):
        files = {**FILES, EVENTS: b"".join([*lines[:3], spelled, *lines[4:]])}
        caught(resealed(files), "row is not canonical", EVENTS, 5)


def test_a_row_with_a_second_payload_is_refused(caught):
    lines = FILES[EVENTS].splitlines(keepends=True)
    doubled = lines[3].replace(b',"p":', b',"p":{},"p":', 1)
    files = {**FILES, EVENTS: b"".join([*lines[:3], doubled, *lines[4:]])}
    caught(resealed(files), "row is not canonical", EVENTS, 5)


def test_a_matching_event_cannot_be_withheld(caught):
    rows = rows_of(FILTERED)
    at = next(row["i"] for row in rows if "p" in row)
    commitment = json.loads(WORLD.leaves[at].data)["p"]
    rows[at] = {"i": at, "h": rows[at]["h"], "c": commitment}
    counts = {"disclosed": sum("p" in row for row in rows), "withheld": len(rows) - 2}
    words = "matches the filter but is withheld"
    caught(resealed(with_rows(FILTERED, rows), counts=counts), words, EVENTS, at)


def test_an_event_outside_the_filter_is_not_disclosed_by_the_way(caught):
    rows = rows_of(FILTERED)
    leaf = WORLD.leaves[0]
    rows[0] = {"i": 0, "h": rows[0]["h"], "p": json.loads(leaf.payload), "s": b64(leaf.salt)}
    caught(resealed(with_rows(FILTERED, rows)), "does not match the filter", EVENTS, 0)


def test_a_narrower_filter_does_not_excuse_what_is_missing(caught):
    caught(resealed(FILTERED, filter={}), "matches the filter but is withheld", EVENTS, 0)
    caught(resealed(FILTERED, filter={"nonsense": []}), "cannot be read", EVENTS, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"counts": {"disclosed": 1, "withheld": 0}}, "counts other rows"),
        ({"range": {"start": 2, "end": 20, "size": 21}}, "more rows than the range"),
        ({"range": {"start": 2, "end": 21, "size": 22}}, "another range"),
        ({"range": {"start": 1, "end": 21, "size": 21}}, "out of order"),
        ({"origin": "another.example/log"}, "about another log"),
        ({"genesis": "0" * 64}, "about another log"),
        ({"v": 2}, "unknown version"),
        ({"redaction": "names"}, "unknown version"),
        (
            {"dates": {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}},
            "does not cover the dates",
        ),
        ({"dates": {"from": "2020-1-1T00:00:00Z", "to": "2020-01-02T00:00:00Z"}}, "not a time"),
    ],
)
def test_a_manifest_that_lies_is_caught(caught, changes, words):
    caught(resealed(FILES, **changes), words)


def test_a_range_proof_of_another_tree_is_refused(caught):
    lines = FILES["range.proof"].splitlines(keepends=True)
    wrong = b64(leaf_hash(b"x")).encode() + b"\n"
    for files in (
        {**FILES, "range.proof": b"".join([*lines[:-1], wrong])},
        {**FILES, "range.proof": b"".join([*lines, wrong])},
        {**FILES, "range.proof": b"".join(lines[:-1])},
        {**FILES, "range.proof": b"".join([b"other-proof\n", *lines[1:]])},
    ):
        caught(resealed(files), "", "range.proof")


def note(checkpoint, key=LOG_KEYS[1], sign=LOG.sign):
    return sign_checkpoint(checkpoint, [(key, sign)]).to_bytes()


TREE = WORLD.tree()
REAL = Checkpoint(ORIGIN, TREE.size, TREE.root)


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        (note(REAL, sign=STRANGER.sign), "signature of log key"),
        (
            note(REAL, VerifierKey(ORIGIN, SignatureType.ECDSA, STRANGER.spki), STRANGER.sign),
            "no key of this log signed it",
        ),
        (note(Checkpoint(ORIGIN, TREE.size, leaf_hash(b"x"))), "do not lead to the signed root"),
        (note(Checkpoint(ORIGIN, TREE.size + 1, TREE.root)), "another range"),
        (note(Checkpoint("other", TREE.size, TREE.root)), "no key of this log signed it"),
        (REAL.body.encode() + b"\n", ""),
        (REAL.body.encode(), ""),
    ],
)
def test_a_forged_checkpoint_is_refused(caught, forged, words):
    files = {key: data for key, data in FILES.items() if "previous" not in key}
    caught(resealed({**files, "checkpoints/newest.note": forged}), words)


def test_an_earlier_checkpoint_that_the_log_does_not_continue_is_refused(caught):
    other = note(Checkpoint(ORIGIN, 10, leaf_hash(b"x")))
    caught(resealed({**FILES, "checkpoints/previous.note": other}), "history was rewritten")
    proof = FILES["checkpoints/consistency.proof"].splitlines(keepends=True)
    wrong = b"".join([*proof[:-1], b64(leaf_hash(b"x")).encode() + b"\n"])
    files = {**FILES, "checkpoints/consistency.proof": wrong}
    caught(resealed(files), "history was rewritten", "checkpoints/consistency.proof")


def test_other_log_keys_in_the_key_file_are_noticed(caught):
    stranger = VerifierKey(ORIGIN, SignatureType.ECDSA, STRANGER.spki).vkey
    changed = edited(FILES, "checkpoints/keys", lambda data: data + f"{stranger}\n".encode())
    caught(resealed(changed), "are not the log keys of the genesis", "checkpoints/keys")


def with_records(files, change):
    records = [json.loads(line) for line in files[AUTHORITY].splitlines()]
    change(records)
    return {**files, AUTHORITY: b"".join(canonical(record) + b"\n" for record in records)}


def relinked(records, number, **changes):
    """Change what was signed, and make the hashes of the chain fit again."""
    request = records[number]["request"]
    request.get("parameters", request).update(changes)
    for before, record in pairwise(records):
        record["prev"] = hashlib.sha256(canonical(before)).hexdigest()


@pytest.mark.parametrize(
    ("change", "words", "record"),
    [
        (lambda r: r.pop(1), "is not the next record", 1),
        (lambda r: r.insert(1, r[1]), "is not the next record", 2),
        (lambda r: r[1].update(prev="0" * 64), "does not follow", 1),
        (lambda r: r[1].update(extra=1), "a record takes exactly", 1),
        (lambda r: r[0]["approvals"].pop(), "not signed by every officer", 0),
        (lambda r: r[0]["approvals"].append(r[0]["approvals"][0]), "every officer once", 0),
        (lambda r: r[1]["approvals"].pop(), "1 of 2 approvals", 1),
        (
            lambda r: r[1]["approvals"].__setitem__(1, r[1]["approvals"][0]),
            "1 of 2 approvals",
            1,
        ),
        (lambda r: r[1]["approvals"][0].update(approver="alice"), "cannot approve it", 1),
        (lambda r: r[1]["approvals"][0].update(approver="mallory"), "no person known", 1),
        (lambda r: r[1]["approvals"][0].update(decision="refuse"), "bob refused", 1),
        (lambda r: r[1]["approvals"][0].update(credential="0" * 64), "not an enrolled key", 1),
        (lambda r: r[2]["request"]["parameters"].update(reason="fired"), "is not valid", 2),
        (lambda r: relinked(r, 1, full_name="Eve"), "is not valid", 1),
        (lambda r: relinked(r, 0, site="Site 2"), "is not valid", 0),
        (lambda r: r[1]["request"].update(rule=r[0]["request"]["rules"][0]), "another rule", 1),
        (lambda r: r[1]["request"].update(origin="other"), "another log", 1),
        (lambda r: r[0]["request"]["rules"][0].update(approvals=1), "asks for fewer than 2", 0),
        (lambda r: r[0]["request"]["officers"].pop(0), "not signed by every officer", 0),
        (lambda r: r[0]["request"].update(site="Site 2"), "does not follow", 1),
    ],
)
def test_a_changed_authority_chain_is_refused(caught, change, words, record):
    files = with_records(FILES, change)
    caught(resealed(files), words, AUTHORITY, record)


def test_a_bundle_without_any_record_of_authority_is_refused(caught):
    caught(resealed({**FILES, AUTHORITY: b""}), "cannot be read", AUTHORITY)


def test_the_separate_program_names_what_is_wrong(tmp_path):
    changed = edited(FILES, EVENTS, lambda data: data.replace(b"false alarm", b"false alarn", 1))
    (tmp_path / "evidence.zip").write_bytes(rezip(changed))
    command = [sys.executable, "-I", "-S", verify.__file__, str(tmp_path / "evidence.zip")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False
    )
    assert done.returncode == 1
    assert "WRONG    events.ndjson: is not the file that the manifest names" in done.stdout
    assert "event is not what the log holds at this place" in done.stdout
    assert "VERDICT  THE EVIDENCE IS WRONG" in done.stdout
