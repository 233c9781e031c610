"""The whole service with two witnesses over HTTP, ours and a foreign one, and one by hand."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from keyvault.bootstrap import build
from keyvault.domain.access import Principal
from keyvault.domain.errors import NotWitnessedError, RolledBackError
from keyvault.domain.policy import PolicyError
from keyvault.operations import approvals, health
from keyvault.sealer import log_keys
from keyvault.store import Database
from tests.evidence.built import verify
from tests.stack import Stack, ok
from tests.witness.cosigners import policy_of
from tests.witness.places import ROOT, Foreign, Inside, Ours, command

WHY = {"reason": "over"}


class LogKey:
    """The service's log as a witness has to know it."""

    def __init__(self, stack):
        self.origin = stack.settings.origin
        with closing(Database(stack.settings.database)) as database:
            keys = log_keys(database, stack.settings.genesis)
        self.ed25519 = next(key for key in keys if key.type == 1)


class House:
    def __init__(self, stack, folder):
        self.stack, self.folder = stack, folder
        self.log = LogKey(stack)
        self.w1, self.w2 = (
            Inside(folder / "w1", "w.example/1"),
            Foreign(folder / "w2", "w.example/2"),
        )
        self.w3 = Ours(folder / "w3", "w.example/3")
        for place in (self.w1, self.w2, self.w3):
            place.folder.mkdir()
            place.make(self.log)

    def start(self):
        self.w1.start()
        self.w2.start()
        lines = [
            f"log {self.log.ed25519.vkey}",
            f"witness w1 {self.w1.vkey} {self.w1.url}",
            f"witness w2 {self.w2.vkey} {self.w2.url}",
            f"witness w3 {self.w3.vkey}",
            "group any-two 2 w1 w2 w3",
            "quorum any-two",
        ]
        self.policy = self.stack.config.parent / "witnesses.policy"
        self.policy.write_bytes(policy_of(*lines))
        (self.stack.config.parent / "elsewhere").mkdir()
        tables = f'[witnesses]\npolicy = "{self.policy.name}"\nwait = 4\ninterval = 0.1'
        self.stack.configure('anchor = "elsewhere/log.note"', tables)
        self.stack.start()

    def stop(self):
        for place in (self.w1, self.w2):
            place.stop()

    def witnessed(self):
        """How many events are, and how many there are; looking on makes none."""
        with closing(build(self.stack.settings)) as vault, vault.database.reading() as work:
            return vault.cosigned.size(work.audit), work.audit.head().size

    def run(self, *words):
        return command(*words, "--config", str(self.stack.config))


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with Stack.make() as stack:
        made = House(stack, tmp_path_factory.mktemp("w"))
        try:
            made.start()
            stack.register("dora", "auditor")  # which waits for the witnesses already
            old = sqlite3.connect(made.folder / "old.db")
            with closing(
                sqlite3.connect(stack.settings.database.removeprefix("sqlite:///"))
            ) as now:
                until(lambda: made.witnessed()[0])
                now.backup(old)
            old.close()
            yield made
        finally:
            made.stop()


@pytest.fixture
def stack(house):
    return house.stack


@pytest.fixture
def vault(stack):
    built = build(stack.settings)
    yield built
    built.close()


def principal(vault, name):
    with vault.database.reading() as work:
        person = vault.authority(work).people[name]
    return Principal(person, datetime.now(UTC) + timedelta(days=9), "00")


def until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "that did not happen in time"
        time.sleep(0.05)


def caught_up(house):
    """Wait until everything so far is witnessed."""
    _, size = house.witnessed()
    until(lambda: house.witnessed()[0] >= size)


def outcomes(stack, key):
    path = f"/v1/keys/{key}/history"
    events = ok(stack.person("alice").client().get(path))["items"]
    return [(e["header"]["ty"], e["header"]["out"]) for e in events]


def asked(stack, key):
    path = f"/v1/keys/{key}/destructions"
    return ok(stack.person("alice").client().post(path, json=WHY))


def execute(stack, request):
    return stack.person("alice").client().post(f"/v1/requests/{request['id']}/executions")


def test_every_event_says_what_stands_behind_it(house, stack):
    caught_up(house)
    with away(house):
        stack.order()
        client = stack.person("dora").client()
        page = ok(client.get("/v1/audit/events", params={"limit": 200}))["items"]
        shown = [event["level"] for event in page]
        ranks = [("witnessed", "sealed", "committed").index(level) for level in shown]
        assert ranks == sorted(ranks)
        assert shown[0] == "witnessed"
        assert len(page) == 200 or shown[-1] != "witnessed"
    proof = ok(client.get("/v1/audit/proofs/inclusion", params={"index": 0, "size": 3}))
    assert proof["level"] == "witnessed"
    assert ok(client.get("/v1/audit/events/0"))["level"] == "witnessed"
    note = client.get("/v1/audit/checkpoint", params={"size": 1}).text
    assert "\u2014 w.example/1 " in note


def test_a_key_is_destroyed_only_after_witnesses_have_seen_the_intent(stack, vault):
    key = stack.active_key()
    request = stack.approve(asked(stack, key), "bob", "carol")
    ok(execute(stack, request))
    with vault.database.reading() as work:
        events = work.audit.page(stream=f"key:{key}")[0]
        intent, done = [one for one in events if one.header["ty"] == "KEY.DESTROYED"]
        sizes = work.audit.cosigned_sizes(0, 2, 10_000)
        times = {size: work.audit.checkpoint(size).signed_at for size in sizes}
    assert (intent.header["out"], done.header["out"]) == ("intent", "ok")
    seen = min(size for size in sizes if size > intent.index)
    assert seen <= done.index
    assert times[seen] <= done.time


def test_without_a_quorum_nothing_begins_and_the_approvals_stay_good(house, stack):
    key = stack.active_key()
    request = asked(stack, key)
    with away(house):
        stack.approve(request, "bob", "carol")
        refused = execute(stack, request)
        assert (refused.status_code, refused.json()["code"]) == (503, "not-witnessed")
        assert "execute again" in refused.json()["next_step"]
        assert outcomes(stack, key)[-1] == ("KEY.ACTIVATED", "ok")
        changed = stack.order()  # what needs no witness goes on
        stack.carry_out(changed)
    until(lambda: execute(stack, request).status_code == 200)
    assert ("KEY.DESTROYED", "ok") in outcomes(stack, key)


def test_an_intent_that_nobody_saw_ends_the_request_and_the_device_was_not_asked(
    house, stack, vault
):
    key, system = stack.active_key(), stack.system("still-signs", "key:sign")
    request = stack.approve(asked(stack, key), "bob", "carol")
    caught_up(house)
    with away(house):
        with pytest.raises(NotWitnessedError, match="destroy-key was not done"):
            approvals.execute(vault, principal(vault, "alice"), UUID(request["id"]))
        shown = outcomes(stack, key)[-2:]
        assert shown == [("KEY.DESTROYED", "intent"), ("KEY.DESTROYED", "fail")]
        check = next(c for c in health.ready(vault).checks if c.name == "witnesses")
        assert check.ok
        until(lambda: "witness w1 gives no answer" in _said(vault))
        digest = {"digest": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
        ok(system.client().post(f"/v1/keys/{key}/signatures", json=digest))


def _said(vault):
    return next(c.reason for c in health.ready(vault).checks if c.name == "witnesses")


@pytest.mark.soak
def test_a_change_of_authority_waits_for_witnesses_too(house, stack):
    with away(house), pytest.raises(AssertionError, match="not-witnessed"):
        stack.system("nobody-saw", "key:sign")


class away:  # noqa: N801  (reads as a word)
    """Both witnesses are down, until the block ends."""

    def __init__(self, house):
        self.house = house

    def __enter__(self):
        self.house.stop()

    def __exit__(self, *_):
        for place in (self.house.w1, self.house.w2):
            place.start()
        self.house.stack.stop("feeder")  # whose pauses would only make this test slow
        self.house.stack.start("feeder")
        caught_up(self.house)


def test_an_export_carries_cosignatures_that_the_auditors_own_policy_demands(house, stack):
    stack.order()  # which the third witness, fed by hand, has not seen
    caught_up(house)
    answer = stack.person("dora").client().post("/v1/audit/exports", json={})
    assert answer.status_code == 200, answer.text
    bundle = house.folder / "evidence.zip"
    bundle.write_bytes(answer.content)
    line = [sys.executable, "-I", "-S", verify.__file__, str(bundle)]
    done = subprocess.run(
        [*line, "--policy", str(house.policy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    for name in ("w1", "w2"):
        assert f"witnessed by {name} at " in done.stdout
    assert "no witness has cosigned" not in done.stdout
    strict = house.folder / "strict.policy"
    strict.write_text(house.policy.read_text().replace("any-two 2", "any-two all"))
    done = subprocess.run(
        [*line, "--policy", str(strict)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "quorum any-two is not reached without w3" in done.stdout


def test_a_witness_without_a_network_is_fed_by_files(house, vault):
    caught_up(house)
    request, out = house.folder / "checkpoint-request", house.folder / "cosignature"
    status, _, complaint = house.run("request", "--witness", "w3", "--out", str(request))
    assert status == 0, complaint
    house.w3.run("sign", "--in", str(request), "--out", str(out))
    status, said, complaint = house.run("take", str(out), "--request", str(request), *W3)
    assert status == 0, complaint
    with vault.database.reading() as work:
        note = work.audit.cosigned(int(said))
    assert "\u2014 w.example/3 " in note
    assert note.count("\u2014 w.example/") >= 2
    status, _, said = house.run("take", str(out), "--request", str(request), "--witness", "w1")
    assert (status, "sent no cosignature" in said) == (75, True)
    status, _, said = house.run("request", "--witness", "w9", "--out", str(house.folder / "x"))
    assert (status, "names no witness w9" in said) == (66, True)


def test_a_policy_with_a_wrong_line_is_refused_by_its_code_and_the_line_is_named(house, stack):
    wrong = stack.config.with_name("wrong.policy")
    wrong.write_bytes(house.policy.read_bytes().replace(b"quorum any-two", b"quorum any-three"))
    config = stack.config.with_name("wrong.toml")
    config.write_text(stack.config.read_text().replace(house.policy.name, wrong.name))
    out = house.folder / "never"
    status, _, said = command("request", *W3, "--out", str(out), "--config", str(config))
    assert (status, PolicyError.code) == (65, "policy-invalid")
    assert "line 6 of the policy names any-three" in said
    assert "mend the file" in said
    assert not out.exists()


W3 = ("--witness", "w3")


# Yesterday's database -----------------------------------------------------------------------------


def yesterdays(house, stack, *, anchor, witnesses):
    until((stack.config.parent / "elsewhere" / "log.note").exists)
    change = {"database": f"sqlite:///{house.folder / 'old.db'}"}
    change |= {} if anchor else {"anchor": None}
    change |= {} if witnesses else {"witnesses": None}
    # The token of the log was brought back, too: here its gate does not answer.
    away = stack.settings.log.model_copy(update={"socket": house.folder / "nobody.sock"})
    change |= {"log": away}
    return closing(build(stack.settings.model_copy(update=change)))


def test_yesterdays_database_is_refused_by_the_anchor_file(house, stack):
    stack.order()
    with yesterdays(house, stack, anchor=True, witnesses=False) as vault:
        with pytest.raises(RolledBackError, match=r"anchor file .* has seen") as caught:
            until(vault.check_anchors, 5)
        assert "runbook rolled-back" in caught.value.next_step


def test_yesterdays_database_is_refused_by_either_witness(house, stack):
    stack.order()
    caught_up(house)
    with yesterdays(house, stack, anchor=False, witnesses=True) as vault:
        with pytest.raises(RolledBackError, match=r"witness w1 has seen \d+ events"):
            vault.check_anchors()
        house.w1.stop()
        with pytest.raises(RolledBackError, match=r"witness w2 has seen \d+ events"):
            vault.check_anchors()
        house.w1.start()


def test_a_database_without_any_anchor_looks_like_new(house, stack):
    """What all of this is for: alone, an old copy says nothing wrong."""
    with yesterdays(house, stack, anchor=False, witnesses=False) as vault:
        vault.check_anchors()


def test_the_sealer_does_not_seal_over_what_was_seen(house, stack):
    stack.order()
    caught_up(house)
    config = stack.config.with_name("old.toml")
    text = stack.config.read_text()
    line = next(line for line in text.splitlines() if line.startswith("database = "))
    config.write_text(text.replace(line, f'database = "sqlite:///{house.folder / "old.db"}"'))
    done = subprocess.run(
        [sys.executable, "-m", "keyvault.sealer", "--settings", str(config)],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=30,
    )  # fmt: skip
    assert done.returncode == os.EX_DATAERR
    assert "SEALING HAS STOPPED: the log is not what it was" in done.stderr


def test_a_lost_anchor_file_is_refused_until_it_is_written_anew_on_purpose(house, stack, vault):
    vault.check_anchors()
    other = stack.settings.model_copy(update={"anchor": house.folder / "new.note"})
    with closing(build(other)) as without:
        with pytest.raises(RolledBackError, match=r"new\.note is gone"):
            without.check_anchors()
        (house.folder / "new.note").write_text("nonsense")
        with pytest.raises(RolledBackError, match="does not hold"):
            without.check_anchors()
    status, _, said = house.run("anchor")
    assert (status, "only the sealer writes over it" in said) == (76, True)
    place = stack.settings.anchor
    place.rename(house.folder / "lost.note")
    written, _, complaint = house.run("anchor")
    assert written == 0, complaint
    vault.check_anchors()
