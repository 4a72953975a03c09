"""The branching simulation against its own truth."""

import anndata as ad
import numpy as np
import pytest
from scipy.linalg import expm

from scruot.datasets import branching
from scruot.datasets._forks import Forks, continue_cells


@pytest.fixture(scope="module")
def simulated() -> ad.AnnData:
    return branching(1500, 8, n_continue=64, random_state=0)


def test_shapes_and_sampling(simulated):
    population = simulated.uns["truth"]["population"]
    counts = simulated.obs.groupby("time").size()
    assert simulated.shape == (1500, 8)
    assert list(counts.index) == list(population["time"]) == [0.0, 1.0, 2.0, 3.0, 4.0]
    share = 1500 * population["size"] / population["size"].sum()
    assert np.abs(counts.to_numpy() - share).max() <= 1
    equal = branching(100, 3, sampling="equal", n_continue=0, n_times=4, duration=1.5)
    assert set(equal.obs.groupby("time").size()) == {25}
    assert "fate_true" not in equal.obsm


def test_fates_are_probabilities_and_known_at_the_end(simulated):
    fates = simulated.obsm["fate_true"]
    np.testing.assert_allclose(fates.sum(axis=1), 1.0)
    last = (simulated.obs["time"] == 4.0).to_numpy()
    named = simulated.uns["truth"]["fates"][fates[last].argmax(axis=1)]
    np.testing.assert_array_equal(named, simulated.obs["cell_type"][last])
    assert set(np.unique(fates[last])) == {0.0, 1.0}
    first = simulated.obs["cell_type"][simulated.obs["time"] == 0.0]
    assert (first == "progenitor").all()
    # Early cells are undecided, yet not all alike: something is left to be learned.
    early = fates[(simulated.obs["time"] == 1.0).to_numpy()]
    assert (early.max(axis=1) < 0.9).mean() > 0.2
    assert early[:, 0].std() > 0.1


def test_fates_and_descendants_predict_the_final_population(simulated):
    """The first snapshot's descendants have the size and the fates of the last population."""
    time = simulated.obs["time"].to_numpy()
    population = simulated.uns["truth"]["population"]["size"]
    descendants = simulated.obs["descendants_true"].to_numpy()
    expected = np.average(
        simulated.obsm["fate_true"][time == 0], axis=0, weights=descendants[time == 0]
    )
    observed = simulated.obsm["fate_true"][time == 4].mean(axis=0)
    n_first, n_last = (time == 0).sum(), (time == 4).sum()
    # Sampling error of both snapshots; early fates spread less than one or zero.
    error = np.sqrt(0.25 / n_first + 0.25 / n_last)
    assert np.abs(expected - observed).max() < 4 * error
    spread = descendants[time == 0].std() / np.sqrt(n_first)
    # Families of one founder have a size of their own: a few times the Poisson error.
    drawn = 2 * np.sqrt(population[-1]) / population[0]
    fold = population[-1] / population[0]
    assert abs(descendants[time == 0].mean() - fold) < 4 * np.hypot(spread, drawn)


def test_drift_is_turned_with_the_data():
    """The same law, seen straight and turned, gives the same drift."""
    straight = branching(60, 6, rotate=False, n_continue=0, random_state=2)
    turned = branching(60, 6, rotate=True, n_continue=0, random_state=2)
    rotation = turned.uns["truth"]["rotation"]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(straight.X[:, :3], straight.obsm["X_core"])
    np.testing.assert_allclose(turned.X @ rotation, straight.X, atol=1e-5)
    np.testing.assert_allclose(
        turned.obsm["drift_true_sim"] @ rotation, straight.obsm["drift_true_sim"], atol=1e-5
    )
    np.testing.assert_allclose(
        straight.obsm["drift_true_sim"][:, 3:], -0.5 * straight.X[:, 3:], atol=1e-6
    )


def test_meaningless_dimensions_are_stationary():
    adata = branching(4000, 5, rotate=False, n_continue=0, sigma=0.4, relaxation=0.8)
    noise = adata.X[:, 3:]
    expected = 0.4**2 / (2 * 0.8)
    assert abs(noise.var() / expected - 1) < 5 * np.sqrt(2 / noise.size)


def test_descendants_with_one_rate_are_exponential():
    """Where every fate grows alike, late cells have exp(rate * time) descendants."""
    law = Forks((0.7, 0.7, 0.7), 0.15, 0.1, 0.3)
    late = np.array([[4.0, 1.0, 0.2], [4.5, -1.0, 0.0]])
    rng = np.random.default_rng(0)
    fates, descendants = continue_cells(law, late, 1.0, 200, 0.05, rng)
    np.testing.assert_allclose(descendants, np.exp(0.7), rtol=2e-3)  # the gate is at 0.999
    assert fates[1, 0] > 0.99


def test_continuation_solves_the_backward_equation():
    """Fate and descendants at a point agree with the generator on a grid of one coordinate.

    With s far past both forks and u deep in the right well, only w moves: a chain on a grid of w
    has the same fates B and C, with growth as potential.
    """
    law = Forks((0.0, 0.9, -0.3), 0.0, 0.0, 0.5)
    w = np.linspace(-2.2, 2.2, 441)
    step = w[1] - w[0]
    core = np.column_stack((np.full_like(w, 4.5), np.ones_like(w), w))
    drift, growth, diffusion = law.drift(core)[:, 2], law.growth(core), 0.5 * law.sigma**2
    up, down = diffusion / step**2 + drift / (2 * step), diffusion / step**2 - drift / (2 * step)
    generator = np.diag(up[:-1], 1) + np.diag(down[1:], -1)
    generator -= np.diag(generator.sum(axis=1)) - np.diag(growth)
    mass = expm(0.8 * generator) @ np.column_stack((w < 0, w >= 0))
    rows = [190, 220, 230, 260]
    n = 20_000
    fates, descendants = continue_cells(law, core[rows], 0.8, n, 0.01, np.random.default_rng(0))
    expected = mass[rows] / mass[rows].sum(axis=1, keepdims=True)
    # Monte-Carlo error below 0.004, plus the steps' and the spread of u around its well.
    np.testing.assert_allclose(fates[:, 1:], expected, atol=0.03)
    np.testing.assert_allclose(descendants, mass[rows].sum(axis=1), rtol=0.03)


def test_seed_decides_everything_and_truth_does_not_change_the_data():
    a = branching(80, 4, n_continue=4, random_state=5)
    b = branching(80, 4, n_continue=4, random_state=5)
    c = branching(80, 4, n_continue=0, random_state=5)
    d = branching(80, 4, n_continue=0, random_state=6)
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.obsm["fate_true"], b.obsm["fate_true"])
    np.testing.assert_array_equal(a.X, c.X)
    assert not np.array_equal(c.X, d.X)


def test_survives_a_file(tmp_path):
    adata = branching(60, 3, n_continue=2)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.obsm["fate_true"], adata.obsm["fate_true"])
    assert list(again.uns["truth"]["fates"]) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_dims": 2}, "n_dims=2;"),
        ({"n_cells": 3}, "n_cells=3;"),
        ({"n_times": 1}, "n_times=1;"),
        ({"sampling": "all"}, "sampling is 'all'"),
        ({"growth_rates": (1.0, 2.0)}, "three finite numbers"),
        ({"growth_rates": (1.0, 2.0, 5.0)}, "population may reach"),
        ({"dt": 2.0}, "dt is 2.0"),
        ({"relaxation": 0.0}, "relaxation is 0.0"),
        ({"n_cells": 50, "growth_rates": (-9.0, -9.0, -9.0)}, "of .* to be sampled"),
    ],
)
def test_wrong_parameters_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        branching(**wrong)
