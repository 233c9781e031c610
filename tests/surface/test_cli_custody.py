"""Custody at the command line: from the label on a key to the certificate of its end."""

import json
import subprocess

import pytest

from keyvault.domain.custody import DESTRUCTION_CONTEXT
from tests.stack import OFFICERS, PASSPHRASE
from tests.surface.desk import Desk


@pytest.fixture(scope="module")
def desks(stack):
    made = {}
    for person in OFFICERS:
        path = stack.folder / f"{person}.key"
        made[person] = desk = Desk(stack.folder, person, path, PASSPHRASE.decode())
        login = desk.login(stack.url, stack.ca, "--genesis", stack.settings.genesis)
        assert login.status == 0, login.err
    return made


def done(stack, desks, *words: str) -> None:
    """Ask as alice, let bob and carol sign it, and carry it out."""
    stack.carry_out({**desks["alice"].ask(*words), "requester": "alice"})


@pytest.mark.soak
def test_a_key_is_labelled_sent_installed_held_and_its_life_is_drawn(stack, desks, tmp_path):
    bob, key = desks["bob"], stack.active_key()
    early = bob.keyvault("keys", "installed", key, "--to", "head-end-1", "--json")
    assert (early.status, early.error["code"]) == (69, "key-state")
    bob.ask("keys", "label", key, "--text", "ACME-17", "--place", "safe 2")
    bob.ask("keys", "distributed", key, "--to", "head-end-1", "--channel", "courier")
    desks["alice"].ask("keys", "installed", key, "--to", "head-end-1")
    listed = bob.keyvault("keys", "steps", key)
    for word in ("labelled", "safe 2", "distributed", "courier", "installed", "person:alice"):
        assert word in listed.out
    hold = bob.ask("keys", "hold", key, "--kind", "dispute", "--reason", "case 12")["id"]
    refused = desks["alice"].keyvault("keys", "destroy", key, "--reason", "over", "--yes", "--json")
    assert (refused.status, refused.error["code"]) == (69, "key-needed")
    assert hold in bob.keyvault("keys", "dependants", key).out
    done(stack, desks, "keys", "lift-hold", key, "--hold", hold, "--reason", "settled")
    assert "it may be destroyed" in bob.keyvault("keys", "dependants", key).err
    life = bob.keyvault("keys", "life", key, "--svg", str(tmp_path / "life.svg"))
    assert "The key was labelled, by Bob (bob): number 1, text ACME-17" in life.out
    assert (tmp_path / "life.svg").read_text().startswith("<svg ")
    table = bob.keyvault("keys", "forecast", "--svg", str(tmp_path / "forecast.svg"))
    assert "180 days" in table.out
    assert (tmp_path / "forecast.svg").read_text().endswith("</svg>\n")


@pytest.mark.soak
def test_a_compromise_is_declared_reported_and_its_key_destroyed(stack, desks, tmp_path):
    bob, key = desks["bob"], stack.active_key()
    why = ("--reason", "seen elsewhere", "--known-at", "2026-01-01T10:00:00Z", "--yes")
    assert bob.keyvault("keys", "compromise", key, *why).status == 0
    assert bob.ask("keys", "compromise-case", key)["owed"] == ["dcc", "pma", "ssc"]
    page = tmp_path / "notice.html"
    bob.ask("keys", "compromise-notice", key, "--to", "pma", "--format", "html", "--out", str(page))
    assert "First known at: 2026-01-01T10:00:00Z" in page.read_text()
    drafted = bob.keyvault("keys", "compromise-notice", key, "--to", "dcc")
    assert "To: Data Communications Company (DCC)" in drafted.out
    bob.ask("keys", "notice-sent", key, "--to", "pma", "--reference", "INC-77")
    assert bob.ask("keys", "compromise-case", key)["owed"] == ["dcc", "ssc"]
    done(stack, desks, "keys", "destroy", key, "--reason", "replaced", "--yes")
    out = tmp_path / "gone.txt"
    bob.ask("keys", "destruction-certificate", key, "--out", str(out))
    line = ["openssl", "dgst", "-sha256", "-verify", f"{out}.pem", "-signature", f"{out}.sig", out]
    subprocess.run(line, check=True, capture_output=True)
    said = json.loads(out.read_bytes().removeprefix(DESTRUCTION_CONTEXT))
    assert said["compromised_at"] is not None


def test_a_renewal_names_a_certificate_of_the_key(stack, desks):
    key = stack.active_key()
    words = ("keys", "renewed", key, "--certificate", key, "--reason", "yearly", "--json")
    refused = desks["bob"].keyvault(*words)
    assert (refused.status, refused.error["code"]) == (69, "certificate-state")
