"""Var-RUOT against closed forms, and what it makes of its parameters."""

import math

import numpy as np
import pytest
import torch

from scruot import solvers
from scruot.dynamics import Snapshots
from scruot.dynamics.noise import Noise
from scruot.geometry import travelling_dirac
from scruot.geometry.wfr import dirac_distance_squared
from scruot.solvers.least_action import FORMS, LeastAction
from scruot.solvers.params import make_params
from scruot.solvers.potential_field import PotentialField
from scruot.solvers.run import fit_snapshots
from scruot.solvers.simulated_law import simulate_law
from scruot.solvers.varruot import VARRUOT

CPU = torch.device("cpu")
QUICK = {"steps": 250, "batch_size": 256, "width": 48, "rollout_steps": 2, "score_steps": 60}


def fit(clouds, *, checkpoint=None, **options):
    params = make_params(VARRUOT.params, {**QUICK, **options}, "varruot")
    return fit_snapshots(clouds, VARRUOT, params, device=CPU, checkpoint=checkpoint)


def two_times(x0, x1, w0=None, w1=None, times=(0.0, 1.0)):
    weights = (
        torch.ones(len(x), dtype=torch.float64) if w is None else torch.as_tensor(w).double()
        for x, w in ((x0, w0), (x1, w1))
    )
    return Snapshots(times, (x0.float(), x1.float()), tuple(weights))


def cloud(n, seed=0, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# closed forms


def test_identical_clouds_of_other_sizes_only_grow():
    # sqrt(m) is linear in time: g = 1 / (1 + s) over two units of time, and lambda = alpha g
    x = cloud(50)
    clouds = two_times(x, x, w1=np.full(50, 4.0), times=(0.0, 2.0))
    result = fit(clouds, sigma=0.0, alpha=2.0)
    model = result.dynamics
    for s in (0.1, 0.5, 0.9):
        assert float(model.drift(2 * s, x).abs().max()) < 0.02
        expected = torch.full((50,), 1 / (1 + s))
        np.testing.assert_allclose(model.growth(2 * s, x), expected, rtol=0.05)
        np.testing.assert_allclose(model.potential(2 * s, x), 2 * expected, rtol=0.05)
    # 2 alpha (sqrt(m1) - sqrt(m0))^2 / T, per unit of first mass
    assert result.quality["action_floor_primal"] == pytest.approx(2.0, rel=1e-5)
    assert result.quality["action"] == pytest.approx(2.0, rel=0.01)
    assert result.quality["mass_error"] < 0.01


def test_diracs_travel_as_the_closed_form_says():
    # two cells far apart: one goes right and triples, the other goes up and halves
    x0, x1 = torch.tensor([[0.0, 0.0], [8.0, 0.0]]), torch.tensor([[2.0, 0.0], [8.0, 1.5]])
    w0, w1 = [1.0, 1.0], [3.0, 0.5]
    clouds = two_times(x0, x1, w0, w1, (10.0, 14.0))
    # the regression alone: a few steps of simulation would only begin to settle, and the constant
    # that matches the total would lay the error of the heavy cell on the light one
    options = {"steps": 500, "width": 64, "rollout_steps": 0, "match_mass": False}
    result = fit(clouds, alpha=2.25, sigma=0.0, smoothing=0.1, **options)
    s = torch.linspace(0.05, 0.95, 10)
    for k in range(2):
        ends = (v[k].expand(10, 2) for v in (x0, x1))
        masses = (torch.full((10,), w[k]) for w in (w0, w1))
        path = travelling_dirac(s, *ends, *masses, 1.5)
        t = 10.0 + 4.0 * s
        drift, growth = result.dynamics.drift(t, path.x), result.dynamics.growth(t, path.x)
        speed = float(path.velocity.norm(dim=1).mean()) / 4
        assert float((drift - path.velocity / 4).norm(dim=1).max()) < 0.1 * speed
        largest = float(path.growth.abs().max()) / 4
        assert float((growth - path.growth / 4).abs().max()) < 0.1 * largest
    total = sum(
        dirac_distance_squared(d, a, b, 1.5) for d, a, b in ((2.0, 1.0, 3.0), (1.5, 1.0, 0.5))
    )
    floor = total / 2 / 4
    assert result.quality["action_floor_primal"] == pytest.approx(floor, rel=1e-5)
    assert result.quality["action"] == pytest.approx(floor, rel=0.02)


def test_cells_out_of_reach_die_and_are_born(caplog):
    x0, x1 = cloud(30), cloud(40, 1) + 50
    clouds = two_times(x0, x1)
    result = fit(clouds, alpha=1.0, sigma=0.0, rollout_steps=0)
    # the growth of those that die may not stand for those that are born
    assert "not matched in interval 1" in caplog.text
    growth = [float(result.dynamics.growth(0.5, x).mean()) for x in (x0, x1)]
    assert growth[0] == pytest.approx(-4.0, rel=0.25)
    assert growth[1] == pytest.approx(4.0, rel=0.25)
    assert result.quality["action_floor_primal"] == pytest.approx(2 * (1 + 40 / 30))


def test_large_alpha_without_noise_is_optimal_transport():
    # between Gaussians: the linear map of Bures, along straight lines
    x = cloud(100)
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    root, step = torch.tensor([[1.5, 0.3], [0.3, 0.6]]), torch.tensor([1.0, -0.5])
    end = x @ root + step
    result = fit(two_times(x, end), alpha=1e3, sigma=0.0, smoothing=0.01, steps=400)
    speed = float((end - x).norm(dim=1).mean())
    for s in (0.1, 0.5, 0.9):
        error = (result.dynamics.drift(s, (1 - s) * x + s * end) - (end - x)).norm(dim=1)
        assert float(error.mean()) < 0.05 * speed
    distance = (step.square().sum() + (root - torch.eye(2)).square().sum() * 99 / 100) / 2
    assert result.quality["action"] == pytest.approx(float(distance), rel=0.02)


@pytest.fixture(scope="module")
def bridge():
    """Return a fit between two Gaussians with noise, and their closed form."""
    s0, s1, sigma, step = 0.5, 0.9, 0.4, torch.tensor([1.0, -1.0])
    x = cloud(800)
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    y = cloud(800, 1)
    y = (y - y.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(y.T))).T
    clouds = two_times(s0 * x, s1 * y + step)
    options = {"alpha": 1e3, "entropy": 1.0, "steps": 300, "batch_size": 512}
    result = fit(clouds, sigma=sigma, rollout_steps=0, score_steps=150, **options)
    return result, clouds, (s0, s1, sigma, step)


def test_drift_of_the_gaussian_schroedinger_bridge(bridge):
    result, _, (s0, s1, sigma, step) = bridge
    shared = (math.sqrt(4 * s0**2 * s1**2 + sigma**4) - sigma**2) / 2
    k0 = (shared - s0**2) / s0**2
    for t in (0.1, 0.4, 0.7):
        variance = (1 - t) ** 2 * s0**2 + t**2 * s1**2 + 2 * t * (1 - t) * shared
        variance += sigma**2 * t * (1 - t)
        x = t * step + math.sqrt(variance) * cloud(500, 2)
        expected = step + k0 / (1 + k0 * t) * (x - t * step)
        error = (result.dynamics.drift(t, x) - expected).square().sum(1).mean().sqrt()
        assert float(error) < 0.1 * float(expected.square().sum(1).mean().sqrt())


def test_flow_and_noisy_process_have_the_same_law(bridge):
    result, clouds, (s0, s1, sigma, step) = bridge
    start = clouds.x[0].repeat(3, 1)
    shared = (math.sqrt(4 * s0**2 * s1**2 + sigma**4) - sigma**2) / 2
    times = [0.0, 0.5, 1.0]
    runs = [result.dynamics.simulate(start, times, stochastic=s) for s in (True, False)]
    for k, t in enumerate(times):
        variance = (1 - t) ** 2 * s0**2 + t**2 * s1**2 + 2 * t * (1 - t) * shared
        variance += sigma**2 * t * (1 - t)
        for run in runs:
            np.testing.assert_allclose(run.x[k].mean(0), t * step, atol=0.06)
            np.testing.assert_allclose(run.x[k].std(0), math.sqrt(variance), rtol=0.08)


# what parameters do


@pytest.fixture(scope="module")
def growing():
    """Return three clouds of a population that moves, doubles and then falls."""
    x = (cloud(40), cloud(50, 1) + 1, cloud(30, 2) + 2)
    weights = tuple(
        torch.full((len(v),), m / len(v)).double() for v, m in zip(x, (5, 10, 7), strict=True)
    )
    return Snapshots((0.0, 1.0, 3.0), x, weights)


FAST = {"steps": 40, "width": 24, "rollout_steps": 2, "score_steps": 5}


def test_everything_follows_from_the_potential(growing):
    model = fit(growing, alpha=2.0, **FAST).dynamics
    x = growing.x[1].double().requires_grad_()
    with torch.enable_grad():
        t = torch.full((50,), model.scale.time_in(0.7))
        value = model.field(t, model.scale.x_in(x))["potential"]
        (slope,) = torch.autograd.grad(value.sum(), x)
    unit = model.scale.length**2 / model.scale.time
    torch.testing.assert_close(
        model.drift(0.7, x.detach()).double(), unit * slope, rtol=1e-4, atol=1e-5
    )
    growth = model.growth(0.7, x.detach())
    torch.testing.assert_close(model.potential(0.7, x.detach()), 2 * growth)


@pytest.mark.parametrize("form", ["temporal-difference", "exact", "hutchinson"])
def test_training_obeys_the_equation_in_every_form(growing, form):
    weights = {"match_weight": 0.0, "action_weight": 0.0, "path_weight": 0.0, "hjb_weight": 1.0}
    options = {"sigma": 0.2, **FAST, "steps": 60, "rollout_rate": 0.03, **weights}
    before = fit(growing, **{**options, "rollout_steps": 0}).quality["hjb_residual"]
    after = fit(growing, hjb=form, **{**options, "rollout_steps": 15}).quality["hjb_residual"]
    assert after < 0.8 * before


def test_all_forms_of_the_equation_have_the_same_integral(growing):
    # an untrained potential, of which the equation holds nowhere; without noise the change of the
    # potential along a short step is its derivative, and the other two ask for that
    field = PotentialField(2, growing.times, alpha=1.5, scored=False, generator=_generator(0))
    field.potential.slope.copy_(torch.tensor([[0.5, 0.2], [-0.3, 0.4]]))
    still, found = Noise(0.0, (), growing.times), {}
    for form in FORMS:
        options = {"step": 0.02, "n_particles": 100, "n_points": 20_000, "least_effective": 0.0}
        losses = LeastAction(field, growing, still, form, **options, rate=1.0)
        found[form] = float(losses.terms(_generator(1))["hjb"].detach())
    assert found["temporal-difference"] > 0.1
    assert found["exact"] == pytest.approx(found["temporal-difference"], rel=0.02)
    assert found["hutchinson"] == pytest.approx(found["exact"], rel=0.02)


def _generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("penalty", [{"penalty": "cosh"}, {"penalty": "power", "exponent": 1.5}])
def test_convex_penalties_report_their_action(growing, penalty):
    result = fit(growing, sigma=0.0, **FAST, **penalty)
    assert result.quality["action"] > 0
    assert "action_floor_dual" not in result.quality
    assert "delta" not in result.resolved


def test_a_penalty_of_ones_own_by_a_pair_of_functions(growing):
    solvers.register_penalty(
        "own_cosh",
        growth=torch.asinh,
        conjugate=lambda p: p * torch.asinh(p) - (1 + p.square()).sqrt() + 1,
        replace=True,
    )
    own, known = (fit(growing, sigma=0.0, **FAST, penalty=p) for p in ("own_cosh", "cosh"))
    assert own.quality["action"] == pytest.approx(known.quality["action"], rel=1e-3)
    x = growing.x[1]
    torch.testing.assert_close(
        own.dynamics.growth(0.5, x), known.dynamics.growth(0.5, x), rtol=1e-2, atol=1e-3
    )
    with pytest.raises(ValueError, match="'own_cosh'"):
        fit(growing, sigma=0.0, **FAST, penalty="unheard_of")


def test_small_power_grows_within_its_cap_and_claims_no_least_action(growing):
    result = fit(growing, sigma=0.0, **FAST, penalty="power", growth_cap=0.8)
    growth = result.dynamics.growth(0.5, growing.x[1])
    assert float(growth.abs().max()) <= 0.8 + 1e-6
    assert "action" not in result.quality
    assert result.resolved["growth_cap"] == pytest.approx(0.8)


def test_global_potential_does_not_jump(growing):
    x = growing.x[1]
    for kind, jumps in (("interval", True), ("global", False)):
        model = fit(growing, sigma=0.0, potential=kind, **FAST).dynamics
        change = (model.potential(1.0, x) - model.potential(1 - 1e-5, x)).abs().max()
        assert (float(change) > 1e-2) is jumps


def test_simulated_populations_are_as_observed(growing):
    result = fit(growing, **{**FAST, "steps": 100})
    start = growing.weights[0] / growing.weights[0].sum()
    run = result.dynamics.simulate(
        growing.x[0].repeat(50, 1), [0.0, 1.0, 3.0], weights=start.repeat(50) / 50
    )
    np.testing.assert_allclose(run.mass, [1.0, 2.0, 1.4], rtol=0.02)


def test_noise_per_coordinate_and_in_time(growing):
    result = fit(growing, sigma=(0.3, 0.0), sigma_profile=(1.0, 2.0, 0.0), **FAST)
    model = result.dynamics
    np.testing.assert_allclose(model.sigma, [0.3, 0.0], rtol=1e-6)
    assert model.sigma_profile == (1.0, 2.0, 0.0)
    x = growing.x[1]
    for t, factor in ((0.0, 1.0), (1.0, 2.0), (3.0, 0.0)):
        difference = model.drift(t, x) - model.velocity(t, x)
        noise = torch.tensor([0.3, 0.0]) * factor
        expected = noise**2 / 2 * model.score(t, x)
        torch.testing.assert_close(difference, expected, rtol=1e-3, atol=1e-5)


def test_without_noise_there_is_no_score(growing):
    result = fit(growing, sigma=0.0, **FAST)
    assert not result.dynamics.stochastic
    assert result.dynamics.learns == ("drift", "growth", "potential")
    with pytest.raises(ValueError, match="no score"):
        result.dynamics.score(0.0, growing.x[0])


def test_many_coordinates(growing):
    wide = tuple(
        torch.cat([x, 0.1 * cloud(len(x), 9 + k, 150)], 1) for k, x in enumerate(growing.x)
    )
    result = fit(Snapshots(growing.times, wide, growing.weights), **FAST, hjb="hutchinson")
    assert result.dynamics.drift(0.5, wide[0]).shape == (40, 152)
    assert math.isfinite(result.quality["hjb_residual"])


def test_lengths_are_in_the_users_unit(growing):
    given = {"alpha": 0.7, "sigma": 0.2, "smoothing": 0.1, "score_bandwidth": 0.3}
    resolved = fit(growing, **given, **{**FAST, "steps": 1}).resolved
    for name, value in given.items():
        assert resolved[name] == pytest.approx(value)
    assert resolved["delta"] == pytest.approx(math.sqrt(0.7))


def test_auto_scales_with_the_cells(growing):
    larger = Snapshots(growing.times, tuple(8 * x for x in growing.x), growing.weights)
    before, after = (fit(c, **{**FAST, "steps": 1}).resolved for c in (growing, larger))
    for name, power in {"alpha": 2, "sigma": 1, "smoothing": 1, "score_bandwidth": 1}.items():
        assert after[name] == pytest.approx(8**power * before[name], rel=1e-4)


def test_terms_of_both_stages_are_logged(growing):
    history = fit(growing, **FAST).history
    lengths = {name: len(values) for name, values in history.items()}
    rollout = ("loss", "matching", "mass", "action", "hjb")
    assert lengths == {
        **dict.fromkeys(("loss", "velocity", "growth"), 40),
        **{f"rollout_{name}": 2 for name in rollout},
        "score": 5,
    }
    total = np.array(history["velocity"]) + np.array(history["growth"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)


def test_a_resumed_fit_ends_the_same(growing, tmp_path):
    runs = [
        fit(growing, checkpoint=tmp_path / "fit.npz", **FAST).dynamics.field.state_dict()
        for _ in range(2)
    ]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"fit.npz", "fit.rollout.npz", "fit.score.npz"}
    plain = fit(growing, **FAST).dynamics.field.state_dict()
    for name, value in plain.items():
        assert torch.equal(value, runs[0][name])
        assert torch.equal(value, runs[1][name])
    # the second run found everything done; without the last stage it does that again
    (tmp_path / "fit.score.npz").unlink()
    again = fit(growing, checkpoint=tmp_path / "fit.npz", **FAST).dynamics.field.state_dict()
    for name, value in plain.items():
        assert torch.equal(value, again[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": (0.1, 0.2, 0.3)}, "found sigma=.* of 3 values.* 2 coordinates"),
        ({"sigma_profile": (1.0, 2.0)}, "found sigma_profile=.* of 2 values.* 3 fitted times"),
        ({"penalty": "power", "exponent": 1.0}, "found exponent=1"),
        ({"sigma": (0.1, -0.2)}, r"found sigma=-0\.2; expected a number >= 0"),
    ],
)
def test_impossible_parameters_are_refused(growing, options, message):
    with pytest.raises(ValueError, match=message):
        fit(growing, **options)


def test_a_profile_must_be_a_sequence():
    with pytest.raises(TypeError, match=r"found sigma_profile=1\.0.*expected a sequence"):
        make_params(VARRUOT.params, {"sigma_profile": 1.0}, "varruot")


def test_particles_of_the_score_are_the_law_and_not_a_blurred_copy(growing):
    # without drift the first snapshot only spreads, by its blur and the noise of the way
    field = PotentialField(2, growing.times, alpha=1.0)
    noise = Noise((0.6, 0.0), (), growing.times)
    generator = torch.Generator().manual_seed(0)
    law = simulate_law(field, growing, noise, generator, blur=0.2, step=0.25).particles
    start = torch.cov(growing.x[0].T, correction=0).diagonal()
    for k, t in ((0, 0.0), (2, 0.5), (12, 3.0)):
        assert float(law.times[k]) == pytest.approx(t)
        variance = torch.cov(law.x[k].T, correction=0).diagonal() + law.std[k] ** 2
        assert float(variance[0]) == pytest.approx(float(start[0]) + 0.04 + 0.36 * t, rel=0.06)
    # the noise of a step, and no less than the blur
    np.testing.assert_allclose(law.std[0], [0.2, 0.2])
    np.testing.assert_allclose(law.std[5], [0.3, 0.2])
