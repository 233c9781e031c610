"""Run the verifier in this process and look at what it found."""

import argparse
import io
import json

import pytest

from tests.evidence.built import verify


def examined(data):
    """Everything but the signatures, each of which starts a program."""
    unset = dict.fromkeys(("state", "genesis_sha256", "log_key", "policy", "custody"))
    options = argparse.Namespace(**unset, standing=False)
    report, case = verify.Report(), None
    with report.step("well formed", ""):
        case = verify.Case(options, report, verify.Bundle(io.BytesIO(data)))
        case.examine()
    return case, report


@pytest.fixture
def check(tmp_path, capsys):
    """Verify a bundle; returns the exit status and the JSON answer."""

    def run(data, *options):
        (tmp_path / "evidence.zip").write_bytes(data)
        capsys.readouterr()  # what was written before
        status = verify.main([str(tmp_path / "evidence.zip"), "--json", *options])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def caught(check):
    """Demand that a bundle is wrong, in these words, in this file, at this index."""

    def run(data, words, file=None, index=None, options=()):
        status, answer = check(data, *options)
        problems = answer["problems"]
        assert (status, answer["verdict"]) == (1, "THE EVIDENCE IS WRONG"), answer
        fitting = [p for p in problems if words in p["what"]]
        assert fitting, problems
        assert file is None or file in [p["file"] for p in fitting], problems
        assert index is None or index in [p["index"] for p in fitting], problems

    return run
