"""Rules, classes, duties, standards, quorums and leavers at the command line."""

import json
import re
from hashlib import sha256

import pytest

from cli.remote.given import wanted
from keyvault import bootstrap
from keyvault.domain.access import Principal
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.keys import KeyClass
from keyvault.domain.people import Role
from keyvault.domain.rules import Rule
from keyvault.domain.times import day_text
from keyvault.operations import leaving
from keyvault.operations.genesis import DUTY
from keyvault.signatures import SoftwareCredential
from tests.stack import OFFICERS, PASSPHRASE, Stack, in_days, joiner, ok
from tests.surface.desk import Desk

RULE = {
    "id": "critical",
    "commands": ["destroy-key"],
    "key_classes": ["critical"],
    "roles": ["key-approver"],
    "approvals": 3,
    "expires_after": 3600,
    "wait": 600,
    "group_by": None,
    "groups": 1,
    "assurance": "software",
    "vetting": "baseline",
    "break_glass": False,
}


@pytest.fixture(scope="module")
def desks(stack):
    """Three officers, logged in; two more may approve than elsewhere."""
    for name in ("dave", "erin"):
        stack.register(name, "key-approver")
    made = {name: desk_of(stack, name) for name in OFFICERS}
    assert all(desk.login(stack.url, stack.ca).status == 0 for desk in made.values())
    return made


def desk_of(stack, name):
    return Desk(stack.folder, name, stack.folder / f"{name}.key", PASSPHRASE.decode())


def asked(desk, *words):
    """Ask for a change, and return the request and the screen that was shown before."""
    done = desk.keyvault(*words, "--yes", "--json")
    assert done.status == 0, done.err
    return done.json, done.err


def refused(desk, *words):
    done = desk.keyvault(*words, "--json")
    assert done.status != 0, done.out
    return done.error


# Rules -------------------------------------------------------------------------------------


def test_the_rules_are_listed_in_words(desks):
    listed = desks["bob"].keyvault("rules", "list").out
    assert "2 holders of key-approver, not the requester (rule keys)" in listed
    assert "register-person" in listed


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_a_rule_is_set_from_a_file_and_what_it_would_change_is_shown(
    stack, desks, tmp_path, ending
):
    file = tmp_path / f"rule.{ending}"
    given = {key: value for key, value in RULE.items() if value is not None}
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    file.write_text(json.dumps(RULE) if ending == "json" else "\n".join(lines))
    words = ("rules", "set", "critical", "--file", str(file), "--reason", "agreed")
    request, shown = asked(desks["alice"], *words)
    assert request["document"]["parameters"]["rule"] == RULE
    assert "there is no rule critical" in shown
    assert "3 holders of key-approver, not the requester, not before 10 minutes" in shown
    assert request["state"] == "requested"
    stack.person("bob").decide(request, "refuse")


def test_a_rule_is_set_changed_in_some_fields_and_removed(stack, desks):
    def exports():
        return next(
            (one for one in desks["bob"].ask("rules", "list") if one["id"] == "exports"), None
        )

    options = ("--command", "export-key", "--class", "exchange", "--role", "key-approver")
    more = ("--approvals", "2", "--expires-after", "86400", "--reason", "exports are short")
    stack.carry_out(asked(desks["alice"], "rules", "set", "exports", *options, *more)[0])
    before = exports()
    words = ("rules", "set", "exports", "--expires-after", "43200", "--reason", "half a day")
    request, shown = asked(desks["alice"], *words)
    assert "86400 -> 43200" in shown
    assert "roles" not in shown
    stack.carry_out(request)
    assert exports() == {**before, "expires_after": 43_200}
    done = desks["alice"].ask("rules", "remove", "exports", "--reason", "not needed")
    stack.carry_out(done)
    assert exports() is None


def test_nothing_is_asked_for_unless_the_word_is_said(stack, desks):
    words = ("rules", "set", "keys", "--approvals", "3", "--reason", "more")

    def count():
        return len(ok(stack.person("bob").client().get("/v1/requests?limit=500"))["items"])

    before = count()
    assert desks["alice"].keyvault(*words, typed="no\n").status == 77
    assert count() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "a new rule needs: approvals, assurance, break_glass"),
        (json.dumps({**RULE, "colour": "red"}), "a rule takes exactly"),
        (json.dumps({**RULE, "id": "other"}), "is about another rule"),
        (json.dumps({**RULE, "approvals": "three"}), "approvals is not what it should be"),
        (json.dumps({**RULE, "roles": ["king"]}), "roles is not what it should be"),
        (json.dumps([RULE]), "does not hold one object"),
        ("{", "cannot be read"),
        (" " * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_a_file_is_read_strictly(tmp_path, content, said):
    file = tmp_path / "rule.json"
    file.write_text(content)
    options = {"id": "critical"} if content != "{}" else {}
    with pytest.raises(InvalidInputError, match=said):
        wanted(Rule, "rule", file, options, None)


def test_a_file_and_options_are_not_mixed(tmp_path):
    file = tmp_path / "rule.json"
    file.write_text(json.dumps(RULE))
    assert wanted(Rule, "rule", file, {"id": "critical"}, None).approvals == 3
    with pytest.raises(InvalidInputError, match="not both"):
        wanted(Rule, "rule", file, {"id": "critical", "approvals": 2}, None)


def test_a_new_class_needs_what_has_no_default():
    with pytest.raises(InvalidInputError, match="a new key class needs: verify"):
        wanted(KeyClass, "key class", None, {"name": "new", "residence": "resident"}, None)


def test_a_rule_that_is_too_weak_is_refused_when_it_is_asked_for(desks):
    words = ("rules", "set", "keys", "--approvals", "1", "--reason", "x", "--yes")
    assert refused(desks["alice"], *words)["code"] == "rule"


@pytest.mark.usefixtures("desks")
def test_who_changes_no_rules_is_refused(stack):
    desk = desk_of(stack, "dave")
    assert desk.login(stack.url, stack.ca).status == 0
    words = ("rules", "set", "keys", "--approvals", "3", "--reason", "x", "--yes")
    assert refused(desk, *words)["code"] == "not-permitted"


# Classes and standards ---------------------------------------------------------------------


def test_a_class_is_made_shown_and_changed(stack, desks):
    def vaulted():
        return next(one for one in desks["bob"].ask("classes", "list") if one["name"] == "vaulted")

    words = ("classes", "set", "vaulted", "--reason", "agreed")
    made, _ = asked(desks["alice"], *words, "--residence", "resident", "--verify", "always")
    stack.carry_out(made)
    before = vaulted()
    request, shown = asked(desks["alice"], *words, "--module-level", "3", "--guarded")
    assert "no -> yes" in shown
    assert "0 -> 3" in shown
    stack.carry_out(request)
    assert vaulted() == {**before, "guarded": True, "module_level": 3}


def test_a_standard_comes_into_force_from_the_day_that_is_given(stack, desks):
    words = ("standards", "set", "BS 7858", "2019", "--in-force-from", "2026-01-31")
    request, shown = asked(desks["alice"], *words, "--reference", "circular 12")
    assert "none -> 2026-01-31" in shown
    stack.carry_out(request)
    listed = desks["bob"].ask("standards", "list")
    [one] = [item for item in listed if item["name"] == "BS 7858"]
    assert (one["in_force_from"], one["reference"]) == ("2026-01-31", "circular 12")


# Duties ------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "duty.txt"
    file.write_text(DUTY)
    return file


@pytest.mark.soak
def test_a_newcomer_reads_a_duty_gives_their_word_and_may_act(stack, text, tmp_path):
    credential = SoftwareCredential.create(stack.folder / "fay.key", PASSPHRASE)
    stack.carry_out(stack.ask(joiner("fay", credential, Role.KEY_CUSTODIAN)))
    desk = desk_of(stack, "fay")
    assert desk.login(stack.url, stack.ca).status == 0  # and follows the log, asleep as they are
    me = desk.keyvault("whoami").out
    assert "DORMANT since" in me
    assert "fay has not acknowledged keeping-keys" in me.lower()
    assert "keyvault duties acknowledge" in me
    assert refused(desk, "keys", "list")["code"] == "not-permitted"
    listed = desk.keyvault("duties", "list").out
    assert "keeping-keys" in listed
    assert "none" in listed
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(DUTY + "or not")
    words = ("duties", "acknowledge", "keeping-keys", "--yes", "--passphrase-fd", "0", "--file")
    other = desk.keyvault(*words, str(wrong), "--json", typed=desk.passphrase)
    assert "is not the text of keeping-keys" in other.error["message"]
    given = desk.keyvault(*words, str(text), typed=desk.passphrase)
    assert given.status == 0, given.err
    assert "I never sign for somebody else" in given.err
    assert "done: say that you have read this duty" in given.err
    assert desk.ask("whoami")["acknowledged"]["keeping-keys"] == 1
    assert desk.keyvault("keys", "list").status == 0
    assert "DORMANT" not in desk.keyvault("whoami").out


def test_the_next_version_of_a_duty_is_seen_coming_until_everybody_has_read_it(
    stack, desks, text, tmp_path
):
    words = ("duties", "set", "travel", "--since", day_text(in_days(60)), "--file")
    first, _ = asked(desks["alice"], *words, str(text), "--role", "key-approver")
    stack.carry_out(first)
    file = tmp_path / "next.txt"
    file.write_text(f"{DUTY}I say so every year.\n")
    request, shown = asked(desks["alice"], *words, str(file))
    assert "1 -> 2" in shown
    assert "I say so every year." in shown
    duty = request["document"]["parameters"]["duty"]
    assert duty["sha256"] == sha256(file.read_bytes()).hexdigest()
    assert duty["roles"] == ["key-approver"]
    stack.carry_out(request)
    told = desks["bob"].keyvault("rules", "health", "--json")
    assert told.status == 69
    keys = {one["rule"]: one for one in json.loads(told.out)["items"]}["keys"]
    assert keys["level"] == "at-risk"
    assert keys["outlooks"][0]["margin"] >= 2
    assert keys["losses"][0]["lapse"]["code"] == "duty-unacknowledged"
    for name in (*OFFICERS, "dave", "erin"):
        stack.person(name).acknowledge()
    assert desks["bob"].keyvault("rules", "health").status == 0


def test_a_new_duty_says_whom_it_binds(desks, text):
    words = ("duties", "set", "parking", "--file", str(text), "--since", "2030-01-01", "--yes")
    assert "needs --role" in refused(desks["alice"], *words)["message"]


# Quorums and leavers -----------------------------------------------------------------------


def test_the_health_of_rules_is_told_in_numbers_and_words(desks):
    told = desks["bob"].keyvault("rules", "health")
    assert told.status == 0, told.err
    assert re.search(r"rule keys: \d+ can sign and 2 must", told.out)
    assert "good" in told.out


def test_what_a_leaver_hurts_is_told_before_it_is_asked_for(stack, desks):
    order = stack.order(label="by a leaver")
    stack.approve(order, "carol")
    told = desks["bob"].ask("people", "leaving", "carol")
    assert order["id"] in told["signed"]
    assert told["sessions"] >= 1
    assert {one["rule"]: one["margin_after"] for one in told["quorums"]}["keys"] >= 1
    mine = desks["bob"].ask("people", "leaving", "alice")
    assert order["id"] in mine["asked"]
    done = desks["bob"].keyvault("people", "remove", "alice", "--reason", "has left")
    assert done.status == 0, done.err
    assert "if Alice leaves" in done.err
    assert "sessions that end" in done.err
    assert done.err.index("if Alice leaves") < done.err.index("asked for; now others sign it")


def test_who_cannot_be_removed_yet_is_told_why():
    with Stack.make() as small:  # three officers, and nothing runs
        vault = bootstrap.build(small.settings)
        with vault.database.reading() as work:
            authority = vault.authority(work)
        alice = Principal(authority.person("alice"), in_days(1), "", authority.duties)
        told = leaving.report(vault, alice, "bob")
        vault.close()
    assert "register a successor first" in told.refused


# Breaking the glass ------------------------------------------------------------------------


def test_a_waiting_request_is_asked_for_again_where_a_rule_for_emergencies_is(stack, desks):
    order = stack.order(label="urgent")
    words = ("approvals", "break-glass", order["id"])
    assert refused(desks["alice"], *words, "--yes")["code"] == "rule"
    options = ("--command", "generate-key", "--class", "*", "--role", "key-approver")
    more = ("--approvals", "3", "--expires-after", "3600", "--break-glass", "--reason", "agreed")
    stack.carry_out(asked(desks["alice"], "rules", "set", "emergency", *options, *more)[0])
    shy = desks["alice"].keyvault(*words, typed="no\n")
    assert shy.status == 77
    for said in ("IN AN EMERGENCY", "BREAKS THE GLASS: 3 holders", "instead of", "60 minutes"):
        assert said in shy.err
    again, _ = asked(desks["alice"], *words)
    assert again["rule"]["id"] == "emergency"
    assert again["document"]["parameters"] == order["document"]["parameters"]
    assert again["scope"] == order["scope"]
    stack.approve(again, "bob", "carol")
    path = f"/v1/requests/{again['id']}/executions"
    early = stack.person("alice").client().post(path)
    assert (early.status_code, early.json()["code"]) == (409, "quorum")
    stack.approve(again, "dave")
    assert ok(stack.person("alice").client().post(path))["request"]["state"] == "done"
    over = desks["alice"].ask("rules", "remove", "emergency", "--reason", "it is over")
    stack.approve(over, "dave")  # a rule is changed by as many as it asks for itself
    stack.carry_out(over)


def test_what_does_not_wait_any_more_is_not_asked_for_again(stack, desks):
    order = stack.order(label="withdrawn")["id"]
    desks["alice"].ask("approvals", "cancel", order, "--reason", "ordered twice")
    error = refused(desks["alice"], "approvals", "break-glass", order, "--yes")
    assert error["code"] == "request-state"
