"""Cards made by a whole service: a desk relays, the service decides, and a pull costs nothing."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cli.desk.relaying import relay
from hsm.pcsc.reader import wait_for_card
from tests.authority import DAY, Authority, named, usage
from tests.carding import OWN_PIN, STATIONS, Carding, Inserted, Roaming
from tests.cards.bench import NAMES, Bench
from tests.cards.personalising import PulledAt, Puller
from tests.cards.simulator.models import FACTORY_3DES, FACTORY_PUK, MODELS
from tests.cards.simulator.secure import SECURE
from tests.cards.usb import Stick
from tests.certifying import believed
from tests.flows import at_desks, canaries, unblocking
from tests.flows.at_desks import logged_in
from tests.flows.judged_cards import judged
from tests.flows.usb_life import UsbLife
from tests.operating import left, operated
from tests.stack import Stack, ok

PULLS = (9, 21, 40)  # APDUs of an issue; every one is in tests/cards


@pytest.fixture(scope="module")
def carding():
    with Stack.make() as stack:
        two = stack.config.read_text()
        for part in ("[api]\n", "[keys]\n"):
            two = two.replace(part, f"{part}workers = 2\n")
        stack.config.write_text(two)
        stack.configure()
        stack.start()
        models = stack.folder / "cards.toml"
        models.write_text(SECURE["yubico"].table)
        yield Carding.on(stack, str(models))


def _blank(carding, serial, models=MODELS):
    card = models["yubico"].make()
    card.application.serial = serial
    return card, carding.allocated(str(serial))


def test_a_card_pulled_three_times_is_done_with_one_certificate_a_key(carding):
    card, token = _blank(carding, 1001)
    (job,) = carding.order(token)
    for at in PULLS[:2]:
        ended = carding.insert(job, Puller(card, at, executed=True))
        assert (ended["do"], ended["code"]) == ("failed", "card-removed")
        assert "same token" in carding.job(job)["guidance"]
    done = carding.insert(job, card)
    assert (done["do"], done["standing"]) == ("done", "done")
    assert carding.token("1001")["state"] == "personalised"
    applet = card.application
    assert applet.pin.left == applet.pin.limit
    assert applet.puk.value != FACTORY_PUK
    assert len(applet.management_key) == 32
    slots = {"9A": 0x5FC105, "9C": 0x5FC10A}
    for slot, certificate in carding.job(job)["certificates"].items():
        der = b64decode(certificate)
        assert der in applet.objects[slots[slot]]
        public = applet.keys[int(slot, 16)].public_key()
        assert x509.load_der_x509_certificate(der).public_key() == public
    secrets = applet.management_key, applet.puk.value, b'"%b"' % applet.pin.value
    canaries.assert_nowhere(carding.stack, *secrets)


def test_one_gate_of_two_is_enough_to_be_ready_and_the_other_is_named(carding):
    stack = carding.stack
    asked = stack.person("bob").client()

    def hsm():
        checks = ok(asked.get("/v1/health/ready"))["checks"]
        [found] = [one for one in checks if one["name"] == "hsm"]
        return found["ok"], found["reason"]

    assert hsm() == (True, "")
    stack.stop("gate-2")
    good, reason = hsm()
    assert good
    assert reason.startswith("gate 2: ")
    stack.start("gate-2")
    assert hsm() == (True, "")


def test_a_desk_whose_messages_reach_any_worker_makes_a_card_with_a_key_to_agree_with(carding):
    assert carding.stack.settings.api.workers == 2
    card = MODELS["yubico"].make()
    card.application.serial = 1002
    token = carding.allocated("1002", profile="with-agreement")
    (job,) = carding.order(token)
    desk, path = Roaming(carding.issuer.client()), f"/v1/issuing/jobs/{job['id']}"
    done = relay(desk, path, STATIONS[0], Inserted(card), lambda _: None)
    assert (done["do"], done["standing"]) == ("done", "done")
    made = carding.job(job)["certificates"]
    assert set(made) == {"9A", "9C", "9D"}
    usage = x509.load_der_x509_certificate(b64decode(made["9D"])).extensions
    found = usage.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    assert found.value.key_agreement
    assert not found.value.digital_signature


def test_a_pin_is_printed_once_and_never_by_who_made_the_token(carding):
    card, token = _blank(carding, 3001)
    (job,) = carding.order(token)
    path = f"/v1/issuing/jobs/{job['id']}/mailer"
    bob = carding.stack.person("bob").client()
    assert bob.post(path).json()["code"] == "issue-state"
    carding.insert(job, card)
    assert carding.issuer.client().post(path).status_code == 403
    printed = bob.post(path)
    assert printed.content.startswith(b"%PDF")
    assert bob.post(path).json()["code"] == "not-permitted"


def test_a_station_or_a_card_that_nobody_knows_makes_nothing(carding):
    card, token = _blank(carding, 4001)
    (job,) = carding.order(token)
    body = {"station": "kitchen", "atr": card.atr.hex(), "protocol": 2}
    path = f"/v1/issuing/jobs/{job['id']}/sessions"
    assert carding.issuer.client().post(path, json=body).json()["code"] == "not-permitted"
    card.atr = bytes.fromhex("3b00")
    ended = carding.insert(job, card)
    assert ended["code"] == "card-foreign"
    assert "3B00" in ended["detail"]
    assert card.application.management_key == FACTORY_3DES


def test_who_comes_back_to_a_desk_ends_the_session_that_was_left_open(carding):
    card, token = _blank(carding, 4002)
    (job,) = carding.order(token)
    body = {"station": STATIONS[0], "atr": card.atr.hex(), "protocol": 2}
    path = f"/v1/issuing/jobs/{job['id']}/sessions"
    ok(carding.issuer.client().post(path, json=body))
    assert carding.insert(job, card)["standing"] == "done"


def test_a_usb_token_is_made_by_the_same_job(carding, tmp_path):
    """And lives as a card does, until it is wiped."""
    with Stick.make(tmp_path) as stick:
        UsbLife.of(carding, stick).lived()


def test_an_abandoned_job_leaves_no_certificate_in_force_and_a_card_to_begin_anew_with(carding):
    card, token = _blank(carding, 5001)
    (job,) = carding.order(token)
    carding.insert(job, Puller(card, 40, executed=True))
    assert len(carding.job(job)["certificates"]) == 2
    client, reason = carding.issuer.client(), {"reason": "the reader broke it"}
    ended = ok(client.post(f"/v1/issuing/jobs/{job['id']}/abandonment", json=reason))
    assert ended["standing"] == "abandoned"
    assert carding.token("5001")["state"] == "allocated"
    lists = [f"/v1/ca/{one['key']}/issued" for one in ok(client.get("/v1/ca"))["items"]]
    issued = [one for path in lists for one in ok(client.get(path, params={"limit": 200}))["items"]]
    own = [each for each in issued if each["token"] == token["id"]]
    assert {each["status"] for each in own} == {"revoked"}
    assert card.application.puk.value != FACTORY_PUK
    (another,) = carding.order(carding.token("5001"))
    assert carding.insert(another, card)["standing"] == "done"


def test_a_blocked_card_is_unblocked_by_two_people_and_its_puk_is_another_then(carding):
    card, token = _blank(carding, 6001)
    (job,) = carding.order(token)
    carding.insert(job, card)
    carding.activated("6001", card)
    before = card.application.puk.value
    card.application.pin.left = 0
    carding.stop("6001", "block-pin")
    bare = carding.refused(token, card, service="unblock")
    assert bare["code"] == "issue-state"
    asked = {"service": "unblock", "statement": carding.released("6001")}
    ended = carding.serve(token, Puller(card, 5, executed=True), **asked)
    assert ended["code"] == "card-removed"
    ended = carding.serve(token, card, **asked)
    assert ended["do"] == "done", ended
    assert card.application.pin.value == OWN_PIN
    assert card.application.puk.value not in (before, FACTORY_PUK)
    assert carding.token("6001")["state"] == "active"
    again = carding.refused(token, card, **asked)
    assert again["code"] == "token-state"


def test_an_operator_who_reads_the_screen_makes_a_batch_at_two_stations(carding, tmp_path):
    slots = {name: slot for slot, name in enumerate(STATIONS)}
    desk = logged_in(carding, carding.issuer)
    cards = {str(serial): _blank(carding, serial) for serial in (7001, 7002, 7003)}
    jobs = carding.order(*(token for _, token in cards.values()))
    batch = jobs[0]["batch"]
    pulled, wrong, spoiled = (cards[serial][0] for serial in cards)
    spoiled.application.management_key = bytes(24)
    stranger = MODELS["yubico"].make()
    pile = {"7001": [Puller(pulled, 30, executed=True), pulled], "7002": [stranger, wrong]}
    labels = tmp_path / "labels"
    words = ("desk", "batch", batch, "--labels", str(labels), "--session", str(desk.session))
    text = operated(words, slots, {**pile, "7003": [spoiled]})
    for said in ("PUT THE SAME ONE IN AGAIN", "it is not this one", "to be destroyed", "label it"):
        assert said in text, text
    assert "2 to dispatch, 1 to be destroyed, 0 not done" in text
    assert pulled.application.management_key != wrong.application.management_key
    assert pulled.application.pin.value != wrong.application.pin.value
    done = [carding.token(serial) for serial in ("7001", "7002")]
    assert {path.name for path in labels.iterdir()} == {f"{each['id']}.pdf" for each in done}
    assert carding.token("7003")["state"] == "quarantined"
    paper = tmp_path / "batch.pdf"
    told = desk.ask("issuing", "batch", batch, "--out", str(paper))
    assert [one["standing"] for one in told["items"]].count("done") == told["out"] == 2
    assert paper.read_bytes().startswith(b"%PDF-")
    at_desks.bound_to_the_log(carding, jobs[0], desk)


def test_who_leaves_finishes_what_is_in_the_reader_and_a_killed_pcscd_is_noticed(carding):
    desk, cards = logged_in(carding, carding.issuer), [_blank(carding, 7004 + n) for n in range(3)]
    batch = carding.order(*(token for _, token in cards))[0]["batch"]
    words = ("desk", "batch", batch, "--session", str(desk.session))
    noticed = carding.noticed(STATIONS[0], "pcscd-gone")
    text = left(words, STATIONS[0], [card for card, _ in cards], noticed)
    assert "2 to dispatch, 0 to be destroyed, 1 not done" in text, text
    carding.noticed(STATIONS[0], "left")()


def test_a_card_unblocked_before_its_holder_gets_another_puk_at_the_next_station(carding):
    card, token = _blank(carding, 9102)
    unblocking.by_its_puk(carding, card, token)
    wendy = carding.witness.client()
    body = {"service": "rekey", "atr": card.atr.hex(), "protocol": 2}
    refused = wendy.post(f"/v1/tokens/{token['id']}/sessions", json=body)
    assert refused.json()["code"] == "issue-state"


def test_a_card_with_a_secure_channel_is_unblocked_before_its_holder_and_nobody_sees_its_puk(
    carding,
):
    card, token = _blank(carding, 9103, SECURE)
    unblocking.through_its_channel(carding, card, token, logged_in(carding, carding.holder))


def test_a_holder_chooses_the_pin_and_what_the_card_was_sent_with_is_dead(carding, tmp_path):
    card, token = _blank(carding, 9101)
    (job,) = carding.order(token, pin_route="activation")
    assert carding.insert(job, card)["standing"] == "done"
    applet = card.application
    sent = applet.pin.value
    path, bob = f"/v1/issuing/jobs/{job['id']}/mailer", carding.stack.person("bob").client()
    assert bob.post(path).json()["code"] == "issue-state"
    before = {"service": "choose-pin", "atr": card.atr.hex(), "protocol": 2}
    home = f"/v1/tokens/{token['id']}/sessions"
    assert carding.holder.client().post(home, json=before).json()["code"] == "issue-state"
    carding.delivered("9101")
    assert carding.issuer.client().post(home, json=before).json()["code"] == "not-permitted"
    with pytest.raises(AssertionError, match="choose-pin"):
        carding.activate("9101", card)
    same = carding.at_home(token, card, pin=sent, service="choose-pin")
    assert (same["do"], applet.pin.value) == ("failed", sent)
    for at in (8, 9, 12):  # before and behind the change, and while the old one is tried
        pulled = Puller(card, at, executed=True)
        assert carding.at_home(token, pulled, service="choose-pin")["do"] == "failed"
    desk = logged_in(carding, carding.holder)
    with Bench() as bench:
        bench.insert(card)
        assert wait_for_card(NAMES[0], seconds=10)
        own = ("--reader", NAMES[0], "--passphrase-fd", "0", "--json")
        ended = desk.keyvault(
            "desk", "choose-pin", token["id"], *own, typed=f"{OWN_PIN.decode()}\n"
        )
        judged(carding, token, card, tmp_path)
    assert ended.status == 0, ended.err
    assert "keyvault tokens activate" in ended.err
    assert (applet.pin.value, applet.pin.left) == (OWN_PIN, applet.pin.limit)
    carding.activate("9101", card)
    assert carding.token("9101")["state"] == "active"


@pytest.fixture
def asked(carding):
    """A card whose request waits for the IKI: the card, its job, and how answers are handed in."""
    serial = uuid4().int % 2**31
    card, token = _blank(carding, serial)
    (job,) = carding.order(token, issuer="iki")
    told = carding.insert(job, card)
    assert (told["do"], told["standing"]) == ("done", "awaiting")
    client, path = carding.issuer.client(), f"/v1/issuing/jobs/{job['id']}"
    begun = {"station": STATIONS[0], "atr": card.atr.hex(), "protocol": 2}
    assert client.post(f"{path}/sessions", json=begun).json()["code"] == "issue-state"
    request = b64decode(ok(client.get(f"{path}/requests"))["requests"]["9A"])
    subject = x509.load_der_x509_csr(request).subject.rfc4514_string()
    assert subject == f"CN=Harry,OU=opens door {serial},O=Acme Energy"

    def taken(certificate):
        body = {"certificates": [b64encode(certificate).decode()]}
        return client.post(f"{path}/certificates", json=body)

    return card, job, request, taken


def test_a_certificate_that_the_iki_was_not_asked_for_is_not_taken(carding, asked):
    *_, request, taken = asked
    stranger, iki = Authority(named("A stranger")), believed(carding.stack.person("bob").client())
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    for wrong, why in (
        (stranger.issue(request), "nobody said to believe"),
        (iki.issue(request, signer=stranger.key), "nobody said to believe"),
        (iki.issue(request, subject=named("Mallory")), "subject"),
        (iki.issue(request, extensions=[(usage("key_agreement"), True)]), "usage"),
        (iki.issue(request, not_before=long_ago, not_after=long_ago + DAY), "validity"),
        (iki.issue(request, public_key=other), "no key of this job"),
    ):
        assert why in taken(wrong).json()["detail"]
    assert ok(taken(iki.issue(request)))["awaited"] == []


def test_a_card_is_finished_with_the_certificate_of_another_authority(carding, asked, tmp_path):
    card, job, request, taken = asked
    bob = carding.stack.person("bob").client()
    iki, desk = believed(bob), logged_in(carding, carding.issuer)
    [file] = desk.ask("issuing", "requests", job["id"], "--out", str(tmp_path)).values()
    assert x509.load_pem_x509_csr(Path(file).read_bytes()).is_signature_valid
    right = iki.issue(request)
    (tmp_path / "9a.cer").write_bytes(right)
    said = desk.ask("issuing", "take", job["id"], str(tmp_path / "9a.cer"))
    assert said["guidance"] == "Put the same token in: its certificates are here."
    assert ok(taken(right))["awaited"] == []
    assert taken(iki.issue(request)).json()["code"] == "certificate-differs"
    done = carding.insert(job, card)
    assert (done["do"], done["standing"]) == ("done", "done")
    assert right in card.application.objects[0x5FC105]
    made = ok(bob.get(f"/v1/tokens/{job['token']}"))
    ends = x509.load_der_x509_certificate(right).not_valid_after_utc
    assert datetime.fromisoformat(made["expires_at"]) == ends
    ok(bob.post(f"/v1/tokens/{made['id']}/stops", json={"step": "revoke", "reason": "over"}))
    query = {"stream": f"token:{made['id']}", "type": "TOKEN.REVOKED"}
    auditor = carding.stack.register("aud", "auditor").client()
    [event] = ok(auditor.get("/v1/audit/events", params=query))["items"]
    [there] = event["payload"]["to_be_revoked_elsewhere"]
    assert there["slot"] == "9A"


def test_what_a_token_or_an_authority_cannot_do_is_not_ordered(carding):
    card = carding.allocated(uuid4().hex)
    client = carding.issuer.client()
    for order in (
        {"issuer": "iki", "plan": {"9C": "EC-P256"}},
        {"issuer": "other", "plan": {"9D": "EC-P256"}},
        {"plan": {"9D": "RSA-2048"}},
    ):
        body = {"tokens": [card["id"]], **order}
        assert client.post("/v1/issuing/jobs", json=body).json()["code"] == "invalid-input"


@pytest.mark.soak  # the service starts anew; tests/cards pulls a card at each APDU of it
def test_a_fleet_moves_to_the_next_master_card_by_card_and_the_register_says_who_is_behind(carding):
    fleet = {}
    for serial, models in ((9301, MODELS), (9302, MODELS), (9304, SECURE)):
        card, token = _blank(carding, serial, models)
        carding.insert(carding.order(token)[0], card)
        carding.activated(str(serial), card)
        fleet[token["id"]] = (card, token)

    def behind():
        found = ok(carding.issuer.client().get("/v1/tokens/concerns"))["items"]
        return {one["token"]["id"] for one in found if one["concern"] == "key-behind"} & set(fleet)

    assert not behind()
    carding.new_master()
    assert behind() == set(fleet)
    (card, token), (other, left), (secured, last) = fleet.values()
    keys = {card.application.management_key, other.application.management_key}
    for pulled in (Puller(card, 5, executed=True), PulledAt(card, 0xFF)):
        ended = carding.serve(token, pulled, service="rekey")
        assert ended["code"] == "card-removed", ended
    assert card.application.management_key not in keys  # and nobody has written that down
    assert carding.serve(token, card, service="rekey")["do"] == "done"
    assert card.application.management_key not in keys
    assert behind() == {left["id"], last["id"]}
    again = carding.serve(token, card, service="rekey")
    assert "already" in again["guidance"]
    at_desks.inserted(carding, other, left)
    pulled = PulledAt(secured, 0xD8)  # its channel has the next keys, and it obeys the one before
    assert carding.serve(last, pulled, service="rekey")["code"] == "card-removed"
    assert carding.serve(last, secured, service="rekey")["do"] == "done"
    assert set(secured.domain.sets) == {2}
    assert not behind()
    card, token = _blank(carding, 9303)
    assert carding.insert(carding.order(token)[0], card)["standing"] == "done"
    register = ok(carding.issuer.client().get(f"/v1/tokens/{token['id']}"))
    assert register["facts"]["master"] == 2
