"""Evidence of a whole service that ran, checked the way an assessor does."""

import hashlib
import json
from base64 import b64encode

import pytest

from tests.evidence.world import rezip, unzip
from tests.stack import Stack, ok


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


@pytest.fixture(scope="module")
def exports():
    """The whole log, one type of event, and later a part that continues the first."""
    with Stack.make() as stack:
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
    return {"whole": whole, "used": used, "later": later}


@pytest.mark.parametrize("name", ["whole", "used", "later"])
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
