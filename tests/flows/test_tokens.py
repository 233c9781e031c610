"""Tokens through the whole service: two signatures, one name, and certificates that judges take."""

import subprocess
import sys
import time
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyvault.domain.commands import CertifySigner, EnrolCredential, EnrolSystem
from keyvault.domain.errors import NotPermittedError
from keyvault.domain.people import Assurance, Credential
from keyvault.domain.statements import (
    Activate,
    Allocate,
    CertifyKey,
    Count,
    Destroy,
    GiveBack,
    HandOver,
    Nominate,
    Release,
    Resume,
)
from keyvault.domain.times import text_of
from keyvault.evidence.built import verifier
from keyvault.operations import cms, signing_cards, tokens
from keyvault.signatures import SoftwareCredential
from tests.stack import SCOPE, Machine, Someone, Stack, in_days, ok
from tests.token_people import (
    Key,
    activated,
    allocated,
    authorities,
    both,
    confirms,
    delivered,
    in_stock,
    joined,
    personalised,
    principal,
    revoked,
    says,
    statement,
)


@pytest.fixture(scope="module")
def house(stack: Stack):
    """People, a root and an authority that issues."""
    joined(stack)
    return stack, *authorities(stack)


@pytest.fixture
def life(house, vault):
    """A token in its holder's hands: its id, its keys and its certificates."""
    stack, *_ = house
    [token] = in_stock(stack, uuid4().hex[:8])
    purpose = uuid4().hex[:8]
    allocated(stack, token, purpose=purpose)
    nine_a, nine_c, made = personalised(vault, stack, token)
    delivered(stack, token)
    return token, nine_a, nine_c, made, purpose


def pem(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(x509.load_der_x509_certificate(data).public_bytes(Encoding.PEM))
    return str(path)


def run(*command: str) -> str:
    whole = ["openssl", *command]
    done = subprocess.run(whole, capture_output=True, check=False, text=True, timeout=30)
    return done.stdout + done.stderr


def files(house, folder: Path, leaf: bytes) -> dict[str, str]:
    """Root, issuer and leaf as files, and the lists of both, as anybody fetches them."""
    stack, root, issuing = house
    door, found = stack.client(), {"leaf": pem(folder, "leaf.pem", leaf)}
    for name, key in (("root", root), ("issuing", issuing)):
        found[name] = pem(folder, f"{name}.pem", door.get(f"/v1/ca/{key}/certificate").content)
        (folder / f"{name}.crl").write_bytes(door.get(f"/v1/ca/{key}/crl").content)
        path = str(folder / f"{name}.crl.pem")
        run("crl", "-inform", "DER", "-in", str(folder / f"{name}.crl"), "-out", path)
        found[f"{name}-crl"] = path
    return found


def verified(found: dict[str, str]) -> str:
    lists = ("-CRLfile", found["root-crl"], "-CRLfile", found["issuing-crl"])
    believed = ("-CAfile", found["root"], "-untrusted", found["issuing"])
    return run("verify", "-crl_check_all", *lists, *believed, found["leaf"])


def asked(stack: Stack, folder: Path, found: dict[str, str], *more: str) -> str:
    question, answer = folder / "question.der", folder / "answer.der"
    about = ("-issuer", found["issuing"], "-cert", found["leaf"])
    run("ocsp", *about, *more, "-reqout", str(question))
    kind = {"content-type": "application/ocsp-request"}
    got = stack.client().post("/v1/ca/ocsp", content=question.read_bytes(), headers=kind)
    assert got.headers["content-type"] == "application/ocsp-response", got.text
    answer.write_bytes(got.content)
    believed = ("-CAfile", found["root"], "-verify_other", found["issuing"])
    read = ("-no_nonce", "-reqin", str(question), "-respin", str(answer))
    return run("ocsp", *about, *read, *believed)


def test_a_token_goes_from_stock_to_destruction_and_one_name_always_has_it(house, life):
    stack, *_ = house
    token, nine_a, *_ = life
    activated(stack, token, nine_a)
    lost = {"step": "report-lost", "reason": "left on the train"}
    ok(stack.person("wendy").client().post(f"/v1/tokens/{token}/stops", json=lost))
    why = {"step": "revoke", "reason": "lost"}
    ok(stack.person("rita").client().post(f"/v1/tokens/{token}/stops", json=why))
    both(stack.person("ivan"), stack.person("erin"), GiveBack("safe 1", "S-9", "bent"), token)
    destroyed = Destroy("cut through the chip", "Leeds")
    both(stack.person("ivan"), stack.person("wendy"), destroyed, token)
    alice = stack.person("alice").client()
    assert ok(alice.get(f"/v1/tokens/{token}"))["state"] == "destroyed"
    ledger = ok(alice.get(f"/v1/tokens/{token}/custody"))["items"]
    assert [one["taker"] for one in ledger] == ["ivan", "erin", "ivan"]
    signed = ok(alice.get(f"/v1/tokens/{token}/statements"))["items"]
    assert [one["statement"]["step"] for one in signed] == [
        *("allocate", "dispatch", "deliver", "activate", "give-back", "destroy"),
    ]
    for entry in ledger:
        at = {"at": entry["at"]}
        assert ok(alice.get(f"/v1/tokens/{token}/holder", params=at))["person"] == entry["taker"]


def test_openssl_believes_our_certificates_until_they_are_revoked(house, life, tmp_path):
    stack, *_ = house
    token, *_, made, _ = life
    found = files(house, tmp_path, made["9A"])
    assert "leaf.pem: OK" in verified(found)
    assert ": good" in asked(stack, tmp_path, found, "-nonce")
    assert ": good" in asked(stack, tmp_path, found, "-no_nonce")
    why = {"step": "revoke", "reason": "role ended"}
    ok(stack.person("rita").client().post(f"/v1/tokens/{token}/stops", json=why))
    found = files(house, tmp_path, made["9A"])
    assert "certificate revoked" in verified(found)
    for nonce in ("-nonce", "-no_nonce"):
        told = asked(stack, tmp_path, found, nonce)
        assert ": revoked" in told
        assert "Response verify OK" in told
        assert "Nonce Verify error" not in told


def test_who_was_not_nominated_vetted_or_screened_gets_no_token(house):
    stack, *_ = house
    [token] = in_stock(stack, uuid4().hex[:8])
    rita, sofia = stack.person("rita"), stack.person("sofia")
    named = ok(says(sofia, Nominate("wendy", "x", "default", "why")))["statement"]["id"]
    refused = says(rita, Allocate(UUID(named), "RA-1"), token)
    assert refused.status_code == 409
    assert "not-granted" in refused.json()["detail"]
    assert says(sofia, Nominate("sofia", "x", "default", "why")).status_code == 409
    assert says(sofia, Allocate(UUID(named), "RA-1"), token).status_code == 403
    allocated(stack, token, purpose="once")
    [other] = in_stock(stack, uuid4().hex[:8])
    again = ok(stack.person("alice").client().get(f"/v1/tokens/{token}/statements"))["items"]
    used = again[0]["statement"]["details"]["nomination"]
    assert "it was used" in says(rita, Allocate(UUID(used), "RA-1"), other).json()["detail"]


def test_a_statement_counts_once_and_only_as_it_was_signed(house):
    stack, *_ = house
    [token] = in_stock(stack, uuid4().hex[:8])
    ivan, wendy = stack.person("ivan"), stack.person("wendy")
    said = HandOver("wendy", "safe 3", "S-2")
    signed = statement(ivan, said, token, "wendy").document()
    assert says(wendy, said, token, "ivan").status_code == 409  # she does not have it
    for name, value in (
        ("version", 9),
        ("second", "rita"),
        ("person", "wendy"),
        ("at", "2020-01-01T00:00:00Z"),
    ):
        bent = {**signed, "statement": {**signed["statement"], name: value}}
        answer = ivan.client().post("/v1/tokens/statements", json=bent)
        assert answer.json()["code"] == "statement-invalid", name
    item = ok(ivan.client().post("/v1/tokens/statements", json=signed))
    assert ivan.client().post("/v1/tokens/statements", json=signed).status_code == 409
    assert confirms(ivan, item).json()["code"] == "statement-invalid"
    ok(confirms(wendy, item))
    assert confirms(wendy, item).status_code == 409
    assert ok(wendy.client().get(f"/v1/tokens/{token}"))["custodian"] == "wendy"


def test_a_count_is_blind_and_its_differences_stay_open_until_they_are_explained(house):
    stack, *_ = house
    place, serials = f"safe {uuid4().hex[:6]}", [uuid4().hex[:8] for _ in range(2)]
    in_stock(stack, *serials, place=place)
    wendy, rita = stack.person("wendy"), stack.person("rita").client()
    counted = ok(says(wendy, Count(place, (f"PIV-A {serials[0]}", "PIV-A strange"))))
    assert serials[1] not in str(counted)
    assert wendy.client().get("/v1/tokens/counts").status_code == 403
    found = ok(rita.get("/v1/tokens/counts"))["items"][0]
    assert (found["missing"], found["surplus"]) == ([f"PIV-A {serials[1]}"], ["PIV-A strange"])
    assert not found["settled"]
    path = f"/v1/tokens/counts/{found['id']}/findings"
    done = ok(rita.post(path, json={"finding": "it lay beside the safe"}))["items"][0]
    assert done["settled"]
    assert rita.post(path, json={"finding": "again"}).status_code == 409


def test_a_stopped_token_opens_nothing_from_the_next_call_on(house, life, vault):
    stack, *_ = house
    token, nine_a, *_ = life
    activated(stack, token, nine_a)
    credential = Credential(nine_a.spki, Assurance.SOFTWARE)
    stack.carry_out(stack.ask(EnrolCredential("erin", credential)))
    by_token = Someone(stack, "erin", SoftwareCredential(nine_a.private))
    before = kept(vault, token)
    assert by_token.client().get("/v1/whoami").status_code == 200
    after = kept(vault, token)
    assert before.used_at < after.used_at  # by its login
    assert before.version == after.version
    asleep = {"dormant_days": 1, "ending_days": 3000}
    found = ok(stack.person("rita").client().get("/v1/tokens/concerns", params=asleep))["items"]
    assert [one["concern"] for one in found if one["token"]["id"] == token] == ["ending"]
    mislaid = {"step": "suspend", "reason": "mislaid"}
    ok(by_token.client().post(f"/v1/tokens/{token}/stops", json=mislaid))
    time.sleep(0.2)  # longer than a process may take to look
    assert by_token.client().get("/v1/whoami").status_code == 401
    door = stack.client()
    body = by_token.login(ok(door.post("/v1/login/challenges")), nine_a.private)
    assert door.post("/v1/login/sessions", json=body).status_code == 401
    both(stack.person("rita"), stack.person("wendy"), Resume("whole"), token)
    time.sleep(0.2)
    assert by_token.client().get("/v1/whoami").status_code == 200


def kept(vault, token: str):
    with vault.database.reading() as work:
        return work.tokens.get(UUID(token))


def test_a_system_with_a_certificate_of_ours_is_gone_when_it_is_revoked(house):
    stack, _, issuing = house
    rita, machine = stack.person("rita"), Machine(stack, "dcc-ours")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anybody")])
    request = x509.CertificateSigningRequestBuilder(name).sign(machine.private_key, SHA256())
    der = request.public_bytes(Encoding.DER)
    said = CertifyKey(UUID(issuing), "client", "dcc-ours", sha256(der).hexdigest())
    body = statement(rita, said).document() | {"request": b64encode(der).decode()}
    other = {**body, "request": b64encode(der[:-1] + b"x").decode()}
    assert rita.client().post("/v1/ca/certificates", json=other).status_code == 422
    made = ok(rita.client().post("/v1/ca/certificates", json=body))["certificate"]
    certificate = b64decode(made)
    assert ok(rita.client().post("/v1/ca/certificates", json=body))["certificate"] == made
    issuer = stack.client().get(f"/v1/ca/{issuing}/certificate").content
    rights = (("key:read",), ("*",), text_of(in_days(30)))
    stack.carry_out(stack.ask(EnrolSystem("dcc-ours", "ours", certificate, issuer, *rights), SCOPE))
    machine.certificate.write_bytes(
        x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)
    )
    client = machine.client()
    assert client.get("/v1/keys").status_code == 200
    serial = f"{x509.load_der_x509_certificate(certificate).serial_number:x}".zfill(32)
    revoked(stack, serial, "keyCompromise")
    time.sleep(0.2)
    assert client.get("/v1/keys").status_code == 401
    exported = ok(rita.client().post(f"/v1/ca/{issuing}/exports"))
    table = b64decode(exported["csv"])
    assert f"{serial},revoked" in table.decode()
    assert sha256(table).hexdigest() in b64decode(exported["manifest"]).decode()


def test_a_signer_of_cards_that_was_revoked_signs_none_from_then_on(house, vault):
    stack, _, issuing = house
    signer = stack.order_key()
    made = stack.carry_out(stack.ask(CertifySigner(UUID(signer), UUID(issuing), "C", 300, "why")))
    named = {"issuing": vault.settings.issuing.model_copy(update={"signer": signer})}
    vault.settings = vault.settings.model_copy(update=named)
    signing_cards.check(vault, room=1)
    revoked(stack, made["outcome"]["serial"], "superseded")
    with pytest.raises(NotPermittedError, match=r"revoked \(superseded\)"):
        signing_cards.check(vault, room=1)


def test_a_file_is_signed_by_a_token_and_openssl_agrees(house, life, tmp_path):
    stack, root, issuing = house
    _, nine_a, nine_c, made, _ = life
    door, file = stack.client(), tmp_path / "thresholds.csv"
    file.write_bytes(b"device,limit\nall,10\n")
    digest = sha256(file.read_bytes()).digest()
    above = door.get(f"/v1/ca/{issuing}/certificate").content

    def signed(key: Key, leaf: bytes) -> bytes:
        words = cms.attributes(cms.Digests(digest), leaf, datetime.now(UTC))
        return cms.assemble(words, [leaf, above], key.sign(words))

    def told(signature: bytes, found: bytes = digest, act: str = "verified"):
        body = {"name": file.name, "sha256": found.hex()}
        more = {"signature": b64encode(signature).decode()}
        return stack.person("erin").client().post(f"/v1/files/{act}", json={**body, **more})

    good = signed(nine_c, made["9C"])
    (tmp_path / "p7s").write_bytes(good)
    top = pem(tmp_path, "root.pem", door.get(f"/v1/ca/{root}/certificate").content)
    believed = ("-content", str(file), "-CAfile", top, "-out", str(tmp_path / "out"))
    from_file = ("-inform", "DER", "-binary", "-in", str(tmp_path / "p7s"))
    assert "successful" in run("cms", "-verify", *from_file, *believed)
    assert ok(told(good, act="signed"))["subject"] == ok(told(good))["subject"]
    assert "another file" in told(good, sha256(b"changed").digest()).json()["detail"]
    assert "not one to sign" in told(signed(nine_a, made["9A"])).json()["detail"]
    assert "not by the key" in told(signed(nine_a, made["9C"])).json()["detail"]
    file.write_bytes(b"device,limit\nall,11\n")
    assert "failure" in run("cms", "-verify", *from_file, *believed)


def test_a_lost_token_is_reported_by_a_sealed_code_and_without_any_certificate(house, life):
    stack, *_ = house
    token, nine_a, *_ = life
    activated(stack, token, nine_a)
    code = ok(stack.person("erin").client().post("/v1/emergency-codes", json={"days": 9}))["code"]
    body = {"code": code, "token": token, "reason": "stolen at night"}
    assert ok(stack.client().post("/v1/emergencies/tokens", json=body))["state"] == "lost-stolen"
    assert stack.client().post("/v1/emergencies/tokens", json=body).status_code == 401


def test_pkilint_finds_nothing_wrong_with_what_we_sign(house, life, tmp_path):
    stack, made = house[0], life[3]
    found = files(house, tmp_path, made["9C"])
    found["9a"] = pem(tmp_path, "9a.pem", made["9A"])
    linters = Path(sys.executable).parent
    for name in ("root", "issuing", "leaf", "9a"):
        assert linted(linters / "lint_pkix_cert", found[name]) == ""
    for name in ("root-crl", "issuing-crl"):
        assert linted(linters / "lint_crl", found[name], "-t", "CRL", "-p", "PKIX") == ""
    for nonce in ("-nonce", "-no_nonce"):  # signed for who asks, and signed before
        assert ": good" in asked(stack, tmp_path, found, nonce)
        answer = str(tmp_path / "answer.der")
        assert linted(linters / "lint_ocsp_response", answer, "--document-format", "DER") == ""


def linted(linter: Path, file: str, *more: str) -> str:
    """What a linter has to say of its own kinds of fault: errors and warnings."""
    command = [linter, "lint", "-s", "WARNING", *more, file]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    return done.stdout.strip() + done.stderr.strip()


def test_a_token_is_unblocked_by_two_and_ends_when_the_next_one_is_active(house, life, vault):
    stack, *_ = house
    token, nine_a, *_, purpose = life
    erin, ivan = stack.person("erin"), principal(vault, stack.person("ivan"))
    assert says(erin, Activate("yes"), token, "rita", Key()).json()["code"] == "statement-invalid"
    activated(stack, token, nine_a)
    blocked = {"step": "block-pin", "reason": "three wrong PINs"}
    ok(erin.client().post(f"/v1/tokens/{token}/stops", json=blocked))
    released = both(stack.person("rita"), stack.person("wendy"), Release("RA-2", "forgot"), token)
    mark = UUID(released["statement"]["id"])
    tokens.unblocked(vault, ivan, UUID(token), mark)
    with pytest.raises(Exception, match="nobody let this token be unblocked"):
        tokens.unblocked(vault, ivan, UUID(token), mark)
    mislaid = {"step": "suspend", "reason": "mislaid"}
    ok(erin.client().post(f"/v1/tokens/{token}/stops", json=mislaid))
    both(stack.person("rita"), stack.person("wendy"), Resume("whole"), token)
    [following] = in_stock(stack, uuid4().hex[:8])
    allocated(stack, following, purpose=purpose, replaces=UUID(token))
    key, *_ = personalised(vault, stack, following)
    delivered(stack, following)
    activated(stack, following, key)
    states = [ok(erin.client().get(f"/v1/tokens/{one}"))["state"] for one in (token, following)]
    assert states == ["replaced", "active"]


def test_the_assessors_program_checks_what_people_signed_about_tokens(house, life, tmp_path):
    stack, *_ = house
    token, nine_a, *_ = life
    activated(stack, token, nine_a)
    auditor = stack.register("audrey", "auditor").client()
    exported = auditor.post("/v1/audit/exports", json={}, timeout=60)
    assert exported.status_code == 200, exported.text
    (tmp_path / "evidence.zip").write_bytes(exported.content)
    (tmp_path / "verify.py").write_bytes(verifier())
    ledger = ok(auditor.get(f"/v1/tokens/{token}/custody"))["items"]
    for at in [entry["at"] for entry in ledger]:
        command = [sys.executable, "-I", "verify.py", f"--who-had={token}@{at}", "evidence.zip"]
        done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, text=True)
        assert done.returncode == 0, done.stdout
        person = ok(auditor.get(f"/v1/tokens/{token}/holder", params={"at": at}))["person"]
        assert f"token {token} at {at}: {person} had it" in done.stdout
    assert "tokens go from hand to hand, as people signed it" in done.stdout
    assert "steps of tokens are signed, by two where it takes two" in done.stdout
    assert "activations of tokens are signed by keys on the tokens" in done.stdout
