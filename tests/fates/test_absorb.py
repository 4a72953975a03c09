"""Fates through chains of plans, against closed forms."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from scruot.fates import absorb
from scruot.transport import Chain


def plans(rng, sizes):
    """Make random plans in which every cell has received its mass."""
    masses = [rng.uniform(0.5, 2.0, n) for n in sizes]
    made = []
    for k in range(len(sizes) - 1):
        plan = rng.uniform(0.0, 1.0, (sizes[k], sizes[k + 1]))
        made.append(csr_array(plan * (masses[k + 1] / plan.sum(0))))
    return masses, Chain(made)


def test_without_exits_before_the_end_it_is_the_product_of_the_plans():
    rng = np.random.default_rng(0)
    masses, chain = plans(rng, (4, 5, 6))
    labels = np.eye(3)[rng.integers(0, 3, 6)]
    empty = [np.zeros((4, 3)), np.zeros((5, 3))]
    found = absorb(chain, masses, [*empty, labels])
    for k in range(2):
        expected = chain.pull(labels, k, 2) / masses[k][:, None]
        np.testing.assert_allclose(found.mass[k][:, :3], expected, atol=1e-12)
        np.testing.assert_allclose(found.mass[k][:, 3], 0.0, atol=1e-12)
        # the fates of all cells together are those that were observed
        total = masses[k] @ found.mass[k][:, :3]
        np.testing.assert_allclose(total, masses[2] @ labels)


def test_mass_leaves_where_a_state_ends_and_counts_as_it_is_there():
    # one cell sends 1 to an exit and 2 to a cell that becomes 6 at the end
    first, second = csr_array([[1.0, 2.0]]), csr_array([[9.0], [6.0]])
    members = [np.zeros((1, 2)), np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 1.0]])]
    found = absorb(Chain([first, second]), [np.ones(1), np.array([1.0, 2.0]), np.ones(1)], members)
    np.testing.assert_allclose(found.mass[0], [[1.0, 6.0, 0.0]])
    np.testing.assert_allclose(found.mass[1], [[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    np.testing.assert_allclose(found.probabilities[0], [[1 / 7, 6 / 7, 0.0]])


def test_what_is_in_no_state_at_the_end_is_none_and_who_has_no_descendants_has_no_fate():
    plan = csr_array([[1.0, 3.0], [0.0, 0.0]])
    members = [np.zeros((2, 2)), np.array([[0.0, 1.0], [0.0, 0.0]])]
    found = absorb(Chain([plan]), [np.ones(2), np.ones(2)], members)
    np.testing.assert_allclose(found.probabilities[0][0], [0.0, 0.25, 0.75])
    assert np.isnan(found.probabilities[0][1]).all()
    np.testing.assert_allclose(found.mass[0][1], 0.0)


def test_wrong_shapes_are_refused():
    plan = csr_array([[1.0, 3.0]])
    with pytest.raises(ValueError, match="expected \\[1, 2\\]"):
        absorb(Chain([plan]), [np.ones(1), np.ones(3)], [np.zeros((1, 2)), np.zeros((3, 2))])
