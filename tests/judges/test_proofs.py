"""Four implementations by others judge our proofs, and our verifier agrees with each of them."""

import json
import subprocess
import sys
from pathlib import Path

import proofbundle.merkle
import pymerkle
import pytest
import scitt_cose.merkle

from keyvault.domain import tree
from keyvault.timestamps.client import TimeStampError, ask, checked
from tests.judges.cases import ENTRIES, LARGEST, cases, spoiled
from tests.timestamps.conftest import authority

ROOT = Path(__file__).parents[2]
A_FEW, MANY = 300, 12_000


def ours(case):
    proof, root = [bytes.fromhex(node) for node in case["proof"]], bytes.fromhex(case["root"])
    try:
        if "old" in case:
            old_root = bytes.fromhex(case["old_root"])
            tree.verify_consistency(case["old"], case["size"], proof, old_root, root)
        else:
            leaf = bytes.fromhex(case["leaf"])
            tree.verify_inclusion(leaf, case["index"], case["size"], proof, root)
    except tree.ProofError:
        return False
    return True


def by_proofbundle(case):
    proof, root = [bytes.fromhex(node) for node in case["proof"]], bytes.fromhex(case["root"])
    judge = proofbundle.merkle
    if "old" in case:
        old_root = bytes.fromhex(case["old_root"])
        return judge.verify_consistency(case["old"], case["size"], proof, old_root, root)
    return judge.verify_inclusion(ENTRIES[case["index"]], case["index"], case["size"], proof, root)


def by_scitt_cose(case):
    judge, size = scitt_cose.merkle, case["size"]
    if "old" in case:
        roots = case["old_root"], case["root"]
        return judge.verify_consistency(*roots, case["old"], size, case["proof"])
    entry = ENTRIES[case["index"]].hex()
    return judge.verify_inclusion(entry, case["index"], size, case["proof"], case["root"])


def by_aics(listed):
    lines = "".join(json.dumps(case) + "\n" for case in listed)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("aics.py")],
        env={"PYTHONPATH": str(ROOT / ".judges")},
        input=lines,
        capture_output=True,
        check=True,
        text=True,
    )
    return [line == "True" for line in done.stdout.splitlines()]


def judged(count, seed):
    good = list(cases(seed, count))
    bad = [spoiled(case) for case in good]
    for judge in (ours, by_proofbundle, by_scitt_cose):
        assert all(map(judge, good)), judge.__name__
        assert not any(map(judge, bad)), judge.__name__
    verdicts = by_aics([*good, *bad])
    assert verdicts == [True] * count + [False] * count


def test_four_judges_believe_our_proofs_and_nothing_else():
    judged(A_FEW, 6962)


@pytest.mark.soak
def test_four_judges_believe_twelve_thousand_proofs_and_nothing_else():
    judged(MANY, 9162)


def test_pymerkle_grows_the_same_roots_and_paths():
    judge = pymerkle.InmemoryTree()
    judge.append_entries(ENTRIES)
    chosen = [case for case in cases(7, 400) if "index" in case][:60]
    for case in chosen:
        assert judge.get_root(case["size"]).hex() == case["root"]
        path = judge.prove_inclusion(case["index"] + 1, case["size"]).path[1:]
        assert [node.hex() for node in path] == case["proof"]
    assert judge.get_size() == LARGEST


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    with authority(tmp_path_factory.mktemp("t") / "tsa", "tsa") as made:
        yield made


def stamped(tsa, count):
    """`ask` believes a token only when openssl and rfc3161-client do."""
    for number in range(count):
        data = b"note %d\n" % number
        reply = ask(tsa, data).reply
        with pytest.raises(TimeStampError):
            checked(tsa, reply, data + b"!")


def test_two_judges_believe_our_local_authority_s_tokens(tsa):
    stamped(tsa, 10)


@pytest.mark.soak
def test_two_judges_believe_five_hundred_tokens(tsa):
    stamped(tsa, 500)
