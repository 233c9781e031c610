"""Public keys as JWK, against the examples of the standards."""

from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.rest.public_keys import jwk
from hsm.types import Algorithm, KeyUsage, VerifyPolicy
from keyvault.domain.keys import Key, KeyState, Residence
from keyvault.domain.scopes import Scope

# RFC 7638, section 3.1
RSA_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W"
    "-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08q"
    "NLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)
RSA_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
# RFC 8037, appendix A.2 and A.3
ED25519_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
ED25519_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def bytes_of(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def key_of(public, algorithm: Algorithm, usage: KeyUsage = KeyUsage.SIGN) -> Key:
    now = datetime.now(UTC)
    return Key(
        id=uuid4(),
        scope=Scope("ACME", "IS", "1"),
        label="x",
        algorithm=algorithm,
        usage=usage,
        key_class="standard",
        residence=Residence.RESIDENT,
        verify=VerifyPolicy.ALWAYS,
        extractable=False,
        state=KeyState.ACTIVE,
        version=1,
        created_at=now,
        protect_until=now,
        process_until=now,
        public_key=public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def test_an_rsa_key_has_the_thumbprint_of_rfc_7638():
    public = rsa.RSAPublicNumbers(65_537, int.from_bytes(bytes_of(RSA_N))).public_key()
    written = jwk(key_of(public, Algorithm.RSA_2048))
    assert (written["kty"], written["e"], written["n"]) == ("RSA", "AQAB", RSA_N)
    assert written["kid"] == RSA_THUMBPRINT


def test_an_ed25519_key_has_the_thumbprint_of_rfc_8037():
    public = ed25519.Ed25519PublicKey.from_public_bytes(bytes_of(ED25519_X))
    written = jwk(key_of(public, Algorithm.ED25519))
    assert (written["kty"], written["crv"], written["x"]) == ("OKP", "Ed25519", ED25519_X)
    assert written["kid"] == ED25519_THUMBPRINT


def test_coordinates_keep_their_leading_zeros():
    """RFC 7518, 6.2.1.2: the length is that of the field, so one key in 256 would differ."""
    secret = next(
        number
        for number in range(1, 2_000)
        if ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers().x >> 248 == 0
    )
    public = ec.derive_private_key(secret, ec.SECP256R1()).public_key()
    written = jwk(key_of(public, Algorithm.EC_P256, KeyUsage.AGREE))
    assert len(bytes_of(written["x"])) == len(bytes_of(written["y"])) == 32
    assert (written["crv"], written["use"]) == ("P-256", "enc")
