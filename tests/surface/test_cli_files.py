"""Files that people and systems sign at the command: OpenSSL is the judge, and so are we."""

import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from tests.authority import Authority, named, usage
from tests.certifying import text
from tests.stack import ok
from tests.surface.desk import keyvault

THRESHOLDS = b"device,limit\r\nall,10\r\n"


@pytest.fixture(scope="module")
def authorities(stack):
    """A root and what it certified to issue, which the service believes."""
    root, issuing = Authority.pair()
    for kind, one in (("root", root), ("issuing", issuing)):
        body = {"certificate": text(one.certificate()), "kind": kind}
        ok(stack.person("bob").client().post("/v1/certificates/watched", json=body))
    return root, issuing


@pytest.fixture
def folder(authorities, tmp_path):
    """The file, and the certificates above whoever signs it."""
    (tmp_path / "thresholds.csv").write_bytes(THRESHOLDS)
    for name, one in zip(("root", "issuing"), authorities, strict=True):
        write(tmp_path / f"{name}.pem", one.certificate())
    return tmp_path


def write(path: Path, der: bytes) -> None:
    path.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))


def certified(issuing: Authority, key: object, bit: str = "digital_signature") -> bytes:
    stand_in = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder(named("signer")).sign(stand_in, SHA256())
    extensions = [(usage(bit), True)]
    request = asked.public_bytes(Encoding.DER)
    return issuing.issue(request, public_key=key, extensions=extensions)


def openssl(folder: Path) -> bool:
    """Whether OpenSSL finds the file's signature good."""
    words = ["openssl", "cms", "-verify", "-inform", "DER", "-binary", "-in", "thresholds.csv.p7s"]
    words += ["-content", "thresholds.csv", "-CAfile", "root.pem", "-out", "/dev/null"]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode == 0


def judged(folder: Path, *more: str):
    return keyvault("files", "verify", str(folder / "thresholds.csv"), *more, "--json")


def both_say(folder: Path, desk, *, good: bool, why: str = "") -> None:
    """OpenSSL, the service, and the command without a service, all of one mind."""
    assert openssl(folder) is good
    offline = judged(folder, "--trust", str(folder / "root.pem"))
    online = judged(folder, "--session", str(desk.session))
    for told in (offline, online):
        assert (told.status == 0) is good, told.err
        assert good or (told.error["code"] == "file-signature" and why in told.error["message"])


def test_thresholds_signed_by_a_card_hold_until_a_byte_is_changed(
    desk, virtual, authorities, folder
):
    key = virtual.card.application.keys[0x9C].public_key()
    write(folder / "own.pem", certified(authorities[1], key))
    words = ["files", "sign", str(folder / "thresholds.csv"), "--card", "--passphrase-fd", "0"]
    words += [
        "--certificate",
        str(folder / "own.pem"),
        "--certificate",
        str(folder / "issuing.pem"),
    ]
    signed = desk.keyvault(*words, "--json", typed=desk.passphrase)
    assert signed.status == 0, signed.err
    assert signed.json["subject"] == "CN=signer"
    both_say(folder, desk, good=True)
    (folder / "thresholds.csv").write_bytes(THRESHOLDS.replace(b"10", b"11"))
    both_say(folder, desk, good=False, why="another file")


def test_a_key_in_the_hsm_signs_the_same_file_and_no_wrong_certificate_is_put_to_it(
    stack, dcc, desk, virtual, authorities, folder
):
    assert virtual
    signing_key = stack.active_key(algorithm="EC-P384")
    found = ok(stack.person("alice").client().get(f"/v1/keys/{signing_key}"))
    own = load_der_public_key(b64decode(found["public_key"]))
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    kinds = {
        "own": certified(authorities[1], own),
        "agrees": certified(authorities[1], own, "key_agreement"),
        "stranger": certified(authorities[1], stranger),
    }
    words = ["files", "sign-by-key", str(folder / "thresholds.csv"), signing_key]
    words += ["--server", stack.url, "--ca", str(stack.ca)]
    words += ["--certificate", str(dcc.certificate), "--key", str(dcc.key)]
    for name, why in (("agrees", "not one to sign"), ("stranger", "not by the key"), ("own", "")):
        write(folder / f"{name}.pem", kinds[name])
        chain = ("--signer", str(folder / f"{name}.pem"), "--signer", str(folder / "issuing.pem"))
        done = keyvault(*words, *chain, "--json")
        assert (done.status == 0) is (name == "own"), done.err
        assert why in done.err
        assert (folder / "thresholds.csv.p7s").exists() is (name == "own")
    both_say(folder, desk, good=True)
    (folder / "thresholds.csv.p7s").write_bytes(b"\x30\x80" * 1_000)
    both_say(folder, desk, good=False, why="no CMS")
