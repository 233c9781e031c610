"""Somebody outside signs for a bundle with a key of their own: no server, and verify.py agrees."""

import subprocess
from datetime import timedelta

import pytest
import time_machine

from cli.remote.receiving import pass_on, receive
from keyvault.domain.canonical import canonical
from keyvault.domain.errors import InvalidInputError
from tests.evidence.test_doctored_choices import BUNDLE, FIRST, WHOLE

EC = ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def made(path, *words):
    subprocess.run([*words, "-out", path], check=True, capture_output=True)
    return path


@pytest.fixture
def bundle(tmp_path):
    """A bundle that bob handed to Ann."""
    file = tmp_path / "bundle.zip"
    file.write_bytes(BUNDLE)
    (tmp_path / "bundle.zip.custody").write_bytes(FIRST)
    return file


def test_a_receipt_and_what_follows_it_are_believed(check, bundle, tmp_path):
    own = made(tmp_path / "ann.pem", *EC)
    with time_machine.travel(WHOLE.now + timedelta(days=1)):
        receive(bundle, by="Ann Auditor", key=own, place="Leeds", yes=True)
        pass_on(bundle, by="Ann Auditor", to="Bo", key=own, place="York", yes=True)
    chain = tmp_path / "bundle.zip.custody"
    status, answer = check(BUNDLE, "--custody", str(chain))
    told = [text for mark, text in answer["transcript"] if mark == "custody"]
    assert (status, answer["problems"], len(told)) == (0, [], 3)
    assert "Ann Auditor handed the bundle to Bo at York" in told[2]
    chain.write_bytes(chain.read_bytes().replace(canonical("York"), canonical("Paris")))
    assert check(BUNDLE, "--custody", str(chain))[0] == 1


def test_a_key_of_another_kind_signs_for_nothing(bundle, tmp_path):
    rsa = made(tmp_path / "rsa.pem", "openssl", "genrsa")
    (tmp_path / "none.pem").write_text("no key")
    for key in (rsa, tmp_path / "none.pem"):
        with pytest.raises(InvalidInputError):
            receive(bundle, by="Ann Auditor", key=key, place="Leeds", yes=True)
    assert (tmp_path / "bundle.zip.custody").read_bytes() == FIRST
