"""TIGON against closed forms: characteristics, action, and what its densities alone can teach."""

import math

import numpy as np
import pytest
import torch

from scruot import datasets, get, tl
from scruot.dynamics import Snapshots
from scruot.dynamics.fields import Field
from scruot.geometry import travelling_dirac
from scruot.metrics import w1
from scruot.solvers.kernel_density import KernelDensity
from scruot.solvers.params import make_params
from scruot.solvers.run import fit_snapshots
from scruot.solvers.ruot_rollout import roll_out
from scruot.solvers.tigon import TIGON
from scruot.solvers.tigon_objective import Trace, action, log_ratios, motion_of

QUICK = {
    "steps": 300,
    "batch_size": 256,
    "width": 64,
    "rollout_steps": 6,
    "n_samples": 64,
    "n_particles": 100,
}


def fit(clouds, **options):
    checkpoint = options.pop("checkpoint", None)
    params = make_params(TIGON.params, {**QUICK, **options}, "tigon")
    return fit_snapshots(clouds, TIGON, params, device=torch.device("cpu"), checkpoint=checkpoint)


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


# characteristics


class Linear:
    """Gaussians under ``v = A x + b`` and constant growth: they stay Gaussian."""

    a, b, growth = torch.tensor([[0.3, -0.8], [0.5, -0.4]]), torch.tensor([1.0, -0.5]), 0.7
    start = torch.tensor([[1.0, 0.3], [0.3, 0.5]])

    def __call__(self, t, x):
        return {"velocity": x @ self.a.T + self.b, "growth": torch.full_like(t, self.growth)}

    def density(self, t):
        """Return the exact density at a time, by the exponential of the flow's matrix."""
        flow = torch.linalg.matrix_exp(t * self.a)
        mean = torch.linalg.solve(self.a, (flow - torch.eye(2)) @ self.b)
        covariance = flow @ self.start @ flow.T
        normal = torch.distributions.MultivariateNormal(mean, covariance)
        return Normal(normal, self.growth * t)


class Normal:
    def __init__(self, normal, log_mass):
        self.normal, self.log_mass = normal, log_mass

    def log(self, x):
        return self.normal.log_prob(x) + self.log_mass


@pytest.mark.parametrize("times", [(0.0, 0.4, 1.0), (1.0, 0.4, 0.0)])
def test_log_density_along_characteristics_is_that_of_the_gaussian(times):
    law = Linear()

    def spread(t, x):
        return torch.full_like(t, float(law.a.trace()))

    densities = [law.density(t) for t in times]
    starts = [2 * cloud(40, 0), 2 * cloud(40, 1)]
    ratios = log_ratios(law, densities, times, starts, spread, 0.01)
    # of either density at the next one, then of both at the last
    assert [len(r) for r in ratios] == [40, 40, 80]
    for r in ratios:
        torch.testing.assert_close(r, torch.zeros_like(r), atol=2e-3, rtol=0)
    # and a growth that is wrong is the ratio itself
    law.growth = 0.2
    missing = log_ratios(law, densities, times, starts, spread, 0.01)[0]
    expected = torch.full((40,), -0.5 * (times[1] - times[0]))
    torch.testing.assert_close(missing, expected, atol=2e-3, rtol=0)


def random_field(d):
    return Field(
        d,
        {"velocity": d, "growth": 1},
        width=16,
        depth=2,
        knots=(0.0, 1.0),
        generator=torch.Generator().manual_seed(0),
    )


def test_collected_divergence_is_the_volume_of_the_flow():
    # d log det(dx_t / dx_0) / dt = div v: the Jacobian by automatic differentiation
    field, generator = random_field(3), torch.Generator().manual_seed(1)
    x = 2 * cloud(4, d=3)

    def carried(start):
        return roll_out(motion_of(field), start, start.new_zeros(len(start)), (0.0, 1.0), 0.02)

    jacobians = [
        torch.autograd.functional.jacobian(lambda s: carried(s[None]).x[-1][0], start)
        for start in x
    ]
    expected = torch.stack([torch.linalg.slogdet(j)[1] for j in jacobians])
    with torch.no_grad():
        run = roll_out(
            motion_of(field),
            x,
            x.new_zeros(4),
            (0.0, 1.0),
            0.02,
            along=lambda t, y: Trace("exact")(field, t, y, generator),
        )
    assert float(expected.abs().max()) > 0.02
    torch.testing.assert_close(run.along, expected, atol=1e-4, rtol=1e-3)


def test_hutchinson_is_exact_in_the_mean():
    field, generator = random_field(6), torch.Generator().manual_seed(1)
    x = cloud(1, d=6).expand(20_000, 6)
    t = torch.full((len(x),), 0.3)
    with torch.no_grad():
        exact = Trace("exact")(field, t[:1], x[:1], generator)
        estimates = Trace("hutchinson")(field, t, x, generator)
    error = float(estimates.std()) / math.sqrt(len(x))
    assert error > 0
    assert float((estimates.mean() - exact).abs()) < 4 * error
    # automatic: exact in few coordinates, one probe in many
    assert torch.equal(Trace()(field, t[:1], x[:1], generator), exact)
    wide, y = random_field(11), cloud(5, d=11)
    values = [Trace(k)(wide, t[:5], y, generator) for k in ("auto", "exact", "auto")]
    assert not torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_paths_lead_back():
    field, x = random_field(2), cloud(5)
    there = roll_out(motion_of(field), x, x.new_zeros(5), (0.0, 0.4, 1.0), 0.01)
    back = roll_out(motion_of(field), there.x[-1], there.log_weights[-1], (1.0, 0.4, 0.0), 0.01)
    torch.testing.assert_close(back.x[-1], x, atol=1e-4, rtol=0)
    torch.testing.assert_close(back.log_weights[-1], x.new_zeros(5), atol=1e-4, rtol=0)


# action


def test_action_of_travelling_diracs_is_their_distance():
    # two pairs, each on its geodesic: 2 delta^2 (m0 + m1 - 2 sqrt(m0 m1) cos(d / 2 delta))
    delta, distance = 1.2, torch.tensor([1.0, 2.0])
    m0, m1 = torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.3])
    x0 = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    x1 = x0 + torch.stack([torch.zeros(2), distance], 1)

    def motion(t, x):
        path = travelling_dirac(t, x0, x1, m0, m1, delta)
        return path.velocity, path.growth

    run = roll_out(motion, x0, m0.log(), (0.0, 1.0), 0.01)
    cosine = torch.cos(distance / (2 * delta))
    expected = 2 * delta**2 * (m0 + m1 - 2 * (m0 * m1).sqrt() * cosine).sum()
    # weights on the way count, and not those at the start
    assert float(action(run.nodes, delta)) == pytest.approx(float(expected), rel=1e-3)
    torch.testing.assert_close(run.log_weights[-1].exp(), m1, rtol=1e-3, atol=0)


def test_action_of_a_fit_is_the_static_floor():
    # far pairs of cells: each goes its own way, and all action is known
    x0, x1 = torch.tensor([[0.0, 0.0], [20.0, 0.0]]), torch.tensor([[2.0, 0.0], [20.0, 1.5]])
    masses = [torch.tensor([2.0, 2.0]), torch.tensor([6.0, 1.0])]
    result = fit(
        snapshots([x0, x1], masses, (1.0, 4.0)), delta=1.5, sigma=0.02, steps=600, time_step=0.1
    )
    total = 0.0
    for d, m0, m1 in ((2.0, 1, 3), (1.5, 1, 0.5)):
        total += 2 * 1.5**2 * (m0 + m1 - 2 * math.sqrt(m0 * m1) * math.cos(d / 3))
    total /= 2 * 3
    assert result.quality["action_floor_primal"] == pytest.approx(total, rel=1e-5)
    assert result.quality["action"] == pytest.approx(total, rel=0.03)
    # T int int (|v|^2 / delta^2 + g^2) rho is without a unit
    expected = 2 * 3 * total / 1.5**2
    assert result.quality["dimensionless_action"] == pytest.approx(expected, rel=0.03)
    s = torch.linspace(0.1, 0.9, 5)
    for k in range(2):
        ends = (v[k].expand(5, 2) for v in (x0, x1))
        path = travelling_dirac(s, *ends, *(m[k].expand(5) / 2 for m in masses), 1.5)
        speed = float(path.velocity.norm(dim=1).mean())
        error = 3 * result.dynamics.velocity(1 + 3 * s, path.x) - path.velocity
        assert float(error.norm(dim=1).max()) < 0.12 * speed
        growth = 3 * result.dynamics.growth(1 + 3 * s, path.x)
        assert float((growth - path.growth).abs().max()) < 0.2


# closed forms of fits


def test_gaussians_move_as_the_map_of_bures_says():
    # a positive linear map is optimal between a cloud and its image, whatever the cloud
    x, a, b = cloud(80), torch.tensor([[1.5, 0.3], [0.3, 0.6]]), torch.tensor([2.0, -1.0])
    end = x @ a + b
    result = fit(snapshots([x, end]), delta=100.0, rollout_steps=20)
    speed = float((end - x).norm(dim=1).mean())
    for s in (0.1, 0.5, 0.9):
        at = (1 - s) * x + s * end
        error = (result.dynamics.velocity(s, at) - (end - x)).norm(dim=1)
        assert float(error.mean()) < 0.05 * speed
        assert float(result.dynamics.growth(s, at).abs().max()) < 0.05
    work = float((end - x).square().sum(1).mean()) / 2
    assert result.quality["action"] == pytest.approx(work, rel=0.02)


def test_pure_growth_has_a_root_of_the_mass_that_is_linear_in_time():
    x = cloud(50)
    result = fit(snapshots([x, x], [1.0, 4.0], (0.0, 2.0)), rollout_steps=20)
    for s in (0.1, 0.5, 0.9):
        growth = result.dynamics.growth(2 * s, x)
        assert float(growth.mean()) == pytest.approx(1 / (1 + s), rel=0.04)
        assert float(result.dynamics.velocity(2 * s, x).norm(dim=1).mean()) < 0.05
    run = result.dynamics.simulate(x, [0.0, 2.0], weights=torch.full((50,), 0.02))
    assert float(run.mass[-1]) == pytest.approx(4.0, rel=1e-3)


def test_islands_out_of_reach_only_grow():
    x = torch.cat([0.2 * cloud(30), 0.2 * cloud(30, 1) + torch.tensor([10.0, 0.0])])
    masses = torch.tensor([1.0] * 30 + [6.0] * 30)
    result = fit(snapshots([x, x], [1.0, masses]), delta=1.5)
    for s in (0.1, 0.5, 0.9):
        for rows, ratio in ((slice(0, 30), 1.0), (slice(30, 60), 6.0)):
            step = math.sqrt(ratio) - 1
            growth = result.dynamics.growth(s, x[rows])
            assert float((growth.mean() - 2 * step / (1 + step * s)).abs()) < 0.1
        assert float(result.dynamics.velocity(s, x).norm(dim=1).max()) < 0.5


# densities alone


def test_densities_alone_teach_motion_and_growth():
    # two blobs part, one triples and the other halves: nothing of it is in the mean of all cells,
    # which one step of regression knows
    left, right = 0.4 * cloud(60) - torch.tensor([1.5, 0.0]), 0.4 * cloud(60, 1)
    right = right + torch.tensor([1.5, 0.0])
    up = torch.tensor([0.0, 1.0])
    masses = torch.tensor([3.0] * 60 + [0.5] * 60)
    clouds = snapshots(
        [torch.cat([left, right]), torch.cat([left + up, right - up])], [1.0, masses]
    )
    options = {"steps": 1, "match_weight": 0.0, "action_weight": 0.0, "match_mass": False}
    start, end = (
        fit(
            clouds,
            rollout_steps=n,
            rollout_rate=0.01,
            n_samples=128,
            **options,
        )
        for n in (0, 150)
    )
    for result, right_enough in ((start, False), (end, True)):
        run = result.dynamics.simulate(clouds.x[0], [0.0, 1.0], weights=torch.full((120,), 1 / 120))
        mass = run.weights[-1].view(2, 60).sum(1)
        moved = (run.x[-1] - clouds.x[0]).view(2, 60, 2).mean(1)
        errors = [
            float((mass / torch.tensor([1.5, 0.25])).log().abs().max()),
            float((moved - torch.stack([up, -up])).norm(dim=1).max()),
        ]
        assert (max(errors) < 0.2) == right_enough, errors
    assert end.quality["density_error"] < 0.2 * end.quality["density_error_before_rollout"]


# the second stage


@pytest.fixture(scope="module")
def growing():
    """Return three clouds of a population that moves and doubles."""
    x = [cloud(60), cloud(60, 1) + 1, cloud(60, 2) + 2]
    return snapshots(x, [1.0, 1.5, 2.0], (0.0, 1.0, 3.0))


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_second_stage_lowers_the_mismatch_and_keeps_the_population(growing, trace):
    result = fit(growing, steps=100, rollout_steps=20, trace=trace)
    quality = result.quality
    assert quality["density_error"] < 0.9 * quality["density_error_before_rollout"]
    assert len(result.history["loss"]) == 100
    for name in ("loss", "density", "distance", "mass", "action"):
        assert len(result.history[f"rollout_{name}"]) == 20
    weights = torch.full((60,), 1 / 60)
    run = result.dynamics.simulate(growing.x[0], [0.0, 1.0, 3.0], weights=weights)
    np.testing.assert_allclose(run.mass, [1.0, 1.5, 2.0], rtol=0.01)


def test_bandwidth_shrinks_and_a_resumed_run_goes_on_with_it(growing, tmp_path, monkeypatch):
    seen, log = [], KernelDensity.log

    def noted(self, at):
        seen.append(self.bandwidth)
        return log(self, at)

    monkeypatch.setattr(KernelDensity, "log", noted)
    whole = fit(growing, steps=5, rollout_steps=10, bandwidth=0.3, widest=8.0)
    widths = np.array(seen) / min(seen)
    assert widths.max() == pytest.approx(8.0)
    assert whole.resolved["bandwidth"] == pytest.approx(0.3)
    # from one assessment to the other it only shrinks
    between = widths[np.argmax(widths > 1.01) :]
    assert (np.diff(between) <= 1e-9).all()

    path = tmp_path / "fit.npz"
    for _ in range(2):
        again = fit(growing, steps=5, rollout_steps=10, bandwidth=0.3, widest=8.0, checkpoint=path)
        x = growing.x[0]
        assert torch.equal(again.dynamics.velocity(0.5, x), whole.dynamics.velocity(0.5, x))
        assert torch.equal(again.dynamics.growth(0.5, x), whole.dynamics.growth(0.5, x))
    assert {p.name for p in tmp_path.iterdir()} == {"fit.npz", "fit.rollout.npz"}


def test_lengths_are_in_the_users_unit(growing):
    larger = Snapshots(growing.times, tuple(8 * x for x in growing.x), growing.weights)
    before, after = (fit(c, steps=1, rollout_steps=0).resolved for c in (growing, larger))
    for name in ("delta", "sigma", "bandwidth"):
        assert after[name] == pytest.approx(8 * before[name], rel=1e-5)
    given = fit(growing, steps=1, rollout_steps=0, bandwidth=0.3, delta=0.7, sigma=0.1).resolved
    assert given == pytest.approx({"delta": 0.7, "sigma": 0.1, "bandwidth": 0.3})


# through the public functions


def test_forward_simulation_meets_the_snapshots():
    adata = datasets.three_gene(n_cells=120, random_state=1)
    tl.fit_dynamics(
        adata, "tigon", use_rep="X_genes", progress=False, steps=300, width=64, rollout_steps=8
    )
    assert {"velocity_genes", "X_genes"} <= set(adata.obsm)
    model = get.dynamics(adata)
    at, x = adata.obs["time"].to_numpy().astype(float), adata.obsm["X_genes"]
    start = x[at == model.times[0]]
    run = model.simulate(start, list(model.times), weights=np.full(len(start), 1 / len(start)))
    for k, time in enumerate(model.times[1:], 1):
        cells = x[at == time]
        moved = w1(run.x[k].double().numpy(), cells, run.weights[k].numpy())
        assert moved < 0.25 * w1(start, cells)
        assert float(run.mass[k]) == pytest.approx(model.masses[k], rel=0.01)
