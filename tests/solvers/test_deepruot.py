"""DeepRUOT against closed forms: growth alone, islands, limits, and its three stages."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import multivariate_normal

from scruot import solvers
from scruot.dynamics import Dynamics, Scale, Snapshots
from scruot.geometry import travelling_dirac
from scruot.solvers.deepruot import DEEPRUOT
from scruot.solvers.params import make_params
from scruot.solvers.run import fit_snapshots, from_arrays, to_arrays
from scruot.solvers.ruot_field import RUOTField
from scruot.transport import pairs, wfr_coupling

QUICK = {"steps": 120, "batch_size": 128, "width": 32, "training": 0.0}


def fit(clouds, **options):
    settings = {"random_state": 0, "checkpoint": options.pop("checkpoint", None)}
    params = make_params(DEEPRUOT.params, {**QUICK, **options}, "deepruot")
    return fit_snapshots(clouds, DEEPRUOT, params, device=torch.device("cpu"), **settings)


def snapshots(x, masses=None, times=None):
    masses = [1.0] * len(x) if masses is None else masses
    times = tuple(float(k) for k in range(len(x))) if times is None else times
    weights = tuple(
        torch.as_tensor(m, dtype=torch.float64).expand(len(c)) / len(c)
        for c, m in zip(x, masses, strict=True)
    )
    return Snapshots(times, tuple(c.float() for c in x), weights)


def cloud(n, seed=0, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# growth alone


@pytest.mark.parametrize(
    ("kind", "power", "tolerance"),
    [("quadratic", 2, 0.05), ("quartic", 4, 0.06), ("own_quartic", 4, 0.06)],
)
def test_pure_growth_has_a_root_of_the_mass_that_is_linear_in_time(kind, power, tolerance):
    # cost |g|^p: E-L gives g' = -g^2 / p, so that m^(1/p) is linear; the warm start knows p = 2
    solvers.register_penalty(
        "own_quartic",
        growth=lambda p: torch.sign(p) * (p.abs() / 2) ** (1 / 3),
        conjugate=lambda p: 1.5 * (p.abs() / 2) ** (4 / 3),
        replace=True,
    )
    x = cloud(40)
    rate = 1.0 if kind == "quadratic" else 1.5
    options = {"training": 1.0, "training_rate": 0.002, "growth_rate": rate} if power == 4 else {}
    result = fit(snapshots([x, x], [1.0, 4.0]), growth_cost=kind, sigma=0.0, **options)
    for t in (0.1, 0.5, 0.9):
        step = 4 ** (1 / power) - 1
        expected = power * step / (1 + step * t)
        growth = result.dynamics.growth(t, x)
        assert float((growth.mean() - expected).abs()) < tolerance * expected
        assert float(result.dynamics.velocity(t, x).abs().max()) < 0.05


def test_islands_out_of_reach_only_grow():
    # two groups ten apart; beyond pi sqrt(2 alpha) = 4.4 nothing moves between them
    x = torch.cat([0.2 * cloud(20), 0.2 * cloud(20, 1) + torch.tensor([10.0, 0.0])])
    masses = torch.tensor([1.0] * 20 + [6.0] * 20) * 2
    result = fit(snapshots([x, x], [2.0, masses]), alpha=1.0, sigma=0.05, training=0.05, steps=300)
    for t in (0.1, 0.5, 0.9):
        for rows, ratio in ((slice(0, 20), 1.0), (slice(20, 40), 6.0)):
            step = math.sqrt(ratio) - 1
            expected = 2 * step / (1 + step * t)
            growth = result.dynamics.growth(t, x[rows])
            assert float((growth.mean() - expected).abs()) < 0.1
        assert float(result.dynamics.velocity(t, x).norm(dim=1).max()) < 0.5


# limits


def test_without_noise_cells_follow_unbalanced_geodesics():
    # two cells far apart: one moves and triples, the other moves and halves
    x0, x1 = torch.tensor([[0.0, 0.0], [20.0, 0.0]]), torch.tensor([[2.0, 0.0], [20.0, 1.5]])
    masses = [torch.tensor([2.0, 2.0]), torch.tensor([6.0, 1.0])]
    alpha = 1.5**2 / 2
    result = fit(snapshots([x0, x1], masses), alpha=alpha, sigma=0.0, steps=300, blur=0.05)
    model = result.dynamics
    assert not model.stochastic
    s = torch.linspace(0.1, 0.9, 5)
    for k in range(2):
        ends = (v[k].expand(5, 2) for v in (x0, x1))
        path = travelling_dirac(s, *ends, *(m[k].expand(5) / 2 for m in masses), 1.5)
        speed = float(path.velocity.norm(dim=1).mean())
        error = model.velocity(s, path.x) - path.velocity
        assert float(error.norm(dim=1).max()) < 0.1 * speed
        assert float((model.growth(s, path.x) - path.growth).abs().max()) < 0.15


def test_without_growth_masses_do_not_matter():
    x = [cloud(40), cloud(50, 1) + 1]
    results = [fit(snapshots(x, m), growth=False, steps=20) for m in ([1.0, 1.0], [1.0, 5.0])]
    first, second = (r.dynamics for r in results)
    assert first.learns == ("velocity", "score", "log_density")
    assert "delta" not in results[0].resolved
    assert torch.equal(first.velocity(0.5, x[0]), second.velocity(0.5, x[0]))
    assert float(second.growth(0.5, x[0]).abs().max()) == 0
    assert second.simulate(x[0], [0.0, 1.0]).mass.tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(("alpha", "share"), [(0.3, 0.0), (1.0, 0.227), (100.0, 0.512)])
def test_the_price_of_growth_decides_whether_mass_moves_between_clusters(alpha, share):
    # the lower cluster splits, the upper one grows tenfold; they are 2.5 apart, and pi sqrt(2
    # alpha) reaches that far from alpha = .317 on
    def normal(n, seed, x, y):
        return 0.07 * cloud(n, seed) + torch.tensor([x, y])

    before = torch.cat([normal(80, 0, 0.0, 0.0), normal(20, 1, 0.0, 2.5)])
    after = torch.cat([normal(40, 2, -1.0, 0.0), normal(40, 3, 1.0, 0.0), normal(200, 4, 0.0, 2.5)])
    # of all mass at the start; the static optimum of these very cells
    assert _leaving(before, after, alpha) == pytest.approx(share, abs=1e-3)
    result = fit(snapshots([before, after], [1.0, 2.8]), alpha=alpha, steps=400, batch_size=256)
    run = result.dynamics.simulate(before[:80], [0.0, 1.0], stochastic=False)
    found = 0.8 * float((run.x[-1, :, 1] > 1.25).float().mean())
    assert found == pytest.approx(share, abs=0.03)


def test_share_that_leaves_the_centres_of_the_mixture():
    before = torch.tensor([[0.0, 0.0], [0.0, 2.5]])
    after = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.5]])
    masses = torch.tensor([0.8, 0.2]), torch.tensor([0.4, 0.4, 2.0])
    for alpha, share in ((0.3, 0.0), (1.0, 0.1944), (100.0, 0.5125)):
        assert _leaving(before, after, alpha, *masses) == pytest.approx(share, abs=2e-4)
    # as a part of the plan, whose entries lie between the masses of both times
    for alpha, part in ((1.0, 0.1499), (100.0, 0.5117)):
        plan = wfr_coupling(before, after, *(m.double() for m in masses), math.sqrt(2 * alpha))
        matrix = plan.to_scipy().toarray()
        assert matrix[0, 2] / matrix.sum() == pytest.approx(part, abs=2e-4)


def _leaving(before, after, alpha, w0=None, w1=None):
    """Return the first mass that an optimal plan takes from the lower to the upper cluster."""
    w0 = torch.full((len(before),), 1 / len(before)) if w0 is None else w0
    w1 = torch.full((len(after),), 2.8 / len(after)) if w1 is None else w1
    delta = math.sqrt(2 * alpha)
    table = pairs(wfr_coupling(before, after, w0.double(), w1.double(), delta))
    both = (table.source >= 0) & (table.target >= 0)
    up = (before[table.source][:, 1] < 1.25) & (after[table.target][:, 1] > 1.25)
    return float(table.m0[both & up].sum())


# noise


def matched(n, mean, covariance, seed):
    """Draw a cloud whose mean and covariance are those of the law to the last digit."""
    z = np.random.default_rng(seed).normal(size=(n, len(mean)))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T, bias=True))).T
    return torch.tensor(mean + z @ np.linalg.cholesky(covariance).T)


@pytest.fixture(scope="module")
def bridge():
    """Return a fit between two Gaussians, and the law of the Schroedinger bridge between them."""
    start, end = np.array([[0.8, 0.2], [0.2, 0.5]]), np.array([[0.5, -0.1], [-0.1, 0.9]])
    step, eye = np.array([1.5, -0.5]), np.eye(2)
    clouds = snapshots([matched(250, 0 * step, start, 0), matched(250, step, end, 1)])
    result = fit(clouds, growth=False, sigma=1.0, steps=400, batch_size=256, training=0.02)
    root = np.real(sqrtm(start))
    cross = np.real(sqrtm(4 * root @ end @ root + eye))
    cross = (root @ cross @ np.linalg.inv(root) - eye) / 2

    def law(t):
        both = cross + cross.T + eye
        covariance = (1 - t) ** 2 * start + t**2 * end + t * (1 - t) * both
        slope = (1 - t) * (cross.T - start) + t * (end - cross)
        return t * step, covariance, slope

    return result, law, step, clouds


def test_gaussian_schroedinger_bridge(bridge):
    result, law, step, _ = bridge
    rng = np.random.default_rng(2)
    errors = {name: [0.0, 0.0] for name in ("velocity", "drift", "score")}
    for t in (0.05, 0.3, 0.5, 0.7, 0.95):
        mean, covariance, slope = law(t)
        inverse = np.linalg.inv(covariance)
        x = rng.multivariate_normal(mean, covariance, 500)
        y = x - mean
        expected = {
            "velocity": step + y @ ((slope + (0.5 - t) * np.eye(2)) @ inverse).T,
            "drift": step + y @ ((slope - t * np.eye(2)) @ inverse).T,
            "score": -y @ inverse,
        }
        for name, values in expected.items():
            got = getattr(result.dynamics, name)(t, x)
            errors[name][0] += np.sum((got - values) ** 2)
            errors[name][1] += np.sum(values**2)
    relative = {name: math.sqrt(a / b) for name, (a, b) in errors.items()}
    assert max(relative.values()) < 0.12, relative


def test_cost_is_that_of_the_bridge_and_energy_and_boundary_make_it_up(bridge):
    result, law, step, _ = bridge
    (_, start, _), (_, end, _) = law(0.0), law(1.0)
    quality = result.quality
    cross = law(0.0)[2].T + start
    left = end - cross.T @ np.linalg.inv(start) @ cross
    moved = np.sum(step**2) + np.trace(start + end - 2 * cross)
    expected = moved / 2 - 1 - np.log(np.linalg.det(left)) / 2
    assert quality["cost"] == pytest.approx(expected, rel=0.05)
    # sigma^2 / 2 times the change of the integral of p log p
    boundary = -0.25 * np.log(np.linalg.det(end) / np.linalg.det(start))
    assert quality["energy"] + boundary == pytest.approx(quality["cost"], rel=0.02)


def test_flow_and_noise_lead_to_the_same_law(bridge):
    result, law, _, clouds = bridge
    start = torch.cat([clouds.x[0]] * 8)
    for stochastic in (False, True):
        run = result.dynamics.simulate(start, [0.0, 0.5, 1.0], stochastic=stochastic)
        for t, x in ((0.5, run.x[1]), (1.0, run.x[2])):
            mean, covariance, _ = law(t)
            np.testing.assert_allclose(x.mean(0), mean, atol=0.1)
            np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.12)


def test_density_is_that_of_the_bridge_at_all_times(bridge):
    result, law, _, _ = bridge
    for t in (0.0, 0.5, 1.0):
        mean, covariance, _ = law(t)
        x = np.random.default_rng(3).multivariate_normal(mean, covariance, 500)
        exact = multivariate_normal(mean, covariance).logpdf(x)
        error = result.dynamics.log_density(t, x) - exact
        # the level as well, which scores leave open
        assert abs(error.mean()) < 0.1
        assert error.std() < 0.2
    assert result.quality["density_mass_error"] < 0.1


def test_fokker_planck_residual_of_a_gaussian_law_is_small_from_the_start(bridge):
    history, quality = bridge[0].history, bridge[0].quality
    assert history["density_fokker_planck"][0] < 0.3
    assert quality["fokker_planck_before_training"] < 0.05
    assert quality["fokker_planck"] < 0.05


def test_fokker_planck_residual_goes_down():
    # one cluster becomes two, one of which grows
    x0 = 0.2 * cloud(60)
    sides = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    x1 = torch.cat([0.2 * cloud(40, 1) + sides[0], 0.2 * cloud(80, 2) + sides[1]])
    result = fit(snapshots([x0, x1], [1.0, 2.0]), alpha=4.0, sigma=0.3, steps=200, training=0.1)
    first, quality = result.history["density_fokker_planck"][0], result.quality
    assert quality["fokker_planck_before_training"] < 0.5 * first
    assert quality["fokker_planck"] < quality["fokker_planck_before_training"]


# particles with weights


class Linear(torch.nn.Module):
    """Drift u, growth a + c.x and noise sigma from a Gaussian: the law stays Gaussian."""

    u, c, a = torch.tensor([0.5, -0.2]), torch.tensor([0.3, 0.4]), 0.1
    start = torch.tensor([[1.0, 0.3], [0.3, 0.5]])

    def __init__(self, sigma):
        super().__init__()
        self.sigma = sigma
        self.config = {}

    def moments(self, t):
        eye = torch.eye(2)
        covariance = self.start + self.sigma**2 * t * eye
        mean = self.u * t + (self.start * t + self.sigma**2 * t**2 / 2 * eye) @ self.c
        grown = (
            self.u * t**2 / 2 + (self.start * t**2 / 2 + self.sigma**2 * t**3 / 6 * eye) @ self.c
        )
        return mean, covariance, self.a * t + float(self.c @ grown)

    def forward(self, t, x):
        mean, covariance, _ = self.moments(float(t[0]))
        score = -(x - mean) @ torch.linalg.inv(covariance)
        velocity = self.u - self.sigma**2 / 2 * score
        return {"velocity": velocity, "growth": self.a + x @ self.c, "score": score}


@pytest.mark.parametrize("stochastic", [False, True])
def test_linear_growth_with_noise(stochastic):
    field = Linear(0.6)
    scale = Scale((0.0, 0.0), 1.0, 0.0, 1.0)
    model = Dynamics(
        field,
        scale,
        method="deepruot",
        learns=("velocity", "growth", "score"),
        times=(0.0, 1.0),
        masses=(1.0, 1.0),
        sigma=0.6,
    )
    x = matched(20_000, np.zeros(2), field.start.double().numpy(), 0).float()
    run = model.simulate(x, [0.0, 1.0], stochastic=stochastic)
    mean, covariance, log_mass = field.moments(1.0)
    weights = run.weights[-1].numpy()
    assert float(run.mass[-1]) == pytest.approx(math.exp(log_mass), rel=0.01)
    np.testing.assert_allclose(np.average(run.x[-1], axis=0, weights=weights), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(run.x[-1].T, aweights=weights), covariance, atol=0.03)


# stages, parameters, storage


@pytest.fixture(scope="module")
def growing():
    """Return three clouds of a population that moves and doubles."""
    x = [cloud(60), cloud(60, 1) + 1, cloud(60, 2) + 2]
    return snapshots(x, [1.0, 1.5, 2.0], (0.0, 1.0, 3.0))


def test_training_lowers_the_objective_and_changes_all_networks(growing):
    before, after = (fit(growing, steps=60, training=share) for share in (0.0, 0.5))
    for name in ("flow.head.weight", "density.head.weight", "flow.trunk.0.weight"):
        first, second = (r.dynamics.field.state_dict()[name] for r in (before, after))
        assert float((first - second).abs().max()) > 1e-4
    assert len(after.history["training_loss"]) == 30
    # at the same points before and after
    quality = after.quality
    assert quality["objective"] < 0.98 * quality["objective_before_training"]
    assert np.isfinite(list(after.quality.values())).all()


class _Runaway(torch.nn.Module):
    """A velocity that leads away ever faster beyond two, and its source's growth."""

    names = ("velocity", "growth")

    def forward(self, t, x):
        radius = x.norm(dim=1, keepdim=True)
        return {"velocity": 3 * x * (radius > 2), "growth": radius[:, 0]}


def test_no_particle_leaves_against_the_score():
    # the law is a standard normal; with sigma = 1 its score pulls back at x / 2
    config = {"dim": 2, "heads": {"potential": 1}, "span": 4.0}
    law = {"knots": [0.0, 4.0], "dim": 2, "full": True}  # until set, the standard normal
    field = RUOTField({**config, "heads": {"velocity": 2, "growth": 1}}, config, law)
    field.flow = _Runaway()
    scale = Scale((0.0, 0.0), 1.0, 0.0, 1.0)
    options = {"method": "deepruot", "learns": DEEPRUOT.learns, "masses": (1.0, 1.0)}
    model = Dynamics(field, scale, times=(0.0, 4.0), sigma=1.0, **options)

    def farthest():
        return float(model.simulate(cloud(400), [0.0, 4.0], step=0.02).x[-1].norm(dim=1).max())

    assert farthest() > 100
    field.edge.fill_(-math.log(2 * math.pi) - 2.0)  # the log density at a distance of two
    assert farthest() < 6
    # within the edge the velocity is what was learned; along the score it may be anything
    inside = torch.tensor([[1.9, 0.0]])
    assert float(model.velocity(0.0, inside).abs().max()) == 0.0
    field.flow = _Constant()
    beyond = torch.tensor([[4.0, 0.0], [-4.0, 0.0]])
    expected = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    torch.testing.assert_close(model.velocity(0.0, beyond), expected)


class _Constant(torch.nn.Module):
    names = ("velocity", "growth")

    def forward(self, t, x):
        return {"velocity": x.new_tensor([[2.0, 1.0]]).expand(len(x), 2), "growth": x[:, 0]}


def test_velocity_is_trusted_where_nearly_all_of_the_law_is(growing):
    model = fit(growing, steps=60).dynamics
    field = model.field
    x = torch.cat(list(growing.x))
    t = torch.tensor(growing.times).repeat_interleave(60)
    scaled = model.scale.x_in(x), t / model.scale.time
    values = field.log_density(scaled[1], scaled[0]).value
    assert math.isfinite(float(field.edge))
    assert float((values > field.edge).float().mean()) > 0.97


def test_noise_may_change_in_time(growing):
    result = fit(growing, steps=30, sigma=0.2, sigma_end=0.6, training=0.1)
    assert result.resolved["sigma"] == pytest.approx(0.2)
    assert result.resolved["sigma_end"] == pytest.approx(0.6)
    model, x = result.dynamics, growing.x[1]
    for t, sigma in ((0.0, 0.2), (1.0, 0.2 + 0.4 / 3), (3.0, 0.6)):
        difference = model.drift(t, x) - model.velocity(t, x)
        torch.testing.assert_close(
            difference, sigma**2 / 2 * model.score(t, x), rtol=1e-3, atol=1e-4
        )


def test_log_density_is_per_volume_of_the_users_unit(growing):
    larger = Snapshots(growing.times, tuple(8 * x for x in growing.x), growing.weights)
    first, second = (fit(c, steps=20).dynamics for c in (growing, larger))
    x = growing.x[1]
    expected = first.log_density(1.0, x) - 2 * math.log(8)
    torch.testing.assert_close(second.log_density(1.0, 8 * x), expected, rtol=1e-4, atol=1e-4)


def test_each_stage_resumes_from_its_checkpoint(growing, tmp_path):
    whole = fit(growing, steps=12, training=0.5)
    path = tmp_path / "fit.npz"
    for _ in range(2):
        again = fit(growing, steps=12, training=0.5, checkpoint=path)
        assert torch.equal(
            again.dynamics.velocity(0.5, growing.x[0]), whole.dynamics.velocity(0.5, growing.x[0])
        )
    assert {p.name for p in tmp_path.iterdir()} == {
        "fit.npz",
        "fit.density.npz",
        "fit.training.npz",
    }


def test_arrays_and_back(growing):
    model = fit(growing, steps=5, sigma_end=0.3).dynamics
    again = from_arrays(DEEPRUOT, *to_arrays(model), torch.device("cpu"))
    x = growing.x[0]
    for name in ("velocity", "drift", "growth", "log_density"):
        assert torch.equal(getattr(model, name)(2.0, x), getattr(again, name)(2.0, x))
