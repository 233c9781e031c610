"""The service's own keys: out of reach of generic methods, each with one message of its own."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.types import Algorithm, KeyUsage
from keyvault.domain.commands import DestroyKey, ExportKey, ImportKey
from keyvault.domain.errors import InvalidInputError, NotPermittedError
from keyvault.domain.keys import service_key_id
from keyvault.gate import inventory, keys, uses
from keyvault.gate.client import Gate
from tests.gate.house import DIGEST, GRAVE, ORDINARY, House, do
from tests.unit.officers import BOB, CAROL, DAVE

Call = Callable[..., Any]


def _uuid(name: str) -> UUID:
    return UUID(bytes=service_key_id(name))


SERVICES = ["session-ca", "evidence", "kek", "mac", "log", "log-ed25519"]


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.usefixtures("untouched")
def test_a_service_key_serves_no_generic_method(name: str, call: Call):
    key = service_key_id(name)
    spec = {"label": "x", "algorithm": "EC-P256", "usage": "sign"}
    wrapped = {"spec": {**spec, "key_id": key}, "blob": b"b", "kek_id": b"k", "mac_key_id": b"m"}
    calls: list[tuple[Any, ...]] = [
        ("sign", key, "ECDSA", [DIGEST], "always"),
        ("sign_part", key, "ECDSA", [DIGEST], "always"),
        ("verify", key, "HMAC-SHA256", b"data", bytes(32)),
        ("encrypt", key, "AES-GCM", [b"data"], b""),
        ("decrypt", key, "AES-GCM", bytes(40), b""),
        ("mac", key, "HMAC-SHA256", [b"data"], b""),
        ("public_key", key),
        ("inspect", key, spec),
        ("stop", key, "suspended"),
        ("discard_public_half", key),
        ("load", {**wrapped, "mac": b"m", "public_key": b""}),
        ("certification_requests", [{"key_id": key}]),
    ]
    for arguments in calls:
        with pytest.raises(NotPermittedError):
            call(*arguments)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.usefixtures("untouched")
def test_no_approval_moves_a_service_key(gate: Gate, name: str):
    service, other = _uuid(name), uuid4()
    terms = ("x", Algorithm.AES_256, KeyUsage.ENCRYPT, "exchange", 30, 30)
    for command, rule in (
        (DestroyKey(service, "x"), GRAVE),
        (ExportKey(service, other, "x"), ORDINARY),
        (ExportKey(other, service, "x"), ORDINARY),
        (ImportKey(*terms, service, bytes(40)), ORDINARY),
    ):
        with pytest.raises(NotPermittedError):
            do(gate, command, BOB, CAROL, DAVE, rule=rule)


def test_every_method_that_takes_a_key_id_was_tried_with_service_keys():
    """A method that is added has to be added to the test above, or named here."""
    tried = {"sign", "sign_part", "verify", "encrypt", "decrypt", "mac", "public_key"}
    tried |= {"inspect", "discard_public_half", "load", "execute"}
    tried |= {"stop", "certification_requests"}
    without_key = {"authority", "random", "inventory", "issue_session", "session_ca", "withdraw"}
    lets_go = {"forget"}  # of a handle: the key is found again at its next use
    signs_alone = {"sign_manifest", "sign_destruction", "sign_report", "report_certificate"}
    every = {*keys.METHODS, *uses.METHODS, *inventory.METHODS}
    assert every == tried | without_key | lets_go | signs_alone


def test_a_manifest_is_signed_in_its_own_context_only(house: House, gate: Gate):
    signature = gate.sign_manifest(b"{}")
    key = serialization.load_der_public_key(house.services.evidence)
    key.verify(signature, b"keyvault-manifest-v1\n{}", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidInputError):
        gate.sign_manifest(bytes(2 * 1024 * 1024))
