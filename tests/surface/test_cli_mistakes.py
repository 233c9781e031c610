"""Slips at the terminal: each is named, with what to read or do next, before anything happens."""

import pytest

from cli.desk.signing import KeyFile
from cli.passphrases import Secrets
from keyvault.domain.errors import NotFoundError
from tests.surface.desk import keyvault


@pytest.mark.parametrize(
    ("words", "said", "named"),
    [
        (("nonsense",), "no such command 'nonsense'", "keyvault"),
        (("keys", "lst"), "Did you mean 'list'?", "keyvault keys"),
        (
            ("credential", "show", "x", "--passphrase-fd", "horse"),
            "a valid integer",
            "keyvault credential show",
        ),
        (("keys", "show"), "missing argument 'KEY'", "keyvault keys show"),
        (("keys", "show", "no-uuid"), "a valid UUID", "keyvault keys show"),
        (
            ("login", "--genesis", "7470 96f", "--person", "alice"),
            "no SHA-256",
            "keyvault login",
        ),
        (("random", "5000"), "less than or equal to 4096", "keyvault random"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_whose_help_to_read(words, said, named):
    done = keyvault(*words)
    assert done.status == 64
    assert done.out == ""
    assert done.err.startswith("keyvault: ")
    assert said.lower() in done.err.lower()
    assert not done.err.splitlines()[0].endswith(".")
    assert done.err.splitlines()[1] == f"keyvault: next step: {named} --help"


@pytest.mark.parametrize(
    ("ca", "credential", "status", "said"),
    [
        ("none.pem", "alice.key", 66, "there is no file none.pem"),
        ("alice.key", "alice.key", 65, "alice.key holds no certificate in PEM"),
    ],
)
def test_a_wrong_file_is_named_before_a_passphrase_is_asked_for(
    tmp_path, ca, credential, status, said
):
    (tmp_path / "alice.key").write_text("no key at all")
    words = ("login", "--server", "https://localhost:1", "--person", "alice")
    done = keyvault(*words, "--ca", ca, "--credential", credential, cwd=tmp_path)
    assert done.status == status
    assert done.err.splitlines()[0] == f"keyvault: {said}"
    assert "passphrase" not in done.err


def test_a_credential_that_is_not_there_is_missed_before_its_passphrase(tmp_path):
    nothing = KeyFile(tmp_path / "alcie.key")
    with pytest.raises(NotFoundError, match="there is no file"):
        nothing.open(Secrets(-1))  # a descriptor from which nothing could be read
