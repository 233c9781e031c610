"""Yesterday's copies: of the database, of a token, of the gate's folder. None is served."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hsm.uri import parse
from tests.assessor import assert_evidence_holds
from tests.evidence.built import PROGRAM
from tests.stack import PASSPHRASE, Stack
from tests.surface.desk import keyvault


class Copies:
    """A service that was stopped, copied, and went on: `bring_back` puts a part of it back."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.folder = stack.config.parent
        self.names = list(stack._services)  # noqa: SLF001  (in their order)

    def stop(self) -> None:
        for name in reversed(self.names):
            if name in self.stack._processes:  # noqa: SLF001  (those that run)
                self.stack.stop(name)

    def keep(self, name: str) -> None:
        shutil.copytree(self.folder, self.stack.folder / name, ignore=_no_sockets)

    @property
    def log_token(self) -> str:
        """The folder of the log's own token, below that of the service."""
        serial = parse(self.stack.settings.log.uri).serial
        [one] = [p for p in (self.folder / "tokens").iterdir() if p.name.endswith(serial[-12:])]
        return str(one.relative_to(self.folder))

    def put(self, name: str, *parts: str) -> None:
        """Replace parts of the service's folder by those of a copy."""
        for pattern in parts:
            for place in self.folder.glob(pattern):
                shutil.rmtree(place) if place.is_dir() else place.unlink()
            for source in (self.stack.folder / name).glob(pattern):
                target = self.folder / source.relative_to(self.stack.folder / name)
                shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)


def _no_sockets(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if (Path(folder) / name).is_socket()}


@pytest.fixture(scope="module")
def copies():
    with Stack.make() as stack:
        made = Copies(stack)
        stack.start()
        stack.order_key()
        made.stop()
        made.keep("yesterday")
        stack.start()
        stack.order_key()
        made.stop()
        made.keep("today")
        yield made


DATABASE, TOKENS, LOG_TOKEN = "keyvault.db*", "tokens", "of the log"


@pytest.mark.parametrize(
    ("part", "who", "said"),
    [
        (DATABASE, "sealer", "the token of the log has seen"),
        pytest.param(DATABASE, "api", "the token of the log has seen", marks=pytest.mark.soak),
        ("state", "gate", "the gate's folder is an older copy"),
        (TOKENS, "gate", "the token is an older copy"),
        pytest.param(
            *(LOG_TOKEN, "sealer", "the token of the log is an older copy"), marks=pytest.mark.soak
        ),
        (LOG_TOKEN, "api", "the token of the log is an older copy"),
    ],
)
def test_yesterdays_copy_is_noticed_at_the_start_and_not_served(copies, part, who, said):
    copies.put("today", DATABASE, "state", TOKENS)
    copies.put("yesterday", part.replace(LOG_TOKEN, copies.log_token))
    before = ["gate", "log-gate", "recorder"]
    needed = before[: before.index(who)] if who in before else before
    log = copies.stack.folder / f"{who}.log"
    log.write_text("")
    try:
        if needed:
            copies.stack.start(*needed)
        if who == "sealer":  # its readiness is not waited for
            copies.stack.start(who)
            assert copies.stack._processes.pop(who).wait(30) != 0  # noqa: SLF001  (it gives up)
        else:
            with pytest.raises(RuntimeError, match="did not start"):
                copies.stack.start(who)
            copies.stack._processes.pop(who)  # noqa: SLF001  (it has ended)
        assert said in log.read_text()
    finally:
        copies.stop()


@pytest.mark.soak
def test_todays_copy_is_served_again(copies):
    copies.put("today", DATABASE, "state", TOKENS)
    copies.stack.start()
    copies.stack.order_key()
    copies.stop()


def test_an_older_copy_goes_on_in_a_new_epoch_that_people_approve_and_auditors_see(copies):
    stack = copies.stack
    copies.put("today", DATABASE, "state", TOKENS)
    copies.put("yesterday", DATABASE)
    stack.start("log-gate")
    words = ["recover", "--config", str(stack.config), "--requester", "alice", "--yes"]
    words += ["--reason", "the disk is lost", "--passphrase-fd", "0"]
    signers = [f"--approver={name}={stack.folder / f'{name}.key'}" for name in ("bob", "carol")]
    typed = f"{PASSPHRASE.decode()}\n" * 2
    alone = keyvault(*words, signers[0], typed=typed)
    assert (alone.status, "approvals" in alone.err) == (77, True), alone.err
    done = keyvault(*words, *signers, "--json", typed=typed)
    assert done.status == 0, done.err
    assert done.json["epoch"] == 2
    again = keyvault(*words, *signers, typed=typed)
    assert (again.status, "all that its token has seen" in again.err) == (65, True), again.err
    stack.stop("log-gate")
    stack.start()
    stack.order_key()
    assert_evidence_holds(stack)
    said = subprocess.run(
        [sys.executable, "-I", PROGRAM, stack.folder / "evidence.zip"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "epoch 2 begins at event" in said.stdout
    assert "approved by bob, carol: events" in said.stdout
    assert "are lost (the disk is lost)" in said.stdout
    copies.stop()
