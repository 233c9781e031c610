"""Components at their custodians' own terminals: typed blind, printed, put into bags."""

import os

import pytest

from tests.contract.test_carrying import by_openssl, check_values, openssl, xor
from tests.stack import PASSPHRASE
from tests.surface.desk import Desk

PEOPLE = ("alice", "edda", "finn")
SCOPE = "ACME/IS/90-B3-D5-1F-30-01-00-00"
TERMS = ("--scope", SCOPE, "--label", "carried", "--algorithm", "AES-256")
BOTH = ("--custodian", "edda", "--custodian", "finn")


@pytest.fixture(scope="module")
def desks(stack):
    made = {}
    for person in PEOPLE:
        if person != "alice":
            stack.register(person, "key-custodian")
        path = stack.folder / f"{person}.key"
        made[person] = desk = Desk(stack.folder, person, path, PASSPHRASE.decode())
        login = desk.login(stack.url, stack.ca, "--genesis", stack.settings.genesis)
        assert login.status == 0, login.err
    return made


def opened(stack, desks, *words):
    """Ask as alice, let bob and carol sign it, and open the handover."""
    request = {**desks["alice"].ask("keys", *words), "requester": "alice"}
    stack.carry_out(request)
    return request["id"]


def enter(desk, request, *lines, more=()):
    """Type a component, then the passphrase, without a terminal."""
    typed = "".join(f"{line}\n" for line in lines) + desk.passphrase
    fds = ("--component-fd", "0", "--passphrase-fd", "0", "--yes")
    return desk.keyvault("keys", "components", "enter", request, *fds, *more, typed=typed)


def test_two_custodians_type_blind_and_one_mistypes(stack, desks, tmp_path):
    one, two = os.urandom(32), os.urandom(32)
    whole = check_values(xor(one, two))
    wanted = ("--usage", "mac", *BOTH, "--check-value", f"cmac:{whole.cmac}")
    request = opened(stack, desks, "components", "import", *TERMS, *wanted)
    edda, finn = desks["edda"], desks["finn"]
    slip = enter(edda, request, one.hex(), two.hex(), more=("--json",))
    assert (slip.status, slip.error["code"]) == (65, "component-invalid")
    right = enter(edda, request, one.hex(" ", 2), one.hex().upper())
    assert right.status == 0, right.err
    assert f"CMAC {check_values(one).cmac}, ECB {check_values(one).ecb}" in right.err
    assert one.hex() not in right.out + right.err + slip.err
    last = enter(finn, request, two.hex(), more=("--check-value", f"ecb:{check_values(two).ecb}"))
    assert "the key is made" in last.err
    assert "finn" in last.out
    out = tmp_path / "transcript"
    edda.ask("keys", "components", "transcript", request, "--out", str(out))
    assert b'"combined":"xor-in-gate-overwritten"' in out.read_bytes()
    stranger = enter(desks["alice"], request, one.hex(), one.hex(), more=("--json",))
    assert (stranger.status, stranger.error["code"]) == (77, "component-refused")


@pytest.mark.soak
def test_a_component_is_printed_bagged_and_the_wrong_bag_is_refused(stack, desks, tmp_path):
    key = stack.order_key(algorithm="AES-128", usage="mac", key_class="exchange")
    why = ("--reason", "to the other site", "--yes")
    request = opened(stack, desks, "components", "export", key, *BOTH, *why)
    edda, form = desks["edda"], tmp_path / "form.pdf"
    words = ("keys", "components", "collect", request, "--passphrase-fd", "0")
    done = edda.keyvault(*words, "--out", str(form), typed=edda.passphrase)
    assert done.status == 0, done.err
    assert form.read_bytes().startswith(b"%PDF")
    assert form.stat().st_mode & 0o077 == 0
    shown = edda.keyvault(*words, "--show", typed=edda.passphrase)
    component = bytes.fromhex(shown.err.partition("component 1 of 2: ")[2].partition("\n")[0])
    assert f"CMAC {check_values(component).cmac}" in shown.out
    edda.ask("keys", "components", "bag", request, "--number", "1", "--bag", "TE-1")
    back = ("keys", "components", "returned", request, "--number", "1", "--json")
    wrong = edda.keyvault(*back, "--bag", "TE-2")
    assert (wrong.status, wrong.error["code"]) == (65, "bag-mismatch")
    assert edda.ask("keys", "components", "abort", request, "--reason", "over")["state"] == (
        "aborted"
    )


def test_an_envelope_made_by_openssl_is_delivered(stack, desks, tmp_path):
    secret, edda = os.urandom(32), desks["edda"]
    wanted = ("--usage", "mac", "--custodian", "edda")
    request = opened(stack, desks, "envelopes", "import", *TERMS, *wanted)
    public = tmp_path / "wrap.pem"
    edda.ask("keys", "envelopes", "wrapping-key", request, "--out", str(public))
    spki = openssl("pkey", "-pubin", "-in", str(public), "-outform", "DER")
    (tmp_path / "key.env").write_bytes(by_openssl(spki, secret, tmp_path))
    words = ("keys", "envelopes", "deliver", request, "--file", str(tmp_path / "key.env"))
    done = edda.keyvault(*words, "--passphrase-fd", "0", typed=edda.passphrase)
    assert done.status == 0, done.err
    shown = edda.ask("keys", "show", request)
    assert shown["check_value"] == check_values(secret).cmac
