"""Random proofs from our own code, a seed at a time, for others to judge."""

import random

from keyvault.domain import tree

LARGEST = 3_000  # leaves
ENTRIES = [b"entry %d" % number for number in range(LARGEST)]
LEAVES = [tree.leaf_hash(entry) for entry in ENTRIES]
READ = tree.HashReader(LEAVES)


def root(size):
    return tree.tree_at(READ, size).root


def cases(seed, count):
    """Yield proofs as plain values: half of them of inclusion, half of consistency."""
    chance = random.Random(seed)  # noqa: S311  (picks cases, not secrets)
    for number in range(count):
        size = chance.randint(1, LARGEST)
        if number % 2:
            old = chance.randint(1, size)
            proof = tree.consistency_proof(READ, old, size)
            yield {"old": old, "old_root": root(old).hex(), **_common(size, proof)}
        else:
            index = chance.randrange(size)
            proof = tree.inclusion_proof(READ, index, size)
            yield {"index": index, "leaf": LEAVES[index].hex(), **_common(size, proof)}


def _common(size, proof):
    return {"size": size, "root": root(size).hex(), "proof": [node.hex() for node in proof]}


def spoiled(case):
    """The same claim about another root, which nobody may believe."""
    return {**case, "root": tree.leaf_hash(bytes.fromhex(case["root"])).hex()}
