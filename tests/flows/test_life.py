"""The whole life of a key as people read it, and the forecast of what ends."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

from cli.remote import pictures
from tests.certifying import accept, answer, believed, submitted
from tests.flows.test_custody import took
from tests.stack import SCOPE, Stack, ok

OTHER = {**SCOPE, "user_id": "90-B3-D5-1F-30-02-00-00"}
SVG = "{http://www.w3.org/2000/svg}"


def test_a_key_s_life_is_told_in_plain_words_from_order_to_end(stack: Stack):
    alice, bob = (stack.person(name).client() for name in ("alice", "bob"))
    key = stack.active_key(need="meters", label="<north> & south")
    ok(took(bob, key, "labelled", text="ACME-17"))
    held = ok(bob.post(f"/v1/keys/{key}/holds", json={"kind": "legal", "reason": "court"}))["id"]
    refused = alice.post(f"/v1/keys/{key}/destructions", json={"reason": "over"})
    assert refused.status_code == 409
    ok(bob.post(f"/v1/keys/{key}/suspensions", json={"reason": "odd traffic"}))
    life = ok(bob.get(f"/v1/keys/{key}/life"))
    told = [one["words"] for one in life["moments"]]
    assert told[0] == "The key was ordered, by Alice (alice): need meters"
    assert "The key was generated inside the device (begun), by Alice (alice)" in told
    assert f"The key was put on hold, by Bob (bob): reason court, hold {held}, kind legal" in told
    assert told[-1] == "The key was suspended, by Bob (bob): reason odd traffic"
    came = {verb for verb, at in life["verbs"].items() if at}
    assert came == {"registered", "ordered", "generated", "labelled"}
    assert (life["uses"], life["more"]) == (0, False)
    drawn = ET.fromstring(pictures.timeline(life))  # noqa: S314  (our own)
    assert len(drawn.findall(f"{SVG}circle")) == len(told)
    assert drawn.find(f"{SVG}text").text == f"<north> & south ({key})"


def rows(client, **query: str):
    found = ok(client.get("/v1/keys/forecast", params=query))["items"]
    return {(one["what"], one["group"]): one for one in found}


def test_what_ends_is_counted_by_class_and_scope_and_drawn(stack: Stack):
    bob = stack.person("bob").client()
    scope = "/".join(OTHER.values())
    assert rows(bob, scope=scope) == {}
    for days in (10, 40, 41, 100, 400):
        stack.order_key(scope=OTHER, protect_days=days)
    stack.change(stack.order_key(scope=OTHER, protect_days=5), "destructions")
    found = rows(bob, scope=scope)
    assert found == {
        ("key", "standard"): {
            "what": "key",
            "group": "standard",
            "scope": scope,
            "ended": 0,
            "within_30": 1,
            "within_90": 2,
            "within_180": 1,
        }
    }
    everything = ok(bob.get("/v1/keys/forecast"))["items"]
    assert scope in {one["scope"] for one in everything}
    drawn = ET.fromstring(pictures.forecast(everything))  # noqa: S314  (our own)
    assert len(drawn.findall(f"{SVG}rect")) == 1 + 4 + 4 * len(everything)


def test_certificates_stand_in_the_forecast_beside_their_keys(stack: Stack):
    bob, key = stack.person("bob").client(), stack.order_key()
    certificate, request = submitted(bob, key)
    soon = datetime.now(UTC) + timedelta(days=60)
    answer(bob, believed(bob).issue(request, not_after=soon))
    accept(bob, certificate)
    counted = rows(bob, scope="/".join(SCOPE.values()))
    assert counted["certificate", "smki-organisation"]["within_90"] >= 1
