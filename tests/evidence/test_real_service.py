"""Evidence of a whole service that ran, checked the way an assessor does."""

import csv
import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.domain.canonical import canonical
from keyvault.domain.commands import ErasePayload, LiftLogHold, PurgePayloads
from keyvault.domain.evidence import HANDOVER, View
from keyvault.domain.people import thumbprint
from keyvault.domain.retention import Retention
from keyvault.domain.times import text_of
from tests.evidence.world import rezip, unzip
from tests.stack import SCOPE, Stack, ok

OTHER = {"party": "ZEUS", "user_role": "GS", "user_id": "00-99-D5-1F-30-01-00-07"}


def live(stack):
    """A key's whole life, with a batch, a suspension and a refused use."""
    system = stack.system("dcc-1").client()
    key = stack.active_key()
    digests = [b64encode(hashlib.sha256(bytes([n])).digest()).decode() for n in range(7)]
    path = f"/v1/keys/{key}/signatures"
    ok(system.post(path, json={"digest": digests[0]}))
    ok(system.post(path, json={"digests": digests}))
    alice = stack.person("alice").client()
    ok(alice.post(f"/v1/keys/{key}/suspensions", json={"reason": "alarm"}))
    assert system.post(path, json={"digest": digests[0]}).status_code == 409
    stack.change(key, "resumptions")
    ok(system.post(path, json={"digest": digests[0]}))
    stack.change(key, "deactivations")
    stack.change(key, "destructions")


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)]


@pytest.fixture(scope="module", params=DATABASES)
def exports(request):
    """The whole log, one type of event, and later a part that continues the first."""
    url = "sqlite:///keyvault.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").create("empty")
    with Stack.make(url) as stack:
        stack.configure(tables="[audit.retention]\nuse = 0")
        stack.start()
        live(stack)
        auditor = stack.register("dora", "auditor").client()

        def export(**query):
            answer = auditor.post("/v1/audit/exports", json=query)
            assert answer.status_code == 200, answer.text
            return answer.content

        whole = export()
        size = json.loads(unzip(whole)["manifest.json"])["range"]["size"]
        used = export(type="KEY.USED")
        later = export(previous_size=size, since="2099-01-01T00:00:00Z")
        views = [str(view) for view in View]
        more = {
            "of one person": export(about="person:alice", role="key-owner"),
            "sampled": export(sample={"count": 5, "seed": "2026-11"}),
            "asked": export(question="no-single-person-act"),
            "changed": export(previous_size=size, changes=True),
            "viewed": export(views=views),
        }
        erase(stack, next(row["i"] for row in rows_of(used) if "p" in row))
        more["erased"] = export()
        handed = hand_over(stack, auditor, more["viewed"])
        more["lives"] = lives(auditor)
        stack.system("gas-7", scope=OTHER)
        more["pack"] = pack(auditor, SCOPE)
        more["other pack"] = pack(auditor, OTHER)
        more["certificate"] = purge(stack)
        more["purged"] = export()
    return {"whole": whole, "used": used, "later": later, **more, "handed": handed}


def erase(stack, index):
    decide(stack, ErasePayload((index,), "GDPR article 17", "they asked for it"))


def decide(stack, command, before=lambda _: None):
    """Ask and approve, do something `before`, and carry it out."""
    bob = stack.person("bob").client()
    body = {"command": command.name, "parameters": command.parameters()}
    request = ok(bob.post("/v1/requests", json=body))
    stack.approve(request, "carol", "alice")
    before(request["id"])
    return request["id"], bob.post(f"/v1/requests/{request['id']}/executions")


def use(system, key):
    digest = b64encode(hashlib.sha256(b"x").digest()).decode()
    ok(system.post(f"/v1/keys/{key}/signatures", json={"digest": digest}))


def pack(auditor, scope):
    named = "/".join(scope[name] for name in ("party", "user_role", "user_id"))
    answer = auditor.post("/v1/audit/packs", json={"scope": named})
    assert answer.status_code == 200, answer.text
    return answer.content


def purge(stack):
    """Purge the uses of keys: not before their time, not while they are on hold, and then."""
    alice = stack.person("alice").client()
    now = text_of(datetime.now(UTC))
    _, early = decide(stack, PurgePayloads(Retention.ACCESS, now, "too early"))
    assert (early.status_code, early.json()["code"]) == (409, "retained")
    held = {"about": "*", "kind": "legal", "reason": "case 12"}
    hold = ok(alice.post("/v1/audit/holds", json=held))
    _, none = decide(stack, PurgePayloads(Retention.USE, now, "on hold"))
    assert none.status_code == 404
    decide(stack, LiftLogHold(UUID(hold["id"]), "case closed"))
    kept = stack.active_key()
    system, more = stack.system("dcc-9").client(), stack.active_key()
    for key in (kept, *[more] * 4):
        use(system, key)
    over = datetime.now(UTC) + timedelta(seconds=2)
    while datetime.now(UTC) < over:  # times are whole seconds
        time.sleep(0.1)
    ok(alice.post(f"/v1/keys/{kept}/holds", json={"kind": "dispute", "reason": "case 13"}))
    assert ok(alice.get("/v1/audit/holds"))["items"] == []
    now = text_of(datetime.now(UTC) + timedelta(seconds=-1))
    over = PurgePayloads(Retention.USE, now, "their time is over")
    request, done = decide(stack, over, lambda asked: killed(stack, asked))
    assert ok(done)["outcome"]["total"] == 6
    return ok(alice.get(f"/v1/audit/purges/{request}"))


# A process that carries out a purge, two events a portion, and is gone in the midst of the third.
DOOMED = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID
from keyvault.bootstrap import build
from keyvault.domain.access import Principal
from keyvault.operations import approvals, retention
from keyvault.operations.acts import retention as acts
from keyvault.settings import Settings
portions, told = [], acts.bits_of
def bits_of(events):
    portions.append(events)
    if len(portions) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return told(events)
acts.bits_of, retention.PORTION = bits_of, 2
vault = build(Settings.load(Path(sys.argv[1])))
with vault.database.reading() as work:
    now = vault.authority(work)
bob = Principal(now.people["bob"], datetime.now(UTC) + timedelta(days=9), "00", now.duties)
approvals.execute(vault, bob, UUID(sys.argv[2]))
"""


def killed(stack, request):
    """Two portions are done and written down; of the third nothing is, and it can go on."""
    line = [sys.executable, "-c", DOOMED, stack.config, request]
    assert subprocess.run(line, check=False).returncode == -signal.SIGKILL
    done = ok(stack.person("alice").client().get(f"/v1/audit/purges/{request}"))
    said = json.loads(b64decode(done["statement"]))
    assert [each["count"] for each in said["portions"]] == [2, 2]


def lives(auditor):
    """The life of Alice in two pages, and that of a key."""
    first = ok(auditor.get("/v1/audit/life?about=person:alice&limit=5"))
    rest = ok(auditor.get(f"/v1/audit/life?about=person:alice&limit=500&after={first['next']}"))
    key = next(m for m in rest["items"] if m["type"] == "KEY.SUSPENDED")
    event = ok(auditor.get(f"/v1/audit/events/{key['index']}"))
    about = event["header"]["st"]
    return first["items"], rest["items"], ok(auditor.get(f"/v1/audit/life?about={about}"))["items"]


def rows_of(bundle):
    return [json.loads(line) for line in unzip(bundle)["events.ndjson"].splitlines()]


def hand_over(stack, auditor, bundle):
    dora = stack.person("dora")
    entry = {
        "ctx": HANDOVER,
        "bundle": hashlib.sha256(bundle).hexdigest(),
        "seq": 0,
        "prev": "0" * 64,
        "from": "dora",
        "to": "Ann Auditor",
        "place": "Leeds",
        "at": text_of(datetime.now(UTC)),
        "credential": thumbprint(dora.credential.spki),
    }
    signature = b64encode(dora.credential.sign(canonical(entry))).decode()
    body = {"entry": entry, "signature": signature}
    forged = {**body, "entry": {**entry, "to": "Eve"}}
    assert auditor.post("/v1/audit/hand-overs", json=forged).status_code == 422
    return canonical(ok(auditor.post("/v1/audit/hand-overs", json=body))) + b"\n"


NAMES = ("whole", "used", "later", "of one person", "sampled", "asked", "changed", "viewed")


@pytest.mark.parametrize("name", [*NAMES, "erased"])
def test_what_the_service_exports_verifies(check, exports, name):
    status, answer = check(exports[name])
    assert (status, answer["problems"]) == (0, [])


def test_every_act_of_the_keys_life_was_checked_for_its_approvals(check, exports):
    _, answer = check(exports["whole"])
    found = dict(answer["transcript"])["found"]
    assert found.endswith("5 acts approved")  # made, activated, resumed, deactivated, destroyed


def test_a_later_export_continues_the_earlier_one(check, exports, tmp_path):
    remember = ("--state", str(tmp_path / "state.json"))
    assert check(exports["whole"], *remember)[0] == 0
    assert check(exports["later"], *remember)[0] == 0
    status, answer = check(exports["whole"], *remember)
    assert status == 1
    assert "cannot show consistency" in answer["problems"][0]["what"]


def test_one_changed_byte_of_it_is_named(caught, exports):
    files = unzip(exports["whole"])
    line = next(n for n, row in enumerate(files["events.ndjson"].splitlines()) if b"alarm" in row)
    changed = files["events.ndjson"].replace(b"alarm", b"alarn", 1)
    data = rezip({**files, "events.ndjson": changed})
    caught(data, "is not what the log holds at this place", "events.ndjson", line)


def test_a_person_and_a_role_choose_what_is_disclosed(exports):
    shown = [row["h"] for row in rows_of(exports["of one person"]) if "p" in row]
    assert shown
    assert {(header["ac"], header["ro"]) for header in shown} == {("person:alice", "key-owner")}


def test_a_sample_discloses_as_many_as_were_asked_for(check, exports):
    assert sum("p" in row for row in rows_of(exports["sampled"])) == 5
    _, answer = check(exports["sampled"])
    assert "drawn with seed 2026-11" in dict(answer["transcript"])["sample"]


def test_changes_since_the_last_bundle_begin_where_it_ended(exports):
    size = json.loads(unzip(exports["whole"])["manifest.json"])["range"]["size"]
    assert rows_of(exports["changed"])[0]["i"] == size


def test_that_nobody_acted_alone_is_proved_where_acts_are_disclosed(check, exports):
    status, answer = check(exports["asked"], "--query", "no-single-person-act")
    assert status == 0
    assert answer["queries"]["no-export"].startswith("proved")
    status, answer = check(exports["used"], "--query", "no-single-person-act")
    assert (status, answer["problems"]) == (3, [])
    assert "acts are withheld" in answer["queries"]["no-single-person-act"]


def test_an_erased_payload_is_gone_and_everything_else_still_proves(check, exports):
    (gone,) = [row for row in rows_of(exports["erased"]) if "e" in row]
    assert gone["h"]["ty"] == "KEY.USED"
    _, answer = check(exports["erased"], "--query", "no-erasure")
    assert "refuted" in answer["queries"]["no-erasure"]


@pytest.mark.parametrize(
    ("name", "other", "own"),
    [
        ("pack", ("gas-7", "ZEUS", OTHER["user_id"], "dora"), "dcc-1"),
        ("other pack", ("dcc-1", "ACME", SCOPE["user_id"], "dora"), "gas-7"),
    ],
)
def test_a_pack_of_one_scope_is_whole_and_silent_about_the_other(check, exports, name, other, own):
    genesis = json.loads(unzip(exports["whole"])["authority.ndjson"].splitlines()[0])
    key = genesis["request"]["services"]["log_keys"][0]
    status, answer = check(exports[name], "--log-key", key)
    assert (status, answer["problems"]) == (0, [])
    assert "schema" not in dict(answer["transcript"])
    files = unzip(exports[name])
    shown = {n: data for n, data in files.items() if n not in ("verify.py", "manifest.json")}
    said = json.loads(files["manifest.json"])
    shown["manifest.json"] = canonical({**said, "requester": ""})  # who asked is no secret
    for text in other:
        assert not any(text.encode() in data for data in shown.values()), text
    assert own.encode() in shown["events.ndjson"]


def test_the_heads_that_a_pack_sealed_are_those_of_the_whole_log(check, exports):
    _, answer = check(exports["purged"])
    assert "streams, actors and scopes end where event" in dict(answer["transcript"])["heads"]


def test_what_was_purged_under_a_signed_certificate_is_covered(check, exports):
    status, answer = check(exports["purged"])
    assert (status, answer["problems"]) == (0, [])
    said = json.loads(b64decode(exports["certificate"]["statement"]))
    assert f"under certificate {said['request']}" in dict(answer["transcript"])["purged"]
    gone = [row for row in rows_of(exports["purged"]) if "e" in row]
    assert {row["h"]["ty"] for row in gone} == {"KEY.USED"}
    uses = [row for row in rows_of(exports["purged"]) if row["h"]["ty"] == "KEY.USED"]
    assert len(uses) == len(gone) + 1  # that of the key on hold says what it said
    assert said["count"] == len(gone) - 1  # one was erased before
    assert [each["count"] for each in said["portions"]] == [2, 2, 2]
    covers = [text for mark, text in answer["transcript"] if mark == "purged"]
    assert [text.split()[0] for text in covers] == ["2", "2", "2"]


def test_a_hand_over_is_signed_and_checked(check, exports, tmp_path):
    chain = tmp_path / "custody"
    chain.write_bytes(exports["handed"])
    status, answer = check(exports["viewed"], "--custody", str(chain))
    assert status == 0
    assert "dora handed the bundle to Ann Auditor" in dict(answer["transcript"])["custody"]
    status, answer = check(exports["whole"], "--custody", str(chain))
    assert "is about another bundle" in answer["problems"][0]["what"]


def test_every_view_names_the_events_of_the_bundle(exports):
    files = unzip(exports["viewed"])
    shown = [row["i"] for row in rows_of(exports["viewed"]) if "p" in row]
    for name in ("ocsf.ndjson", "cef.txt", "events.ndjson"):
        assert len(files[f"views/{name}"].splitlines()) == len(shown), name
    rows = list(csv.DictReader(io.StringIO(files["views/events.csv"].decode())))
    assert [int(row["index"]) for row in rows] == shown
    assert b"Alice" in files["views/report.html"]
    assert b"<script" not in files["views/report.html"]


def test_openssl_believes_the_signature_in_the_report(exports, tmp_path):
    pdf = unzip(exports["viewed"])["views/report.pdf"]
    genesis = json.loads(unzip(exports["viewed"])["authority.ndjson"].splitlines()[0])
    spki = b64decode(genesis["request"]["services"]["evidence"])
    signature, covered = taken_apart(pdf)
    assert verdict(tmp_path, signature, covered, spki)
    assert not verdict(tmp_path, signature, covered.replace(b"obj", b"obk", 1), spki)


def taken_apart(pdf):
    """The CMS signature of a PDF, and the bytes it covers: all but the signature itself."""
    found = re.search(rb"/ByteRange \[(\d+) (\d+) (\d+) (\d+)", pdf)
    first, long, second, rest = map(int, found.groups())
    assert (first, second + rest) == (0, len(pdf))
    signature = bytes.fromhex(pdf[long + 1 : second - 1].decode())
    return signature, pdf[:long] + pdf[second:]


def verdict(folder, signature, covered, spki):
    """Whether openssl finds the signature good, by a certificate for exactly this key."""
    for name, data in (("cms", signature), ("data", covered)):
        (folder / name).write_bytes(data)
    words = ["openssl", "cms", "-verify", "-inform", "DER", "-in", "cms", "-content", "data"]
    more = ["-binary", "-noverify", "-signer", "signer.pem", "-out", "out"]
    done = subprocess.run([*words, *more], cwd=folder, capture_output=True, check=False)
    if done.returncode:
        return False
    certificate = x509.load_pem_x509_certificate((folder / "signer.pem").read_bytes())
    encoding, form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(encoding, form) == spki


def test_the_life_of_a_person_or_key_is_told_in_plain_words(exports):
    first, rest, key = exports["lives"]
    indexes = [one["index"] for one in first + rest]
    assert len(first) == 5
    assert indexes == sorted(set(indexes))
    told = [one["words"] for one in key]
    assert any("was suspended" in words and "Alice" in words for words in told)
    assert any("was destroyed" in words for words in told)
    assert all(one["local"].endswith(("GMT", "BST")) for one in key)
