"""Standard errors, the empirical null, neighbours along the trajectory, groups."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import chi2, norm

from scruot.displacement.averages import (
    compact,
    dense_columns,
    make_averages,
    reached,
)
from scruot.displacement.calibrate import adjusted, calibrated, pooled
from scruot.displacement.groups import compare_groups
from scruot.displacement.heading import excess, heading_features
from scruot.displacement.local import (
    Pair,
    level_for,
    measure,
    null_measures,
    random_halves,
    within_groups,
)
from scruot.displacement.metric import (
    couple_clouds,
    idle_covariance,
    largest_entries,
    mean_squared_distance,
    quiet_metric,
)
from scruot.displacement.neighbours import nearest_cells


@pytest.fixture
def still():
    """Two samples of one law: coordinates, and 300 genes that depend on them, plus noise."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(4, 300)) * 0.5
    z, w = rng.normal(size=(2, 400, 4))
    x, y = (c @ loadings + rng.normal(size=(400, 300)) for c in (z, w))
    one = np.ones(400)
    return Pair(x, y, z, w, one, one), couple_clouds(z, w, one, one, reg=0.05, tau=0.1)


def test_standard_errors_are_calibrated_where_nothing_moves(still):
    pair, plan = still
    averages = pair.averages(plan)[0]
    moved, error = averages.difference(reached(averages.reach, pair.x, pair.y))
    z = moved / error
    assert z.std() == pytest.approx(1.0, abs=0.1)
    assert abs(z.mean()) < 0.05
    # hardly any of the tails of a normal deviate is missing or added
    assert (np.abs(z) > 2).mean() == pytest.approx(0.0455, abs=0.02)


def test_group_scores_are_calibrated_where_nothing_moves(still):
    pair, plan = still
    members = csr_matrix(np.stack([pair.z[:, 0] > 0, pair.z[:, 0] <= 0]).astype(float))
    test = compare_groups(pair.x, pair.y, plan, members)
    assert test.score.std() == pytest.approx(1.0, abs=0.15)
    assert (test.p_value < 0.05).mean() < 0.1


def test_p_values_of_genes_that_do_not_move_are_uniform_enough(still):
    pair, plan = still
    rng = np.random.default_rng(1)
    null = null_measures(random_halves(pair, reg=0.05, tau=0.1, n_genes=1000, rng=rng), None)
    _, p_value = calibrated(measure(pair, plan), null)
    assert (p_value < 0.05).mean() < 0.1
    assert p_value.min() > 1e-4
    assert adjusted(p_value).min() > 0.05


def test_means_and_errors_are_the_textbook_ones():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(5, 3))
    near = csr_matrix(np.full((1, 6), 1 / 6))
    reach = csr_matrix(np.full((6, 5), 1 / 5))
    moved, error = make_averages(near, reach).difference(reached(reach, x, y))
    np.testing.assert_allclose(moved[0], y.mean(0) - x.mean(0))
    expected = np.sqrt(x.var(0, ddof=1) / 6 + y.var(0, ddof=1) / 5)
    np.testing.assert_allclose(error[0], expected)


def test_columns_come_back_whole_from_sparse_and_dense():
    rng = np.random.default_rng(3)
    dense = rng.random((7, 11)) * (rng.random((7, 11)) < 0.3)
    for matrix in (dense, csr_matrix(dense)):
        blocks = [b for _, (b, _) in dense_columns(matrix, dense)]
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1), dense)


def test_neighbours_weigh_by_mass():
    z = np.array([[0.0], [0.1], [5.0]])
    near = nearest_cells(z, np.array([1.0, 3.0, 1.0]), 2).toarray()
    np.testing.assert_allclose(near[0], [0.25, 0.75, 0.0])


def test_metric_silences_what_the_quiet_cloud_varies_in():
    rng = np.random.default_rng(4)
    quiet = rng.normal(size=(500, 2)) * [10.0, 1.0]
    loud = rng.normal(size=(500, 2)) * [10.0, 8.0]
    one = np.ones(500)
    flat = loud @ quiet_metric([quiet, loud], [one, one])
    spread = np.linalg.svd(np.cov(flat.T))[1]
    assert spread[0] > 4 * spread[1]
    along = np.abs(np.corrcoef(flat @ np.linalg.svd(np.cov(flat.T))[0][:, 0], loud[:, 1])[0, 1])
    assert along > 0.99


def test_small_dense_products_and_large_sparse_ones_are_the_same():
    rng = np.random.default_rng(9)
    near = nearest_cells(rng.normal(size=(60, 2)), np.ones(60), 20)
    assert isinstance(compact(near), np.ndarray)
    assert not isinstance(
        compact(nearest_cells(rng.normal(size=(60, 2)), np.ones(60), 2)), np.ndarray
    )
    reach = csr_matrix(rng.dirichlet(np.ones(50), 60))
    norms = make_averages(near, reach).norms
    np.testing.assert_allclose(norms[1], np.square((near @ reach).toarray()).sum(axis=1))


@pytest.mark.parametrize("turned", [False, True])
def test_idle_variance_is_the_smaller_in_every_direction_and_the_mean_where_alike(turned):
    # the moved cloud has less variance in all: its idle variance happens to be small
    quiet, moved = np.diag([100.0, 1.0]), np.diag([88.0, 9.0])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0] if turned else np.eye(2)
    clouds = [turn @ c @ turn.T for c in (quiet, moved)]
    found = turn.T @ idle_covariance(clouds, [500.0, 500.0]) @ turn
    np.testing.assert_allclose(found, np.diag([94.0, 1.0]), atol=0.05)


def test_samples_of_one_law_are_pooled():
    rng = np.random.default_rng(10)
    clouds = [np.cov(rng.normal(size=(300, 20)).T) for _ in range(5)]
    found = idle_covariance(clouds, [300.0] * 5)
    np.testing.assert_allclose(found, np.mean(clouds, axis=0), atol=0.05)
    assert np.linalg.eigvalsh(found)[0] > 0.7  # of one sample: (1 - sqrt(20 / 300))^2 = .55


def test_mean_squared_distance_is_that_of_all_pairs():
    rng = np.random.default_rng(5)
    x, y, a, b = rng.normal(size=(4, 3)), rng.normal(size=(6, 3)), rng.random(4), rng.random(6)
    square = ((x[:, None] - y) ** 2).sum(-1)
    expected = (a / a.sum()) @ square @ (b / b.sum())
    assert mean_squared_distance(x, y, a, b) == pytest.approx(expected)


def test_excess_is_zero_on_average_where_nothing_moves_and_a_shift_where_all_do(still):
    pair, plan = still
    width = 0.05 * mean_squared_distance(pair.z, pair.w, pair.a, pair.b)
    assert np.abs(excess(pair.z, pair.w, pair.a, plan, width).mean(0)).max() < 0.15
    shifted = pair.w + np.array([1.0, 0.0, 0.0, 0.0])
    moving = couple_clouds(pair.z, shifted, pair.a, pair.b, reg=0.05, tau=10.0)
    mean = excess(pair.z, shifted, pair.a, moving, width).mean(0)
    # the samples differ by a little more than the shift
    np.testing.assert_allclose(mean, shifted.mean(0) - pair.z.mean(0), atol=0.1)


def lineages(n=400, d=10, seed=6):
    """Two lineages that overlap among idle coordinates and head apart in the first two."""
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, n)
    z = rng.normal(size=(n, d))
    w = rng.normal(size=(n, d))
    later = rng.integers(0, 2, n)
    z[np.arange(n), side] += 2.0
    w[np.arange(n), later] += 6.0
    return z, w, side


def test_neighbours_share_their_heading():
    z, w, side = lineages()
    one = np.ones(len(z))
    pair = Pair(np.zeros((400, 1)), np.zeros((400, 1)), z, w, one, one)
    plan = couple_clouds(z, w, one, one, reg=0.05, tau=10.0)
    halves = random_halves(pair, reg=0.05, tau=10.0, n_genes=2, rng=np.random.default_rng(0))
    null = [
        excess(h.z, h.w, h.a, p, 0.05 * mean_squared_distance(h.z, h.w, h.a, h.b))
        for h, p in halves
    ]
    features = heading_features(z, w, one, one, plan, null, reg=0.05, n_neighbors=30)

    def purity(f):
        return (nearest_cells(f, one, 30) @ np.eye(2)[side])[np.arange(400), side].mean()

    assert purity(features) > purity(z) + 0.05


def test_neighbours_stay_within_their_group(still):
    pair, plan = still
    codes = np.arange(400) % 2
    near = within_groups(pair, codes).averages(plan)[0].near.tocoo()
    assert (codes[near.row] == codes[near.col]).all()
    assert within_groups(pair, np.zeros(400)) is pair


def test_without_movement_neighbours_are_by_place_alone(still):
    pair, plan = still
    halves = random_halves(pair, reg=0.05, tau=0.1, n_genes=1, rng=np.random.default_rng(0))
    null = [
        excess(h.z, h.w, h.a, p, 0.05 * mean_squared_distance(h.z, h.w, h.a, h.b))
        for h, p in halves
    ]
    features = heading_features(
        pair.z, pair.w, pair.a, pair.b, plan, null, reg=0.05, n_neighbors=30
    )
    assert features is pair.z


def test_far_mass_is_left_out_of_a_coupling():
    z, w = np.zeros((10, 1)), np.zeros((10, 1))
    z += np.linspace(0, 1, 10)[:, None]
    w += np.linspace(0, 1, 10)[:, None]
    w[0] = 30.0
    plan = couple_clouds(z, w, np.ones(10), np.ones(10), reg=0.02, tau=0.1)
    reached = np.asarray(plan.sum(axis=0)).ravel()
    assert reached[0] < 0.02 * reached[1:].min()


def test_largest_entries_keep_rows_and_bound_every_mean():
    rng = np.random.default_rng(11)
    plan = rng.random((2100, 40)) ** 8 * rng.random((2100, 1))
    plan[5] = 0.0
    cut = largest_entries(csr_matrix(plan), 0.99).toarray()
    np.testing.assert_allclose(cut.sum(axis=1), plan.sum(axis=1))
    assert (cut > 0).mean() < 0.6
    # the fewest: without its smallest entry no row has its share
    kept = np.where(cut > 0, plan, 0.0)
    some = plan.sum(axis=1) > 0
    assert (kept.sum(axis=1) >= 0.99 * plan.sum(axis=1)).all()
    smallest = np.where(kept > 0, kept, np.inf).min(axis=1)
    assert ((kept.sum(axis=1) - smallest) < 0.99 * plan.sum(axis=1))[some].all()
    value = rng.random(40)
    means = (cut @ value)[some] / cut.sum(axis=1)[some] - (plan @ value)[some] / plan.sum(axis=1)[
        some
    ]
    assert np.abs(means).max() < 0.01 * np.ptp(value)


def test_wanted_number_per_row_is_met():
    size = np.abs(np.random.default_rng(7).normal(size=(50, 40)))
    assert (size > level_for(size, 3.0)).sum() == 150
    assert level_for(size, 1000.0) == 0.0


def test_adjusted_rates_are_those_of_benjamini_and_hochberg():
    rates = adjusted(np.array([0.01, 0.04, 0.03, 0.5]))
    np.testing.assert_allclose(rates, [0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_pooling_is_fishers_for_one_and_near_it_for_several():
    p = np.array([[0.01, 0.5]])
    np.testing.assert_array_equal(pooled(p), p[0])
    three = np.full((3, 1), 0.01)
    plain = chi2.sf(-2 * 3 * np.log(0.01), 6)
    # shared snapshots make it a little weaker, far from nothing
    assert plain < pooled(three)[0] < 0.001
    # four intervals between five snapshots of genes that do not move
    level = np.random.default_rng(8).normal(size=(5, 20_000))
    shared = 2 * norm.sf(np.abs(np.diff(level, axis=0)) / np.sqrt(2))
    assert (pooled(shared) < 0.05).mean() == pytest.approx(0.05, abs=0.006)
