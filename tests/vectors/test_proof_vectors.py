"""The kept proofs are those that the code makes today, and programs by others believe them."""

import json
from pathlib import Path

from tests.judges.test_proofs import by_aics, by_proofbundle, by_scitt_cose, ours
from tests.vectors.make_proofs import text

KEPT = Path(__file__).with_name("proofs.json")


def test_the_kept_proofs_are_made_anew_without_a_difference():
    assert KEPT.read_text() == text()


def test_every_judge_believes_the_kept_proofs():
    listed = json.loads(KEPT.read_text())["cases"]
    for judge in (ours, by_proofbundle, by_scitt_cose):
        assert all(map(judge, listed))
    assert all(by_aics(listed))
