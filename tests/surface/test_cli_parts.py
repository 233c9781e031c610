"""Parts of the command that need no service: words, tables, screens, files."""

import inspect
import json
import os
import subprocess
import sys
import tomllib
from copy import deepcopy
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from cli.confirm import confirm
from cli.errors import DeclinedError
from cli.local.layout import toml
from cli.local.officers import officer
from cli.main import NOUNS, VERBS, assembled
from cli.output import STYLE, answer, facts, grouped, printable
from cli.passphrases import Secrets
from cli.remote.requests import rebuilt
from cli.remote.screens import WORDS, about_command, about_request
from cli.remote.uses import der_of, raw_of
from cli.state import LogMemory, folder_of, open_session, remember, remembered, write_private
from hsm.types import Algorithm, KeyUsage
from keyvault.domain.approvals import Seen, check_words, new_request
from keyvault.domain.commands import COMMANDS, DestroyKey, GenerateKey
from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError
from keyvault.domain.people import Role
from keyvault.domain.rules import Rule
from keyvault.domain.scopes import Scope
from keyvault.signatures import SoftwareCredential
from tests.surface.desk import ROOT, keyvault


def verbs(command, path=()):
    inner = getattr(command, "commands", {})
    if not inner:
        yield path, command
    for name, sub in inner.items():
        yield from verbs(sub, (*path, name))


ALL = dict(verbs(typer.main.get_command(assembled(""))))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_answers_in_json_and_shows_examples(path):
    command = ALL[path]
    assert "--json" in {option for one in command.params for option in one.opts}
    assert command.help
    assert f"keyvault {' '.join(path)}" in command.epilog


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_secret_can_be_given_as_an_argument_or_in_the_environment(path):
    for one in ALL[path].params:
        if any(word in one.name for word in ("passphrase", "pin", "secret", "password")):
            assert one.name.endswith("_fd")
            assert one.envvar is None


@pytest.mark.parametrize("first", [*VERBS, *NOUNS])
def test_a_call_loads_its_own_words_and_no_others(first):
    app = typer.main.get_command(assembled(first))
    assert first in app.commands
    expected = {v for v, module in VERBS.items() if module == VERBS.get(first)} or {first}
    assert set(app.commands) == expected


def test_a_noun_alone_shows_its_verbs():
    done = keyvault("keys")
    assert done.status == 64
    assert "history" in done.err


def test_the_shell_completes_nouns_verbs_and_values():
    def completed(line):
        words = line.split(" ")
        environment = {
            "_KEYVAULT_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
        }
        call = [sys.executable, "-m", "cli"]
        return subprocess.check_output(call, env=environment, text=True).split()

    assert "approvals" in completed("keyvault app")
    assert "approve" in completed("keyvault approvals app")
    assert "suspended" in completed("keyvault keys list --state sus")


def test_a_pipe_that_was_closed_is_no_traceback():
    line = f"{sys.executable} -m cli token list --json | true"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=ROOT, capture_output=True, check=False
    )
    assert b"Traceback" not in done.stderr


# Words for people --------------------------------------------------------------------------


@given(st.text())
def test_nothing_from_outside_steers_the_terminal(text):
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_markup_and_escapes_in_a_label_are_shown_as_they_are(capsys, monkeypatch):
    monkeypatch.setattr(STYLE, "json", False)
    answer({}, facts([("label", "[red]x[/red] :smile: \x1b[2J\u202e")]))
    assert "[red]x[/red] :smile: \\x1b[2J\\u202e" in capsys.readouterr().out


@given(st.binary(min_size=1).map(bytes.hex))
def test_a_fingerprint_is_grouped_and_nothing_is_lost(text):
    assert grouped(text).replace(" ", "") == text
    assert max(map(len, grouped(text).split())) <= 4


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=96, max_size=96))
def test_signatures_are_written_as_der_and_back(p256, p384):
    for raw, algorithm in ((p256, Algorithm.EC_P256), (p384, Algorithm.EC_P384)):
        assert raw_of(der_of(raw, algorithm), algorithm) == raw


@pytest.mark.parametrize(
    "bad", [b"", b"\x30\x00", bytes(64), der_of(b"\xff" * 96, Algorithm.EC_P384)]
)
def test_what_is_no_signature_is_refused(bad):
    with pytest.raises(InvalidInputError):
        raw_of(bad, Algorithm.EC_P256)


# Requests and their screens ----------------------------------------------------------------

COMMAND = GenerateKey("meters", Algorithm.EC_P256, KeyUsage.SIGN, "critical", 365, 730)
RULE = Rule("keys", ("generate-key",), ("*",), (Role.KEY_APPROVER,), 2, 86_400)


def request_of(command=COMMAND):
    return new_request(
        request_id=uuid4(),
        origin="keyvault.test/keyvault/2026-1",
        command=command,
        scope=Scope("ACME", "IS", "1"),
        rule=RULE,
        requester="alice",
        now=datetime.now(UTC),
        nonce=bytes(16),
        seen=Seen(7, "ab" * 32),
    )


def item_of(request):
    return {
        "id": str(request.id),
        "state": "requested",
        "approvals": [],
        "document": request.document,
        "digest": request.digest.hex(),
        "check_words": check_words(request.digest),
    }


def test_a_request_is_rebuilt_from_its_fields():
    request = request_of()
    assert rebuilt(item_of(request)).request == request


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from leaves(item, (*path, at))
    else:
        yield path


def another(value):
    """A value of the same kind that is not this one; for none of them, a text."""
    match value:
        case None:
            return "site"
        case bool():
            return not value
        case int():
            return value + 1
        case _:
            return value[:-1] + chr(ord(value[-1]) ^ 1)


@pytest.mark.parametrize("path", list(leaves(item_of(request_of()))), ids=str)
def test_no_field_can_be_changed_without_being_noticed(path):
    item = deepcopy(item_of(request_of()))
    if path == ("state",):
        item["state"] = "no state at all"
    else:
        holder = item
        for name in path[:-1]:
            holder = holder[name]
        holder[path[-1]] = another(holder[path[-1]])
    with pytest.raises(InvalidInputError):
        rebuilt(item)


def test_every_command_has_its_words():
    assert set(WORDS) == set(COMMANDS.values())


@pytest.mark.parametrize("command", [COMMAND, DestroyKey(uuid4(), "retention is over")])
def test_the_screen_shows_every_parameter_that_is_signed(command):
    shown = dict(about_command(command))
    for name, value in command.parameters().items():
        assert str(shown[name.replace("_", " ")]) == ("none" if value is None else str(value))


def test_the_screen_of_a_request_names_scope_rule_and_check_words():
    request = request_of()
    shown = dict(about_request(request, None, None))
    assert shown["for"] == "party ACME, role IS, user id 1"
    assert shown["still needed"] == "2 signatures"
    assert shown["check words"] == check_words(request.digest)


@pytest.mark.parametrize("typed", ["", "\n", "y\n", "no\n", "YES\n", "yes please\n"])
def test_only_the_whole_word_yes_goes_on(typed):
    script = "from cli.confirm import confirm; confirm('t', [('a', 'b')], yes=False); print('on')"
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, input=typed, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode != 0
    assert "DeclinedError" in done.stderr
    assert done.stdout == ""


def test_a_script_may_say_yes_beforehand_and_still_sees_the_screen(capsys):
    confirm("a title", [("this will", "do something")], yes=True)
    assert "do something" in capsys.readouterr().err


# Files and descriptors ---------------------------------------------------------------------

VALUES = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**62))
NAMES = st.from_regex(r"[a-z_]{1,10}", fullmatch=True).filter(lambda name: name != "environment")


@given(st.dictionaries(NAMES, st.one_of(VALUES, st.dictionaries(NAMES, VALUES))))
def test_what_is_written_as_toml_reads_the_same(document):
    assert tomllib.loads(toml(document)) == document


def test_an_environment_is_an_inline_table():
    document = {"keys": {"environment": {"SOFTHSM2_CONF": "./a b"}}, "log": {"environment": {}}}
    assert tomllib.loads(toml(document)) == document


OFFICER = "id=a,name=A,reviewed=2026-01-31,reference=HR-1,credential=a.key"


@pytest.mark.parametrize(
    "text", ["", "alice", f"{OFFICER},what=x", f"{OFFICER},card=x", f"{OFFICER},site="]
)
def test_an_officer_is_told_with_what_is_known_and_nothing_else(text):
    with pytest.raises(InvalidInputError, match="an officer has an id, a name, a screening"):
        officer(text, 0, "a site", datetime.now(UTC))


@pytest.mark.parametrize("place", range(5))
def test_an_officer_needs_id_name_screening_and_credential(place):
    parts = OFFICER.split(",")
    text = ",".join(parts[:place] + parts[place + 1 :])
    with pytest.raises(InvalidInputError, match="an officer has an id, a name, a screening"):
        officer(text, 0, "a site", datetime.now(UTC))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("roles=king", "roles are joined by"),
        ("vetting=none", "baseline"),
        ("due=2028-01-01", "due"),
    ],
)
def test_an_officer_that_cannot_be_is_refused(tmp_path, more, said):
    SoftwareCredential.create(tmp_path / "a.key", b"long enough")
    public = (
        "openssl",
        "pkey",
        "-in",
        tmp_path / "a.key",
        "-passin",
        "pass:long enough",
        "-pubout",
    )
    (tmp_path / "a.pub.pem").write_bytes(subprocess.check_output(public))
    text = f"{OFFICER},public={tmp_path}/a.pub.pem"
    assert officer(text, 0, "a site", datetime.now(UTC)).person.site == "a site"
    with pytest.raises(InvalidInputError) as caught:
        officer(f"{text},{more}", 0, "a site", datetime.now(UTC))
    assert said in f"{caught.value} {caught.value.next_step}"


def pipe_of(data):
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def test_secrets_are_taken_from_a_descriptor_line_by_line():
    reader = pipe_of(b"first\nsecond\nthe rest")
    try:
        secrets = Secrets(reader)
        assert [secrets.next("one"), secrets.next("two")] == [b"first", b"second"]
        assert os.read(reader, 100) == b"the rest"
        with pytest.raises(DeclinedError):
            secrets.next("three")
    finally:
        os.close(reader)


def test_a_descriptor_that_is_not_open_is_refused():
    reader = pipe_of(b"")
    os.close(reader)
    with pytest.raises(DeclinedError):
        Secrets(reader).next("a secret")


def test_what_is_kept_is_private_and_put_in_place_whole(tmp_path):
    path = tmp_path / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_private_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = folder_of(None)
    assert folder == tmp_path / "state" / "keyvault"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    with pytest.raises(InvalidInputError):
        folder_of(None)


def test_a_damaged_memory_of_the_log_is_an_error_and_no_fresh_start(tmp_path):
    memory = LogMemory("a/log", "00" * 32, 3, "ab" * 32, "note")
    remember(tmp_path, memory)
    assert remembered(tmp_path, "a/log") == memory
    assert remembered(tmp_path, "another/log") is None
    [path] = tmp_path.iterdir()
    for damage in ("", "{}", json.dumps({"size": 1}), "not json"):
        path.write_text(damage)
        with pytest.raises(InvalidInputError):
            remembered(tmp_path, "a/log")


def test_without_a_session_the_next_step_is_to_log_in(tmp_path):
    tmp_path.chmod(0o700)
    with pytest.raises(NotAuthenticatedError) as caught:
        open_session(tmp_path)
    assert caught.value.next_step == "run: keyvault login"


def test_a_session_holds_no_passphrase_and_no_long_lived_key():
    fields = set(inspect.signature(open_session).return_annotation.__dataclass_fields__)
    told = {"folder", "server", "person", "credential", "origin", "until"}
    assert fields == told | {"deciding"}  # public keys
