"""The tree against RFC 6962's own recursive definition and three foreign implementations."""

import json
import random
from itertools import pairwise
from pathlib import Path

import proofbundle.merkle
import pymerkle
import pytest
import scitt_cose.merkle
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain import tree as t

VECTORS = Path(__file__).parent.parent / "vectors" / "tlog"
ENTRIES = [b"entry %d" % number for number in range(300)]
LEAVES = [t.leaf_hash(entry) for entry in ENTRIES]
READ = t.HashReader(LEAVES)
ROOTS = [t.root_of(LEAVES[:size]) for size in range(301)]

sizes = st.integers(1, 300)


def mth(leaves):
    """MTH of RFC 6962 section 2.1, over leaf hashes."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else t.EMPTY_ROOT
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return t.node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path(m, leaves):
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m, leaves, whole):
    """SUBPROOF of RFC 6962 section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def test_the_reference_trees_have_their_published_roots():
    vectors = json.loads((VECTORS / "rfc6962-reference.json").read_bytes())
    leaves = [t.leaf_hash(bytes.fromhex(leaf)) for leaf in vectors["leaves"]]
    tree = t.Tree()
    for size, root in enumerate(vectors["roots"]):
        assert t.root_of(leaves[:size]).hex() == mth(leaves[:size]).hex() == root
        assert tree.root.hex() == root
        tree = tree.plus(leaves[size]) if size < len(leaves) else tree


def test_three_hundred_trees_have_the_root_of_the_recursive_definition():
    tree = t.Tree()
    for size in range(301):
        expected = mth(LEAVES[:size])
        assert ROOTS[size] == tree.root == t.tree_at(READ, size).root == expected
        assert t.tree_at(READ, size) == tree
        if size < 300:
            tree = tree.plus(LEAVES[size])


@given(sizes, st.integers(0, 40))
def test_many_leaves_at_once_make_the_same_tree_as_one_by_one(size, more):
    grown = t.tree_at(READ, size).plus_all(LEAVES[size : size + more])
    assert grown == t.tree_at(READ, min(size + more, len(LEAVES)))
    assert grown.at(size, READ) == t.tree_at(READ, size)


def test_an_earlier_tree_is_found_without_reading_what_both_trees_have():
    read = []

    def watched(level, index):
        read.append(index << level)
        return READ(level, index)

    assert t.tree_at(READ, 300).at(299, watched) == t.tree_at(READ, 299)
    assert min(read) >= 296
    assert t.tree_at(READ, 300).at(300, lambda *_: b"") == t.tree_at(READ, 300)


def test_every_proof_of_small_trees_is_the_one_the_rfc_defines():
    for size in range(1, 40):
        for index in range(size):
            assert t.inclusion_proof(READ, index, size) == path(index, LEAVES[:size])
            old = index + 1
            assert t.consistency_proof(READ, old, size) == subproof(old, LEAVES[:size], True)


@given(sizes, st.data())
def test_an_inclusion_proof_holds_for_its_leaf_only(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = t.inclusion_proof(READ, index, size)
    assert proof == path(index, LEAVES[:size])
    t.verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
    for wrong in ([*proof, LEAVES[0]], proof[:-1] if proof else [LEAVES[0]]):
        with pytest.raises(t.ProofError):
            t.verify_inclusion(LEAVES[index], index, size, wrong, ROOTS[size])
    with pytest.raises(t.ProofError):
        t.verify_inclusion(t.leaf_hash(b"other"), index, size, proof, ROOTS[size])


@given(sizes, st.data())
def test_a_consistency_proof_holds_for_its_two_roots_only(new, data):
    old = data.draw(st.integers(0, new))
    proof = t.consistency_proof(READ, old, new)
    assert proof == (subproof(old, LEAVES[:new], True) if old else [])
    t.verify_consistency(old, new, proof, ROOTS[old], ROOTS[new])
    for wrong in ([*proof, LEAVES[0]], proof[:-1] if proof else [LEAVES[1]]):
        with pytest.raises(t.ProofError):
            t.verify_consistency(old, new, wrong, ROOTS[old], ROOTS[new])
    with pytest.raises(t.ProofError):
        t.verify_consistency(old, new, proof, t.leaf_hash(b"other"), ROOTS[new])
    if old not in (0, new):
        with pytest.raises(t.ProofError):
            t.verify_consistency(old, new, proof, ROOTS[old], t.leaf_hash(b"other"))


@given(st.integers(0, 300), st.data())
def test_a_range_proof_leads_to_the_root(size, data):
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    proof = t.range_proof(READ, start, end, size)
    assert t.root_from_range(proof, LEAVES[start:end]) == ROOTS[size]
    assert len(proof.left) + len(proof.right) <= 2 * size.bit_length()
    if end == start + 1:
        assert {*proof.left, *proof.right} == {*t.inclusion_proof(READ, start, size)}


@given(sizes, st.data())
def test_a_range_with_a_changed_dropped_or_added_leaf_has_another_root(size, data):
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, size))
    at = data.draw(st.integers(start, end - 1)) - start
    proof = t.range_proof(READ, start, end, size)
    leaves = LEAVES[start:end]
    leaves[at] = t.leaf_hash(b"other")
    assert t.root_from_range(proof, leaves) != ROOTS[size]
    for wrong in (leaves[:-1], [*leaves, LEAVES[0]]):
        with pytest.raises(t.ProofError, match="leaves"):
            t.root_from_range(proof, wrong)


@given(st.integers(0, 300), st.data())
def test_a_range_proof_of_another_length_is_refused(size, data):
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    good = t.range_proof(READ, start, end, size)
    longer = t.RangeProof(start, end, size, good.left, (*good.right, LEAVES[0]))
    with pytest.raises(t.ProofError):
        t.root_from_range(longer, LEAVES[start:end])
    if good.right:
        shorter = t.RangeProof(start, end, size, good.left, good.right[:-1])
        with pytest.raises(t.ProofError):
            t.root_from_range(shorter, LEAVES[start:end])
    if good.left:
        shorter = t.RangeProof(start, end, size, good.left[1:], good.right)
        with pytest.raises(t.ProofError):
            t.root_from_range(shorter, LEAVES[start:end])


def test_impossible_questions_are_refused():
    for call in (
        lambda: t.inclusion_proof(READ, 5, 5),
        lambda: t.consistency_proof(READ, 6, 5),
        lambda: t.range_proof(READ, 3, 2, 5),
        lambda: t.range_proof(READ, 3, 6, 5),
        lambda: t.verify_inclusion(LEAVES[0], 5, 5, [], ROOTS[5]),
        lambda: t.verify_consistency(6, 5, [], ROOTS[5], ROOTS[5]),
        lambda: t.Tree(3, (LEAVES[0],)),
        lambda: t.Tree(1, (b"short",)),
        lambda: t.Tree(1, (LEAVES[0],)).plus_subtree(1, LEAVES[0]),
    ):
        with pytest.raises(t.ProofError):
            call()


@given(st.integers(0, 300))
def test_a_frontier_survives_its_bytes(size):
    tree = t.tree_at(READ, size)
    assert t.Tree.from_bytes(tree.to_bytes()) == tree
    for wrong in (tree.to_bytes() + b"\0", tree.to_bytes() + LEAVES[0], tree.to_bytes()[:7]):
        with pytest.raises(t.ProofError):
            t.Tree.from_bytes(wrong)


def test_proofs_read_few_hashes_of_a_large_tree():
    reads = []

    def read(level, index):
        reads.append((level, index))
        return t.leaf_hash(b"%d %d" % (level, index))

    size = 1_000_003
    for question in (
        lambda: t.inclusion_proof(read, 777_777, size),
        lambda: t.consistency_proof(read, 777_777, size),
        lambda: t.range_proof(read, 123_456, 777_777, size),
    ):
        reads.clear()
        question()
        assert len(reads) <= 3 * size.bit_length()
        assert all((index + 1) << level <= size for level, index in reads)


# Foreign implementations --------------------------------------------------------------------


def test_pymerkle_has_the_same_roots_and_inclusion_paths():
    foreign = pymerkle.InmemoryTree()
    for size, entry in enumerate(ENTRIES, 1):
        foreign.append_entry(entry)
        assert foreign.get_root() == ROOTS[size]
    for index in range(0, 300, 7):
        proof = foreign.prove_inclusion(index + 1)
        assert [*proof.path[1:]] == t.inclusion_proof(READ, index, 300)


def test_proofbundle_accepts_our_proofs_and_we_accept_its():
    random_ = random.Random(6962)  # noqa: S311 - picks cases, not secrets
    for _ in range(60):
        new = random_.randint(2, 300)
        old, index = random_.randint(1, new), random_.randrange(new)
        path_, proof = t.inclusion_proof(READ, index, new), t.consistency_proof(READ, old, new)
        foreign = proofbundle.merkle
        assert foreign.merkle_tree_hash(ENTRIES[:new]) == ROOTS[new]
        assert foreign.inclusion_proof(ENTRIES[:new], index) == path_
        assert foreign.consistency_proof(ENTRIES[:new], old) == proof
        assert foreign.verify_inclusion(ENTRIES[index], index, new, path_, ROOTS[new])
        assert foreign.verify_consistency(old, new, proof, ROOTS[old], ROOTS[new])


def test_scitt_cose_accepts_our_proofs():
    random_ = random.Random(9162)  # noqa: S311 - picks cases, not secrets
    entries = [entry.hex() for entry in ENTRIES]
    foreign = scitt_cose.merkle
    for _ in range(60):
        new = random_.randint(2, 300)
        old, index = random_.randint(1, new), random_.randrange(new)
        path_ = [node.hex() for node in t.inclusion_proof(READ, index, new)]
        proof = [node.hex() for node in t.consistency_proof(READ, old, new)]
        root, old_root = ROOTS[new].hex(), ROOTS[old].hex()
        assert foreign.merkle_root(entries[:new]) == root
        assert foreign.verify_inclusion(entries[index], index, new, path_, root)
        assert foreign.verify_consistency(old_root, root, old, new, proof)


# Tiles --------------------------------------------------------------------------------------


def stored_tiles(read, size):
    """What a log keeps: all full tiles and the partial one of level 0."""
    tiles = {at: t.build_tile(read, *at) for at in t.completed_tiles(0, size)}
    width = size % t.TILE_WIDTH
    tiles[0, size // t.TILE_WIDTH] = t.build_tile(read, 0, size // t.TILE_WIDTH, width)
    return tiles


BIG_SIZE = 70_000
BIG_LEAVES = [t.leaf_hash(b"%d" % number) for number in range(BIG_SIZE)]
BIG = t.HashReader(BIG_LEAVES)
TILES = stored_tiles(BIG, BIG_SIZE)
FROM_TILES = t.TileReader(lambda level, index: TILES.get((level, index), b""))


def test_a_tree_of_seventy_thousand_has_the_tiles_the_specification_counts():
    full = [*t.completed_tiles(0, BIG_SIZE)]
    assert [level for level, _ in full].count(0) == 273
    assert full[273:] == [(1, 0)]
    assert [t.tile_width(0, 273, BIG_SIZE), t.tile_width(1, 1, BIG_SIZE)] == [112, 17]
    assert [t.tile_width(2, 0, BIG_SIZE), t.tile_width(0, 274, BIG_SIZE)] == [1, 0]
    assert {len(tile) for at, tile in TILES.items() if at in full} == {8192}


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_tiles_complete_once_as_the_tree_grows(first, more):
    grown = [*t.completed_tiles(0, first), *t.completed_tiles(first, first + more)]
    assert sorted(grown) == sorted(t.completed_tiles(0, first + more))


@given(st.integers(0, 16), st.data())
def test_tiles_give_every_subtree_its_hash(level, data):
    index = data.draw(st.integers(0, (BIG_SIZE >> level) - 1))
    assert FROM_TILES(level, index) == BIG(level, index)
    at = t.tile_coords(level, index)
    assert at.first + at.count <= t.TILE_WIDTH
    if (at.level, at.index) in TILES:
        assert t.tile_hash(TILES[at.level, at.index], at.first, at.count) == BIG(level, index)


@given(st.integers(1, BIG_SIZE), st.data())
def test_proofs_from_tiles_are_the_proofs_from_leaves(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = t.inclusion_proof(FROM_TILES, index, size)
    assert proof == t.inclusion_proof(BIG, index, size)
    t.verify_inclusion(BIG_LEAVES[index], index, size, proof, t.tree_at(FROM_TILES, size).root)


def test_a_hash_beyond_the_tiles_is_refused():
    with pytest.raises(t.ProofError, match="has no hashes"):
        FROM_TILES(0, BIG_SIZE)
    with pytest.raises(t.ProofError):
        FROM_TILES(8, 273)


def test_tiles_have_the_names_of_the_specification():
    assert t.tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert t.tile_path(1, 0, 17) == "tile/1/000.p/17"
    assert t.tile_path(0, 999) == "tile/0/999"
    names = [t.tile_path(0, index) for index in range(998, 1003)]
    assert all(first != second for first, second in pairwise(names))
