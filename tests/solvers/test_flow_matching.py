"""The flow-matching family against closed forms: bridges, limits, pure growth."""

import math

import numpy as np
import pytest
import torch

from scruot import solvers
from scruot.dynamics import Snapshots
from scruot.solvers.params import make_params
from scruot.solvers.plans import EXACT, scaled_price, squared_couplings
from scruot.solvers.problem import Problem
from scruot.solvers.run import fit_snapshots
from scruot.solvers.score_field import ScoreField
from scruot.transport import auto_delta
from tests.solvers.gaussian_bridge import example

CPU = torch.device("cpu")
QUICK = {"steps": 300, "batch_size": 256, "width": 64, "learning_rate": 0.05}
# bridges between Gaussians have linear rates
BRIDGE = {"smoothing": 0.05, "steps": 500, "batch_size": 1024, "learning_rate": 0.02}


def fit(method, clouds, **options):
    solver = solvers.get(method)
    return fit_snapshots(
        clouds, solver, make_params(solver.params, {**QUICK, **options}, method), device=CPU
    )


def cloud(n, seed=0, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def two_times(x0, x1, w0=None, w1=None, times=(0.0, 1.0)):
    weights = (
        torch.ones(len(x), dtype=torch.float64) if w is None else torch.as_tensor(w).double()
        for x, w in ((x0, w0), (x1, w1))
    )
    return Snapshots(times, (x0.float(), x1.float()), tuple(weights))


# the Gaussian Schroedinger bridge


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_the_oracle_is_a_bridge(sigma):
    bridge = example(3, sigma, duration=2.0)
    np.testing.assert_allclose(bridge.cov(0), bridge.s0)
    np.testing.assert_allclose(bridge.cov(1), bridge.s1, atol=1e-12)
    # the law moves with the velocity: its covariance solves S' = V S + S V'
    h, s = 1e-5, 0.4
    rate = (bridge.cov(s + h) - bridge.cov(s - h)) / (2 * h * bridge.duration)
    zero = bridge.velocity(s, np.zeros((1, 3)))
    v = (bridge.velocity(s, np.eye(3)) - zero).T
    np.testing.assert_allclose(v @ bridge.cov(s) + bridge.cov(s) @ v.T, rate, rtol=1e-6, atol=1e-8)


def relative(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def plane():
    """Return a bridge in the plane over two units of time, and [SF]2M fitted to its ends."""
    bridge = example(2, 0.6, duration=2.0)
    return bridge, fit("sf2m", bridge.snapshots(1500), sigma=0.6, **BRIDGE).dynamics


@pytest.mark.parametrize("s", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("quantity", ["velocity", "drift", "score"])
def test_sf2m_is_the_gaussian_bridge(plane, quantity, s):
    bridge, model = plane
    x = bridge.draw(s, 2000, 7)
    found = getattr(model, quantity)(2.0 * s, x)
    assert relative(found, getattr(bridge, quantity)(s, x)) < 0.05


def test_the_drift_is_right_where_velocity_and_score_are_large(plane):
    # a cell at the very start: the velocity carries it apart, the score back, the drift neither
    bridge, model = plane
    x = bridge.draw(0, 2000, 7)
    expected = bridge.drift(0.01, x)
    assert relative(model.drift(0.02, x), expected) < 0.05


@pytest.mark.parametrize("method", ["sf2m", "crufm"])
def test_the_score_within_tight_clusters_far_apart_is_theirs(method):
    """Two clusters at rest, twenty spreads apart: each is a Gaussian bridge of its own."""
    spread, n = 0.2, 300
    ends = [
        torch.cat([spread * cloud(n, seed=2 * k + side) + 4.0 * side for side in (0, 1)])
        for k in (0, 1)
    ]
    model = fit(method, two_times(*ends), sigma=0.5, steps=1000, width=128).dynamics
    # covariance of a cell with its own end, and the variance on the way
    variance, noise = spread**2, 0.5**2
    between = math.sqrt(variance**2 + noise**2 / 4) - noise / 2
    for s in (0.1, 0.5, 0.9):
        var = variance + s * (1 - s) * (noise - 2 * (variance - between))
        for centre in (0.0, 4.0):
            x = math.sqrt(var) * cloud(500, seed=9) + centre
            slope = var * model.jacobian("score", s, x).numpy().mean(0)
            np.testing.assert_allclose(slope, -np.eye(2), atol=0.25)


def moments(run, k):
    w = run.weights[k].double().numpy()
    x = run.x[k].double().numpy()
    mean = w @ x / w.sum()
    return mean, (w[:, None] * (x - mean)).T @ (x - mean) / w.sum()


def test_flow_and_noise_have_the_law_of_the_bridge(plane):
    bridge, model = plane
    start = bridge.draw(0, 3000, 11)
    for stochastic in (False, True):
        run = model.simulate(start, [0.0, 1.0, 2.0], stochastic=stochastic, random_state=1)
        assert run.mass.tolist() == pytest.approx([1.0] * 3, rel=1e-5)
        for k, s in ((1, 0.5), (2, 1.0)):
            mean, cov = moments(run, k)
            np.testing.assert_allclose(mean, bridge.mean(s), atol=0.08)
            np.testing.assert_allclose(cov, bridge.cov(s), atol=0.1)


def test_crufm_without_growth_is_the_bridge():
    # a large price of mass, and a population that triples everywhere alike
    bridge = example(2, 0.7)
    clouds = bridge.snapshots(1500, mass=3.0)
    model = fit("crufm", clouds, sigma=0.7, tau=1e3, **BRIDGE).dynamics
    for s in (0.25, 0.75):
        x = bridge.draw(s, 2000, 7)
        for quantity in ("velocity", "drift", "score"):
            expected = getattr(bridge, quantity)(s, x)
            assert relative(getattr(model, quantity)(s, x), expected) < 0.05
        np.testing.assert_allclose(model.growth(s, x), math.log(3.0), atol=0.03)
    run = model.simulate(bridge.draw(0, 2000, 11), [0.0, 1.0], random_state=2)
    assert float(run.mass[-1]) == pytest.approx(3.0, rel=0.03)
    mean, cov = moments(run, 1)
    np.testing.assert_allclose(mean, bridge.mean(1), atol=0.1)
    np.testing.assert_allclose(cov, bridge.cov(1), atol=0.12)


# limits


def test_sf2m_without_noise_is_otcfm():
    x, step = cloud(60), torch.tensor([2.0, -1.0])
    clouds = two_times(x, x + step)
    # a translation is its own optimal map
    quiet = fit("sf2m", clouds, sigma=0.05, smoothing=0.05, steps=400).dynamics
    straight = fit("otcfm", clouds, sigma=0.05, steps=400).dynamics
    for s in (0.1, 0.5, 0.9):
        at = x + s * step
        for model in (quiet, straight):
            error = (model.velocity(s, at) - step).norm(dim=1)
            assert float(error.mean()) < 0.05 * float(step.norm())


@pytest.mark.parametrize("method", ["uotfm", "vgfm"])
def test_a_high_price_of_mass_is_otcfm_with_growth_of_all(method):
    x, step = cloud(60), torch.tensor([2.0, -1.0])
    clouds = two_times(x, x + step, w1=np.full(60, 2.0), times=(0.0, 2.0))
    tau = 1e3
    model = fit(method, clouds, tau=tau, sigma=0.05, steps=400).dynamics
    for s in (0.1, 0.5, 0.9):
        at = x + s * step
        error = (model.velocity(2 * s, at) - step / 2).norm(dim=1)
        assert float(error.mean()) < 0.05 * float(step.norm())
        np.testing.assert_allclose(model.growth(2 * s, at), math.log(2) / 2, atol=0.02)


# growth


@pytest.fixture(scope="module")
def islands():
    """Return two far islands, of which one triples and one halves, over two units of time."""
    x = torch.cat([cloud(30) / 10, cloud(30, 1) / 10 + 5])
    w1 = torch.cat([torch.full((30,), 3.0), torch.full((30,), 0.5)])
    return two_times(x, x, w1=w1, times=(0.0, 2.0))


@pytest.mark.parametrize("method", ["uotfm", "vgfm", "crufm"])
def test_pure_growth_has_the_true_rate(method, islands):
    # moving between the islands costs 50, and growth no more than a few tau
    options: dict = {"sigma": 0.05}
    if method == "crufm":  # noise on the paths asks for longer training
        options = {"sigma": 0.1, "smoothing": 0.05, "steps": 2400}
    model = fit(method, islands, tau=0.5, match_mass=False, **options).dynamics
    x = islands.x[0]
    expected = np.repeat([math.log(3) / 2, math.log(0.5) / 2], 30)
    for t in (0.2, 1.0, 1.8):
        np.testing.assert_allclose(model.growth(t, x), expected, atol=0.03)
    run = model.simulate(x, [0.0, 2.0], weights=torch.ones(60), stochastic=False)
    masses = run.weights[-1].view(2, 30).sum(1)
    np.testing.assert_allclose(masses, [90.0, 15.0], rtol=0.04)


@pytest.mark.parametrize("method", ["uotfm", "vgfm", "crufm"])
def test_populations_are_conserved_where_growth_says_so(method):
    clouds = Snapshots(
        (0.0, 1.0, 3.0),
        (cloud(40), cloud(50, 1) + 1, cloud(30, 2) + 2),
        tuple(torch.full((n,), m / n).double() for n, m in ((40, 5.0), (50, 10.0), (30, 7.0))),
    )
    model = fit(method, clouds, steps=60).dynamics
    run = model.simulate(clouds.x[0], [0.0, 1.0, 3.0], stochastic=False)
    np.testing.assert_allclose(run.mass, [1.0, 2.0, 1.4], rtol=0.02)


@pytest.mark.parametrize("method", ["otcfm", "sf2m"])
def test_methods_without_growth_keep_mass(method):
    clouds = two_times(cloud(20), cloud(30, 1) + 1)
    model = fit(method, clouds, steps=20).dynamics
    assert "growth" not in model.learns
    assert float(model.growth(0.5, clouds.x[0]).abs().max()) == 0.0
    run = model.simulate(clouds.x[0], [0.0, 1.0])
    np.testing.assert_allclose(run.mass, [1.0, 1.0], rtol=1e-6)


def test_uotfm_as_published_learns_no_growth():
    clouds = two_times(cloud(20), cloud(30, 1) + 1)
    model = fit("uotfm", clouds, growth=False, steps=20).dynamics
    assert model.learns == ("velocity",)
    assert float(model.growth(0.5, clouds.x[0]).abs().max()) == 0.0


# prices and noises


def test_automatic_prices_follow_delta():
    clouds = two_times(cloud(40), cloud(50, 1) + 1)
    problem = Problem(clouds, clouds.standardised()[1], None, CPU)
    delta = auto_delta(clouds.x)
    assert scaled_price("auto", problem, sides=2) == pytest.approx(4 * delta**2)
    assert scaled_price("auto", problem, sides=1) == pytest.approx(2 * delta**2)
    assert scaled_price(3.0, problem, sides=1) == pytest.approx(3 / problem.scale.length**2)


def test_balanced_couplings_take_every_population_for_one():
    clouds = two_times(cloud(20), cloud(30, 1), w1=np.full(30, 7.0))
    (plan,) = squared_couplings(clouds, source=EXACT, target=EXACT)
    np.testing.assert_allclose(plan.row_mass, 1 / 20)
    np.testing.assert_allclose(plan.col_mass, 1 / 30)


def test_given_lengths_are_in_the_users_unit():
    clouds = two_times(cloud(20), cloud(30, 1) + 1, times=(0.0, 4.0))
    result = fit("crufm", clouds, sigma=0.5, tau=2.0, smoothing=0.1, steps=2)
    assert result.resolved == pytest.approx({"sigma": 0.5, "tau": 2.0, "smoothing": 0.1})
    assert result.dynamics.sigma == pytest.approx(0.5)


def test_the_automatic_noise_is_a_rate_of_spread():
    x = tuple(cloud(40, k) + k for k in range(3))
    weights = tuple(torch.ones(40).double() for _ in x)
    near = fit("sf2m", Snapshots((0.0, 1.0, 2.0), x, weights), steps=2).resolved["sigma"]
    # four times as slow: half the noise per root of time
    slow = fit("sf2m", Snapshots((0.0, 4.0, 8.0), x, weights), steps=2).resolved["sigma"]
    assert slow == pytest.approx(near / 2, rel=1e-5)


@pytest.mark.parametrize("method", ["sf2m", "crufm"])
def test_the_automatic_blur_is_small_beside_cells_or_beside_the_noise(method):
    # eight cells on the corners of a cube are far apart, 800 at them coincide
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    clouds = two_times(corners, corners + 1)
    # the nearest neighbour is at 1: half of 1 / sqrt(2 d)
    found = fit(method, clouds, sigma=0.1, steps=2).resolved["smoothing"]
    assert found == pytest.approx(0.5 / math.sqrt(6), rel=1e-5)
    dense = corners.repeat(100, 1)
    found = fit(method, two_times(dense, dense + 1), sigma=0.6, steps=2).resolved["smoothing"]
    assert found == pytest.approx(0.6 / 15, rel=1e-5)


# the score


def test_an_untrained_score_is_that_of_the_snapshots_as_gaussians():
    bridge = example(3, 0.5)
    clouds = bridge.snapshots(400)
    field = ScoreField(3, {"velocity": 3, "score": 3}, knots=clouds.times, width=4, device=CPU)
    field.set_moments(clouds, 0.0)
    for s in (0.0, 1.0):
        x = torch.from_numpy(bridge.draw(s, 50, 3)).float()
        score = field(torch.full((50,), s), x)["score"].detach()
        # as far as the ridge on the variances lets it
        assert relative(score.numpy(), bridge.score(s, x.double().numpy())) < 0.03
