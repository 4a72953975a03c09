"""The closed-form field: the formula, its place in the leaves, and what it is the minimiser of."""

import math

import numpy as np
import pytest
import torch

from scruot.dynamics import Snapshots
from scruot.dynamics.device import make_generator
from scruot.geometry import Geodesic, travelling_dirac
from scruot.solvers import bandwidth, wfr
from scruot.solvers.bandwidth import best_factor, spacings
from scruot.solvers.kernel_field import KernelField, kernel_mean
from scruot.solvers.leaves import leaf_order, leaf_starts
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.pair_table import JoinedPairs
from scruot.solvers.params import make_params
from scruot.solvers.problem import Problem
from scruot.solvers.regression import TrainingParams, regress, regression_loss
from scruot.solvers.run import fit_snapshots
from scruot.solvers.wfr import WFR
from scruot.transport import pairs, wfr_coupling

CPU = torch.device("cpu")


def fit(clouds, **options):
    return fit_snapshots(clouds, WFR, make_params(WFR.params, options, "wfr"), device=CPU)


def cloud(n, seed=0, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def snapshots(*x, weights=None, times=None):
    masses = [torch.ones(len(v)) for v in x] if weights is None else weights
    return Snapshots(
        tuple(map(float, range(len(x)))) if times is None else times,
        tuple(v.float() for v in x),
        tuple(torch.as_tensor(w).double() for w in masses),
    )


# the formula


def by_hand(x, where, mass, values, h):
    weight = mass * torch.exp(-(torch.cdist(x, where) ** 2) / (2 * h**2))
    return weight @ values / weight.sum(1, keepdim=True)


@pytest.mark.parametrize("d", [1, 2, 12])
def test_kernel_mean_is_the_formula(d):
    where, values, x = (
        cloud(300, 1, d).double(),
        cloud(300, 2, 4).double(),
        cloud(50, 3, d).double(),
    )
    mass = torch.rand(300, generator=torch.Generator().manual_seed(4)).double()
    got = kernel_mean(
        *(v.float() for v in (x, where, mass.log(), values)), torch.tensor(0.5 * 2**0.5), 1
    )
    torch.testing.assert_close(
        got.double(), by_hand(x, where, mass, values, 0.5), atol=1e-5, rtol=0
    )


def test_far_queries_follow_the_nearest_path():
    where, values = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0], [2.0]])
    mean = kernel_mean(
        torch.tensor([[1e4, 0.0]]), where, torch.zeros(2), values, torch.tensor(0.01), 1
    )
    assert mean.tolist() == [[2.0]]


def test_far_from_the_origin_nothing_is_lost():
    where, values, x = cloud(400, 1) / 1000, cloud(400, 2), cloud(50, 3) / 1000
    scale = torch.tensor(1e-4)
    near = kernel_mean(x, where, torch.zeros(400), values, scale, 1)
    # a power of two: the shifted coordinates keep all that single precision leaves them
    shift = 2.0**-3
    kept = [(v + shift) - shift for v in (x, where)]
    far = kernel_mean(kept[0] + shift, kept[1] + shift, torch.zeros(400), values, scale, 1)
    torch.testing.assert_close(
        far, kernel_mean(kept[0], kept[1], torch.zeros(400), values, scale, 1), atol=0.02, rtol=0
    )
    assert float((far - near).abs().median()) < 0.1


# leaves


@pytest.mark.parametrize(("n", "n_leaves"), [(1000, 8), (1003, 16), (7, 4)])
def test_leaves_are_a_permutation_of_equal_parts(n, n_leaves):
    order = leaf_order(cloud(n), n_leaves)
    assert sorted(order.tolist()) == list(range(n))
    sizes = np.diff(leaf_starts(n, n_leaves))
    assert sizes.sum() == n
    assert sizes.max() - sizes.min() <= 1


def test_leaves_are_compact():
    x = cloud(4096)[leaf_order(cloud(4096), 64)]
    within = torch.stack([part.var(0).sum() for part in x.split(64)]).mean()
    # 64 parts of a plane have about a 64th of its variance each
    assert float(within) < 3 / 64 * float(x.var(0).sum())


@pytest.mark.parametrize(("d", "most"), [(2, 1e-4), (10, 0.05)])
def test_leaves_change_little(d, most):
    where, values = cloud(16_384, 1, d), cloud(16_384, 2, 3)
    where = where[leaf_order(where, 64)]
    # where the particles of a simulation are: near paths
    spacing = float(torch.cdist(where[::100], where).topk(2, largest=False).values[:, 1].median())
    x = where[::100] + 0.3 * spacing / math.sqrt(d) * cloud(164, 3, d)
    scale = torch.tensor(0.5 * spacing * 2**0.5)
    exact, seen = (
        kernel_mean(x, where, torch.zeros(len(where)), values, scale, n) for n in (1, 64)
    )
    assert float((seen - exact).norm() / exact.norm()) < most


def test_all_leaves_are_all_points():
    where, values, x = cloud(200, 1), cloud(200, 2, 3), cloud(30, 3)
    log_mass = torch.rand(200, generator=torch.Generator().manual_seed(4)).log()
    log_mass[:20] = -math.inf
    exact, seen = (kernel_mean(x, where, log_mass, values, torch.tensor(0.3), n) for n in (1, 16))
    torch.testing.assert_close(seen, exact, rtol=1e-4, atol=1e-5)


def test_large_fields_use_leaves(monkeypatch):
    clouds = snapshots(cloud(200), cloud(250, 1) + 1, cloud(150, 2) + 2)
    exact = fit(clouds, bandwidth=0.2).dynamics
    monkeypatch.setattr("scruot.solvers.kernel_field._ALL", 100)
    monkeypatch.setattr("scruot.solvers.kernel_field._LEAF", 16)
    leaves = fit(clouds, bandwidth=0.2).dynamics
    assert min(leaves.field.leaves) > 16
    for t in (0.0, 0.5, 1.7):
        a, b = exact.velocity(t, clouds.x[1]), leaves.velocity(t, clouds.x[1])
        assert float((a - b).abs().mean()) < 0.01 * float(a.abs().mean())


# paths and limits


def test_one_pair_travels_as_the_closed_form_says():
    x0, x1 = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    clouds = snapshots(x0, x1, weights=([1.0], [3.0]), times=(10.0, 14.0))
    model = fit(clouds, delta=1.5, bandwidth=0.1).dynamics
    s = torch.linspace(0.0, 1.0, 11)
    ends = [x0.expand(11, 2), x1.expand(11, 2), torch.ones(11), torch.full((11,), 3.0)]
    path = travelling_dirac(s, *ends, 1.5)
    t = 10.0 + 4.0 * s
    torch.testing.assert_close(model.velocity(t, path.x), path.velocity / 4, rtol=1e-4, atol=1e-5)
    # up to the constant that matches populations, which is the error of the integrator
    torch.testing.assert_close(model.growth(t, path.x), path.growth / 4, rtol=1e-3, atol=1e-4)
    run = model.simulate(x0, [10.0, 14.0], weights=torch.ones(1))
    np.testing.assert_allclose(run.x[-1], x1, atol=1e-4)
    np.testing.assert_allclose(run.weights[-1], [3.0], rtol=1e-4)


def test_small_delta_is_growth_alone():
    x = cloud(40)
    w1 = torch.exp(x[:, 0]).double()
    nearest = float(torch.cdist(x, x).fill_diagonal_(math.inf).min())
    model = fit(snapshots(x, x, weights=(torch.ones(40), w1)), delta=nearest / 4, bandwidth=1e-3)
    run = model.dynamics.simulate(x, [0.0, 1.0], weights=torch.ones(40))
    np.testing.assert_allclose(run.x[-1], x, atol=1e-6)
    np.testing.assert_allclose(run.weights[-1], w1, rtol=0.01)


def test_large_delta_is_optimal_transport():
    x, step = cloud(60), torch.tensor([2.0, -1.0])
    model = fit(snapshots(x, x + step), delta=1e3, bandwidth=0.1).dynamics
    for s in (0.0, 0.4, 1.0):
        error = (model.velocity(s, x + s * step) - step).abs().max()
        assert float(error) < 1e-3
        assert float(model.growth(s, x + s * step).abs().max()) < 1e-3


def test_deaths_and_births():
    model = fit(snapshots(cloud(30), cloud(40, 1) + 50), delta=1.0).dynamics
    assert float(model.growth(0.5, cloud(30)).mean()) == pytest.approx(-4.0, rel=0.01)
    assert float(model.growth(0.5, cloud(40, 1) + 50).mean()) == pytest.approx(4.0, rel=0.01)
    for t in (0.0, 1.0):
        assert torch.isfinite(model.growth(t, torch.cat([cloud(30), cloud(40, 1) + 50]))).all()


def test_the_field_stays_as_it_is_beyond_the_times():
    clouds = snapshots(cloud(30), cloud(40, 1) + 1)
    model = fit(clouds).dynamics
    x = clouds.x[1]
    assert torch.equal(model.velocity(7.0, x), model.velocity(1.0, x))
    assert torch.equal(model.velocity(-7.0, x), model.velocity(0.0, x))


def test_times_may_differ_between_cells():
    clouds = snapshots(cloud(30), cloud(40, 1) + 1, cloud(20, 2) + 2)
    model = fit(clouds).dynamics
    t = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]).repeat(6)
    together = model.velocity(t, clouds.x[0])
    for value in t.unique():
        here = t == value
        alone = model.velocity(float(value), clouds.x[0][here])
        torch.testing.assert_close(together[here], alone, rtol=1e-5, atol=1e-6)


# the minimiser of the regression


@pytest.fixture(scope="module")
def regressed():
    """Return a trained network, the closed form, and the sampler of the regression of both."""
    clouds = snapshots(cloud(60), cloud(70, 1) + 1.0, cloud(80, 2) + torch.tensor([1.0, 3.0]))
    delta, h = 3.0, 0.2
    ends = zip(clouds.x, clouds.x[1:], clouds.weights, clouds.weights[1:], strict=False)
    tables = [pairs(wfr_coupling(*end, delta)) for end in ends]
    sampler = PairSampler(clouds, tables, Geodesic(delta), h)
    _, scale = clouds.standardised()
    params = TrainingParams(steps=600, batch_size=512, width=64)
    network = regress(Problem(clouds, scale, params, CPU), clouds, None, sampler).field
    exact = KernelField.of_pairs(JoinedPairs(clouds, tables), clouds, delta, [h, h])
    return clouds, sampler, network, exact


def test_no_network_has_a_smaller_loss(regressed):
    _, sampler, network, exact = regressed
    # the same batch and the same units for both
    units = {name: network.get_buffer(f"{name}_spread") for name in ("velocity", "growth")}
    with torch.no_grad():
        losses = [
            regression_loss(field, sampler, 3000, units, {}, make_generator(CPU, 5))
            for field in (exact, network)
        ]
    for name in ("velocity", "growth"):
        best, trained = (float(found[name]) for found in losses)
        assert best < trained < 1.25 * best + 0.02


def test_the_network_comes_near_it(regressed):
    _, sampler, network, exact = regressed
    batch = sampler.draw(2000, make_generator(CPU, 6))
    with torch.no_grad():
        a, b = network(batch.t, batch.x), exact(batch.t, batch.x)
    for name in ("velocity", "growth"):
        error = (a[name] - b[name]).square().mean().sqrt()
        assert float(error) < 0.25 * float(b[name].std())


def test_noise_around_it_costs_what_it_should(regressed):
    # a minimiser: any other field has a larger loss, by the mean square of the difference
    _, sampler, _, exact = regressed
    batch = sampler.draw(3000, make_generator(CPU, 7))
    out = exact(batch.t, batch.x)["growth"]
    shift = 0.5 * torch.sin(3 * batch.x[:, 0] + batch.t)
    loss, other = (
        (batch.weight * (v - batch.targets["growth"]) ** 2).mean() for v in (out, out + shift)
    )
    expected = (batch.weight * shift**2).mean()
    assert float(other - loss) == pytest.approx(float(expected), rel=0.1)


# the bandwidth


def test_the_factor_with_the_smallest_error_is_taken(monkeypatch):
    clouds = snapshots(cloud(30), cloud(30, 1))
    seen = []

    def error(field, start, aside):
        seen.append((field, {tuple(v) for v in start.x[0].tolist()}))
        assert not {tuple(v) for v in aside.x[0].tolist()} & seen[-1][1]
        return (field - 0.7) ** 2

    monkeypatch.setattr(bandwidth, "simulation_error", error)
    assert best_factor(clouds, lambda _: lambda factor: factor) == 0.7
    # both halves, each with all factors
    assert [factor for factor, _ in seen] == 2 * list(bandwidth.FACTORS)
    assert len(seen[0][1] | seen[-1][1]) == 30


def test_few_cells_take_the_usual_factor():
    clouds = snapshots(cloud(5), cloud(8, 1))
    assert best_factor(clouds, lambda _: pytest.fail("nothing to compare")) == 0.5
    result = fit(clouds)
    assert result.resolved["bandwidth"] == pytest.approx(0.5 * spacings(clouds)[0], rel=1e-4)


def test_spacing_is_the_median_of_both_snapshots():
    x = torch.tensor([[0.0], [1.0], [2.0]])
    assert spacings(snapshots(x, 3 * x, x)) == pytest.approx([2.0, 2.0])


def test_coinciding_cells_have_a_width(monkeypatch):
    x = torch.zeros(20, 2)
    model = fit(snapshots(x, x)).dynamics
    assert torch.isfinite(model.velocity(0.5, x)).all()


def test_lengths_are_in_the_users_unit():
    resolved = fit(snapshots(cloud(30), cloud(30, 1)), delta=0.7, bandwidth=0.2).resolved
    assert resolved == pytest.approx({"delta": 0.7, "bandwidth": 0.2})


def test_populations_are_as_observed():
    x = (cloud(40), cloud(50, 1) + 1, cloud(30, 2) + 2)
    weights = [torch.full((len(v),), m / len(v)) for v, m in zip(x, (5, 10, 7), strict=True)]
    clouds = snapshots(*x, weights=weights)
    run = fit(clouds).dynamics.simulate(x[0], [0.0, 1.0, 2.0])
    np.testing.assert_allclose(run.mass, [1.0, 2.0, 1.4], rtol=1e-3)
    free = fit(clouds, match_mass=False).dynamics
    assert float(free.field.growth_offset.abs().max()) == 0


def test_build_makes_room_for_what_is_stored():
    field = fit(snapshots(cloud(30), cloud(30, 1))).dynamics.field
    again = wfr.build(field.config)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in field.state_dict().items()
    }
    assert list(field.parameters()) == []
