"""Signed notes and checkpoints against the specifications' examples and foreign code."""

import base64
import subprocess
from pathlib import Path

import proofbundle.checkpoint
import proofbundle.merkle
import proofbundle.tlogproof
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain import notes as n
from keyvault.domain import tree

VECTORS = Path(__file__).parent.parent / "vectors" / "tlog"
ORIGIN = "log.example/site/2026-1"

EDWARDS = ed25519.Ed25519PrivateKey.generate()
NIST = ec.generate_private_key(ec.SECP256R1())
SPKI = NIST.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
ED_KEY = n.VerifierKey(ORIGIN, n.SignatureType.ED25519, EDWARDS.public_key().public_bytes_raw())
EC_KEY = n.VerifierKey(ORIGIN, n.SignatureType.ECDSA, SPKI)


def sign_p256(message):
    return NIST.sign(message, ec.ECDSA(hashes.SHA256()))


def verify(key, message, signature):
    try:
        if key.type == n.SignatureType.ED25519:
            ed25519.Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
        else:
            public = serialization.load_der_public_key(key.public)
            public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


LEAVES = [b"entry %d" % number for number in range(9)]
READ = tree.HashReader([tree.leaf_hash(leaf) for leaf in LEAVES])
CHECKPOINT = n.Checkpoint(ORIGIN, 9, tree.tree_at(READ, 9).root)
NOTE = n.sign_checkpoint(CHECKPOINT, [(ED_KEY, EDWARDS.sign), (EC_KEY, sign_p256)])
DATA = NOTE.to_bytes()


def test_the_published_note_of_another_program_verifies_under_its_key():
    key = n.VerifierKey.parse((VECTORS / "signed-note.vkey").read_text().strip())
    note = n.Note.parse((VECTORS / "signed-note.txt").read_bytes())
    note.check([key], verify)
    assert note.to_bytes() == (VECTORS / "signed-note.txt").read_bytes()
    assert (key.name, key.type) == ("PeterNeumann", n.SignatureType.ED25519)


def test_the_example_of_the_checkpoint_specification_is_read():
    data = (VECTORS / "checkpoint.txt").read_bytes()
    checkpoint = n.Checkpoint.parse(n.Note.parse(data).text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    with pytest.raises(n.NoteError, match="no known key"):
        n.open_checkpoint(data, [EC_KEY, ED_KEY], verify)


def test_a_checkpoint_signed_by_two_keys_opens_with_either():
    for keys in ([ED_KEY], [EC_KEY], [ED_KEY, EC_KEY]):
        assert n.open_checkpoint(DATA, keys, verify) == CHECKPOINT


def test_the_ecdsa_key_id_is_the_hash_of_the_public_key_alone():
    digest = subprocess.check_output(["openssl", "dgst", "-sha256", "-binary"], input=SPKI)
    assert digest[:4] == EC_KEY.key_id
    other_name = n.VerifierKey("another.example", n.SignatureType.ECDSA, SPKI)
    assert other_name.key_id == EC_KEY.key_id


def test_foreign_code_verifies_our_checkpoint():
    answer = proofbundle.checkpoint.verify_checkpoint(DATA.decode(), ED_KEY.vkey)
    assert answer["ok"] is True
    assert proofbundle.checkpoint.vkey(ORIGIN, ED_KEY.public) == ED_KEY.vkey
    text = proofbundle.checkpoint.sign_checkpoint(ORIGIN, 9, CHECKPOINT.root, EDWARDS, ORIGIN)
    assert n.open_checkpoint(text.encode(), [ED_KEY], verify) == CHECKPOINT


def test_foreign_code_verifies_our_stand_alone_proof():
    proof = n.tlog_proof(4, tree.inclusion_proof(READ, 4, 9), DATA)
    parsed = proofbundle.tlogproof.parse_tlog_proof(proof.decode())
    assert parsed["index"] == 4
    good = proofbundle.tlogproof.verify_tlog_proof(proof.decode(), LEAVES[4], ED_KEY.vkey)
    bad = proofbundle.tlogproof.verify_tlog_proof(proof.decode(), LEAVES[5], ED_KEY.vkey)
    assert (good["ok"], bad["ok"]) == (True, False)


def test_a_witness_cosignature_is_kept_byte_for_byte():
    witness = ed25519.Ed25519PrivateKey.generate()
    cosigned = proofbundle.checkpoint.cosign_checkpoint(
        DATA.decode(), witness, "witness.example", 1_790_000_000
    ).encode()
    note = n.Note.parse(cosigned)
    assert note.to_bytes() == cosigned
    assert len(note.signatures) == 3
    assert n.open_checkpoint(cosigned, [EC_KEY], verify) == CHECKPOINT


def test_one_bad_signature_of_a_known_key_spoils_the_note():
    bad = n.Signature(ORIGIN, EC_KEY.key_id, sign_p256(b"something else"))
    note = n.Note(NOTE.text, (NOTE.signatures[0], bad))
    with pytest.raises(n.NoteError, match="is wrong"):
        note.check([ED_KEY, EC_KEY], verify)
    note.check([ED_KEY], verify)


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_no_flipped_byte_of_a_note_passes(at, flip):
    data = bytearray(DATA)
    data[at] ^= flip
    try:
        opened = n.open_checkpoint(bytes(data), [ED_KEY, EC_KEY], verify)
    except n.NoteError:
        return
    # A signature line may turn into an unknown key's, which the specification has us ignore;
    # whatever opens says what was signed.
    assert opened == CHECKPOINT


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_our_own_error(noise):
    for data in (noise, NOTE.text.encode() + noise, DATA + noise):
        try:
            assert n.Note.parse(data).to_bytes() == data
        except n.NoteError:
            continue


SIGNATURE = NOTE.signatures[0].line.encode()
BODY = NOTE.text.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        BODY,
        BODY + b"\n",
        DATA[:-1],
        DATA + b"\n",
        DATA.replace(b"\n", b"\r\n"),
        BODY + b"\n" + SIGNATURE + SIGNATURE,
        BODY + b"\n" + SIGNATURE * 33,
        BODY + b"\n" + SIGNATURE.replace("\u2014".encode(), b"-"),
        BODY + b"\n" + SIGNATURE.replace(b" log", b"  log"),
        BODY + b"\n" + SIGNATURE.replace(b"log.", b"log+"),
        BODY + b"\n" + "\u2014 name AAAAAA==\n".encode(),
        BODY + b"\n" + "\u2014 name AAAA AAA=\n".encode(),
        BODY + b"\n" + "\u2014 name AAAAAAB=\n".encode(),
        b"x" * 65_537,
        b"\xff" + DATA,
        b"tab\there\n\n" + SIGNATURE,
    ],
)
def test_what_is_not_quite_a_note_is_refused(data):
    with pytest.raises(n.NoteError):
        n.Note.parse(data)


ROOT = base64.b64encode(CHECKPOINT.root).decode()


@pytest.mark.parametrize(
    "body",
    [
        "",
        f"{ORIGIN}\n9\n{ROOT}",
        f"{ORIGIN}\n09\n{ROOT}\n",
        f"{ORIGIN}\n+9\n{ROOT}\n",
        f"{ORIGIN}\n-9\n{ROOT}\n",
        f"{ORIGIN}\n\u0663\n{ROOT}\n",
        f"{ORIGIN}\n{2**63}\n{ROOT}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n",
        f"{ORIGIN}\n9\n{ROOT[:-4]}\n",
        f"{ORIGIN}\n9\n{ROOT}\nextension\n",
        f"\n9\n{ROOT}\n",
        f"two words\n9\n{ROOT}\n",
    ],
)
def test_what_is_not_quite_a_checkpoint_is_refused(body):
    with pytest.raises(n.NoteError):
        n.Checkpoint.parse(body)


def test_a_checkpoint_reads_back_from_its_body():
    assert n.Checkpoint.parse(CHECKPOINT.body) == CHECKPOINT
    empty = n.Checkpoint(ORIGIN, 0, tree.EMPTY_ROOT)
    assert n.Checkpoint.parse(empty.body) == empty


@pytest.mark.parametrize(
    "line",
    [
        "",
        "name",
        "name+00000000",
        ED_KEY.vkey.replace("+", "+0", 1),
        ED_KEY.vkey + " ",
        ED_KEY.vkey.replace(ORIGIN, "other.example"),
        "name+00000000+" + base64.b64encode(b"\x01" + bytes(31)).decode(),
    ],
)
def test_a_key_line_that_does_not_fit_its_key_is_refused(line):
    with pytest.raises(n.NoteError):
        n.VerifierKey.parse(line)


def test_a_key_reads_back_from_its_line():
    for key in (ED_KEY, EC_KEY):
        assert n.VerifierKey.parse(key.vkey) == key
