"""What each module is known to do, written down by hand: the probe must find exactly this.

What a module lacks is asserted to be refused by name; nothing is skipped.
"""

from dataclasses import dataclass

from hsm.types import USAGES, Algorithm, KeyUsage, Mechanism

A, M, U = Algorithm, Mechanism, KeyUsage
DEVICES = ("softhsm", "p11kit", "nss")
ALL_MECHANISMS, ALL_ALGORITHMS = frozenset(Mechanism), frozenset(Algorithm)
USES = [(a, u) for a in Algorithm for u in sorted(USAGES[a])]
# The mechanism that a use of a key stands on.
MECHANISM = {
    **{(a, U.SIGN): M.ECDSA for a in (A.EC_P256, A.EC_P384)},
    **{(a, U.AGREE): M.ECDH for a in (A.EC_P256, A.EC_P384)},
    (A.ED25519, U.SIGN): M.EDDSA,
    **{(a, U.SIGN): M.RSA_PKCS1_SHA256 for a in (A.RSA_2048, A.RSA_3072, A.RSA_4096)},
    **{(a, U.DECRYPT): M.RSA_OAEP_SHA256 for a in (A.RSA_2048, A.RSA_3072, A.RSA_4096)},
    **{(a, U.ENCRYPT): M.AES_GCM for a in (A.AES_128, A.AES_192, A.AES_256)},
    **{(a, U.GMAC): M.AES_GMAC for a in (A.AES_128, A.AES_192, A.AES_256)},
    **{(a, U.MAC): M.AES_CMAC for a in (A.AES_128, A.AES_192, A.AES_256)},
    **{(a, U.WRAP): M.AES_KWP for a in (A.AES_128, A.AES_192, A.AES_256)},
    (A.HMAC_SHA256, U.MAC): M.HMAC_SHA256,
}


@dataclass(frozen=True)
class Abilities:
    mechanisms: frozenset[Mechanism]
    algorithms: frozenset[Algorithm]
    unwrappable: frozenset[Algorithm] = frozenset()  # made, but never wrapped

    def can(self, algorithm: Algorithm, usage: KeyUsage, *, wrapped: bool) -> bool:
        made = algorithm in self.algorithms and MECHANISM[algorithm, usage] in self.mechanisms
        if not wrapped:
            return made
        return made and M.AES_KWP in self.mechanisms and algorithm not in self.unwrappable


ABILITIES = {
    # SoftHSM 2.6.1 knows OAEP with SHA-1 only, and wraps no Ed25519 key.
    "softhsm": Abilities(
        ALL_MECHANISMS - {M.RSA_OAEP_SHA256}, ALL_ALGORITHMS, frozenset({A.ED25519})
    ),
    # p11-kit 0.24.1 has no words for the parameters of the rest on its wire.
    "p11kit": Abilities(
        frozenset({M.ECDSA, M.RSA_PKCS1_SHA256, M.RSA_PSS_SHA256, M.HMAC_SHA256, M.RANDOM}),
        ALL_ALGORITHMS - {A.ED25519, A.AES_128, A.AES_192, A.AES_256},
    ),
    # NSS 3.87 has no Edwards curves in PKCS#11.
    "nss": Abilities(ALL_MECHANISMS - {M.EDDSA}, ALL_ALGORITHMS - {A.ED25519}),
}
