"""A key-agreement key signs its own certification request, once (SP 800-57 part 1, 5.2).

Uses are attributes, fixed when an object is made. So the key is born as a session object that
may sign and nothing else, signs, and becomes an object that may agree and nothing else: by a copy
onto the token, or by the wrapped blob, which carries no uses. The first object is destroyed
before the call ends, and with its process in any case. No object ever has both uses.
"""

from dataclasses import replace
from typing import Any

from pkcs11 import Attribute
from pkcs11.exceptions import PKCS11Error

from hsm.device import Proof
from hsm.errors import IntegrityError, KeyUnusableError, MechanismUnsupportedError
from hsm.pkcs11 import spki, templates
from hsm.pkcs11.errors import of_exception
from hsm.pkcs11.held import EC, Held
from hsm.pkcs11.making import Maker
from hsm.pkcs11.objects import discard
from hsm.types import KeySpec, KeyUsage, MadeKey, Mechanism

# In this order: what is no longer MODIFIABLE takes no other change.
CHANGED = (
    *(Attribute.TOKEN, Attribute.SIGN, Attribute.DERIVE),
    *(Attribute.COPYABLE, Attribute.MODIFIABLE),
)
MAY_CHANGE = {Attribute.MODIFIABLE: True, Attribute.COPYABLE: True}


def generate(
    maker: Maker, spec: KeySpec, proof: Proof | None, *, token: bool
) -> tuple[Held, MadeKey]:
    """Make a key; with `proof`, let it sign once on the way. Raises `MechanismUnsupportedError`."""
    if proof is None:
        return maker.generate(spec, token=token)
    if spec.usage is not KeyUsage.AGREE or spec.algorithm not in EC:
        raise KeyUnusableError("only an elliptic key to agree with signs once at its birth")
    first, made = maker.generate(
        replace(spec, usage=KeyUsage.SIGN), token=False, more=MAY_CHANGE if token else {}
    )
    try:
        made = replace(made, spec=spec, proof=_signed(first, proof(made.public_key)))
        return _settled(maker, first, made) if token else (first, made)
    except BaseException:
        discard(first.secret)
        raise


def _signed(first: Held, digest: bytes) -> bytes:
    signature = first.sign(Mechanism.ECDSA, digest)
    if first.public is None or not spki.verifies(first.public, Mechanism.ECDSA, digest, signature):
        raise IntegrityError(
            "the device made a signature that does not verify; it was not released",
            next_step="Take the device out of service and have it examined.",
        )
    return signature


def _settled(maker: Maker, first: Held, made: MadeKey) -> tuple[Held, MadeKey]:
    wanted = templates.private_key(made.spec, maker.vendor, token=True)
    fixed = maker.vendor.fixed_in_copies | maker.vendor.unknown
    copy = _copied(first, {name: wanted[name] for name in CHANGED if name not in fixed})
    born = maker.vendor.copies_are_born_here
    held, tested = maker.finished(made.spec, copy, first.public, token=True, born=born)
    maker.completed(held)
    first.secret.destroy()
    return held, replace(tested, proof=made.proof)


def _copied(first: Held, changes: dict[Any, Any]) -> Any:
    try:
        return first.secret.copy(changes)
    except PKCS11Error as error:
        raise MechanismUnsupportedError(
            "this module does not turn a key that signs into one to agree with",
            cause=of_exception(error).cause,
            next_step="Keys to agree with get no certification request here.",
        ) from error
