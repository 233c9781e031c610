"""Signatures of files that somebody bent: each is refused with a reason, and nothing else happens.

Whole ones are tried by OpenSSL in tests/surface and tests/flows.
"""

import subprocess
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha384

import pytest
from asn1crypto import cms as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.domain.errors import FileSignatureError
from keyvault.operations import cms
from keyvault.signatures import ALGORITHM
from tests.authority import Authority, named, usage

FILE = b"device,limit\r\nall,10\r\n"
DIGEST = cms.Digests(sha256(FILE).digest(), sha384(FILE).digest())
NOW = datetime.now(UTC)
ROOT, ISSUING = Authority.pair()
SIGNER = Authority(named("signer"))  # its name and key; the certificate is the issuing one's


def certificate(*usages: str, **changes: object) -> bytes:
    request = x509.CertificateSigningRequestBuilder(SIGNER.name).sign(SIGNER.key, SHA256())
    extensions = [(usage(*usages), True), *changes.pop("more", [])]
    asked = request.public_bytes(cms.signatures.DER)
    return ISSUING.issue(asked, extensions=extensions, **changes)


LEAF = certificate("digital_signature")
CHAIN = [LEAF, ISSUING.certificate()]
ROOTS = [ROOT.certificate()]


def made(leaf: bytes = LEAF, digest: cms.Digests = DIGEST, words: bytes | None = None) -> bytes:
    words = words or cms.attributes(digest, leaf, NOW)
    return cms.assemble(words, [leaf, CHAIN[1]], SIGNER.key.sign(words, ALGORITHM))


GOOD = made()


def refused(data: bytes, why: str, digest: cms.Digests = DIGEST, now: datetime = NOW) -> None:
    with pytest.raises(FileSignatureError, match=why):
        cms.check(data, digest, ROOTS, now)


def test_a_good_signature_says_who_signed_and_when():
    found = cms.check(GOOD, DIGEST, ROOTS, NOW)
    assert (found.certificate, found.subject) == (LEAF, "CN=signer")
    assert abs(found.signed_at - NOW) < timedelta(seconds=1)


def test_another_file_is_refused():
    refused(GOOD, "another file", cms.Digests(sha256(FILE.replace(b"10", b"11")).digest()))


@pytest.mark.parametrize("bit", ["key_agreement", "key_cert_sign", "key_encipherment"])
def test_a_key_that_is_not_for_signing_signs_no_file(bit):
    refused(made(certificate(bit)), "not one to sign")


def test_a_key_to_log_in_with_signs_no_file():
    login = (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    refused(made(certificate("digital_signature", more=[login])), "not one to sign")


def test_a_signer_whom_nobody_believed_certified_is_refused():
    stranger = Authority(named("Test issuing authority"))
    foreign = certificate("digital_signature", signer=stranger.key)
    refused(made(foreign), "nobody you believe")
    refused(GOOD, "not valid now", now=NOW + timedelta(days=900))


def test_a_certificate_exchanged_for_another_of_the_same_key_is_noticed():
    other = certificate("digital_signature")
    words = cms.attributes(DIGEST, LEAF, NOW)
    refused(cms.assemble(words, [other, CHAIN[1]], SIGNER.key.sign(words, ALGORITHM)), "another")


def test_attributes_that_are_missing_or_said_twice_are_refused():
    words = asn1.CMSAttributes.load(cms.attributes(DIGEST, LEAF, NOW))
    kinds = {each["type"].native: each for each in words}
    for name in kinds:
        rest = asn1.CMSAttributes([each for kind, each in kinds.items() if kind != name])
        refused(made(words=rest.dump()), "does not say")
    again = asn1.CMSAttribute({"type": "message_digest", "values": [sha256(b"").digest()]})
    refused(made(words=asn1.CMSAttributes([*words, again]).dump()), "twice")
    empty = asn1.CMSAttribute({"type": "message_digest", "values": []})
    rest = [each for kind, each in kinds.items() if kind != "message_digest"]
    refused(made(words=asn1.CMSAttributes([*rest, empty]).dump()), "twice|no CMS")


def test_more_than_one_signer_more_certificates_and_more_bytes_than_anybody_needs_are_refused():
    whole = asn1.ContentInfo.load(GOOD)
    content = whole["content"]
    twice = content.copy()
    twice["signer_infos"] = [content["signer_infos"][0], content["signer_infos"][0]]
    refused(
        asn1.ContentInfo({"content_type": "signed_data", "content": twice}).dump(), "one signer"
    )
    words = cms.attributes(DIGEST, LEAF, NOW)
    many = cms.assemble(words, [LEAF, *CHAIN * 4], SIGNER.key.sign(words, ALGORITHM))
    refused(many, "at most 8 certificates")
    refused(GOOD + bytes(cms.CMS_LIMIT), "at most 65536 bytes")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FILE,
        b"\x30\x80" * 30_000,
        b"\x30\x84\xff\xff\xff\xff",
        GOOD[:-1],
        GOOD + b"\x00",
        LEAF,
        GOOD.replace(bytes.fromhex("2a864886f70d010702"), bytes.fromhex("2a864886f70d010703")),
    ],
    ids=["empty", "no-der", "nested", "endless", "cut", "longer", "certificate", "enveloped"],
)
def test_what_is_no_signature_is_refused(data):
    refused(data, "CMS signature")


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, len(GOOD) - 1), flip=st.integers(1, 255))
def test_whatever_byte_is_flipped_it_is_refused_or_says_the_same(at, flip):
    bent = bytearray(GOOD)
    bent[at] ^= flip
    try:
        found = cms.check(bytes(bent), DIGEST, ROOTS, NOW)
    except FileSignatureError:
        return
    assert found == cms.check(GOOD, DIGEST, ROOTS, NOW)  # a byte that nobody signs, nor reads


def of_p384(how: hashes.HashAlgorithm, leaf: bytes, digests: cms.Digests = DIGEST) -> bytes:
    words = cms.attributes(digests, leaf, NOW)
    return cms.assemble(words, [leaf, CHAIN[1]], P384.sign(words, ec.ECDSA(how)))


P384 = ec.generate_private_key(ec.SECP384R1())


def test_a_key_of_p384_signs_with_sha_384_and_with_nothing_else(tmp_path):
    leaf = certificate("digital_signature", public_key=P384.public_key())
    good = of_p384(hashes.SHA384(), leaf)
    assert cms.check(good, DIGEST, ROOTS, NOW).certificate == leaf
    (tmp_path / "file").write_bytes(FILE)
    (tmp_path / "file.p7s").write_bytes(good)
    root = x509.load_der_x509_certificate(ROOTS[0]).public_bytes(Encoding.PEM)
    (tmp_path / "root.pem").write_bytes(root)
    words = "openssl cms -verify -inform DER -binary -in file.p7s -content file -CAfile root.pem"
    subprocess.run([*words.split(), "-out", "out"], cwd=tmp_path, capture_output=True, check=True)
    refused(of_p384(hashes.SHA256(), leaf), "not by the key")
    refused(good, "was not given", cms.Digests(DIGEST.sha256))
    refused(good, "another file", cms.Digests(DIGEST.sha256, sha384(b"").digest()))
    weaker = asn1.ContentInfo.load(good)
    weaker["content"]["signer_infos"][0]["digest_algorithm"] = {"algorithm": "sha256"}
    refused(weaker.dump(force=True), "another file|goes with its key")
    wrong = certificate("key_agreement", public_key=P384.public_key())
    refused(of_p384(hashes.SHA384(), wrong), "not one to sign")
