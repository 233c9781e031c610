"""Certificates at the command line: a batch goes out as a ZIP and comes back as one."""

import subprocess
import zipfile
from uuid import UUID

import pytest

from keyvault.domain import pem
from tests.authority import Authority
from tests.stack import PASSPHRASE
from tests.surface.desk import Desk, keyvault

SCOPE = {"party": "BATCH", "user_role": "GS", "user_id": "90-B3-D5-1F-30-01-00-77"}
SCOPE_TEXT = "/".join(SCOPE.values())


@pytest.fixture(scope="module")
def bob(stack):
    desk = Desk(stack.folder, "bob", stack.folder / "bob.key", PASSPHRASE.decode())
    login = desk.login(stack.url, stack.ca, "--genesis", stack.settings.genesis)
    assert login.status == 0, login.err
    return desk


@pytest.fixture(scope="module")
def authority(bob, stack):
    root, issuing = Authority.pair()
    for kind, one in (("root", root), ("issuing", issuing)):
        file = stack.folder / f"{kind}.pem"
        file.write_bytes(pem.armour(one.certificate(), pem.CERTIFICATE))
        bob.ask("certificates", "watch", str(file), "--kind", kind, "--yes")
    return issuing


def archived(path, files):
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return str(path)


@pytest.mark.soak
def test_a_batch_goes_out_and_comes_back(stack, bob, authority, tmp_path) -> None:
    keys = {stack.order_key(scope=SCOPE, usage=usage) for usage in ("sign", "agree", "sign")}
    out = tmp_path / "batch.zip"
    made = bob.ask("certificates", "batch", "--scope", SCOPE_TEXT, "--out", str(out))
    assert (made["requests"], made["built"], made["troubles"]) == (3, {"success": 3}, [])
    assert keyvault("certificates", "lint", str(out)).status == 0
    requests = {i.filename: i for i in zipfile.ZipFile(out).infolist()}
    for name in requests:
        text = zipfile.ZipFile(out).read(name)
        verify = ["openssl", "req", "-verify", "-noout"]
        assert subprocess.run(verify, input=text, capture_output=True, check=True)
        assert UUID(name.removesuffix(".csr"))
    again = tmp_path / "again.zip"
    more = ("--format", "base64", "--columns", "76", "--out", str(again))
    bob.ask("certificates", "batch", "--scope", SCOPE_TEXT, "--resume", made["batch"], *more)
    assert {i.filename for i in zipfile.ZipFile(again).infolist()} == set(requests)
    sent = bob.ask("certificates", "submit", "--batch", made["batch"], "--reference", "SD-1")
    assert (sent["submitted"], sent["pace"][0]["batch"]) == (3, made["batch"])
    first, second, third = requests
    csrs = {n: pem.der_of(zipfile.ZipFile(again).read(n), pem.REQUEST) for n in requests}
    answers = {
        "1.cer": authority.issue(csrs[first]),
        "2.pem": pem.armour(authority.issue(csrs[second]), pem.CERTIFICATE),
        "results.csv": f"file,status,detail\n{third},ineligible,no such role\n{first},success,\n",
    }
    told = bob.keyvault("certificates", "response", archived(tmp_path / "r.zip", answers), "--json")
    assert told.status == 65
    assert told.error["code"] == "certificate-refused"
    assert told.json["results"] == {"issued": 2, "refused": 1}
    assert told.json["wrong"][0]["detail"] == "ineligible: no such role"
    accepted = bob.ask(
        *("certificates", "accept", "--batch", made["batch"], "--reason", "compared", "--yes")
    )
    assert accepted == {"accepted": 2}
    page = bob.ask("certificates", "list", "--batch", made["batch"], "--state", "accepted")
    assert {each["key"] for each in page["items"]} <= keys
    shown = bob.keyvault("certificates", "show", page["items"][0]["id"])
    assert "fingerprint of the certificate" in shown.out
    ending = bob.ask("certificates", "ending", "--within", "400", "--limit", "500")
    assert page["items"][0]["id"] in [each["id"] for each in ending["items"]]


def test_one_request_is_written_in_every_form(stack, bob, tmp_path) -> None:
    key = stack.order_key(scope={**SCOPE, "party": "ALONE"})
    out = tmp_path / "one.csr"
    made = bob.ask("certificates", "csr", key, "--format", "der", "--out", str(out))
    der = out.read_bytes()
    assert der[0] == 0x30
    for form, columns in (("pem", "64"), ("pem", "76"), ("base64", "64"), ("base64", "76")):
        text = bob.keyvault(
            *("certificates", "save", made["id"], "--request"),
            *("--format", form, "--columns", columns),
        ).out.encode()
        assert pem.der_of(text, pem.REQUEST) == der
        assert max(map(len, text.splitlines()[1:-1])) == int(columns)
        assert text.startswith(b"-----BEGIN") is (form == "pem")
    again = bob.keyvault("certificates", "csr", key, "--json")
    assert again.error["code"] == "certificate-refused"
    assert "certificate-pending" in again.error["next_step"]
    bob.ask("certificates", "withdraw", made["id"], "--reason", "for a test")


def test_the_linter_needs_no_server_and_names_each_violation(tmp_path) -> None:
    wrong = tmp_path / "wrong.csr"
    wrong.write_bytes(b"\x30\x80junk")
    done = keyvault("certificates", "lint", str(wrong), "--json")
    assert (done.status, done.error["code"]) == (65, "certificate-refused")
    assert [each["code"] for each in done.json["violations"]] == ["csr-encoding"]
    hostile = archived(tmp_path / "hostile.zip", {"../out.csr": b""})
    done = keyvault("certificates", "lint", hostile, "--json")
    assert (done.status, done.error["code"]) == (65, "batch-not-flat")
