"""`keyvault tsa`, and the settings that name authorities and streams."""

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from cli.main import assembled
from keyvault.domain.errors import InvalidInputError
from keyvault.settings import SinkSettings, TimeSettings
from keyvault.timestamps.local import LocalAuthority


def told(*words):
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assembled("tsa")(["tsa", *words, "--json"], standalone_mode=False)
    return json.loads(out.getvalue()), err.getvalue()


def test_an_authority_is_made_by_one_command_and_its_label_is_said(tmp_path):
    answer, said = told("init", "Site 1", "--folder", str(tmp_path / "tsa"))
    assert answer["ca"] == str(tmp_path / "tsa" / "ca.pem")
    assert "LOCAL time, not independent" in said
    assert (tmp_path / "tsa" / "tsa.key").stat().st_mode & 0o077 == 0
    with pytest.raises(InvalidInputError, match="left alone"):
        told("init", "Site 1", "--folder", str(tmp_path / "tsa"))


def test_a_folder_without_an_authority_serves_nothing(tmp_path):
    with pytest.raises(InvalidInputError, match="no authority"):
        LocalAuthority(("127.0.0.1", 0), tmp_path)


def test_a_stream_leads_to_one_end_and_an_authority_has_a_plain_name(tmp_path):
    file = {"path": tmp_path / "events"}
    for ends in ({}, {"file": file, "syslog": {"host": "siem.example"}}):
        with pytest.raises(ValueError, match="needs one of"):
            SinkSettings(name="siem", **ends)
    one = {"name": "../up", "url": "https://tsa.example/", "ca": tmp_path}
    with pytest.raises(ValueError, match="pattern"):
        TimeSettings(authorities=(one,))
