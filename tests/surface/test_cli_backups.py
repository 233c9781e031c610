"""Backups at the command line: from a holder's share key to a file that anybody checks."""

import pytest

from tests.holders import NAMES
from tests.stack import PASSPHRASE
from tests.surface.desk import Desk

SECRETS = f"{PASSPHRASE.decode()}\n"


@pytest.fixture(scope="module")
def desks(stack):
    stack.register("dirk", "key-custodian")
    made = {}
    for person in ("alice", *NAMES):
        path = stack.folder / f"{person}.key"
        made[person] = desk = Desk(stack.folder, person, path, PASSPHRASE.decode())
        login = desk.login(stack.url, stack.ca, "--genesis", stack.settings.genesis)
        assert login.status == 0, login.err
    return made


@pytest.mark.soak
def test_holders_make_share_keys_and_a_backup_is_made_checked_and_destroyed(stack, desks, tmp_path):
    words = ["backups", "key", "--label", "2026", "--threshold", "2", "--reason", "the first"]
    for name in NAMES:
        out = tmp_path / f"{name}.share"
        own = ("--credential", str(stack.folder / f"{name}.key"), "--passphrase-fd", "0")
        made = desks[name].keyvault("shares", "key", "--out", str(out), *own, typed=SECRETS * 2)
        assert made.status == 0, made.err
        words += ["--holder", f"{out}.json"]
    asked = desks["alice"].ask(*words)
    key = stack.carry_out({**asked, "requester": "alice"})["outcome"]["backup_key"]
    opening = ("shares", "open", key, "--share-key", str(tmp_path / "bob.share"))
    shown = desks["bob"].keyvault(*opening, "--passphrase-fd", "0", typed=SECRETS)
    assert (shown.status, shown.out.count("\n") < 5) == (0, True)  # the words are on the screen
    assert len(shown.err.split()) > 33
    page = ("--paper", str(tmp_path / "share.pdf"), "--bag", "17", "--passphrase-fd", "0")
    assert desks["bob"].keyvault(*opening, *page, typed=SECRETS).status == 0
    assert (tmp_path / "share.pdf").read_bytes().startswith(b"%PDF")
    desks["bob"].ask("shares", "confirm", key, "--bag", "17", "--place", "safe 2")
    other = desks["bob"].keyvault("shares", "confirm", key, "--bag", "18", "--json")
    assert (other.status, other.error["code"]) == (65, "bag-mismatch")
    file = str(tmp_path / "all.backup")
    where = ("--backup-key", key, "--out", file, "--place", "vault B", "--owner", "bob")
    backup = desks["bob"].ask("backups", "make", *where)
    assert desks["carol"].ask("backups", "verify", file)["sha256"] == backup["sha256"]
    assert desks["bob"].ask("backups", "list")["items"][0]["id"] == backup["id"]
    drill = desks["alice"].ask("backups", "drill", backup["id"], "--reason", "quarterly")
    stack.approve({**drill, "requester": "alice"}, "bob", "carol")
    path = f"/v1/requests/{drill['id']}/executions"
    refused = stack.person("alice").client().post(path)
    assert (refused.status_code, refused.json()["code"]) == (503, "not-ready")  # no second token
    done = desks["bob"].ask("backups", "destroy", backup["id"], "--how", "shredded")
    assert done["state"] == "destroyed"
