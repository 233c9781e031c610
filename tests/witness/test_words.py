"""What the commands of a witness say where it must not sign, or where there is none."""

import pytest

from keyvault.domain.witnessing import WitnessError
from keyvault.witness.state import StateLostError
from tests.witness.logs import Log
from tests.witness.places import Ours, command


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def place(tmp_path, log):
    """A witness that watches the log and is not served, and a request of the log's beside it."""
    made = Ours(tmp_path / "w", "witness.example/w1").make(log)
    (tmp_path / "request").write_bytes(log.request(0).to_bytes())
    return made


def files(place):
    beside = place.folder.parent
    return ["--in", str(beside / "request"), "--out", str(beside / "line")]


def test_without_its_memory_a_witness_says_what_to_do_and_signs_again_once_it_is_back(place, log):
    kept = (place.folder / "state.json").rename(place.folder / "elsewhere")
    for verb, more in (("sign", files(place)), ("show", []), ("trust", [log.ecdsa.vkey])):
        status, said, complaint = command(verb, *more, "--folder", str(place.folder))
        assert (status, said) == (66, ""), "witness-state-lost"
        assert "does not know what it has seen: its state file is gone" in complaint
        assert "make a new witness with a new key" in complaint
    assert StateLostError.code == "witness-state-lost"
    assert not (place.folder / "state.json").exists()
    kept.rename(place.folder / "state.json")
    assert place.run("sign", *files(place))


def test_a_log_that_a_witness_does_not_know_is_refused_with_what_to_do(place):
    request, line = place.folder.parent / "request", place.folder.parent / "line"
    request.write_bytes(Log(origin="another.example").request(0).to_bytes())
    status, said, complaint = command("sign", *files(place), "--folder", str(place.folder))
    assert (status, said, WitnessError.code) == (76, "", "witness-refused")
    assert "keyvault witness trust" in complaint
    assert not line.exists()


def test_a_folder_without_a_witness_is_not_taken_for_one_that_lost_its_memory(tmp_path):
    status, _, complaint = command("show", "--folder", str(tmp_path / "other"))
    assert status == 66
    assert "no witness lives in" in complaint
    assert "--folder" in complaint
