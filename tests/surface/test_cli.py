"""The command as people use it, against a whole service: each test is a transcript."""

import json
import subprocess

import pytest

from cli.output import grouped
from cli.remote.uses import raw_of
from hsm.types import Algorithm
from keyvault.domain.times import day_text
from tests.stack import OFFICERS, PASSPHRASE, SCOPE, in_days
from tests.surface.desk import Desk, keyvault, spoken

SCOPE_TEXT = "/".join(SCOPE.values())
ORDER = ("--algorithm", "EC-P256", "--usage", "sign", "--class", "critical")


def desk_of(stack, person):
    return Desk(stack.folder, person, stack.folder / f"{person}.key", PASSPHRASE.decode())


@pytest.fixture(scope="module")
def desks(stack):
    """The three officers, logged in."""
    made = {person: desk_of(stack, person) for person in OFFICERS}
    for desk in made.values():
        login = desk.login(stack.url, stack.ca, "--genesis", grouped(stack.settings.genesis))
        assert login.status == 0, login.err
    return made


@pytest.fixture(scope="module")
def auditors_desk(stack, auditor):
    desk = desk_of(stack, auditor.id)
    assert desk.login(stack.url, stack.ca).status == 0
    return desk


@pytest.fixture
def order(stack):
    """A key ordered by alice; nobody has signed yet."""
    return stack.order(label="ordered for a transcript")["id"]


def test_a_key_is_ordered_approved_made_and_shown(desks, tmp_path):
    asked = desks["alice"].ask("keys", "order", "--scope", SCOPE_TEXT, "--label", "meters", *ORDER)
    key = asked["id"]
    for person in ("bob", "carol"):
        assert desks[person].approve(key).status == 0
    done = desks["alice"].keyvault("approvals", "execute", key)
    assert f"keyvault keys activate {key}" in done.err
    assert "pre-active" in done.out
    assert "{" not in done.out  # documents are for programs
    shown = desks["bob"].ask("keys", "show", key)
    told = ("pre-active", "meters", "critical")
    assert (shown["state"], shown["label"], shown["key_class"]) == told
    out = tmp_path / "public-key.pem"
    desks["bob"].ask("keys", "public-key", key, "--out", str(out))
    assert b"Public-Key: (256 bit)" in subprocess.check_output(
        ["openssl", "pkey", "-pubin", "-in", out, "-noout", "-text"]
    )
    listed = desks["carol"].keyvault("keys", "list", "--scope", SCOPE_TEXT, "--limit", "500")
    assert key in listed.out
    assert "meters" in listed.out
    history = desks["carol"].keyvault("keys", "history", key)
    assert "KEY.GENERATED" in history.out
    assert history.err == ""


def test_the_requesters_own_approval_does_not_count(desks, order):
    refused = desks["alice"].approve(order)
    assert refused.status == 77
    assert refused.error["code"] == "approval-invalid"
    assert refused.out == ""


def test_one_approval_is_not_enough(desks, order):
    assert desks["bob"].approve(order).status == 0
    early = desks["alice"].keyvault("approvals", "execute", order)
    assert early.status == 77
    assert "keyvault: 1 of 2 approvals are there\n" in early.err
    assert "keyvault: next step: wait for 1 more" in early.err


def test_the_screen_says_everything_before_it_asks(desks, signing_key):
    asked = desks["alice"].ask("keys", "destroy", signing_key, "--reason", "a test", "--yes")
    words = ("approvals", "approve", asked["id"], "--passphrase-fd", "0")
    said_no = desks["bob"].keyvault(*words, typed="no\n")
    assert said_no.status == 77
    assert said_no.out == ""
    for shown in (
        "destroy the key",
        "NO: the key and everything only it can open are lost",
        signing_key,
        "a key of a test",
        "fingerprint",
        f"party {SCOPE['party']}, role {SCOPE['user_role']}",
        "Alice (alice)",
        "2 of Bob (bob), Carol (carol)",
        asked["check_words"],
        "keyvault: type yes to go on",
        "keyvault: nothing was done",
    ):
        assert shown in said_no.err
    request = desks["bob"].ask("approvals", "show", asked["id"])
    assert request["approvals"] == []


def test_nobody_is_asked_to_destroy_without_a_word(desks, signing_key):
    shy = desks["alice"].keyvault("keys", "destroy", signing_key, "--reason", "a test")
    assert shy.status == 77
    assert "keyvault: nothing was done" in shy.err


def test_yes_and_a_passphrase_typed_one_after_another_approve(desks, order):
    words = ("approvals", "approve", order, "--passphrase-fd", "0")
    # Standard input is both: the word for the screen, then the line for the descriptor.
    done = desks["bob"].keyvault(*words, typed="yes\n" + desks["bob"].passphrase)
    assert done.status == 0, done.err
    assert "signed by 1 of 2" in done.err


def test_a_wrong_passphrase_signs_nothing(desks, order):
    words = ("approvals", "approve", order, "--yes", "--passphrase-fd", "0")
    wrong = desks["bob"].keyvault(*words, typed="not this one\n")
    assert wrong.status == 65
    assert "does not open with this passphrase" in wrong.err
    assert desks["bob"].ask("approvals", "show", order)["approvals"] == []


def test_a_refusal_is_signed_and_ends_the_request(desks, order):
    words = ("approvals", "refuse", order, "--reason", "wrong scope", "--yes", "--passphrase-fd")
    desks["bob"].keyvault(*words, "0", typed=desks["bob"].passphrase)
    request = desks["carol"].ask("approvals", "show", order)
    assert request["state"] == "refused"
    assert request["approvals"][0]["reason"] == "wrong scope"
    late = desks["carol"].approve(order)
    assert late.status == 69
    assert late.error["code"] == "request-state"


def test_a_request_is_withdrawn(desks, order):
    cancelled = desks["alice"].ask("approvals", "cancel", order, "--reason", "ordered twice")
    assert cancelled["state"] == "cancelled"
    listed = desks["alice"].ask("approvals", "list", "--state", "cancelled")
    assert order in {item["id"] for item in listed["items"]}


def test_an_approval_travels_as_a_file(desks, order, tmp_path):
    request, signed = tmp_path / "request.json", tmp_path / "approval.json"
    request.write_text(json.dumps(desks["bob"].ask("approvals", "show", order)))
    words = ("approvals", "approve", "--file", str(request), "--out", str(signed), "--yes")
    offline = desks["bob"].keyvault(*words, "--passphrase-fd", "0", typed=desks["bob"].passphrase)
    assert offline.status == 0, offline.err
    assert "NOT compared" in offline.err
    assert signed.stat().st_mode & 0o077 == 0
    # Anybody may carry the file: the signature says whose it is.
    submitted = desks["carol"].ask("approvals", "submit", str(signed))
    assert [one["approver"] for one in submitted["approvals"]] == ["bob"]


@pytest.mark.parametrize(
    ("field", "value"), [("requester", "bob"), ("nonce", "0" * 32), ("more", "than is known")]
)
def test_a_request_that_was_changed_on_its_way_is_not_signed(desks, order, tmp_path, field, value):
    item = desks["bob"].ask("approvals", "show", order)
    item["document"][field] = value
    request, signed = tmp_path / "request.json", tmp_path / "approval.json"
    request.write_text(json.dumps(item))
    words = ("approvals", "approve", "--file", str(request), "--out", str(signed), "--yes")
    refused = desks["bob"].keyvault(*words, "--passphrase-fd", "0", typed=desks["bob"].passphrase)
    assert refused.status == 65
    assert not signed.exists()


def memory_of(desk):
    [path] = desk.session.glob("log-*.json")
    return path, json.loads(path.read_text())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 10**6}, "the log went back"),
        ({"root": "ab" * 32}, "the log was rewritten"),
        ({"genesis": "cd" * 32}, "the genesis record is not the one that is trusted"),
    ],
)
def test_nothing_is_signed_on_a_log_that_is_not_the_one_seen_before(desks, order, change, said):
    path, memory = memory_of(desks["bob"])
    path.write_text(json.dumps({**memory, **change}))
    try:
        refused = desks["bob"].approve(order)
    finally:
        path.write_text(json.dumps(memory))
    assert refused.status == 76
    assert refused.error["code"] == "log-fork"
    assert said in refused.error["message"]
    assert desks["carol"].ask("approvals", "show", order)["approvals"] == []


def test_an_approval_remembers_the_log_it_was_signed_on(desks, order):
    _, before = memory_of(desks["carol"])
    approved = desks["carol"].approve(order)
    assert approved.status == 0, approved.err
    _, after = memory_of(desks["carol"])
    assert after["size"] > before["size"]
    [approval] = approved.json["approvals"]
    assert approval["seen"] == {"size": after["size"], "root": after["root"]}


def test_a_login_to_a_log_of_another_genesis_leaves_no_session(stack, tmp_path):
    desk = Desk(tmp_path, "alice", stack.folder / "alice.key", PASSPHRASE.decode())
    refused = desk.login(stack.url, stack.ca, "--genesis", "00" * 32)
    assert refused.status == 76
    assert refused.error["code"] == "log-fork"
    assert not (desk.session / "session.json").exists()
    assert not (desk.session / "key.pem").exists()


def test_a_logout_ends_the_session_at_the_server_too(stack, tmp_path):
    desk = Desk(tmp_path, "alice", stack.folder / "alice.key", PASSPHRASE.decode())
    assert desk.login(stack.url, stack.ca).status == 0
    assert desk.session.stat().st_mode & 0o077 == 0
    assert desk.ask("whoami")["id"] == "alice"
    pair = [(desk.session / name).read_bytes() for name in ("certificate.pem", "key.pem")]
    session = (desk.session / "session.json").read_bytes()
    ca = (desk.session / "ca.pem").read_bytes()
    assert desk.keyvault("logout").status == 0
    assert desk.keyvault("whoami").status == 77
    for name, data in zip(
        ("certificate.pem", "key.pem", "session.json", "ca.pem"), (*pair, session, ca), strict=True
    ):
        (desk.session / name).write_bytes(data)
    closed = desk.keyvault("whoami", "--json")
    assert closed.status == 77
    assert closed.error["code"] == "not-authenticated"


def test_a_session_folder_that_others_can_read_is_refused(stack, tmp_path):
    folder = tmp_path / "session-alice"
    folder.mkdir(mode=0o755)
    desk = Desk(tmp_path, "alice", stack.folder / "alice.key", PASSPHRASE.decode())
    assert desk.login(stack.url, stack.ca).status == 65
    assert list(folder.iterdir()) == []


def access(stack, dcc):
    return (
        *("--server", stack.url, "--ca", str(stack.ca)),
        *("--certificate", str(dcc.certificate), "--key", str(dcc.key)),
    )


def test_a_system_signs_and_openssl_agrees(stack, desks, dcc, tmp_path):
    key = stack.active_key()
    payload, signature, public = (tmp_path / name for name in ("payload", "sig", "key.pem"))
    payload.write_bytes(b"a command to a meter")
    files = ("--file", str(payload))
    form = ("--format", "der", "--out", str(signature))
    signed = spoken("keys", "sign", key, *files, *form, *access(stack, dcc))
    desks["alice"].ask("keys", "public-key", key, "--out", str(public))
    check = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, payload]
    assert subprocess.check_output(check) == b"Verified OK\n"
    raw = tmp_path / "raw"
    raw.write_bytes(raw_of(signature.read_bytes(), Algorithm.EC_P256))
    verify = ("keys", "verify", key, *files, *access(stack, dcc), "--signature")
    assert spoken(*verify, str(raw)) == {"valid": True}
    payload.write_bytes(b"another command")
    assert keyvault(*verify, str(raw)).status == 65
    assert signed["event"]["index"] > 0


def test_a_suspended_key_is_refused_with_its_next_step(stack, desks, dcc, tmp_path):
    key = stack.active_key()
    payload = tmp_path / "payload"
    payload.write_bytes(b"a command to a meter")
    desks["carol"].ask("keys", "suspend", key, "--reason", "a test")
    refused = keyvault("keys", "sign", key, "--file", str(payload), *access(stack, dcc))
    assert refused.status == 69
    assert refused.out == ""
    asked = desks["carol"].ask("keys", "resume", key, "--reason", "false alarm")
    for person in ("alice", "bob"):
        desks[person].approve(asked["id"])
    desks["carol"].ask("approvals", "execute", asked["id"])
    assert keyvault("keys", "sign", key, "--file", str(payload), *access(stack, dcc)).status == 0


def test_a_compromise_is_declared_by_one_person_after_a_screen(stack, desks):
    key = stack.active_key()
    words = ("keys", "compromise", key, "--reason", "seen elsewhere")
    assert desks["bob"].keyvault(*words, typed="\n").status == 77
    done = desks["bob"].keyvault(*words, typed="yes\n")
    assert done.status == 0, done.err
    assert "NO: it stays marked as compromised for ever" in done.err
    assert desks["alice"].ask("keys", "show", key)["state"] == "compromised"


@pytest.mark.soak
def test_a_key_of_an_exchange_class_leaves_wrapped_and_comes_back(stack, desks, tmp_path):
    kek = stack.active_key(algorithm="AES-256", usage="wrap", key_class="critical")
    key = stack.active_key(algorithm="AES-128", usage="encrypt", key_class="exchange")
    ask = ("keys", "export", key, "--kek", kek, "--reason", "hand-over", "--yes")
    asked = desks["alice"].ask(*ask)["id"]
    for person in ("bob", "carol"):
        desks[person].approve(asked)
    desks["alice"].ask("approvals", "execute", asked, "--out", str(blob := tmp_path / "b"), "--yes")
    assert len(blob.read_bytes()) == 24
    words = ("keys", "import", "--scope", SCOPE_TEXT, "--label", "back again", "--kek", kek)
    kind = ("--algorithm", "AES-128", "--usage", "encrypt", "--file", str(blob))
    again = desks["alice"].ask(*words, *kind)["id"]
    for person in ("bob", "carol"):
        desks[person].approve(again)
    desks["alice"].ask("approvals", "execute", again)
    first, second = (desks["bob"].ask("keys", "show", one) for one in (key, again))
    assert first["check_value"] == second["check_value"] != ""


def test_people_and_systems_are_listed_and_changed_by_approval(stack, desks, dcc, tmp_path):
    credential = tmp_path / "wren.key"
    spoken("credential", "create", "--out", str(credential), "--passphrase-fd", "0", typed="x" * 12)
    words = ("people", "register", "wren", "--name", "Wren Ash", "--role", "auditor")
    place = ("--organisation", "Acme Energy", "--site", "York", "--manager", "alice")
    screened = ("--reviewed", day_text(in_days(-1)), "--reference", "HR-wren")
    public = ("--public-key", str(tmp_path / "wren.pub.pem"))
    stack.carry_out(desks["alice"].ask(*words, *place, *screened, *public))
    assert "Wren Ash" in desks["bob"].keyvault("people", "list").out
    stack.carry_out(desks["alice"].ask("people", "remove", "wren", "--reason", "has left"))
    assert "Wren Ash" not in desks["bob"].keyvault("people", "list").out
    words = ("systems", "enrol", "dcc-x", "--name", "Adapter X", "--scope", SCOPE_TEXT)
    rights = ("--action", "key:sign", "--certificate")
    pem = tmp_path / "x.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    make += ["-nodes", "-keyout", tmp_path / "x.key", "-out", pem, "-subj", "/CN=x"]
    subprocess.run(make, check=True, capture_output=True)
    stack.carry_out(desks["alice"].ask(*words, *rights, str(pem)))
    assert "Adapter X" in desks["bob"].keyvault("systems", "list").out
    revoke = ("systems", "revoke", "dcc-x", "--reason", "replaced", "--yes", "--passphrase-fd", "0")
    done = desks["bob"].keyvault(*revoke, typed=desks["bob"].passphrase)
    assert done.status == 0, done.err
    assert "Adapter X" not in desks["bob"].keyvault("systems", "list").out
    assert dcc.id in desks["bob"].keyvault("systems", "list").out


def test_the_log_is_read_proved_exported_and_verified(stack, auditors_desk, signing_key, tmp_path):
    desk = auditors_desk
    listed = desk.keyvault("audit", "events", "--stream", f"key:{signing_key}")
    assert "KEY.GENERATED" in listed.out
    checkpoint = desk.ask("audit", "checkpoint")
    assert checkpoint["note"].startswith(f"{stack.settings.origin}\n{checkpoint['size']}\n")
    proof = tmp_path / "0.tlog-proof"
    proved = desk.ask("audit", "proof", "0", "--out", str(proof))
    assert proof.read_text() == proved["proof"]
    assert proved["proof"].startswith("c2sp.org/tlog-proof@v1\nindex 0\n")
    bundle = tmp_path / "evidence.zip"
    desk.ask("audit", "export", "--out", str(bundle))
    words = ("audit", "verify", str(bundle), "--genesis", stack.settings.genesis)
    good = keyvault(*words)
    assert good.status == 0, good.out
    assert "the evidence holds" in good.out
    damaged = bytearray(bundle.read_bytes())
    damaged[damaged.index(b"KEY.GENERATED")] ^= 1
    bundle.write_bytes(damaged)
    wrong = keyvault(*words)
    assert wrong.status == 65
    assert "THE EVIDENCE IS WRONG" in wrong.out


def test_an_officer_who_is_no_auditor_exports_nothing(desks, tmp_path):
    bundle = tmp_path / "evidence.zip"
    refused = desks["bob"].keyvault("audit", "export", "--out", str(bundle), "--json")
    assert (refused.status, refused.error["code"]) == (77, "not-permitted")
    assert not bundle.exists()


def test_health_and_random_are_answered(stack, desks, dcc):
    assert desks["alice"].ask("health")["ready"] is True
    drawn = keyvault("random", "16", *access(stack, dcc))
    assert len(bytes.fromhex(drawn.out.strip())) == 16


def test_a_server_that_is_down_is_a_temporary_failure(stack, tmp_path):
    desk = Desk(tmp_path, "alice", stack.folder / "alice.key", PASSPHRASE.decode())
    refused = desk.login("https://127.0.0.1:1", stack.ca)
    assert refused.status == 75
    assert refused.error["code"] == "server-unreachable"


def test_doctor_finds_a_running_service_well(stack):
    done = keyvault("doctor", "--config", str(stack.config), "--json")
    assert done.status == 0, done.out + done.err
    names = {check["name"] for check in done.json}
    assert {"keys gate", "log gate", "database", "genesis", "clock", "disk"} <= names


def test_reconcile_finds_register_and_token_in_agreement(stack):
    done = keyvault("reconcile", "--config", str(stack.config))
    assert done.status == 0, done.out + done.err
    assert "keyvault: register and HSM agree" in done.err
