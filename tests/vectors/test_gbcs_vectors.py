"""GBCS's derivations: against vectors made by other means, and against published ones."""

import json
from datetime import date
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.errors import DataInvalidError
from hsm.pkcs11 import agreement
from hsm.types import Agreement, Algorithm, KeyUsage
from keyvault.domain.errors import InvalidInputError, PublishedKeyError
from keyvault.domain.gbcs import MessageKind, Transaction
from keyvault.gate import published
from tests.vectors import make_gbcs
from tests.vectors.conftest import FOLDER

MADE = json.loads((Path(__file__).parent / "gbcs.json").read_text())
BOTH = pytest.mark.parametrize("name", ["softhsm", "nss"])
VECTORS = pytest.mark.parametrize("vector", MADE, ids=[f"{v['kind']}-{v['counter']}" for v in MADE])


def test_the_vectors_are_those_that_the_script_makes():
    assert make_gbcs.vectors() == MADE


@VECTORS
def test_the_transaction_is_laid_out_as_in_the_vectors(vector):
    transaction = transaction_of(vector)
    assert transaction.other_info.hex() == vector["other_info"]
    key = agreement.one_step(bytes.fromhex(vector["z"]), transaction.other_info)
    assert key.hex() == vector["key"]


@BOTH
def test_devices_agree_with_the_vectors_in_both_directions(importer, name):
    agreeing = agreement.Agreeing()
    for vector in MADE:
        sides = [(vector["private"], vector["peer"])]
        sides.append((vector["peer_private"], public(vector["private"]).hex()))
        for private, peer in sides:
            held = importer.ec_private(Algorithm.EC_P256, int(private, 16))
            held.public = private_key(private).public_key()
            for tag in (12, 16):
                check(agreeing, held, bytes.fromhex(peer), vector, tag, in_module=name == "nss")


def check(agreeing, held, peer: bytes, vector, tag: int, *, in_module: bool) -> None:
    transaction = transaction_of(vector)
    terms = Agreement(peer, transaction.other_info, transaction.iv, tag)
    text, aad = bytes.fromhex(vector["plaintext"]), bytes.fromhex(vector["aad"])
    whole = bytes.fromhex(vector["ciphertext"]) + bytes.fromhex(vector["tag"])[:tag]
    sealed = agreeing.seal(held, terms, text, aad)
    assert (sealed.data, sealed.in_module) == (whole, in_module)
    assert agreeing.open(held, terms, whole, aad).data == text


def transaction_of(vector) -> Transaction:
    kind = MessageKind[vector["kind"].upper()]
    counter = int(vector["counter"], 16)
    return Transaction(kind, vector["originator"], counter, vector["recipient"])


def private_key(number: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int(number, 16), ec.SECP256R1())


def public(number: str) -> bytes:
    return make_gbcs.spki(int(number, 16))


# DLMS UA Green Book, table C.2: the same KDF, over the algorithm id of DLMS itself.
GREEN_BOOK = [
    (
        "0D4385BA0DD756CBCAB9887EB538396EE8F090A14C1079B4359F115B977F4615",
        "608574050803004D4D4D0000BC614E4D4D4D0000000001",
        "59A71FD81C929A86A99438DA17A66C05",
    ),
]


@pytest.mark.parametrize(("z", "info", "key"), GREEN_BOOK)
def test_the_kdf_is_that_of_the_green_book(z, info, key):
    made = agreement.one_step(bytes.fromhex(z), bytes.fromhex(info))
    assert made.hex().upper() == key


def test_p256_is_that_of_cavp():
    """What the script works out by itself, and so what the vectors stand on."""
    walked = 0
    for entry in cavp_ecdh():
        point = entry["QCAVSx"], entry["QCAVSy"]
        assert make_gbcs.times(entry["dIUT"], point)[0] == entry["ZIUT"]
        walked += 1
    assert walked == 25


def cavp_ecdh() -> list[dict[str, int]]:
    text = (FOLDER / "Protocol" / "KAS_ECC_CDH_PrimitiveTest.txt").read_text()
    section = text.split("[P-256]")[1].split("[")[0]
    blocks = [block for block in section.split("COUNT")[1:] if "ZIUT" in block]
    return [
        {
            name.strip(): int(value, 16)
            for name, _, value in (line.partition("=") for line in block.splitlines()[1:])
            if value
        }
        for block in blocks
    ]


@BOTH
def test_tags_of_twelve_bytes_are_those_of_cavp(importer):
    """In the module, and in the process as where a module does not derive."""
    outcomes = {True: 0, False: 0}
    seal, open_ = agreement._sealed, agreement._opened  # noqa: SLF001 - the way in the process
    for entry in cavp_gcm(96)[::6]:
        held = importer.secret(Algorithm.AES_128, KeyUsage.ENCRYPT, entry["Key"])
        terms = Agreement(b"", b"", entry["IV"], 12)
        sealed, aad = entry["CT"] + entry["Tag"], entry["AAD"]
        good = "PT" in entry
        outcomes[good] += 1
        for opened in (
            lambda held=held, s=sealed, e=entry: held.opened(s, e["IV"], e["AAD"], 12),
            lambda t=terms, s=sealed, e=entry: open_(bytearray(e["Key"]), t, s, e["AAD"]),
        ):
            if good:
                assert opened() == entry["PT"]
            else:
                with pytest.raises(DataInvalidError):
                    opened()
        if good:
            assert seal(bytearray(entry["Key"]), terms, entry["PT"], aad) == sealed
    assert min(outcomes.values()) > 10


def cavp_gcm(tag: int) -> list[dict[str, bytes]]:
    """The entries of gcmDecrypt128.rsp with our IV and a tag of so many bits."""
    entries: list[dict[str, bytes]] = []
    group: dict[str, str] = {}
    for line in (FOLDER / "Cipher" / "AES" / "gcmDecrypt128.rsp").read_text().splitlines():
        name, _, value = (part.strip() for part in line.strip("[]").partition("="))
        if line.startswith("["):
            group[name] = value
        elif (group.get("IVlen"), group.get("Taglen")) != ("96", str(tag)):
            continue
        elif name == "Count":
            entries.append({})
        elif name in ("Key", "IV", "CT", "AAD", "Tag", "PT"):
            entries[-1][name] = bytes.fromhex(value)
        elif name == "FAIL":
            entries[-1].pop("PT", None)
    return entries


def test_published_keys_are_refused_by_their_fingerprints():
    spki = make_gbcs.spki(make_gbcs.PUBLISHED)
    with pytest.raises(PublishedKeyError, match="keyvault-tests"):
        published.refuse(spki)
    published.refuse(make_gbcs.spki(make_gbcs.scalar("another key")))
    known = published.published()
    assert {entry.source for entry in known.values()} == {
        "dccboxed-keystore",
        "gbcs-parser",
        "keyvault-tests",
    }
    assert sum(entry.source == "dccboxed-keystore" for entry in known.values()) == 33
    assert all(entry.taken >= date(2026, 11, 22) for entry in known.values())


DIGEST = sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    "line",
    [
        "abc 2026-11-22 somewhere name",
        f"{DIGEST} yesterday somewhere name",
        f"{DIGEST} 2026-11-22 somewhere",
        f"{DIGEST[2:]} 2026-11-22 somewhere name",
        f"{DIGEST} 2026-11-22 somewhere name\n{DIGEST} 2026-11-22 elsewhere name",
    ],
)
def test_a_list_with_a_bad_line_is_no_list(line):
    with pytest.raises(InvalidInputError):
        published.read(f"# comment\n\n{line}\n")
