"""Composition of couplings: conservation, and agreement of its three forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from scruot.transport import Chain


def random_chain(seed, sizes=(12, 15, 9, 11), density=0.4):
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(sizes)
    return Chain([random_array(s, density=density, rng=rng, format="csr") for s in pairs])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.sampled_from([0.05, 0.3, 1.0]))
def test_push_pull_and_product_agree(seed, density):
    chain = random_chain(seed, density=density)
    rng = np.random.default_rng(seed)
    whole = chain.between(0, 3, kept_mass=1.0)
    weights, values = rng.random(12), rng.random((11, 2))
    np.testing.assert_allclose(chain.push(weights, 0, 3), whole.T @ weights, atol=1e-12)
    np.testing.assert_allclose(chain.pull(values, 0, 3), whole @ values, atol=1e-12)
    blocks = chain.between(0, 3, kept_mass=1.0, max_bytes=12 * 12 * 11)
    np.testing.assert_allclose(blocks.toarray(), whole.toarray(), atol=1e-12)


def test_mass_of_cells_with_ancestors_is_conserved():
    chain = random_chain(3, density=0.15)
    first, second = (plan.toarray() for plan in chain.plans[:2])
    received = first.sum(0)
    sent_on = second.sum(1)
    assert (received == 0).any()  # births between the ends, which descend from nobody
    composed = chain.between(0, 2, kept_mass=1.0)
    np.testing.assert_allclose(composed.sum(0), second[received > 0].sum(0))
    expected = (
        first[:, received > 0] @ (sent_on / np.where(received > 0, received, 1))[received > 0]
    )
    np.testing.assert_allclose(composed.sum(1), expected)


def test_balanced_plans_compose_to_a_balanced_plan():
    rng = np.random.default_rng(0)
    plans, masses = [], [rng.random(n) for n in (8, 9, 7)]
    masses = [m / m.sum() for m in masses]
    for a, b in itertools.pairwise(masses):
        plan = rng.random((len(a), len(b)))
        for _ in range(2000):
            plan *= (a / plan.sum(1))[:, None]
            plan *= b / plan.sum(0)
        plans.append(csr_array(plan))
    composed = Chain(plans).between(0, 2, kept_mass=1.0)
    np.testing.assert_allclose(composed.sum(1), masses[0], rtol=1e-8)
    np.testing.assert_allclose(composed.sum(0), masses[2], rtol=1e-8)


def test_cut_products_keep_their_rows_and_their_largest_entries():
    chain = random_chain(5, sizes=(30, 40, 50), density=0.5)
    whole, cut = (chain.between(0, 2, kept_mass=share) for share in (1.0, 0.8))
    assert cut.nnz < 0.9 * whole.nnz
    np.testing.assert_allclose(cut.sum(1), whole.sum(1))
    dense, kept = whole.toarray(), cut.toarray() > 0
    for row, mask in zip(dense, kept, strict=True):
        assert row[mask].sum() >= 0.8 * row.sum()
        assert row[mask].sum() - row[mask].min() < 0.8 * row.sum()
        assert row[mask].min() >= row[~mask].max()


def test_bad_input_has_one_clear_message():
    with pytest.raises(ValueError, match="Found no plan"):
        Chain([])
    with pytest.raises(ValueError, match="as many rows"):
        Chain([csr_array((3, 4)), csr_array((5, 2))])
    chain = random_chain(0)
    with pytest.raises(ValueError, match="start < stop"):
        chain.push(np.ones(12), 1, 1)
    with pytest.raises(ValueError, match="Found values of shape"):
        chain.pull(np.ones(5), 0, 2)
    with pytest.raises(ValueError, match="Found kept_mass"):
        chain.between(0, 2, kept_mass=0.0)
    with pytest.raises(MemoryError, match="push and pull"):
        chain.between(0, 2, max_bytes=100)
