"""Who may hold a share, and the key that it is sealed to: in the holder's own signed words."""

from collections.abc import Callable

from keyvault.domain.authority import Authority
from keyvault.domain.backups import SHARE_KEY_CONTEXT
from keyvault.domain.canonical import canonical
from keyvault.domain.commands.backups import Holder
from keyvault.domain.documents import document_of
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Role

Verify = Callable[[bytes, bytes, bytes], bool]
"""(SPKI, signature, message) → whether it is good."""
ANEW = "let them make it anew: keyvault shares key"


def statement(origin: str, holder: Holder) -> bytes:
    """What a holder signs of their share key; the signature itself is left out."""
    told = {name: value for name, value in document_of(holder).items() if name != "signature"}
    return canonical({"ctx": SHARE_KEY_CONTEXT, "origin": origin, **told})


def check_holder(authority: Authority, holder: Holder, verify: Verify) -> None:
    """Raise `InvalidInputError` unless a custodian of ours has signed for this share key."""
    person = authority.person(holder.person)
    if Role.KEY_CUSTODIAN not in person.roles:
        raise InvalidInputError(
            f"{person.id} is no key custodian, and shares are held by custodians",
            next_step="name a custodian, or have the role granted first",
        )
    if person.hold is not None:
        raise InvalidInputError(f"{person.id} is on hold", next_step="name another holder")
    if holder.credential not in {one.thumbprint for one in person.deciding}:
        raise InvalidInputError(
            f"the share key of {person.id} is not signed by theirs", next_step=ANEW
        )
    signer = person.credential(holder.credential)
    message = statement(authority.origin, holder)
    if signer is None or not verify(signer.spki, holder.signature, message):
        raise InvalidInputError(
            f"the share key of {person.id} has no good signature", next_step=ANEW
        )
