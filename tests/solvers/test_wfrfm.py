"""WFR flow matching against geometry: paths, limits of delta, and pure growth."""

import math

import numpy as np
import pytest
import torch

from scruot.dynamics import Snapshots
from scruot.geometry import travelling_dirac
from scruot.solvers.params import make_params
from scruot.solvers.run import fit_snapshots
from scruot.solvers.wfrfm import WFRFM

QUICK = {"steps": 400, "batch_size": 256, "width": 64}


def fit(clouds, **options):
    params = make_params(WFRFM.params, {**QUICK, **options}, "wfrfm")
    return fit_snapshots(clouds, WFRFM, params, device=torch.device("cpu"))


def two_times(x0, x1, w0=None, w1=None, times=(0.0, 1.0)):
    weights = (
        torch.ones(len(x), dtype=torch.float64) if w is None else torch.as_tensor(w).double()
        for x, w in ((x0, w0), (x1, w1))
    )
    return Snapshots(times, (x0.float(), x1.float()), tuple(weights))


def cloud(n, seed=0, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# oracles


def test_diracs_travel_as_the_closed_form_says():
    # two cells far apart: one goes right and triples, the other goes up and halves
    x0, x1 = torch.tensor([[0.0, 0.0], [20.0, 0.0]]), torch.tensor([[2.0, 0.0], [20.0, 1.5]])
    w0, w1 = [1.0, 1.0], [3.0, 0.5]
    model = fit(two_times(x0, x1, w0, w1, (10.0, 14.0)), delta=1.5, sigma=0.02, steps=800).dynamics
    s = torch.linspace(0.05, 0.95, 10)
    for k in range(2):
        ends = (v[k].expand(10, 2) for v in (x0, x1))
        masses = (torch.full((10,), w[k]) for w in (w0, w1))
        path = travelling_dirac(s, *ends, *masses, 1.5)
        t = 10.0 + 4.0 * s
        velocity, growth = model.velocity(t, path.x), model.growth(t, path.x)
        speed = float(path.velocity.norm(dim=1).mean()) / 4
        assert float((velocity - path.velocity / 4).norm(dim=1).max()) < 0.1 * speed
        assert (
            float((growth - path.growth / 4).abs().max()) < 0.1 * float(path.growth.abs().max()) / 4
        )
    run = model.simulate(x0, [10.0, 14.0], weights=torch.tensor(w0))
    np.testing.assert_allclose(run.x[-1], x1, atol=0.1)
    np.testing.assert_allclose(run.weights[-1], w1, rtol=0.1)


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_large_delta_is_optimal_transport_with_growth_of_all(ratio):
    # a translation is its own optimal map; the population grows everywhere alike
    x, step, root = cloud(60), torch.tensor([2.0, -1.0]), math.sqrt(ratio)
    clouds = two_times(x, x + step, w1=np.full(60, ratio))
    model = fit(clouds, delta=1e3, sigma=0.05).dynamics
    for s in (0.1, 0.5, 0.9):
        # a straight line; the root of the mass is linear in time, and momentum is constant
        amplitude = 1 + s * (root - 1)
        at, expected = x + s * root / amplitude * step, root / amplitude**2 * step
        error = (model.velocity(s, at) - expected).norm(dim=1)
        assert float(error.mean()) < 0.05 * float(step.norm())
        growth = 2 * (root - 1) / amplitude
        assert float((model.growth(s, at) - growth).abs().max()) < 0.03


def test_small_delta_is_growth_alone():
    # the same cells, heavier to the right and lighter to the left; nothing is within reach
    x = cloud(40)
    w1 = torch.exp(x[:, 0]).double()
    nearest = torch.cdist(x, x).fill_diagonal_(math.inf).min()
    delta = float(nearest) / 4
    model = fit(two_times(x, x, w1=w1), delta=delta, sigma=0.0, match_mass=False).dynamics
    for s in (0.1, 0.5, 0.9):
        assert float(model.velocity(s, x).abs().max()) < 0.01
        root = torch.exp(x[:, 0] / 2)
        expected = 2 * (root - 1) / (1 + s * (root - 1))
        error = (model.growth(s, x) - expected).abs()
        assert float(error.mean()) < 0.1 * float(expected.abs().mean())
    run = model.simulate(x, [0.0, 1.0], weights=torch.ones(40))
    assert np.corrcoef(run.weights[-1].log(), x[:, 0])[0, 1] > 0.99


def test_identical_clouds_of_other_sizes_only_grow():
    x = cloud(50)
    model = fit(two_times(x, x, w1=np.full(50, 4.0), times=(0.0, 2.0))).dynamics
    for s in (0.1, 0.5, 0.9):
        assert float(model.velocity(2 * s, x).abs().max()) < 0.01
        expected = torch.full((50,), 1 / (1 + s))
        np.testing.assert_allclose(model.growth(2 * s, x), expected, rtol=0.05)


def test_cells_out_of_reach_die_and_are_born(caplog):
    x0, x1 = cloud(30), cloud(40, 1) + 50
    result = fit(two_times(x0, x1), delta=1.0, steps=200)
    # the growth of those that die may not stand for those that are born
    assert "not matched in interval 1" in caplog.text
    assert float(result.dynamics.velocity(0.5, torch.cat([x0, x1])).norm(dim=1).max()) < 0.5
    # growth of a death is -2 / (1 - s), of a birth 2 / s
    assert float(result.dynamics.growth(0.5, x0).mean()) == pytest.approx(-4.0, rel=0.2)
    assert float(result.dynamics.growth(0.5, x1).mean()) == pytest.approx(4.0, rel=0.2)
    # killing all and creating all: 2 delta^2 (m0 + m1), per unit of the first mass
    assert result.quality["action_floor_primal"] == pytest.approx(2 * (1 + 40 / 30))


def test_action_floor_is_the_squared_distance_per_duration():
    # two cells, each on its own way: the sum of their squared distances, per unit of first mass
    x0, x1 = torch.tensor([[0.0, 0.0], [20.0, 0.0]]), torch.tensor([[1.0, 0.0], [20.0, 2.0]])
    quality = fit(two_times(x0, x1, [1, 3], [2, 1], (0.0, 5.0)), delta=1.2, steps=1).quality
    total = 0.0
    for d, m0, m1 in ((1.0, 1, 2), (2.0, 3, 1)):
        total += 2 * 1.2**2 * (m0 + m1 - 2 * math.sqrt(m0 * m1) * math.cos(d / 2.4))
    for name in ("action_floor_primal", "action_floor_dual"):
        assert quality[name] == pytest.approx(total / 4 / 5, rel=1e-5)


# populations


@pytest.fixture(scope="module")
def growing():
    """Return three clouds of a population that doubles and then falls."""
    x = (cloud(40), cloud(50, 1) + 1, cloud(30, 2) + 2)
    weights = tuple(
        torch.full((len(v),), m / len(v)).double() for v, m in zip(x, (5, 10, 7), strict=True)
    )
    return Snapshots((0.0, 1.0, 3.0), x, weights)


def test_simulated_populations_are_as_observed(growing):
    result = fit(growing, steps=100)
    start = growing.weights[0] / growing.weights[0].sum()
    run = result.dynamics.simulate(growing.x[0], [0.0, 1.0, 3.0], weights=start)
    np.testing.assert_allclose(run.mass, [1.0, 2.0, 1.4], rtol=0.01)


def test_matched_populations_change_growth_by_one_number_per_interval(growing):
    free, matched = (fit(growing, steps=50, match_mass=m).dynamics for m in (False, True))
    x = growing.x[1]
    for t in (0.5, 2.0):
        np.testing.assert_array_equal(free.velocity(t, x), matched.velocity(t, x))
        offset = matched.growth(t, x) - free.growth(t, x)
        assert float(offset.abs().min()) > 0
        np.testing.assert_allclose(offset, offset.mean(), rtol=1e-3)


# parameters


def test_lengths_are_in_the_users_unit(growing):
    resolved = fit(growing, steps=1, delta=0.7, sigma=0.2).resolved
    assert resolved["delta"] == pytest.approx(0.7)
    assert resolved["sigma"] == pytest.approx(0.2)


def test_auto_scales_with_the_cells(growing):
    larger = Snapshots(growing.times, tuple(8 * x for x in growing.x), growing.weights)
    before, after = (fit(c, steps=1).resolved for c in (growing, larger))
    for name in ("delta", "sigma"):
        assert after[name] == pytest.approx(8 * before[name], rel=1e-5)


def test_history_is_of_every_step(growing):
    history = fit(growing, steps=30).history
    assert {k: len(v) for k, v in history.items()} == {"loss": 30, "velocity": 30, "growth": 30}
    total = np.array(history["velocity"]) + np.array(history["growth"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
    weighted = fit(growing, steps=3, kappa=5.0).history
    total = np.array(weighted["velocity"]) + 5 * np.array(weighted["growth"])
    np.testing.assert_allclose(weighted["loss"], total, rtol=1e-5)
