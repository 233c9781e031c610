"""What an issuer signs on a card: OpenSSL is the judge, and every byte counts."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from hsm.errors import CardDataError, CardObjectMissingError
from hsm.pcsc import containers
from hsm.tokens import TokenSlot
from keyvault.domain.errors import CardChangedError, InvalidInputError, NotPermittedError
from keyvault.domain.issuing import Standing
from keyvault.operations import signing_cards
from keyvault.store.issued import Status
from tests.authority import DAY, Authority, named
from tests.cards.personalising import Here, Signer, checked, insert, new_job
from tests.cards.simulator.models import FACTORY_3DES, MODELS, table_of

LONG_AGO, LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
OTHER = named("Others")
CHUID, SECURITY = 0x5FC102, 0x5FC106
COVERED = {1: CHUID, 2: 0x5FC107, 3: 0x5FC105, 4: 0x5FC10A}  # by data group
CONTAINERS = {1: 0x3000, 2: 0xDB00, 3: 0x0101, 4: 0x0100}  # SP 800-73-4 part 1, table 2


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def issued(signer, tmp_path_factory):
    """A card with all that its issuer signs, and its house."""
    card, house = MODELS["yubico"].make(), Here(new_job(), signer=signer)
    insert(card, table_of("yubico", tmp_path_factory.mktemp("cards")), house)
    return card, house


@pytest.fixture
def objects(issued):
    """What is on the card, which is as it was afterwards."""
    kept = issued[0].application.objects
    before = dict(kept)
    yield kept
    kept.clear()
    kept.update(before)


def fields(content: bytes) -> dict[int, bytes]:
    """Simple TLV with lengths of one, two or three bytes, read without the product's reader."""
    found, at = {}, 0
    while at < len(content):
        size, head = content[at + 1], 2
        if size > 0x80:
            head = 2 + size - 0x80
            size = int.from_bytes(content[at + 2 : at + head])
        found[content[at]] = content[at + head : at + head + size]
        at += head + size
    return found


def openssl(folder: Path, signed: bytes, *more: str) -> bytes:
    (folder / "signed").write_bytes(signed)
    words = ["openssl", "cms", "-verify", "-inform", "DER", "-binary", "-in", "signed"]
    words += ["-CAfile", "root.pem", "-purpose", "any", "-out", "content", *more]
    subprocess.run(words, cwd=folder, capture_output=True, check=True)
    return (folder / "content").read_bytes()


def test_openssl_verifies_what_a_card_says_of_itself_and_its_hashes_are_of_what_is_on_it(
    issued, signer, objects, tmp_path
):
    root = x509.load_der_x509_certificate(signer.root)
    (tmp_path / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    identity = fields(objects[CHUID])
    signed = identity.pop(0x3E)
    part = b"".join(bytes((tag, len(value))) + value for tag, value in identity.items())
    (tmp_path / "part").write_bytes(part)
    assert openssl(tmp_path, signed, "-content", "part") == part
    [own] = cms.ContentInfo.load(signed)["content"]["certificates"]
    pem = x509.load_der_x509_certificate(own.dump()).public_bytes(Encoding.PEM)
    (tmp_path / "signer.pem").write_bytes(pem)
    sealed = fields(objects[SECURITY])
    assert list(sealed) == [0xBA, 0xBB, 0xFE]
    body = cms.ContentInfo.load(sealed[0xBB])["content"]
    assert (body["version"].native, len(body["certificates"])) == ("v3", 0)
    assert body["encap_content_info"]["content_type"].dotted == "1.3.27.1.1.1"
    lds = openssl(tmp_path, sealed[0xBB], "-certfile", "signer.pem")
    version, algorithm, hashes = core.SequenceOf.load(lds, spec=core.Any)
    assert (version.native, algorithm.native["0"]) == (0, "2.16.840.1.101.3.4.2.1")
    found = {int(each["0"]): each["1"] for each in hashes.native.values()}
    assert found == {n: sha256(objects[where]).digest() for n, where in COVERED.items()}
    mapping = sealed[0xBA]
    pieces = [mapping[at : at + 3] for at in range(0, len(mapping), 3)]
    assert {piece[0]: int.from_bytes(piece[1:]) for piece in pieces} == CONTAINERS
    told = checked(issued[0], signer.root)
    assert (told.guid, told.signer) == (issued[1].job.token, "CN=Signer of cards")


@pytest.mark.parametrize("where", [*COVERED.values(), SECURITY])
def test_a_byte_that_was_changed_in_any_object_is_noticed_and_named(issued, signer, objects, where):
    content, root = objects[where], signer.root
    for at in range(0, len(content), max(1, len(content) // 40)):
        objects[where] = content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]
        with pytest.raises((CardChangedError, CardDataError)):
            checked(issued[0], root)
    del objects[where]
    with pytest.raises((CardChangedError, CardObjectMissingError)):
        checked(issued[0], root)


def test_what_is_of_another_card_or_beside_what_was_signed_is_noticed(
    issued, signer, objects, tmp_path
):
    card, root = issued[0], signer.root
    other, house = MODELS["yubico"].make(), Here(new_job(), signer=signer)
    insert(other, table_of("yubico", tmp_path), house)
    strange = other.application.objects
    for spliced, why in (
        ({CHUID}, "chuid"),
        ({CHUID, SECURITY}, "capability"),
        ({0x5FC10A}, "certificate signature"),
    ):
        before = dict(objects)
        objects.update({where: strange[where] for where in spliced})
        with pytest.raises(CardChangedError, match=why):
            checked(card, root)
        objects.update(before)
    objects[0x5FC10B] = strange[0x5FC105]
    with pytest.raises(CardChangedError, match="key management"):
        checked(card, root)


def test_only_a_signer_of_cards_whom_somebody_believes_signs_cards(issued, objects):
    card, _ = issued
    with pytest.raises(CardChangedError, match="nobody you believe"):
        checked(card, Authority(named("Cards Ltd")).certificate())
    other = Signer()
    plain = other.authority.issue(_request(other.key), extensions=[])
    guid = issued[1].job.token.bytes
    for certificate in (plain, other.root):
        other.certificate = certificate
        signed = other.card(guid, {})
        objects.update(
            {int(k): v for k, v in containers.of_card(guid, {}, signed["chuid"]).items()}
        )
        with pytest.raises(CardChangedError):
            checked(card, other.root)


def _request(key: ec.EllipticCurvePrivateKey) -> bytes:
    asked = x509.CertificateSigningRequestBuilder(named("Somebody"))
    return asked.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_a_model_without_room_gets_no_security_object_and_its_job_says_so(signer, tmp_path):
    table = table_of("strict-aes-128", tmp_path)
    table.write_text(table.read_text() + "security_object = false\n")
    card, house = MODELS["strict-aes-128"].make(), Here(new_job(), signer=signer)
    done = insert(card, table, house)
    assert done.standing is Standing.DONE
    assert done.facts["security_object"] == "for a test"
    assert SECURITY not in card.application.objects
    with pytest.raises(CardObjectMissingError, match="no security object"):
        checked(card, signer.root)
    made = signer.card(done.token.bytes, {TokenSlot.SIGNATURE: house.asked["9C"]})
    by_slot = {TokenSlot.SIGNATURE: house.asked["9C"]}
    told = signing_cards.fitting(done.token, by_slot, made, 600)
    assert set(told) == {"none"}
    assert "takes 600" in told["none"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"status": Status.REVOKED, "reason": "superseded", "revoked_at": LONG_AGO}, "was revoked"),
        ({"not_after": LONG_AGO}, "ended at 2020"),
        ({"not_before": datetime.max.replace(tzinfo=UTC)}, "counts only from"),
        ({"status": Status.INTENT}, "has no certificate"),
    ],
)
def test_a_card_is_not_touched_while_its_signer_is_not_in_force_and_goes_on_with_another(
    changed, why, tmp_path
):
    signer, table = Signer(), table_of("yubico", tmp_path)
    card, house = MODELS["yubico"].make(), Here(new_job(), signer=signer)
    good, signer.issued = signer.issued, replace(signer.issued, **changed)
    with pytest.raises(NotPermittedError, match=why) as refused:
        insert(card, table, house)
    assert "keyvault ca certify-signer" in refused.value.next_step
    assert house.job.standing is Standing.INTERRUPTED
    assert card.application.management_key == FACTORY_3DES
    assert not card.application.keys
    signer.issued = good
    assert insert(card, table, house).standing is Standing.DONE
    assert checked(card, signer.root).guid == house.job.token


def _revoked(by: Authority, *serials: int, until: datetime = LATER) -> bytes:
    """A list (CRL) with these certificates."""
    builder = x509.CertificateRevocationListBuilder(by.name, LONG_AGO, until)
    for serial in serials:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder(serial, LONG_AGO).build()
        )
    return builder.sign(by.key, SHA256()).public_bytes(Encoding.DER)


def test_a_card_whose_signer_was_revoked_or_has_ended_is_told_at_any_desk(issued, signer):
    card, root, by = issued[0], signer.root, signer.authority
    own = x509.load_der_x509_certificate(signer.certificate)
    elsewhere = _revoked(Authority(OTHER), own.serial_number)
    good = _revoked(by, own.serial_number + 1)
    assert checked(card, root, revoked=(elsewhere, good)).serial == own.serial_number
    with pytest.raises(CardChangedError, match="was revoked at 2020-01-01") as refused:
        checked(card, root, revoked=(good, _revoked(by, own.serial_number)))
    assert refused.value.next_step
    with pytest.raises(CardChangedError, match="could until") as refused:
        checked(card, root, now=own.not_valid_after_utc)
    assert refused.value.next_step


def test_a_list_that_tells_nothing_of_the_signer_is_refused_and_never_taken_for_a_good_one(
    issued, signer
):
    card, root, by = issued[0], signer.root, signer.authority
    forged = Authority(by.name)  # the same name, another key
    for told in (_revoked(by, until=LONG_AGO + DAY), _revoked(forged), _revoked(Authority(OTHER))):
        with pytest.raises(InvalidInputError, match="no list that counts now"):
            checked(card, root, revoked=(told,))
    for junk in (b"", b"0\0", root, _revoked(by)[:-1]):
        with pytest.raises(InvalidInputError, match="no revocation list"):
            checked(card, root, revoked=(_revoked(by), junk))
