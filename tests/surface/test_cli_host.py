"""Commands on the service's own host: found a service, run it, examine it."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyvault.domain.times import day_text
from tests.stack import free_port
from tests.surface.desk import ROOT, Desk, keyvault, spoken

NAMES = ("alice", "bob", "carol")
PASSPHRASE = "a passphrase of a test"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A folder with the credentials of three officers."""
    folder = tmp_path_factory.mktemp("people")
    for name in NAMES:
        words = ("credential", "create", "--out", f"{name}.key", "--passphrase-fd", "0")
        spoken(*words, typed=f"{PASSPHRASE}\n", cwd=folder)
    return folder


def officers(people):
    return [word for name in NAMES for word in ("--officer", spec(people, name))]


def spec(people, name):
    """An officer as `keyvault init` is told of them."""
    screened = f"reviewed={day_text(datetime.now(UTC))},reference=HR-{name}"
    return f"id={name},name={name.title()},{screened},credential={people}/{name}.key"


def founded(people, folder, *more, typed=f"{PASSPHRASE}\n" * 3):
    return keyvault(
        *("init", "--folder", str(folder), "--site", "keyvault.test", *officers(people)),
        *("--port", str(free_port()), "--passphrase-fd", "0", *more),
        typed=typed,
    )


@pytest.fixture(scope="module")
def service(people, tmp_path_factory):
    """A founded service that does not run; its config file."""
    folder = tmp_path_factory.mktemp("s") / "service"
    done = founded(people, folder, "--yes", "--json")
    assert done.status == 0, done.err
    return folder / "keyvault.toml"


class Served:
    """`keyvault serve` in a process of its own, until it is told to stop."""

    def __init__(self, config):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", "--config", config],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.first_line = self.process.stdout.readline()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        _, self.words = self.process.communicate(timeout=60)
        return self.process.returncode


def processes_of(config):
    """Process ids by module, of everything that was started with this config file."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(str(config) in word for word in words) and "-m" in words:
            found.setdefault(words[words.index("-m") + 1], []).append(int(folder.name))
    return found


def until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "that did not happen in time"
        time.sleep(0.1)


def test_a_service_is_founded_by_three_officers(service):
    folder = service.parent
    settings = tomllib.loads(service.read_text())
    assert len(bytes.fromhex(settings["genesis"])) == 32
    for name in ("keys.pin", "keys.so-pin", "log.pin", "log.so-pin"):
        file = folder / "credentials" / name
        assert file.stat().st_mode & 0o777 == 0o600
        assert len(file.read_bytes()) >= 24
        assert file.read_text() not in service.read_text()
    assert folder.stat().st_mode & 0o077 == 0
    text = subprocess.check_output(
        ["openssl", "x509", "-in", folder / "tls" / "server.pem", "-noout", "-text"], text=True
    )
    assert "DNS:localhost, IP Address:127.0.0.1" in text


def test_a_folder_with_something_in_it_is_left_alone(people, service):
    before = service.read_bytes()
    again = founded(people, service.parent, "--yes", "--json")
    assert again.status == 65
    assert "holds a service" in again.error["message"]
    assert str(service) in again.error["next_step"]
    assert service.read_bytes() == before
    (people.parent / "full").mkdir()
    (people.parent / "full" / "something").touch()
    asked = keyvault("init", "--folder", str(people.parent / "full"))
    assert asked.status == 65
    assert "is not empty" in asked.err
    assert "site" not in asked.err  # nothing is asked for in vain


def test_every_officer_reads_before_signing(people, tmp_path):
    folder = tmp_path / "service"
    typed = f"yes\n{PASSPHRASE}\nno\n"
    done = founded(people, folder, typed=typed)
    assert done.status == 77
    assert "genesis, for Alice" in done.err
    assert "keyvault: alice has signed the genesis" in done.err
    assert "genesis, for Bob" in done.err
    assert "check words" in done.err
    assert "\\n" not in done.err  # a duty is read line by line
    assert not (folder / "keyvault.toml").exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (NAMES[:2], "at least 3 officers"),
        (("alice", "alice", "bob"), "two officers in genesis are the same"),
    ],
)
def test_too_few_officers_found_nothing(people, tmp_path, names, said):
    words = ["init", "--folder", str(tmp_path / "service"), "--site", "keyvault.test", "--yes"]
    for name in names:
        words += ["--officer", spec(people, name)]
    done = keyvault(*words, "--passphrase-fd", "0", typed=f"{PASSPHRASE}\n" * 3)
    assert done.status in {65, 77}
    assert said in done.err
    assert "has signed the genesis" not in done.err  # nobody signs in vain
    assert not (tmp_path / "service" / "keyvault.toml").exists()


def test_init_asks_for_what_is_not_given(people, tmp_path):
    answers = [str(tmp_path / "service"), "keyvault.test"]
    answers += [spec(people, name) for name in NAMES]
    answers += ["yes", PASSPHRASE] * 3
    words = ("init", "--passphrase-fd", "0", "--port", str(free_port()))
    done = keyvault(*words, typed="\n".join(answers) + "\n")
    assert done.status == 0, done.err
    assert "keyvault: folder of the service [service]: " in done.err
    assert (tmp_path / "service" / "keyvault.toml").exists()


def test_init_takes_tokens_that_are_there_already_and_keeps_no_pin(people, tmp_path):
    (tmp_path / "tokens").mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    try:
        words = ("token", "init", "--yes", "--pin-fd", "0", "--label")
        uris = [spoken(*words, name, typed="so-pin-1\nuser-pin-1\n")["uri"] for name in ("k", "l")]
        labels = {token["label"] for token in spoken("token", "list") if token["initialised"]}
    finally:
        del os.environ["SOFTHSM2_CONF"]
    assert labels == {"k", "l"}
    more = ("--keys-uri", uris[0], "--log-uri", uris[1], "--pin-fd", "0", "--yes")
    module = ("--environment", f"SOFTHSM2_CONF={configuration}")
    typed = "user-pin-1\nuser-pin-1\n" + f"{PASSPHRASE}\n" * 3
    done = founded(people, tmp_path / "service", *more, *module, typed=typed)
    assert done.status == 0, done.err
    assert list((tmp_path / "service" / "credentials").iterdir()) == []
    assert "user-pin-1" not in (tmp_path / "service" / "keyvault.toml").read_text()


def test_doctor_tests_a_signature_while_the_gates_are_down(service):
    done = keyvault("doctor", "--config", str(service), "--json")
    assert done.status == 0, done.out + done.err
    found = {check["name"]: check for check in done.json}
    assert found["keys signature"]["reason"] == found["log signature"]["reason"] == "good"


@pytest.mark.soak
def test_doctor_gives_advice_on_what_is_wrong(people, tmp_path):
    folder = tmp_path / "service"
    assert founded(people, folder, "--yes").status == 0
    pin, database = folder / "credentials" / "keys.pin", folder / "keyvault.db"
    pin.chmod(0o644)
    database.write_bytes(b"")
    done = keyvault("doctor", "--config", str(folder / "keyvault.toml"), "--json")
    assert done.status == 69
    wrong = {check["name"]: check["next_step"] for check in done.json if not check["ok"]}
    assert {"keys PIN file", "database"} <= set(wrong)
    assert str(pin) in wrong["keys PIN file"]
    assert wrong["database"] == "keyvault migrate"
    migrated = spoken("migrate", "--config", str(folder / "keyvault.toml"))
    assert migrated["before"] is None
    assert migrated["after"]


def test_the_service_runs_mends_itself_and_stops_cleanly(service, people):
    served = Served(service)
    try:
        assert served.first_line.startswith("ready https://127.0.0.1:")
        url = served.first_line.split()[1]
        running = processes_of(service)
        modules = {"keyvault.gate", "keyvault.recorder", "keyvault.sealer", "api.server"}
        assert modules <= set(running)
        second = keyvault("serve", "--config", str(service), "--json")
        assert (second.status, second.error["code"]) == (75, "busy")
        for module in ("keyvault.recorder", "api.server"):
            os.kill(running[module][0], signal.SIGKILL)
        until(lambda: _renewed(service, running, "keyvault.recorder", "api.server"))
        desk = Desk(people, "alice", people / "alice.key", PASSPHRASE)
        ca = service.parent / "tls" / "server.pem"
        until(lambda: desk.login(url, ca).status == 0)
        assert desk.ask("health")["ready"] is True
    finally:
        status = served.stop()
    assert status == 0
    assert "keyvault: starting recorder again" in served.words
    assert processes_of(service) == {}


def _renewed(config, before, *modules):
    now = processes_of(config)
    return all(now.get(module) and now[module] != before[module] for module in modules)


@pytest.mark.soak
def test_the_service_starts_again_after_its_supervisor_was_killed(service):
    first = Served(service)
    first.stop(signal.SIGKILL)
    # The kernel tells the children, so nothing is left that would hold a port or a socket.
    until(lambda: processes_of(service) == {})
    second = Served(service)
    try:
        assert second.first_line.startswith("ready")
    finally:
        assert second.stop() == 0


def test_a_refused_pin_stops_the_start_and_is_tried_once(people, tmp_path):
    folder = tmp_path / "service"
    assert founded(people, folder, "--yes").status == 0
    (folder / "credentials" / "keys.pin").write_text("0000")
    served = Served(folder / "keyvault.toml")
    _, words = served.process.communicate(timeout=60)
    assert served.first_line == ""
    assert served.process.returncode == 75
    assert "keyvault: gate did not start: it ended with status 77" in words
    assert processes_of(folder / "keyvault.toml") == {}


def test_one_part_of_the_service_runs_alone(service):
    line = [sys.executable, "-m", "cli", "serve", "gate", "--config", str(service)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL) as gate:
        try:
            until(lambda: "keyvault.gate.worker" in processes_of(service))
            assert set(processes_of(service)) == {"keyvault.gate", "keyvault.gate.worker"}
        finally:
            gate.terminate()
    until(lambda: processes_of(service) == {})


def test_a_credential_is_never_written_over(people):
    before = (people / "alice.key").read_bytes()
    words = ("credential", "create", "--out", "alice.key", "--passphrase-fd", "0", "--json")
    done = keyvault(*words, typed=f"{PASSPHRASE}\n", cwd=people)
    assert done.status == 65
    assert (people / "alice.key").read_bytes() == before


def test_a_credential_shows_the_fingerprint_of_its_public_key(people):
    words = ("credential", "show", "bob.key", "--passphrase-fd", "0")
    shown = spoken(*words, typed=f"{PASSPHRASE}\n", cwd=people)
    der = subprocess.check_output(
        ["openssl", "pkey", "-pubin", "-in", people / "bob.pub.pem", "-outform", "DER"]
    )
    digest = subprocess.check_output(["openssl", "dgst", "-sha256", "-r"], input=der, text=False)
    assert shown["fingerprint"] == digest.split()[0].decode()


def test_without_a_terminal_no_passphrase_is_read_where_it_would_show(people):
    done = subprocess.run(
        [sys.executable, "-m", "cli", "credential", "show", people / "alice.key"],
        input=f"{PASSPHRASE}\n",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,  # away from whatever terminal runs the tests
    )
    assert done.returncode == 77
    assert "Warning" not in done.stderr
    assert "one line on a descriptor" in done.stderr.splitlines()[1]


def test_a_passphrase_that_is_typed_is_never_shown(tmp_path):
    command = f"{sys.executable} -m cli credential create --out {tmp_path}/dora.key"
    with subprocess.Popen(
        ["script", "--quiet", "--return", "--flush", "--command", command, tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as terminal:
        shown = b""
        for prompt in (f"new passphrase for {tmp_path}/dora.key: ", "once more: "):
            while not shown.endswith(prompt.encode()):
                shown += terminal.stdout.read(1)
            terminal.stdin.write(f"{PASSPHRASE}\n".encode())
            terminal.stdin.flush()
        shown += terminal.stdout.read()
    assert terminal.returncode == 0
    assert b"fingerprint" in shown
    assert PASSPHRASE.encode() not in shown
    shown = spoken(
        *("credential", "show", "dora.key", "--passphrase-fd", "0"),
        typed=f"{PASSPHRASE}\n",
        cwd=tmp_path,
    )
    assert shown["public_key"] == "dora.pub.pem"
