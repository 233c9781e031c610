"""What differs from module to module, as data."""

from dataclasses import dataclass

from pkcs11 import Attribute, Mechanism


@dataclass(frozen=True, slots=True)
class Vendor:
    """Numbers and gaps of one make of module.

    `refusals` names the CKR codes by which it reports a bad tag or a bad wrapped blob,
    where it does not use the standard's. `unknown` are attributes that it does not store, and
    `unknown_on_unwrap` those that C_UnwrapKey refuses besides.
    `point_on_unwrap` is the attribute in which C_UnwrapKey wants the public point of an EC key.
    `grants_on_unwrap`: an unwrapped private key may do everything, whatever its template said.
    `misstates_sizes`: asked for the size of an output, it tells too little.
    `copies_are_born_here`: a copy within the token still counts as never sensitive elsewhere.
    `fixed_in_copies` are attributes that a copy has as its original has them, whatever is asked.
    `oaep_without_sha256`: OAEP is there with SHA-1 alone.
    `data_in_labels`: it stores no data objects, and labels of idle keys stand in for them.
    `trusts` says whether a user may mark a KEK as TRUSTED, and have WRAP_WITH_TRUSTED enforced.
    """

    name: str
    kwp: Mechanism = Mechanism.AES_KEY_WRAP_KWP
    refusals: frozenset[str] = frozenset()
    unknown: frozenset[Attribute] = frozenset()
    unknown_on_unwrap: frozenset[Attribute] = frozenset()
    point_on_unwrap: int | None = None
    grants_on_unwrap: bool = False
    misstates_sizes: bool = False
    copies_are_born_here: bool = True
    fixed_in_copies: frozenset[Attribute] = frozenset()
    oaep_without_sha256: bool = False
    data_in_labels: bool = False
    trusts: bool = False
