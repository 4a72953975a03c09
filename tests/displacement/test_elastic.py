"""The elastic map: one pair, convex conjugate, sparsity, mass, and the wanted dimension."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from scruot.displacement.elastic import (
    dimension,
    elastic_displacement,
    elastic_for_dimension,
    elastic_plan,
)
from scruot.displacement.penalties import Sparsity


@pytest.mark.parametrize("kind", ["l1", "stvs", "k_support"])
def test_map_of_a_single_pair_is_the_pair(kind):
    x, y = np.array([[0.5, 1.0, -2.0]]), np.array([[2.5, 1.0, -2.7]])
    moved = elastic_displacement(x, y, csr_matrix([[0.3]]), Sparsity(kind, 0.6, k=2))
    # grad h* undoes grad h, whatever the penalty; a gene that does not differ stays exactly
    np.testing.assert_allclose(moved, y - x, atol=1e-12)
    assert moved[0, 1] == 0.0


def test_map_solves_for_the_point_that_balances_the_pull_of_its_targets():
    """T(x) minimises h(x - T) - <T, mean gradient>: the conjugate, by a general solver."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 3)), rng.normal(size=(4, 3)) * 2
    shares = rng.dirichlet(np.ones(4))
    penalty = Sparsity("stvs", 0.8)
    moved = elastic_displacement(x, y, csr_matrix(shares[None]), penalty)[0]
    apart = torch.from_numpy(x - y)
    pull = (torch.from_numpy(shares)[:, None] * (apart + penalty.gradient(apart))).sum(0).numpy()

    def conjugate(z):
        return 0.5 * z @ z + float(penalty.value(torch.from_numpy(z))) - z @ pull

    best = min(minimize(conjugate, z0, method="Powell").fun for z0 in (np.zeros(3), -moved))
    assert conjugate(-moved) <= best + 1e-8


def shifted(n=60, d=12, seed=0):
    """Clouds in two halves, each of which moves along its own gene, to noisy targets."""
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1], n // 2)
    centre = np.zeros((n, d))
    centre[:, 5] = 8.0 * group
    moves = np.zeros((n, d))
    moves[np.arange(n), group] = 4.0
    # noise of the source itself is pulled to the mean of the targets: see the guide
    x = centre + 0.01 * rng.normal(size=(n, d))
    y = centre + moves + 0.2 * rng.normal(size=(n, d))
    return x, y, np.ones(n), moves


@pytest.mark.parametrize("kind", ["l1", "stvs"])
def test_few_genes_move_and_they_are_the_right_ones(kind):
    x, y, one, moves = shifted()
    penalty = Sparsity(kind, 1.0)
    plan = elastic_plan(x, y, one, one, penalty, reg=0.05, tau=np.inf)
    moved = elastic_displacement(x, y, plan, penalty)
    assert dimension(moved, one) < 1.5
    assert (np.abs(moved[moves != 0] - 4.0) < 0.6).all()
    plain = elastic_displacement(x, y, plan, Sparsity(kind, 0.0))
    assert dimension(plain, one) == pytest.approx(x.shape[1])


def test_marginals_of_the_balanced_plan_are_met_and_an_unbalanced_one_leaves_out_the_far():
    x, y, one, _ = shifted()
    far = y.copy()
    far[:6] += 40.0
    penalty = Sparsity("l1", 0.5)
    balanced = elastic_plan(x, y, one, one, penalty, reg=0.05, tau=np.inf)
    np.testing.assert_allclose(np.asarray(balanced.sum(axis=1)).ravel(), 1 / 60, rtol=1e-2)
    loose = elastic_plan(x, far, one, one, penalty, reg=0.05, tau=0.1)
    reached = np.asarray(loose.sum(axis=0)).ravel()
    assert reached[:6].max() < 0.01 * reached[6:].min()


def test_wanted_dimension_is_met_by_the_weakest_penalty():
    x, y, one, _ = shifted(40)
    start = Sparsity("stvs", 0.3)
    moved, plan, strength = elastic_for_dimension(x, y, one, one, start, 2.0, reg=0.05, tau=np.inf)
    assert dimension(moved, np.asarray(plan.sum(axis=1)).ravel()) <= 2.0
    weaker = Sparsity("stvs", 0.9 * strength)
    looser = elastic_displacement(
        x, y, elastic_plan(x, y, one, one, weaker, reg=0.05, tau=np.inf), weaker
    )
    assert dimension(looser, one) > 2.0


def test_too_many_pairs_are_refused():
    many = np.zeros((6000, 1))
    with pytest.raises(ValueError, match="6000 x 6000"):
        elastic_plan(many, many, np.ones(6000), np.ones(6000), Sparsity("l1"), reg=0.1, tau=1.0)
