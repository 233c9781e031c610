"""What the event of a batch says of each of its results."""

from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.canonical import canonical
from keyvault.domain.tree import leaf_hash, root_of
from keyvault.operations.use import details_of

pairs = st.lists(st.tuples(st.binary(max_size=64), st.binary(max_size=64)), min_size=2)


@given(pairs)
def test_each_detail_is_a_leaf_of_canonical_json(pairs):
    said = details_of([data for data, _ in pairs], [result for _, result in pairs])
    leaves = [leaf_hash(canonical({"i": at, **pair})) for at, pair in enumerate(said["details"])]
    assert said["count"] == len(leaves)
    assert said["details_root"] == root_of(leaves).hex()
