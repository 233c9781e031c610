"""How a key comes to be: generated or unwrapped, then read back, then tested pairwise."""

from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pkcs11 import Attribute, ObjectClass
from pkcs11.exceptions import PKCS11Error

from hsm.errors import DataInvalidError, IntegrityError
from hsm.pkcs11 import objects, pairwise, spki, templates
from hsm.pkcs11.errors import of_exception
from hsm.pkcs11.held import Held
from hsm.pkcs11.library import MAX_BLOB, Functions
from hsm.pkcs11.objects import discard
from hsm.pkcs11.templates import KEY_TYPES, RSA_BITS, Template
from hsm.pkcs11.vendors import Vendor
from hsm.types import KeySpec, KeyUsage, MadeKey

SMALLEST_PAIR = 40  # PKCS#8 around the 32 bytes of an EC key is longer than this
# True of what was born in the device and may never leave it; an unwrapped key has been outside.
BORN_HERE = {Attribute.LOCAL: True, Attribute.ALWAYS_SENSITIVE: True}


class Maker:
    """Makes keys in one session."""

    def __init__(self, session: Any, vendor: Vendor, functions: Functions | None) -> None:
        self.session = session
        self.vendor = vendor
        self.functions = functions

    def hold(self, spec: KeySpec, secret: Any, public: spki.PublicKey | None) -> Held:
        return Held(spec, secret, self.vendor, self.functions, public)

    def generate(
        self, spec: KeySpec, *, token: bool, more: Template | None = None
    ) -> tuple[Held, MadeKey]:
        """A new key; nothing of it stays on the token if any test fails.

        `more` is what a private key has otherwise than its template says.
        """
        if not spec.algorithm.is_pair:
            secret = self._generate_secret(spec, token)
            return self.finished(spec, secret, None, token=token, born=True)
        more = more or {}
        public, private = self._generate_pair(spec, token, more)
        try:
            wanted = templates.public_key(spec, self.vendor, token=token)
            objects.read_back(public, wanted, self.vendor)
            key = spki.from_attributes(spec.algorithm, public.get_attributes(list(objects.KINDS)))
            made = self.finished(spec, private, key, token=token, born=True, more=more)
        except BaseException:
            discard(public, private)
            raise
        if not token:
            public.destroy()
        return made

    def unwrap(self, kek: Held, blob: bytes, spec: KeySpec, public_key: bytes) -> Held:
        """A session key from its blob, proved to belong to `public_key` if it is a pair."""
        return self._unwrapped(kek, blob, spec, public_key, token=False)[0]

    def restore(
        self, kek: Held, blob: bytes, spec: KeySpec, public_key: bytes
    ) -> tuple[Held, MadeKey]:
        """A resident key from its blob, with its public half beside it."""
        held, made = self._unwrapped(kek, blob, spec, public_key, token=True)
        return self.completed(held), made

    def completed(self, held: Held) -> Held:
        """Put the public half of a resident pair beside it; without it, nothing is left."""
        if held.public is None:
            return held
        try:
            template = templates.public_key(held.spec, self.vendor, token=True)
            public = self.session.create_object(
                {
                    Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                    Attribute.KEY_TYPE: KEY_TYPES[held.spec.algorithm],
                    **spki.to_attributes(held.public),
                    **template,
                }
            )
            objects.read_back(public, template, self.vendor)
        except BaseException:
            discard(held.secret)
            raise
        return held

    def _unwrapped(
        self, kek: Held, blob: bytes, spec: KeySpec, public_key: bytes, *, token: bool
    ) -> tuple[Held, MadeKey]:
        public = spki.load(public_key, spec.algorithm) if spec.algorithm.is_pair else None
        template = self._template(spec, token, born=False)
        point = self.vendor.point_on_unwrap
        if point and isinstance(public, EllipticCurvePublicKey):
            template[point] = spki.point(public)
        secret = self._unwrap(kek, blob, spec, template)
        if self.vendor.grants_on_unwrap and public is not None:
            self._restrict(secret, template)
        return self.finished(spec, secret, public, token=token, born=False)

    def _restrict(self, secret: Any, template: Template) -> None:
        try:
            for flag in templates.PRIVATE_FLAGS:
                secret[flag] = template[flag]
        except BaseException:
            discard(secret)
            raise

    def _unwrap(self, kek: Held, blob: bytes, spec: KeySpec, template: Template) -> Any:
        pair = spec.algorithm.is_pair
        if not _fits(spec, len(blob)):
            raise DataInvalidError(f"the wrapped key has not the size of one of {spec.algorithm}")
        try:
            return kek.secret.unwrap_key(
                ObjectClass.PRIVATE_KEY if pair else ObjectClass.SECRET_KEY,
                KEY_TYPES[spec.algorithm],
                blob,
                mechanism=self.vendor.kwp,
                capabilities=0,
                template=templates.without_defaults(template),
            )
        except PKCS11Error as error:
            if kek.refused(error):
                raise DataInvalidError(
                    "the wrapped key was refused", cause=of_exception(error).cause
                ) from error
            raise

    def _generate_pair(self, spec: KeySpec, token: bool, more: Template) -> tuple[Any, Any]:
        public = templates.public_key(spec, self.vendor, token=token)
        if spec.algorithm not in RSA_BITS:
            public |= templates.kind(spec)
        pair: tuple[Any, Any] = self.session.generate_keypair(
            KEY_TYPES[spec.algorithm],
            RSA_BITS.get(spec.algorithm),
            store=token,
            capabilities=0,
            public_template=public,
            private_template=_with(templates.private_key(spec, self.vendor, token=token), more),
        )
        return pair

    def _generate_secret(self, spec: KeySpec, token: bool) -> Any:
        return self.session.generate_key(
            KEY_TYPES[spec.algorithm],
            templates.SECRET_BYTES[spec.algorithm] * 8,
            store=token,
            capabilities=0,
            template=templates.secret_key(spec, self.vendor, token=token),
        )

    def finished(
        self,
        spec: KeySpec,
        secret: Any,
        public: spki.PublicKey | None,
        *,
        token: bool,
        born: bool,
        more: Template | None = None,
    ) -> tuple[Held, MadeKey]:
        """Read a new object back and test it; destroy it if it is not what it should be."""
        held = self.hold(spec, secret, public)
        try:
            return held, self._examined(held, token, born=born, more=more or {})
        except BaseException:
            discard(secret)
            raise

    def inspect(self, spec: KeySpec, held: Held) -> MadeKey:
        """Test a resident key that exists already, as after its making."""
        if spec.algorithm.is_pair:
            if held.spec.algorithm is not spec.algorithm:
                raise IntegrityError(f"the key on the token is no key of {spec.algorithm}")
            if held.public is None:
                raise IntegrityError("the private key on the token has no public half beside it")
        expected = replace(held, spec=spec)
        return self._examined(expected, token=True, born=bool(held.secret[Attribute.LOCAL]))

    def _examined(
        self, held: Held, token: bool, *, born: bool, more: Template | None = None
    ) -> MadeKey:
        wanted = _with(self._wanted(held.spec, token, born=born), more or {})
        attributes = objects.read_back(held.secret, wanted, self.vendor)
        pairwise.test(held)
        if not (token or born):  # opened for a while: what it is was told when it was made
            return MadeKey(held.spec, attributes=attributes)
        der = held.public_der if held.public is not None else b""
        return MadeKey(held.spec, der, pairwise.check_value(held), None, attributes)

    def _wanted(self, spec: KeySpec, token: bool, *, born: bool) -> Template:
        template = self._template(spec, token, born=born)
        if not spec.algorithm.is_pair:
            template |= templates.kind(spec)
        if spec.usage is KeyUsage.AGREE:  # it may be a copy: see `proving`
            fixed = self.vendor.fixed_in_copies
            template = {name: value for name, value in template.items() if name not in fixed}
        if born:
            template |= BORN_HERE | {Attribute.NEVER_EXTRACTABLE: not spec.extractable}
            return template
        skipped = self.vendor.unknown_on_unwrap
        return {name: value for name, value in template.items() if name not in skipped}

    def _template(self, spec: KeySpec, token: bool, *, born: bool) -> Template:
        make = templates.private_key if spec.algorithm.is_pair else templates.secret_key
        skipped = frozenset() if born else self.vendor.unknown_on_unwrap
        template = make(spec, self.vendor, token=token)
        return {name: value for name, value in template.items() if name not in skipped}


def _with(template: Template, more: Template) -> Template:
    """A template in which some values are others; what a vendor does not know stays out."""
    return {name: more.get(name, value) for name, value in template.items()}


def _fits(spec: KeySpec, size: int) -> bool:
    """KWP makes 8 bytes more, in blocks of 8 (SP 800-38F); modules mishandle other sizes.

    Some do not tell the size of an unwrapped secret key, so that it is judged here too.
    """
    if spec.algorithm.is_pair:
        return size % 8 == 0 and SMALLEST_PAIR < size <= MAX_BLOB
    return size == templates.SECRET_BYTES[spec.algorithm] + 8
