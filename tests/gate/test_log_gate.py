"""The log gate: checkpoints that anybody can check, of a log that only grows."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from keyvault import signatures
from keyvault.domain.errors import ConflictError, InvalidInputError
from keyvault.domain.keys import service_key_id
from keyvault.domain.notes import (
    Checkpoint,
    Note,
    SignatureType,
    VerifierKey,
    open_checkpoint,
)
from tests.gate.house import House
from tests.unit.officers import ORIGIN

ROOT = bytes(range(32))
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def log(house: House) -> Call:
    return house.wire("log").call


def _verify(key: VerifierKey, message: bytes, signature: bytes) -> bool:
    if key.type == SignatureType.ECDSA:
        return signatures.verify(key.public, signature, message)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_a_checkpoint_bears_a_signature_of_each_log_key(log: Call, house: House):
    keys = [VerifierKey.parse(line) for line in log("log_keys")]
    size = log("status")["sealed"] + 1
    note = log("seal", size, ROOT).encode()
    assert open_checkpoint(note, keys, _verify) == Checkpoint(ORIGIN, size, ROOT)
    for key in keys:  # each alone is enough, and none is wrong
        assert open_checkpoint(note, [key], _verify)
    assert len(Note.parse(note).signatures) == len(keys)
    assert [key.type for key in keys] == [SignatureType.ECDSA, SignatureType.ED25519]
    assert house.services is not None
    assert tuple(log("log_keys")) == house.services.log_keys


def test_the_same_checkpoint_may_be_signed_again_but_no_other_of_its_size(log: Call):
    size = log("status")["sealed"] + 1
    log("seal", size, ROOT)
    assert Note.parse(log("seal", size, ROOT).encode()).text.endswith("=\n")
    with pytest.raises(ConflictError):
        log("seal", size, bytes(32))
    assert log("status")["sealed"] == size


@given(step=st.integers(1, 1000), back=st.integers(1, 1000))
def test_a_log_never_shrinks(house: House, step: int, back: int):
    log = house.wire("log")
    size = log.call("status")["sealed"] + step
    log.call("seal", size, ROOT)
    with pytest.raises(ConflictError):
        log.call("seal", max(size - back, 0), ROOT)
    log.close()


@pytest.mark.parametrize(
    ("size", "root"),
    [(-1, ROOT), (2**63, ROOT), (10**6, ROOT[:-1]), ("1", ROOT), (10**6, "x" * 32), (None, None)],
)
def test_what_is_no_checkpoint_is_not_signed(log: Call, size: object, root: object):
    with pytest.raises(InvalidInputError):
        log("seal", size, root)


def test_the_log_gate_does_nothing_else(log: Call):
    for method in ("sign", "execute", "load", "session_ca", "sign_manifest", "authority"):
        with pytest.raises(InvalidInputError, match="no method"):
            log(method, service_key_id("log"))
