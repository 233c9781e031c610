"""Backups from the first share to a restored key in use, and what is refused on the way."""

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from sqlalchemy import update

from cli.desk.backups import verified
from hsm.types import Mechanism
from keyvault import splitting
from keyvault.domain.commands import SetSpareKey
from keyvault.domain.errors import BackupInvalidError
from keyvault.domain.keys import service_key_id
from keyvault.operations.reconcile import reconcile
from keyvault.operations.reconciliation import differences
from keyvault.signatures import spki_der, verify
from keyvault.store import backup_tables as tables
from keyvault.store.engine import open_engine, writing
from tests.assessor import assert_evidence_holds
from tests.flows import canaries
from tests.flows.test_reconcile import Hand
from tests.holders import (
    back_up,
    backup_key,
    begin,
    enter,
    load,
    sharers,
    with_spare,
)
from tests.stack import PASSPHRASE, SCOPE, Stack, ok
from tests.surface.desk import Desk


@pytest.fixture(scope="module")
def stack(flow_ground):
    with Stack.make(*flow_ground) as made:
        with_spare(made)
        made.start()
        yield made


@pytest.fixture(scope="module")
def people(stack):
    return sharers(stack)


@pytest.fixture(scope="module")
def kek(stack, people):
    return backup_key(stack, people)


@pytest.fixture(scope="module")
def words(stack, people, kek):
    return {one.name: one.words(stack, kek) for one in people}


def evidence_key(vault):
    with vault.database.reading() as work:
        return vault.authority(work).services.evidence


def events(vault, kind):
    with vault.database.reading() as work:
        found, _ = work.audit.page(type=kind, limit=500)
    return [(one.header["out"], json.loads(one.payload)) for one in found]


def test_a_backup_is_restored_into_a_second_token_and_used(stack, vault, kek, words, tmp_path):
    key = stack.active_key(key_class="exchange")
    bulk, kept = stack.active_key(key_class="bulk"), stack.active_key()
    backup = back_up(stack, kek, tmp_path / "all")
    assert backup["state"] == "kept"
    found = verified(tmp_path / "all", evidence_key(vault))
    assert found["sha256"] == backup["sha256"]
    assert kept in {one["key"] for one in found["not_in_it"]}  # said plainly: it never leaves
    restoration = begin(stack, backup, drill=False)
    assert ok(enter(stack, restoration, "bob", words["bob"]))["entered"] != []
    assert len(ok(enter(stack, restoration, "dirk", words["dirk"]))["entered"]) == 2
    done = load(stack, restoration, (tmp_path / "all").read_bytes(), part=1_000)
    assert (done["state"], done["report"]["failed_count"]) == ("done", 0)
    assert done["report"]["compared"] >= 5  # the key, and the service's own four
    assert done["report"]["opened"] >= 1
    there = {one.key_id for one in vault.spare.inventory()}
    assert {UUID(key).bytes, UUID(kek).bytes, service_key_id("evidence")} <= there
    assert not {UUID(kept).bytes, UUID(bulk).bytes} & there
    digest = sha256(b"message").digest()
    with vault.database.reading() as work:
        public = work.keys.get(UUID(key)).public_key
    raw = vault.spare.sign(UUID(key).bytes, Mechanism.ECDSA, digest)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    assert verify(public, der, b"message")
    assert events(vault, "KEY.RESTORED")[-1][0] == "ok"
    canaries.assert_nowhere(stack, *(share.encode() for share in words.values()))


def keys_on(gate):
    """Which keys are on its token; a gate's own count has no id."""
    return {one.key_id for one in gate.inventory()} - {b""}


def test_a_drill_leaves_nothing_on_the_token_and_stays_on_record(
    stack, vault, kek, words, tmp_path
):
    key = stack.active_key(key_class="exchange")
    backup = back_up(stack, kek, tmp_path / "all")
    before = keys_on(vault.spare)
    restoration = begin(stack, backup, drill=True)
    for name in ("carol", "bob"):
        ok(enter(stack, restoration, name, words[name]))
    done = load(stack, restoration, (tmp_path / "all").read_bytes())
    assert (done["state"], done["report"]["ok"]) == ("done", True)
    assert done["report"]["undone"] >= 1
    assert keys_on(vault.spare) == before
    assert UUID(key).bytes not in before
    outcome, told = events(vault, "KEY.DRILLED")[-1]
    assert (outcome, told["backup"], told["failed"]) == ("ok", backup["id"], [])


def test_no_share_that_is_wrong_counts_and_the_others_still_do(stack, vault, kek, words, tmp_path):
    backup = back_up(stack, kek, tmp_path / "all")
    foreign = splitting.split(bytes(32), 2, 3)[0]
    restoration = begin(stack, backup, drill=True)
    changed = words["bob"].split()
    changed[20] = "academic" if changed[20] != "academic" else "acid"
    for name, wrong in (
        ("bob", " ".join(changed)),  # one word
        ("bob", " ".join(words["bob"].split()[:-1])),  # a word is missing
        ("bob", foreign),  # of another set
        ("bob", words["carol"]),  # somebody else's
        ("bob", "x" * 1_000),
    ):
        refused = enter(stack, restoration, name, wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, "share-invalid")
        assert not set(wrong.split()) & set(refused.json()["detail"].split())
    nobody = enter(stack, restoration, "alice", words["bob"])
    assert nobody.status_code == 403
    early = stack.person("alice").client()
    path = f"/v1/restorations/{restoration['id']}"
    assert early.post(f"{path}/lines", json={"offset": 0, "lines": "AAEC"}).status_code == 409
    ok(enter(stack, restoration, "bob", words["bob"]))
    twice = enter(stack, restoration, "bob", words["bob"])
    assert twice.json()["code"] == "share-invalid"
    assert ok(enter(stack, restoration, "carol", words["carol"]))["entered"] == [1, 2]
    data = (tmp_path / "all").read_bytes()
    done = load(stack, restoration, data[: len(data) // 2])  # cut off
    assert (done["state"], done["report"]["whole"]) == ("failed", False)
    assert {out for out, _ in events(vault, "SHARE.ENTERED")} == {"ok", "refused"}


def test_a_gate_that_dies_in_a_restoration_leaves_nothing_half_done(
    stack, vault, kek, words, tmp_path
):
    key = stack.active_key(key_class="exchange")
    backup, before = back_up(stack, kek, tmp_path / "all"), keys_on(vault.spare)
    restoration = begin(stack, backup, drill=False)
    for name in ("bob", "carol"):
        ok(enter(stack, restoration, name, words[name]))
    alice, path = stack.person("alice").client(), f"/v1/restorations/{restoration['id']}"
    lines = b64encode((tmp_path / "all").read_bytes()).decode()
    ok(alice.post(f"{path}/lines", json={"offset": 0, "lines": lines}))
    assert UUID(key).bytes in keys_on(vault.spare) - before
    stack.kill("spare-gate")
    stack.start("spare-gate")
    assert keys_on(vault.spare) == before
    late = alice.post(f"{path}/lines", json={"offset": 0, "lines": "AAEC"})
    assert (late.status_code, late.json()["code"]) == (409, "request-state")
    told = [(one.finding, one.key) for one in reconcile(vault)]
    assert told == [("voided", restoration["id"])]
    done = ok(alice.get(path))
    assert (done["state"], done["report"]["ok"]) == ("failed", False)
    again = begin(stack, backup, drill=False)
    for name in ("bob", "carol"):
        ok(enter(stack, again, name, words[name]))
    assert load(stack, again, (tmp_path / "all").read_bytes())["state"] == "done"
    assert UUID(key).bytes in {one.key_id for one in vault.spare.inventory()}


def test_a_terminal_knows_the_second_token_by_a_record_that_people_signed(
    stack, vault, kek, words, tmp_path
):
    own = vault.spare.own_key()
    stack.carry_out(stack.ask(SetSpareKey(own, "the second token was set up"), None))
    alice = stack.person("alice").client()
    assert ok(alice.get("/v1/spare-key"))["believed"]
    backup = back_up(stack, kek, tmp_path / "all")
    restoration = begin(stack, backup, drill=True)
    desk = Desk(stack.folder, "bob", stack.folder / "bob.key", PASSPHRASE.decode())
    assert desk.login(stack.url, stack.ca, "--genesis", stack.settings.genesis).status == 0
    words_of = ("shares", "enter", restoration["id"], "--yes", "--passphrase-fd", "0", "--json")
    theirs = spki_der(ec.generate_private_key(ec.SECP256R1()).public_key())
    names = ("entry", "entry_signature")
    true = {name: b64decode(restoration[name]) for name in names}
    for wrong in ({"entry": theirs}, {"entry_signature": None}):
        rewritten(stack, restoration, **(true | wrong))
        refused = desk.keyvault(*words_of, typed=words["bob"] + "\n")
        assert refused.error["code"] == "transport-key", refused.err
    rewritten(stack, restoration, **true)
    done = desk.keyvault(*words_of, typed=words["bob"] + "\n")
    assert (done.status, done.json["entered"]) == (0, [1]), done.err
    ok(alice.post(f"/v1/restorations/{restoration['id']}/completion", json={"keep": False}))


def rewritten(stack, restoration, **values):
    """Change a row as whoever owns the database can."""
    engine = open_engine(stack.settings.database)
    with writing(engine) as connection:
        here = tables.restoration.c.id == restoration["id"]
        connection.execute(update(tables.restoration).where(here).values(**values))
        connection.commit()
    engine.dispose()


def test_what_is_destroyed_goes_from_both_tokens_and_its_backups_are_named(
    stack, vault, kek, words, tmp_path
):
    key = stack.active_key(key_class="exchange")
    backup = back_up(stack, kek, tmp_path / "all")
    restoration = begin(stack, backup, drill=False)
    for name in ("bob", "carol"):
        ok(enter(stack, restoration, name, words[name]))
    assert load(stack, restoration, (tmp_path / "all").read_bytes())["state"] == "done"
    stack.change(key, "destructions")
    for gate in (vault.gate, vault.spare):
        assert UUID(key).bytes not in {one.key_id for one in gate.inventory()}
    with vault.database.reading() as work:
        statement = work.custody.certificate(UUID(key)).statement
    said = json.loads(statement.partition(b"\n")[2])
    assert backup["id"] in {one["backup"] for one in said["backups"]}
    assert [one["where"] for one in said["copies"]] == [
        vault.settings.keys.uri,
        vault.settings.spare.uri,
    ]
    # What was destroyed does not come back, not even by a backup that still holds it.
    again = begin(stack, backup, drill=True)
    for name in ("bob", "carol"):
        ok(enter(stack, again, name, words[name]))
    assert load(stack, again, (tmp_path / "all").read_bytes())["report"]["skipped"] >= 1
    assert UUID(key).bytes not in {one.key_id for one in vault.spare.inventory()}
    assert differences(vault) == []
    hand = Hand(stack, stack.settings.spare)
    hand.make(UUID(key))
    found = [(one.drift, one.module, one.key) for one in differences(vault)]
    assert found == [("left-behind", "spare", key)]
    hand.remove(UUID(key), "privkey", "pubkey")


def test_a_backup_that_was_altered_is_refused(stack, vault, kek, tmp_path):
    back_up(stack, kek, tmp_path / "all", SCOPE)
    data, spki = (tmp_path / "all").read_bytes(), evidence_key(vault)
    assert verified(tmp_path / "all", spki)["scope"] == SCOPE
    lines = data.splitlines(keepends=True)
    for wrong in (
        data.replace(b"person:bob", b"person:eve", 1),
        b"".join(lines[:1] + lines[2:]),
        b"".join(lines[:-1]),
        data + lines[1],
        b"",
    ):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(BackupInvalidError):
            verified(tmp_path / "wrong", spki)
    with pytest.raises(BackupInvalidError):
        verified(tmp_path / "all", stack.person("bob").credential.spki)


def test_a_share_is_confirmed_in_its_bag_by_its_holder_alone(stack, kek):
    bob, carol = (stack.person(name).client() for name in ("bob", "carol"))
    path = f"/v1/backup-keys/{kek}/shares/1"
    body = {"state": "confirmed", "bag": "17", "place": "safe 2"}
    assert carol.post(f"{path}/openings").status_code == 403
    assert carol.post(f"{path}/moves", json=body).status_code == 403
    assert ok(bob.post(f"{path}/moves", json=body))["state"] == "confirmed"
    other = bob.post(f"{path}/moves", json={**body, "bag": "18"})
    assert (other.status_code, other.json()["code"]) == (409, "bag-mismatch")
    assert ok(carol.post(f"{path}/moves", json={"state": "lost", "reason": "gone"}))["bag"] == "17"
    assert ok(bob.post(f"{path}/moves", json=body))["state"] == "confirmed"


def test_a_backup_key_is_replaced_and_destroyed_with_what_only_it_opened(
    stack, vault, people, tmp_path
):
    old = backup_key(stack, people, "to be replaced")
    back_up(stack, old, tmp_path / "all", SCOPE)
    new = backup_key(stack, people, "the next", supersedes=UUID(old))
    body = {"command": "destroy-backup-key", "scope": None}
    body["parameters"] = {"backup_key": old, "reason": "replaced"}
    asked = ok(stack.person("alice").client().post("/v1/requests", json=body))
    told = stack.carry_out(asked)["outcome"]
    assert (told["objects"], told["shares_left"], len(told["backups"])) == (1, [1, 2, 3], 1)
    assert UUID(old).bytes not in {one.key_id for one in vault.gate.inventory()}
    wanted = {"backup_key": old, "scope": SCOPE, "place": "safe", "owner": "bob"}
    refused = stack.person("bob").client().post("/v1/backups", json=wanted)
    assert (refused.status_code, refused.json()["code"]) == (409, "key-state")
    back_up(stack, new, tmp_path / "more", SCOPE)


def test_an_auditor_checks_backup_keys_and_restorations_without_us(stack, kek, tmp_path):
    back_up(stack, kek, tmp_path / "all", SCOPE)
    assert_evidence_holds(stack)
