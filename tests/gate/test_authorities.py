"""An authority signs certificates that people stand for, lists and answers, and nothing else."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hsm.errors import KeyUnusableError
from hsm.types import KeyUsage
from keyvault.domain.commands import ActivateKey, CertifyAuthority, CertifySigner
from keyvault.domain.errors import InvalidInputError, KeyStateError, StatementInvalidError
from keyvault.domain.people import thumbprint
from keyvault.domain.statements import Allocate, CertifyKey, Nominate, Signed, Statement
from keyvault.domain.times import text_of
from keyvault.domain.token_profiles import possession
from keyvault.signatures import ALGORITHM, spki_der
from tests.authority import Authority, named
from tests.gate.house import active, do, order
from tests.unit.officers import ALICE, BOB, ORIGIN

DAYS = 300
BEGUN, ENDED = datetime(2019, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)


def authority(gate, parent=None):
    key = do(gate, order())["key_id"]
    command = CertifyAuthority(UUID(bytes=key), parent, "Root", DAYS, "for a test")
    made = do(gate, command)["certificate"]
    do(gate, ActivateKey(UUID(bytes=key), "certified"))
    return key, x509.load_der_x509_certificate(made)


def words(officer, said, token=None):
    """What an officer signs, as a document."""
    spki = officer.credential.spki
    at = text_of(datetime.now(UTC))
    challenge = f"1:{'ab' * 32}"
    statement = Statement(
        uuid4(), ORIGIN, said, token, int(token is not None), officer.id, thumbprint(spki), "",
        challenge, at,
    )  # fmt: skip
    return Signed(statement, officer.credential.sign(statement.message()))


def terms(issuer, spki, **more):
    now = datetime.now(UTC).replace(microsecond=0)
    given = {"issuer": issuer, "job": "j", "slot": "9A", "serial": "01" * 16, "spki": spki}
    dates = {"not_before": text_of(now), "not_after": text_of(now + timedelta(days=30))}
    return {**given, **dates, **more}


@pytest.fixture(scope="module")
def issuing(gate):
    return authority(gate)


@pytest.fixture
def request_of():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client-1")])
    made = x509.CertificateSigningRequestBuilder(name).sign(key, SHA256())
    return key, made.public_bytes(Encoding.DER)


def asked_for(issuer, request, profile="client"):
    digest = sha256(request).hexdigest()
    return words(ALICE, CertifyKey(UUID(bytes=issuer), profile, "client-1", digest)).document()


def test_an_authority_certifies_by_the_signature_of_a_registrar(gate, issuing, request_of) -> None:
    issuer, root = issuing
    key, request = request_of
    wanted = terms(issuer, spki_der(key.public_key()))
    said = [asked_for(issuer, request)]
    made = x509.load_der_x509_certificate(gate.issue_leaf(wanted, said, request))
    made.verify_directly_issued_by(root)
    assert made.subject.rfc4514_string() == "CN=client-1"
    again = x509.load_der_x509_certificate(gate.issue_leaf(wanted, said, request))
    assert again.tbs_certificate_bytes == made.tbs_certificate_bytes


def test_an_authority_signs_nothing_but_what_the_gate_has_built(gate, call, issuing) -> None:
    issuer, _ = issuing
    with pytest.raises(KeyUnusableError, match="signs certificates alone"):
        call("sign", issuer, "ECDSA", [b"\1" * 32], "always")
    plain = active(gate)["key_id"]
    assert call("sign", plain, "ECDSA", [b"\1" * 32], "always")
    with pytest.raises(KeyUnusableError, match="no authority"):
        gate.sign_crl(plain, 1, ["2026-11-22T15:00:00Z", "2026-11-23T15:00:00Z"], [])


def test_a_key_that_was_used_never_becomes_an_authority(gate) -> None:
    for made in (active(gate), do(gate, order(usage=KeyUsage.AGREE))):
        command = CertifyAuthority(UUID(bytes=made["key_id"]), None, "Root", DAYS, "why")
        with pytest.raises((KeyUnusableError, InvalidInputError)):
            do(gate, command)


def test_an_authority_is_made_once_and_not_under_what_is_none(gate) -> None:
    made, plain = do(gate, order()), active(gate)["key_id"]
    under = CertifyAuthority(UUID(bytes=made["key_id"]), UUID(bytes=plain), "Sub", DAYS, "why")
    with pytest.raises(KeyUnusableError):
        do(gate, under)
    waiting = CertifyAuthority(UUID(bytes=made["key_id"]), None, "Root", DAYS, "why")
    assert do(gate, waiting)["certificate"] == do(gate, waiting)["certificate"]
    with pytest.raises(KeyStateError):  # certified, and not active yet
        gate.sign_crl(made["key_id"], 1, ["2026-11-22T15:00:00Z", "2026-11-23T15:00:00Z"], [])


def test_no_certificate_is_signed_for_whom_nobody_nominated_and_vetted(gate, issuing) -> None:
    issuer, _ = issuing
    key, token = ec.generate_private_key(ec.SECP256R1()), uuid4()
    wanted = terms(issuer, spki_der(key.public_key()))
    proof = key.sign(possession("j", "9A", wanted["spki"]), ALGORITHM)
    named = words(ALICE, Nominate("bob", "aro", "default", "why"))
    given = words(BOB, Allocate(named.statement.id, "RA-1"), token)
    for said in ([], [given.document()], [named.document()], [named.document(), given.document()]):
        with pytest.raises(StatementInvalidError):  # Alice is no senior responsible officer
            gate.issue_leaf(wanted, said, proof)


def test_a_changed_statement_or_request_makes_no_certificate(gate, issuing, request_of) -> None:
    issuer, _ = issuing
    key, request = request_of
    wanted, said = terms(issuer, spki_der(key.public_key())), asked_for(issuer, request)
    bent = {**said, "statement": {**said["statement"], "person": "bob"}}
    unsigned = {**said, "signature": b64encode(b"\x30\x00").decode()}
    other = spki_der(ec.generate_private_key(ec.SECP256R1()).public_key())
    for altered, words_of, proof in (
        (wanted, bent, request),
        (wanted, unsigned, request),
        (wanted, said, request + b"\0"),
        ({**wanted, "spki": other}, said, request),
        ({**wanted, "not_after": text_of(datetime.now(UTC) + timedelta(days=800))}, said, request),
        (wanted, asked_for(issuer, request, "token-signing"), request),
    ):
        with pytest.raises((StatementInvalidError, InvalidInputError)):
            gate.issue_leaf(altered, [words_of], proof)


def test_a_signer_of_cards_signs_cards_alone_and_none_that_nobody_allocated(
    gate, call, issuing
) -> None:
    issuer, root = issuing
    key = do(gate, order())["key_id"]
    wanted = CertifySigner(UUID(bytes=key), UUID(bytes=issuer), "Cards", DAYS, "for a test")
    made = do(gate, wanted)["certificate"]
    assert do(gate, wanted)["certificate"] == made
    own = x509.load_der_x509_certificate(made)
    own.verify_directly_issued_by(root)
    purposes = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert purposes.critical
    assert [each.dotted_string for each in purposes.value] == ["2.16.840.1.101.3.6.7"]
    with pytest.raises(KeyUnusableError, match="something else"):
        do(gate, CertifyAuthority(UUID(bytes=key), None, "Root", DAYS, "why"))
    do(gate, ActivateKey(UUID(bytes=key), "certified"))
    with pytest.raises(KeyUnusableError, match="cards"):
        call("sign", key, "ECDSA", [b"\1" * 32], "always")
    with pytest.raises(KeyUnusableError, match="no authority"):
        gate.sign_crl(key, 1, ["2026-11-22T15:00:00Z", "2026-11-23T15:00:00Z"], [])
    with pytest.raises(KeyUnusableError, match="signs no cards"):
        gate.sign_card(issuer, [], {})
    given = words(BOB, Allocate(uuid4(), "RA-1"), uuid4()).document()
    for said in ([], [given], [given, given]):
        with pytest.raises(StatementInvalidError):
            gate.sign_card(key, said, {})


def test_a_signer_of_cards_whose_certificate_has_ended_signs_none(gate, house, issuing) -> None:
    key = do(gate, order())["key_id"]
    wanted = CertifySigner(UUID(bytes=key), UUID(bytes=issuing[0]), "Cards", DAYS, "for a test")
    do(gate, wanted)
    do(gate, ActivateKey(UUID(bytes=key), "certified"))
    file = house.settings.state / "authorities" / f"{key.hex()}.signer.der"
    kept = file.read_bytes()
    with pytest.raises(StatementInvalidError):  # it counts, and nobody allocated a token
        gate.sign_card(key, [], {})
    file.write_bytes(_ended(kept))
    with pytest.raises(KeyUnusableError, match="ended at 2020-01-01") as refused:
        gate.sign_card(key, [], {})
    assert "certify-signer" in refused.value.next_step


def test_an_authority_that_has_ended_certifies_nothing_and_still_signs_its_lists(
    gate, house, request_of
) -> None:
    issuer, root = authority(gate)
    file = house.settings.state / "authorities" / f"{issuer.hex()}.der"
    file.write_bytes(_ended(root.public_bytes(Encoding.DER)))  # before the gate has read it again
    key, request = request_of
    wanted = terms(issuer, spki_der(key.public_key()))
    with pytest.raises(KeyUnusableError, match="ended at 2020-01-01"):
        gate.issue_leaf(wanted, [asked_for(issuer, request)], request)
    new = UUID(bytes=do(gate, order())["key_id"])
    for command in (
        CertifySigner(new, UUID(bytes=issuer), "Cards", DAYS, "for a test"),
        CertifyAuthority(new, UUID(bytes=issuer), "Sub", DAYS, "for a test"),
    ):
        with pytest.raises(KeyUnusableError, match="ended at 2020-01-01"):
            do(gate, command)
    told = gate.sign_crl(issuer, 1, ["2026-11-22T15:00:00Z", "2026-11-23T15:00:00Z"], [])
    assert x509.load_der_x509_crl(told).issuer == root.subject


def _ended(certificate: bytes) -> bytes:
    """The same words, by somebody else, of a time that has passed."""
    read, somebody = x509.load_der_x509_certificate(certificate), Authority(named("Somebody"))
    builder = x509.CertificateBuilder(
        somebody.name, read.subject, read.public_key(), read.serial_number, BEGUN, ENDED
    )
    for each in read.extensions:
        builder = builder.add_extension(each.value, each.critical)
    return builder.sign(somebody.key, SHA256()).public_bytes(Encoding.DER)
