"""Every device that the contract runs on. Tokens live for the run, a device for one test."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from hsm.device import Device
from hsm.registry import open_device
from hsm.types import Algorithm, KeySpec, KeyUsage, MadeKey, WrappedKey
from tests import devices
from tests.contract.known import ABILITIES, Abilities

AnyKey = bytes | WrappedKey


@pytest.fixture(scope="session")
def softhsm_token(tmp_path_factory: pytest.TempPathFactory) -> devices.Token:
    return devices.softhsm(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture(scope="session")
def nss_token(tmp_path_factory: pytest.TempPathFactory) -> devices.Token:
    return devices.nss(tmp_path_factory.mktemp("nss"))


@pytest.fixture(scope="session")
def remote(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[devices.Token, devices.Wire]]:
    with devices.p11kit(tmp_path_factory.mktemp("p11kit")) as both:
        yield both


@pytest.fixture(scope="session")
def p11kit_token(remote: tuple[devices.Token, devices.Wire]) -> devices.Token:
    return remote[0]


@pytest.fixture
def token(name: str, request: pytest.FixtureRequest) -> devices.Token:
    found: devices.Token = request.getfixturevalue(f"{name}_token")
    return found


@pytest.fixture
def opened() -> Iterator[Callable[[devices.Token], Device]]:
    """Open a token in its environment; closed after the test."""
    held: list[Device] = []
    with mock.patch.dict(os.environ):

        def opening(token: devices.Token, **options: object) -> Device:
            os.environ.update(token.environment)
            held.append(open_device(token.uri, token.pin, **options))  # type: ignore[arg-type]
            return held[-1]

        yield opening
        for each in held:
            each.close()


@pytest.fixture
def device(token: devices.Token, opened: Callable[[devices.Token], Device]) -> Device:
    return opened(token)


@pytest.fixture
def faults(tmp_path: Path) -> devices.Faults:
    """SoftHSM behind the fault shim: `faults.order("C_Sign", "flip")`; see tests/devices.py."""
    return devices.fault_module(tmp_path)


@dataclass
class Home:
    """Where the keys of a test live: resident in the token, or wrapped outside it."""

    device: Device
    abilities: Abilities
    wrapped: bool
    kek: bytes = b""
    mac_key: bytes = b""

    def make(self, algorithm: Algorithm, usage: KeyUsage) -> MadeKey:
        spec = spec_of(algorithm, usage)
        if not self.wrapped:
            return self.device.generate(spec)
        if not self.kek:
            self.kek = self._resident(Algorithm.AES_256, KeyUsage.WRAP)
            self.mac_key = self._resident(Algorithm.HMAC_SHA256, KeyUsage.MAC)
        return self.device.generate_wrapped(spec, self.kek, self.mac_key)

    def can(self, algorithm: Algorithm, usage: KeyUsage) -> bool:
        return self.abilities.can(algorithm, usage, wrapped=self.wrapped)

    def _resident(self, algorithm: Algorithm, usage: KeyUsage) -> bytes:
        return self.device.generate(spec_of(algorithm, usage)).spec.key_id


def spec_of(algorithm: Algorithm, usage: KeyUsage, **more: bool) -> KeySpec:
    return KeySpec(os.urandom(16), f"{algorithm} {usage}", algorithm, usage, **more)


def name_of(made: MadeKey) -> AnyKey:
    return made.wrapped or made.spec.key_id


@pytest.fixture(params=["resident", "wrapped"])
def home(name: str, device: Device, request: pytest.FixtureRequest) -> Home:
    return Home(device, ABILITIES[name], request.param == "wrapped")
