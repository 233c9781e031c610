"""Certification requests: what we build, what openssl makes of it, and what is refused."""

import subprocess
from hashlib import sha256

import pytest
from cryptography import x509 as peer
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.types import KeyUsage
from keyvault.domain import csr, der, pem, profiles, x509
from keyvault.domain.csr import Fault
from keyvault.domain.errors import CsrRefusedError, InvalidInputError
from keyvault.domain.profiles import PROFILES, ProfileName, Terms
from keyvault.domain.scopes import Scope
from keyvault.signatures import verify_x509

SCOPE = Scope("ACME", "IS", "90-B3-D5-1F-30-01-00-00")
SMKI, IKI = (PROFILES[name] for name in ProfileName)
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65_537, 2_048)
SHA256 = hashes.SHA256()


def spki(key) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, form)


def signed(info: bytes, profile=SMKI) -> bytes:
    if profile is IKI:
        return csr.request_of(info, profile, RSA.sign(info, padding.PKCS1v15(), SHA256))
    r, s = utils.decode_dss_signature(EC.sign(info, ec.ECDSA(SHA256)))
    return csr.request_of(info, profile, r.to_bytes(32) + s.to_bytes(32))


def built(usage=KeyUsage.SIGN, profile=SMKI, **more) -> bytes:
    terms = Terms(profile, SCOPE, usage, **more)
    return signed(csr.info_of(terms, spki(RSA if profile is IKI else EC)), profile)


def iki() -> bytes:
    return built(profile=IKI, interface="ad-hoc-device-csr", system="head-end-1")


def codes(data: bytes, profile=None) -> list[Fault]:
    return [violation.code for violation in csr.lint(data, verify_x509, profile).violations]


GOOD = [built(), built(KeyUsage.AGREE), iki()]


@pytest.mark.parametrize("data", GOOD)
def test_openssl_reads_what_we_build_and_its_signature_is_good(data) -> None:
    assert codes(data) == []
    for text in (data, pem.armour(data, pem.REQUEST)):
        form = "DER" if text is data else "PEM"
        line = ["openssl", "req", "-verify", "-noout", "-inform", form]
        done = subprocess.run(line, input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"verify OK" in done.stderr
    read = peer.load_der_x509_csr(data)
    assert read.is_signature_valid
    usage = read.extensions.get_extension_for_class(peer.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature is not usage.value.key_agreement


def test_the_subject_says_what_the_record_says() -> None:
    read = peer.load_der_x509_csr(built())
    said = {a.oid.dotted_string: a.value for a in read.subject}
    assert said["2.5.4.10"] == "ACME"
    assert said["2.5.4.11"] == "02"
    assert said["2.5.4.45"] == bytes.fromhex("0090b3d51f30010000")
    found = csr.lint(built(), verify_x509).check()
    assert x509.name_text(found.subject) == (
        "O=ACME, OU=02, uniqueIdentifier=90-B3-D5-1F-30-01-00-00"
    )


@pytest.mark.parametrize(
    ("role", "digits"),
    [("IS", "02"), ("GT", "03"), ("OU", "7F"), ("access-control-broker", "04"), ("root", "00")],
)
def test_a_user_role_has_one_remote_party_role_of_two_hex_digits(role, digits) -> None:
    assert profiles.role_of(Scope("ACME", role, SCOPE.user_id)).digits == digits


@pytest.mark.parametrize("user_id", ["90-B3-D5-1F-30-01-00", "90B3D51F3001000", "acme-1", "90" * 9])
def test_a_user_id_that_is_no_eui_64_has_no_request(user_id) -> None:
    terms = Terms(SMKI, Scope("ACME", "IS", user_id), KeyUsage.SIGN)
    with pytest.raises(CsrRefusedError, match="csr-eui"):
        csr.info_of(terms, spki(EC))


# What is refused, each by its own code ------------------------------------------------------


def name(*pairs: tuple[bytes, bytes]) -> bytes:
    sets = (
        der.encode(der.SET, der.encode(der.SEQUENCE, der.encode(der.OID, kind), value))
        for kind, value in pairs
    )
    return der.encode(der.SEQUENCE, *sets)


def text(value: str, tag: int = der.UTF8_STRING) -> bytes:
    return der.encode(tag, value.encode())


OU, UID, CN = (
    profiles.ORGANISATIONAL_UNIT,
    profiles.UNIQUE_IDENTIFIER,
    profiles.COMMON_NAME,
)
EUI = der.bits(bytes(8))
SUBJECT = name((OU, text("02")), (UID, EUI))
DS = profiles.USAGE_BITS[KeyUsage.SIGN]


def extension(value: bytes = DS, *, critical: bool = True, kind: bytes = x509.KEY_USAGE) -> bytes:
    flag = der.encode(der.BOOLEAN, b"\xff") if critical else b""
    octets = der.encode(der.OCTET_STRING, value)
    return der.encode(der.SEQUENCE, der.encode(der.OID, kind), flag, octets)


def asking(*extensions: bytes) -> bytes:
    kind = der.encode(der.OID, bytes.fromhex("2a864886f70d01090e"))
    wanted = der.encode(der.SET, der.encode(der.SEQUENCE, *extensions))
    return der.encode(der.CONTEXT, der.encode(der.SEQUENCE, kind, wanted))


def made(version=0, subject=SUBJECT, key=None, attributes=None, profile=SMKI) -> bytes:
    parts = der.integer(version), subject, key or spki(EC), attributes or asking(extension())
    return signed(der.encode(der.SEQUENCE, *parts), profile)


BOTH = bytes.fromhex("03020388")
ALIEN = bytes.fromhex("551d11")
WRONG = {
    "version": (made(version=2), Fault.VERSION),
    "role of three digits": (made(subject=name((OU, text("002")), (UID, EUI))), Fault.ROLE),
    "role in small letters": (made(subject=name((OU, text("7f")), (UID, EUI))), Fault.ROLE),
    "role that nobody has": (made(subject=name((OU, text("08")), (UID, EUI))), Fault.ROLE_UNKNOWN),
    "no role": (made(subject=name((UID, EUI))), Fault.ROLE),
    "no EUI": (made(subject=name((OU, text("02")))), Fault.EUI),
    "EUI of 7 bytes": (made(subject=name((OU, text("02")), (UID, der.bits(bytes(7))))), Fault.EUI),
    "EUI of 63 bits": (
        made(subject=name((OU, text("02")), (UID, der.bits(bytes(8), 1)))),
        Fault.EUI,
    ),
    "EUI as text": (made(subject=name((OU, text("02")), (UID, text("9" * 16)))), Fault.EUI),
    "two roles": (
        made(subject=name((OU, text("02")), (OU, text("03")), (UID, EUI))),
        Fault.SUBJECT,
    ),
    "a name of a person": (
        made(subject=name((OU, text("02")), (UID, EUI), (CN, text("Alice")))),
        Fault.SUBJECT,
    ),
    "two usages": (made(attributes=asking(extension(BOTH))), Fault.USAGE_SEVERAL),
    "usage twice": (made(attributes=asking(extension(), extension())), Fault.USAGE_SEVERAL),
    "usage not critical": (
        made(attributes=asking(extension(critical=False))),
        Fault.USAGE_NOT_CRITICAL,
    ),
    "no usage": (made(attributes=asking(extension(kind=ALIEN))), Fault.USAGE_MISSING),
    "empty usage": (made(attributes=asking(extension(der.bits(b"")))), Fault.USAGE_MISSING),
    "usage for certificates": (
        made(attributes=asking(extension(bytes.fromhex("03020204")))),
        Fault.USAGE_WRONG,
    ),
    "usage with bits that do not count": (
        made(attributes=asking(extension(bytes.fromhex("03020780")[:-1] + b"\xc0"))),
        Fault.ATTRIBUTES,
    ),
    "another extension": (
        made(attributes=asking(extension(), extension(kind=ALIEN))),
        Fault.EXTENSION,
    ),
    "no attributes": (made(attributes=der.encode(der.CONTEXT)), Fault.ATTRIBUTES),
    "an attribute that is none": (
        made(attributes=der.encode(der.CONTEXT, der.integer(1))),
        Fault.ATTRIBUTES,
    ),
    "P-384": (made(key=spki(ec.generate_private_key(ec.SECP384R1()))), Fault.CURVE),
    "Ed25519": (made(key=spki(ed25519.Ed25519PrivateKey.generate())), Fault.KEY_ALGORITHM),
    "a point that is on no curve": (
        made(key=spki(EC)[:-1] + bytes([spki(EC)[-1] ^ 1])),
        Fault.POINT,
    ),
    "a key of nonsense": (made(key=der.encode(der.SEQUENCE, der.integer(7))), Fault.KEY),
    "RSA of 3072 bits": (
        made(key=spki(rsa.generate_private_key(65_537, 3_072)), profile=IKI),
        Fault.KEY_SIZE,
    ),
    "RSA with exponent 3": (
        made(key=spki(rsa.generate_private_key(3, 2_048)), profile=IKI),
        Fault.KEY_SIZE,
    ),
    "trailing bytes": (built() + b"\0", Fault.TRAILING_BYTES),
    "oversized": (built() + bytes(5_000), Fault.OVERSIZED),
    "nothing": (b"", Fault.ENCODING),
    "no DER": (b"hello", Fault.ENCODING),
    "indefinite length": (b"\x30\x80" + built()[4:] + b"\0\0", Fault.ENCODING),
    "length longer than it needs": (b"\x30\x83\x00" + built()[2:], Fault.ENCODING),
    "cut off": (built()[:-9], Fault.ENCODING),
    "a certificate": (der.encode(der.SEQUENCE, *[SUBJECT] * 3), Fault.ENCODING),
    "a nest of a thousand sequences": (b"\x30\x80" * 1_000, Fault.ENCODING),
    "values side by side without end": (
        der.encode(der.SEQUENCE, der.integer(1) * 100),
        Fault.ENCODING,
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_each_thing_that_is_wrong_has_its_own_code(what) -> None:
    data, expected = WRONG[what]
    assert expected in codes(data, IKI if what.startswith("RSA") else SMKI), what


def test_a_wrong_hash_and_a_wrong_signature_are_two_things() -> None:
    info = csr.info_of(Terms(SMKI, SCOPE, KeyUsage.SIGN), spki(EC))
    ecdsa_384 = bytes.fromhex("300a06082a8648ce3d040303")
    signature = der.bits(EC.sign(info, ec.ECDSA(hashes.SHA384())))
    assert codes(der.encode(der.SEQUENCE, info, ecdsa_384, signature)) == [Fault.HASH]
    forged = bytearray(built())
    forged[-1] ^= 1
    assert codes(bytes(forged)) == [Fault.SIGNATURE]
    assert csr.lint(bytes(forged), None).violations == ()  # which is not asked to look


def test_what_is_wrong_is_said_all_at_once() -> None:
    subject = name((OU, text("002")), (UID, der.bits(bytes(7))))
    data = made(version=1, subject=subject, attributes=asking(extension(BOTH, critical=False)))
    assert codes(data) == [
        *(Fault.VERSION, Fault.USAGE_NOT_CRITICAL, Fault.USAGE_SEVERAL, Fault.ROLE, Fault.EUI),
    ]
    with pytest.raises(CsrRefusedError, match=r"csr-version.*csr-role.*csr-eui"):
        csr.lint(data, verify_x509).check()


def test_requests_of_openssl_and_cryptography_are_judged_like_ours(tmp_path) -> None:
    config = tmp_path / "req.cnf"
    config.write_text(
        "[req]\ndistinguished_name=dn\nprompt=no\nreq_extensions=ext\nstring_mask=utf8only\n"
        "[dn]\nO=ACME\nOU=02\n[ext]\nkeyUsage=critical,digitalSignature\n"
    )
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    line = ["openssl", "req", "-new", *key, "-keyout", tmp_path / "key", "-config", config]
    theirs = subprocess.run(line, capture_output=True, check=True).stdout
    assert codes(pem.der_of(theirs, pem.REQUEST)) == [Fault.EUI]
    builder = peer.CertificateSigningRequestBuilder(
        peer.Name([peer.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "02")])
    )
    data = builder.sign(EC, SHA256).public_bytes(serialization.Encoding.DER)
    assert codes(data) == [Fault.ATTRIBUTES, Fault.EUI]


@given(data=st.binary(max_size=300))
@settings(deadline=None)
def test_no_bytes_upset_the_linter(data) -> None:
    assert csr.lint(data, verify_x509).violations


@given(st.sampled_from(GOOD), st.integers(0, 5_000), st.integers(1, 255), st.booleans())
@settings(deadline=None, max_examples=300)
def test_no_byte_of_a_good_request_can_be_changed(data, at, flip, drop) -> None:
    changed = bytearray(data)
    changed[at % len(data)] ^= flip
    if drop:
        changed = bytearray(data[: at % len(data)])
    assert codes(bytes(changed)) != []


# Text forms -----------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=400), st.sampled_from([64, 76]), st.booleans())
def test_every_text_form_comes_back(content, columns, header) -> None:
    data = der.encode(der.SEQUENCE, content)
    text_ = pem.armour(data, pem.REQUEST, columns=columns, header=header)
    assert max(map(len, text_.splitlines()[1:-1] or [b""])) <= columns
    assert pem.der_of(text_, pem.REQUEST) == data
    assert pem.der_of(text_.replace(b"\n", b"\r\n"), pem.REQUEST) == data


@pytest.mark.parametrize(
    "text_",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n",
        b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\nmore",
        b"Me\n-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----",
        b"MAB=",
        b"MA A=",
        b"M" * 77,
        b"MAAA\nMAAAMAAA",
        b"0" * 70_000,
    ],
)
def test_what_is_no_request_in_text_is_refused(text_) -> None:
    with pytest.raises(InvalidInputError):
        pem.der_of(text_, pem.REQUEST)


def test_numbers_and_bits_have_one_spelling() -> None:
    for good, number in ((b"\0", 0), (b"\x7f", 127), (b"\0\x80", 128), (b"\xff", -1)):
        assert der.number_of(good) == number
    for bad in (b"", b"\0\x01", b"\xff\x80"):
        with pytest.raises(der.DerError):
            der.number_of(bad)
    for bad in (b"", b"\x08\0", b"\x01", b"\x01\x01"):
        with pytest.raises(der.DerError):
            der.bits_of(bad)
    assert der.encode(der.OCTET_STRING, bytes(200))[:3] == b"\x04\x81\xc8"
    assert sha256(built()).digest() != sha256(built()).digest()
