"""Certification requests, built and judged here before a key signs them.

A key that is not active yet signs nothing but its own request, so the gate is told no message: it
makes one, from the order that this very gate redeemed when it made the key. A key to agree with
has signed its request when it was born, and what is handed out is that.
"""

import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from hsm.device import Device
from hsm.errors import KeyUnusableError, MechanismUnsupportedError
from hsm.types import Algorithm, KeySpec, KeyUsage, MadeKey, Mechanism, VerifyPolicy, WrappedKey
from keyvault import durable
from keyvault.domain import csr
from keyvault.domain.commands import GenerateKey
from keyvault.domain.errors import CsrRefusedError, InvalidInputError
from keyvault.domain.keys import KeyState
from keyvault.domain.profiles import PROFILES, Profile, ProfileName, Terms, fitting
from keyvault.domain.scopes import Scope
from keyvault.gate.register import Register
from keyvault.signatures import verify_x509

_MECHANISMS = {
    Algorithm.EC_P256: Mechanism.ECDSA,
    Algorithm.RSA_2048: Mechanism.RSA_PKCS1_SHA256,
}

log = logging.getLogger("keyvault.gate")


class Certification:
    """Requests of the keys that one gate made. `folder` keeps those signed at birth."""

    def __init__(self, device: Device, register: Register, folder: Path) -> None:
        self._device = device
        self._register = register
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def born(self, make: Callable[..., MadeKey], spec: KeySpec) -> MadeKey:
        """Make a key; one to agree with signs its own request on the way, if it can have one."""
        terms = self._terms_at_birth(spec)
        if terms is None:
            return make()
        infos: list[bytes] = []

        def proof(spki: bytes) -> bytes:
            infos.append(csr.info_of(terms, spki))
            return sha256(infos[-1]).digest()

        try:
            made = make(proof=proof)
        except MechanismUnsupportedError as error:
            log.warning("a key to agree with is made without a request: %s", error)
            return make()
        self._keep(spec, csr.request_of(infos[-1], terms.profile, made.proof))
        return made

    def _terms_at_birth(self, spec: KeySpec) -> Terms | None:
        profile = fitting(spec.algorithm, spec.usage)
        if profile is None or spec.usage is not KeyUsage.AGREE:
            return None
        try:
            terms = Terms(profile, self._order(spec.key_id)[1], spec.usage)
            terms.subject()
        except (CsrRefusedError, KeyUnusableError):  # a scope that has no certificates
            return None
        return terms

    def _keep(self, spec: KeySpec, request: bytes) -> None:
        csr.lint(request, verify_x509).check()
        try:
            durable.create(self._kept(spec.key_id), request)
        except OSError as error:  # the key is there and whole, it only has no request
            log.error("a request could not be kept: %s", error.strerror)  # noqa: TRY400  (a sentence)

    def _kept(self, key_id: bytes) -> Path:
        return self._folder / f"{key_id.hex()}.csr"

    def request(
        self, key_id: bytes, key: bytes | WrappedKey, profile: str, interface: str, system: str
    ) -> bytes:
        """Return a request in DER, signed by the key. Raises `CsrRefusedError`."""
        order, scope = self._order(key_id)
        self._check_life(key_id)
        terms = Terms(_profile(profile), scope, order.usage, interface, system)
        if order.algorithm is not terms.profile.algorithm:
            raise CsrRefusedError(
                f"csr-key-algorithm: {terms.profile.name} is for {terms.profile.algorithm} keys",
                next_step=f"this is a key of {order.algorithm}",
            )
        if order.usage is KeyUsage.AGREE:
            return self._signed_at_birth(key_id)
        info = csr.info_of(terms, self._device.public_key(key))
        mechanism = _MECHANISMS[order.algorithm]
        digest = sha256(info).digest()
        signature = self._device.sign(key, mechanism, digest, verify=VerifyPolicy.ALWAYS)
        request = csr.request_of(info, terms.profile, signature)
        csr.lint(request, None, terms.profile).check()
        return request

    def _check_life(self, key_id: bytes) -> None:
        life = self._register.life(key_id)
        state = None if life is None else life.state
        if state not in (KeyState.PRE_ACTIVE, KeyState.ACTIVE):
            raise KeyUnusableError(
                f"for the gate the key is {state or 'unknown'}, and asks for no certificate",
                next_step="order a successor",
            )

    def _signed_at_birth(self, key_id: bytes) -> bytes:
        try:
            return self._kept(key_id).read_bytes()
        except FileNotFoundError as error:
            raise KeyUnusableError(
                "this key to agree with signed no request at its birth, and may sign none now",
                next_step="order another key, for a scope that has certificates",
            ) from error

    def _order(self, key_id: bytes) -> tuple[GenerateKey, Scope]:
        made = self._register.get(UUID(bytes=key_id))
        if made is None or not isinstance(made.command, GenerateKey) or made.scope is None:
            raise KeyUnusableError(
                "this gate did not make the key, so it cannot say whom it is for",
                next_step="ask at the gate whose token the key was made in",
            )
        return made.command, made.scope


def _profile(name: str) -> Profile:
    try:
        return PROFILES[ProfileName(name)]
    except ValueError as error:
        raise InvalidInputError(
            f"no profile is called {name[:40]!r}",
            next_step=f"choose one of: {', '.join(ProfileName)}",
        ) from error
