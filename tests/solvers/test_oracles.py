"""Closed forms that several solvers must meet."""

import math

import numpy as np
import pytest
import torch

from scruot import solvers
from scruot.dynamics import Snapshots
from scruot.solvers.params import make_params
from scruot.solvers.run import fit_snapshots

SHORT = {"steps": 200, "batch_size": 256, "width": 48}


def fit(method, clouds, **options):
    solver = solvers.get(method)
    known = solvers.describe(method)["parameters"]
    given = {**{k: v for k, v in SHORT.items() if k in known}, **options}
    params = make_params(solver.params, given, method)
    return fit_snapshots(clouds, solver, params, device=torch.device("cpu")).dynamics


def snapshots(x, weights):
    return Snapshots((0.0, 1.0), tuple(x), tuple(torch.as_tensor(w).double() for w in weights))


def cloud(n, seed=0):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T


# without noise, and with growth at a price that nothing is worth
BALANCED = {
    "otcfm": {},
    "uotfm": {"tau": 1e4},
    "vgfm": {"tau": 1e4},
    "wfr": {"delta": 100.0},
    "wfrfm": {"delta": 100.0},
    "deepruot": {"sigma": 0.0, "growth": False, "training": 0.0, "blur": 0.02},
}


@pytest.mark.parametrize("method", BALANCED)
def test_flow_between_gaussians_is_the_linear_map_of_bures(method):
    x = cloud(120)
    root, step = torch.tensor([[1.5, 0.3], [0.3, 0.6]]), torch.tensor([1.0, -0.5])
    # symmetric and positive: the optimal map between N(0, 1) and N(step, root^2)
    end = x @ root + step
    model = fit(method, snapshots([x, end], [np.ones(120), np.ones(120)]), **BALANCED[method])
    speed = float((end - x).norm(dim=1).mean())
    for s in (0.1, 0.5, 0.9):
        error = (model.velocity(s, (1 - s) * x + s * end) - (end - x)).norm(dim=1)
        assert float(error.mean()) < 0.08 * speed


REACHING_NOT = {
    "wfr": {"delta": 1.4},
    "wfrfm": {"delta": 1.4},
    "varruot": {"alpha": 1.96, "sigma": 0.0, "rollout_steps": 2},
    "deepruot": {"alpha": 0.98, "sigma": 0.05, "training": 0.0},
}


@pytest.mark.parametrize("method", REACHING_NOT)
def test_islands_out_of_reach_only_grow(method):
    # ten apart, and pi delta = 4.4: one keeps its mass, the other grows sixfold
    x = torch.cat([0.2 * cloud(20), 0.2 * cloud(20, 1) + torch.tensor([10.0, 0.0])])
    weights = np.ones(40), np.repeat([1.0, 6.0], 20)
    model = fit(method, snapshots([x, x], weights), **REACHING_NOT[method])
    for s in (0.1, 0.5, 0.9):
        for rows, ratio in ((slice(0, 20), 1.0), (slice(20, 40), 6.0)):
            slope = math.sqrt(ratio) - 1
            # the root of the mass is linear in time
            expected = 2 * slope / (1 + slope * s)
            growth = model.growth(s, x[rows])
            assert float(growth.mean()) == pytest.approx(expected, abs=0.1)
        assert float(model.velocity(s, x).norm(dim=1).mean()) < 0.2


@pytest.mark.parametrize("method", ["varruot", "deepruot", "crufm"])
def test_flow_and_noise_have_the_same_growing_law(method):
    # a cloud that moves, widens and doubles
    x = cloud(150)
    clouds = snapshots([x, 1.3 * x + 1.0], [np.ones(150), np.full(150, 2.0)])
    options = {
        "varruot": {"sigma": 0.4, "rollout_steps": 2, "score_steps": 100, "entropy": 1.0},
        "deepruot": {"sigma": 0.4, "training": 0.02},
        "crufm": {"sigma": 0.4},
    }[method]
    model = fit(method, clouds, **options)
    runs = [
        model.simulate(x.repeat(8, 1), [0.0, 0.5, 1.0], stochastic=noisy) for noisy in (False, True)
    ]
    for k in (1, 2):
        (mean, covariance, mass), (other_mean, other_covariance, other_mass) = (
            _moments(run.x[k].numpy(), run.weights[k].numpy()) for run in runs
        )
        np.testing.assert_allclose(mean, other_mean, atol=0.1)
        np.testing.assert_allclose(covariance, other_covariance, atol=0.2)
        assert mass == pytest.approx(other_mass, rel=0.03)


def _moments(x, weights):
    mean = np.average(x, axis=0, weights=weights)
    return mean, np.cov(x.T, aweights=weights), float(weights.sum())


# the reach of a cell is pi delta, and delta^2 = 2 alpha; where to split takes some training
SPLITTING = {"steps": 500, "width": 64}
DIVIDING = {
    "wfr": lambda alpha: {"delta": math.sqrt(2 * alpha)},
    "wfrfm": lambda alpha: {"delta": math.sqrt(2 * alpha)},
    "varruot": lambda alpha: {"alpha": 2 * alpha, "sigma": 0.0, "time_step": 0.125},
    "tigon": lambda alpha: {"delta": math.sqrt(2 * alpha), "rollout_steps": 10},
}


@pytest.mark.parametrize(("alpha", "share"), [(0.3, 0.0), (1.0, 0.227), (100.0, 0.512)])
@pytest.mark.parametrize("method", DIVIDING)
def test_mass_moves_between_clusters_only_within_reach(method, alpha, share):
    # the lower cluster splits, the upper one grows tenfold; they are 2.5 apart, and pi delta
    # reaches that far from alpha = .317 on
    def normal(n, seed, x, y):
        return 0.07 * cloud(n, seed) + torch.tensor([x, y])

    before = torch.cat([normal(80, 0, 0.0, 0.0), normal(20, 1, 0.0, 2.5)])
    after = torch.cat([normal(40, 2, -1.0, 0.0), normal(40, 3, 1.0, 0.0), normal(200, 4, 0.0, 2.5)])
    clouds = snapshots([before, after], [np.full(100, 0.01), np.full(280, 0.01)])
    options = DIVIDING[method](alpha)
    if share > 0 and method != "wfr":
        options |= SPLITTING
    model = fit(method, clouds, **options)
    run = model.simulate(before[:80], [0.0, 1.0])
    found = 0.8 * float((run.x[-1, :, 1] > 1.25).float().mean())
    assert found == pytest.approx(share, abs=0.03)
    total = model.simulate(before, [0.0, 1.0]).mass
    assert float(total[-1]) == pytest.approx(2.8, rel=0.03)
