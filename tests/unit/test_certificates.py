"""A certificate's states, and what comes back held against what was asked for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from cryptography import x509 as peer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.types import KeyUsage
from keyvault.domain import csr, x509
from keyvault.domain.certificates import (
    GOOD,
    MOVES,
    OPEN,
    Certificate,
    CertificateState,
    Kind,
    mismatches,
)
from keyvault.domain.errors import CertificateStateError, CertificateUnreadableError
from tests.authority import Authority, changed, usage
from tests.unit.test_csr import built, iki

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT, CA = Authority.pair()
REQUEST = built()
ASKED = csr.lint(REQUEST, None).check()
SUBJECT = peer.load_der_x509_csr(REQUEST).subject
UID = peer.ObjectIdentifier("2.5.4.45")
ONE = Certificate(UUID(int=1), Kind.OWN, CertificateState.CSR_BUILT, 1, NOW, "", "")


@pytest.mark.parametrize(
    ("before", "after"), list(product(CertificateState, CertificateState)), ids=str
)
def test_a_certificate_takes_the_arrows_of_the_table_and_no_other(before, after) -> None:
    one = replace(ONE, state=before)
    if after in MOVES[before]:
        assert (one.to(after).state, one.to(after).version) == (after, 2)
    else:
        with pytest.raises(CertificateStateError):
            one.to(after)


def test_every_state_is_reached_and_none_that_is_open_is_good() -> None:
    reached = {CertificateState.CSR_BUILT}
    for _ in CertificateState:
        reached |= {after for before in reached for after in MOVES[before]}
    assert reached == set(CertificateState)
    assert not OPEN & GOOD


@given(st.integers(-400, 400))
def test_the_clock_ends_a_certificate_and_warns_before(days) -> None:
    one = replace(ONE, state=CertificateState.IN_USE, not_after=NOW + days * DAY)
    expired = days <= 0
    assert (one.at(NOW) is CertificateState.EXPIRED) is expired
    warning = {True: "expired", False: ""}[days < 0]
    for limit in (180, 90, 30):
        warning = str(limit) if 0 <= days < limit else warning
    assert one.warning(NOW) == warning
    assert replace(one, state=CertificateState.ISSUED).warning(NOW) == ""


def fields(certificate: bytes, now: datetime = NOW) -> list[str]:
    return [each.field for each in mismatches(ASKED, x509.read_certificate(certificate), now)]


@pytest.mark.parametrize("request_", [built(), built(KeyUsage.AGREE), iki()])
def test_what_an_authority_issues_as_asked_fits(request_) -> None:
    found = x509.read_certificate(CA.issue(request_))
    assert mismatches(csr.lint(request_, None).check(), found, NOW) == ()


OTHER_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
BITS = "digital_signature", "key_agreement"
WRONG = {
    "key": {"public_key": OTHER_KEY},
    "role": {"subject": changed(SUBJECT, NameOID.ORGANIZATIONAL_UNIT_NAME, "03")},
    "eui": {"subject": changed(SUBJECT, UID, bytes(9))},
    "subject": {"subject": changed(SUBJECT, NameOID.ORGANIZATION_NAME, "ACNE")},
    "usage": {"extensions": [(usage("key_agreement"), True)]},
    "usage-critical": {"extensions": [(usage("digital_signature"), False)]},
    "ca": {
        "extensions": [
            (usage("digital_signature"), True),
            (peer.BasicConstraints(ca=True, path_length=None), True),
        ]
    },
    "validity": {"not_before": NOW - 2 * DAY, "not_after": NOW - DAY},
}


@pytest.mark.parametrize("field", WRONG)
def test_a_difference_in_any_field_is_named(field) -> None:
    assert fields(CA.issue(REQUEST, **WRONG[field])) == [field]


def test_more_than_was_asked_for_and_less_are_differences_too() -> None:
    more = [*SUBJECT, peer.NameAttribute(NameOID.COMMON_NAME, "Bob")]
    assert fields(CA.issue(REQUEST, subject=peer.Name(more))) == ["subject"]
    assert fields(CA.issue(REQUEST, subject=peer.Name(list(SUBJECT)[1:]))) == ["subject"]
    assert fields(CA.issue(REQUEST, subject=peer.Name([]))) == ["subject", "role", "eui"]
    assert fields(CA.issue(REQUEST, extensions=[])) == ["usage"]
    assert fields(CA.issue(REQUEST, extensions=[(usage(*BITS), True)])) == ["usage"]
    twice = peer.Name([*SUBJECT, next(iter(SUBJECT))])
    assert fields(CA.issue(REQUEST, subject=twice)) == ["subject"]


def test_another_order_and_another_kind_of_string_say_the_same() -> None:
    turned = [
        peer.NameAttribute(each.oid, each.value, peer.name._ASN1Type.PrintableString)  # noqa: SLF001  (an authority may)
        if isinstance(each.value, str)
        else each
        for each in reversed(list(SUBJECT))
    ]
    assert fields(CA.issue(REQUEST, subject=peer.Name(turned))) == []


@given(st.integers(0, 5_000), st.integers(1, 255))
@settings(deadline=None, max_examples=300)
def test_a_damaged_certificate_is_unreadable_or_reads_and_never_upsets(at, flip) -> None:
    data = bytearray(GOOD_ONE)
    data[at % len(data)] ^= flip
    try:
        found = x509.read_certificate(bytes(data))
    except CertificateUnreadableError:
        return
    mismatches(ASKED, found, NOW)


GOOD_ONE = CA.issue(REQUEST)


@given(st.binary(max_size=400))
def test_no_bytes_upset_the_reader(data) -> None:
    with pytest.raises(CertificateUnreadableError):
        x509.read_certificate(data)


def test_a_certificate_that_is_too_large_is_not_read() -> None:
    with pytest.raises(CertificateUnreadableError, match="16384"):
        x509.read_certificate(bytes(20_000))


def test_what_the_reader_says_is_what_cryptography_says() -> None:
    for data in (GOOD_ONE, CA.certificate(), ROOT.certificate(), CA.issue(iki())):
        found, theirs = x509.read_certificate(data), peer.load_der_x509_certificate(data)
        assert found.serial == theirs.serial_number
        assert found.subject == theirs.subject.public_bytes()
        assert found.issuer == theirs.issuer.public_bytes()
        assert found.signed == theirs.tbs_certificate_bytes
        assert found.signature == theirs.signature
        assert (found.not_before, found.not_after) == (
            theirs.not_valid_before_utc,
            theirs.not_valid_after_utc,
        )
    assert x509.read_certificate(CA.certificate()).is_ca
    assert not x509.read_certificate(GOOD_ONE).is_ca
