"""Genesis: everything, signed by everybody, and nothing that its reader does not understand."""

from base64 import b64encode
from dataclasses import replace

import pytest

from keyvault.domain.approvals import Decision
from keyvault.domain.chain import found
from keyvault.domain.documents import document_of
from keyvault.domain.errors import AuthorityError, RuleError
from keyvault.domain.people import Assurance, Credential, Role
from keyvault.domain.rules import MAX_EXPIRY
from keyvault.signatures import verify
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    CLASSES,
    OFFICERS,
    ORIGIN,
    ROLES,
    RULE,
    SERVICES,
    founded,
    genesis,
    genesis_document,
    officer,
)

MALLORY = officer("mallory")


def test_genesis_tells_everything_that_was_signed():
    authority = founded()
    assert (authority.origin, authority.site, authority.size) == (ORIGIN, "example", 1)
    assert authority.services == SERVICES
    assert authority.rules == (RULE,)
    assert authority.key_classes == {item.name: item for item in CLASSES}
    assert authority.people == {item.id: item.person for item in OFFICERS}


@pytest.mark.parametrize("missing", range(len(OFFICERS)))
def test_genesis_needs_the_signature_of_every_officer(missing):
    record = genesis()
    approvals = tuple(a for at, a in enumerate(record.approvals) if at != missing)
    with pytest.raises(AuthorityError, match=f"lacks the signature of: {OFFICERS[missing].id}"):
        found(replace(record, approvals=approvals), verify)


def test_genesis_takes_no_signature_of_a_stranger_in_addition():
    record = genesis()
    stranger = MALLORY.decides(record.request)
    with pytest.raises(AuthorityError, match="lacks the signature"):
        found(replace(record, approvals=(*record.approvals, stranger)), verify)


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": Decision.REFUSE},
        {"credential": MALLORY.thumbprint},
        {"approver": "mallory"},
    ],
    ids=["refused", "another key", "another name"],
)
def test_genesis_needs_a_yes_from_each_with_their_own_key(changes):
    record = genesis()
    first = ALICE.decides(record.request, **changes)
    with pytest.raises(AuthorityError, match="lacks the signature of: alice"):
        found(replace(record, approvals=(first, *record.approvals[1:])), verify)


@pytest.mark.parametrize(("number", "previous"), [(1, "0" * 64), (0, "1" * 64)])
def test_a_chain_begins_with_record_zero_after_nothing(number, previous):
    with pytest.raises(AuthorityError, match="does not begin"):
        found(replace(genesis(), number=number, previous=previous), verify)


def test_genesis_takes_no_signature_of_a_key_that_only_logs_in():
    login = Credential(MALLORY.credential.spki, Assurance.CARD, login_only=True)
    with_both = ALICE.like(login=login)
    record = genesis((with_both, BOB, CAROL))
    assert found(record, verify).person("alice").credentials[1] == login
    first = MALLORY.decides(record.request, approver="alice")
    assert first.credential == login.thumbprint
    with pytest.raises(AuthorityError, match="lacks the signature of: alice"):
        found(replace(record, approvals=(first, *record.approvals[1:])), verify)


def test_a_login_key_of_one_officer_is_no_key_of_another():
    login = replace(BOB.joining.credential, login_only=True)
    with pytest.raises(AuthorityError, match="keys of officers"):
        found(genesis((ALICE.like(login=login), BOB, CAROL)), verify)


def test_two_officers_are_too_few():
    rule = replace(RULE, approvals=2)
    with pytest.raises(RuleError, match="at least 3 officers"):
        found(genesis((ALICE, BOB), rules=(rule,)), verify)


def test_a_genesis_without_rules_is_refused():
    with pytest.raises(AuthorityError, match="a list of 1 to"):
        found(genesis(rules=()), verify)


def test_two_officers_cannot_share_one_key():
    twin = BOB.like(person="bobby")
    with pytest.raises(AuthorityError, match="keys of officers"):
        found(genesis((ALICE, BOB, CAROL, twin)), verify)


def test_one_officer_cannot_stand_for_two():
    with pytest.raises(AuthorityError, match=r"cannot be read: .* stands twice"):
        found(genesis((ALICE, BOB, CAROL, ALICE)), verify)


def test_two_rules_of_one_id_are_refused():
    with pytest.raises(AuthorityError, match="two rules"):
        found(genesis(rules=(RULE, replace(RULE, approvals=3))), verify)


def signed_by_all(document):
    return replace(
        genesis(), request=document, approvals=tuple(o.decides(document) for o in OFFICERS)
    )


GENESIS = genesis_document()
STRANGE = [
    {**GENESIS, "ctx": "keyvault-genesis-v2"},
    {**GENESIS, "extra": 1},
    {**GENESIS, "nonce": "xy"},
    {**GENESIS, "nonce": "ab" * 15},
    {**GENESIS, "created_at": "yesterday"},
    {**GENESIS, "rules": [{**document_of(RULE), "note": "be kind"}]},
    {**GENESIS, "rules": None},
    {**GENESIS, "officers": [{**item, "phone": "1"} for item in GENESIS["officers"]]},
    {**GENESIS, "officers": [{**item, "credential": "?"} for item in GENESIS["officers"]]},
    {**GENESIS, "officers": [{**item, "grants": ["king"]} for item in GENESIS["officers"]]},
    {**GENESIS, "key_classes": [{**document_of(CLASSES[0]), "extractable": "false"}]},
    {**GENESIS, "key_classes": [document_of(CLASSES[0]), document_of(CLASSES[0])]},
    {**GENESIS, "services": {"log_keys": []}},
    {key: value for key, value in GENESIS.items() if key != "site"},
]


@pytest.mark.parametrize("document", STRANGE, ids=range(len(STRANGE)))
def test_a_genesis_that_says_more_or_other_than_is_understood_is_refused_though_signed(document):
    with pytest.raises(AuthorityError):
        found(signed_by_all(document), verify)


def test_genesis_writes_keys_as_base64_and_grants_as_they_were_given():
    first = GENESIS["officers"][0]
    assert first["credential"]["spki"] == b64encode(ALICE.credential.spki).decode()
    assert [grant["role"] for grant in first["grants"]] == [str(role) for role in ROLES]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"approvals": 0}, "fewer than 2"),
        ({"approvals": 1}, "fewer than 2"),
        ({"approvals": 4}, "4 of 4 holders"),
        ({"roles": (Role.AUDITOR,)}, "2 of 0 holders"),
        ({"expires_after": 0}, "expires after 0"),
        ({"expires_after": MAX_EXPIRY + 1}, "expires after"),
    ],
)
def test_a_rule_too_weak_or_impossible_is_refused_at_genesis(change, reason):
    with pytest.raises(RuleError, match=reason):
        founded(rules=(replace(RULE, **change),))


def test_three_of_four_is_a_good_rule():
    assert founded(rules=(replace(RULE, approvals=3, expires_after=MAX_EXPIRY),)).size == 1
