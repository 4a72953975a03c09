"""The law of coupled cells: bridges around geodesics, and their mixture."""

import math

import pytest
import torch

from scruot.dynamics import Snapshots
from scruot.dynamics.device import make_generator
from scruot.dynamics.noise import Noise
from scruot.geometry import travelling_dirac
from scruot.solvers.path_mixture import PathMixture
from scruot.transport import pairs, wfr_coupling

CPU = torch.device("cpu")
FAR = 1e3


def mixture(x0, x1, w0=None, w1=None, *, delta=FAR, blur=0.0, sigma=0.0, profile=(), times=(0, 2)):
    clouds = Snapshots(
        tuple(float(t) for t in times),
        (x0, x1),
        tuple(
            torch.ones(len(x)).double() if w is None else torch.tensor(w).double()
            for x, w in ((x0, w0), (x1, w1))
        ),
    )
    plan = wfr_coupling(x0, x1, *clouds.weights, delta)
    return PathMixture(clouds, [pairs(plan)], delta, blur, Noise(sigma, profile, clouds.times))


def draws(paths, n=4000, times=50):
    generator = make_generator(CPU, 0)
    parts = [paths.draw(n // times, generator) for _ in range(times)]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def test_one_pair_without_noise_is_its_geodesic():
    x0, x1 = torch.zeros(1, 2), torch.tensor([[1.0, 2.0]])
    t, x, drift, growth, weight, pull = draws(mixture(x0, x1, [1.0], [3.0], delta=1.5))
    ends = (v.expand(len(t), -1) for v in (x0, x1))
    masses = (torch.full_like(t, m) for m in (1.0, 3.0))
    path = travelling_dirac(t / 2, *ends, *masses, 1.5)
    torch.testing.assert_close(x, path.x, atol=1e-5, rtol=0)
    torch.testing.assert_close(drift, path.velocity / 2, atol=1e-4, rtol=0)
    torch.testing.assert_close(growth, path.growth / 2, atol=1e-5, rtol=1e-5)
    # in proportion to the mass at the time
    ratio = weight / path.mass
    assert float(ratio.std() / ratio.mean()) < 0.2
    assert float(pull.max()) == 0.0


@pytest.mark.parametrize("profile", [(), (0.5, 2.0)])
def test_one_pair_with_noise_is_a_brownian_bridge(profile):
    # the drift of a bridge leads to its end: (x1 - x) times f^2 over what noise is left
    sigma = (0.4, 0.8)
    x0, x1 = torch.zeros(1, 2), torch.tensor([[1.0, -1.0]])
    paths = mixture(x0, x1, sigma=sigma, profile=profile)
    t, x, drift, growth, _, pull = draws(paths)
    s = t / 2
    start, change = (profile[0], profile[1] - profile[0]) if profile else (1.0, 0.0)

    def passed(s):
        return 2 * (start**2 * s + start * change * s**2 + change**2 * s**3 / 3)

    left = passed(torch.ones(1)) - passed(s)
    early = s < 0.9
    force = ((start + change * s) ** 2 / left)[:, None]
    expected = x1 / 2 - force * (x - s[:, None] * x1)
    torch.testing.assert_close(drift[early], expected[early], atol=1e-3, rtol=1e-3)
    variance = (passed(s) * left / passed(torch.ones(1)))[:, None] * torch.tensor(sigma) ** 2
    normal = (x - s[:, None] * x1) / variance.sqrt()
    assert float((normal[early].var(0) - 1).abs().max()) < 6 * math.sqrt(2 / int(early.sum()))
    assert float(growth.abs().max()) < 1e-5
    assert bool(torch.isinf(pull[s > 0.98]).all())
    assert bool(torch.isfinite(pull[s < 0.96]).all())


def test_drift_is_the_mean_over_pairs_that_a_point_may_belong_to():
    # two pairs that move apart from one another, and are blurred into one another
    x0 = torch.tensor([[0.0], [0.2]])
    x1 = torch.tensor([[-1.0], [1.2]])
    t, x, drift, _, weight, _ = draws(mixture(x0, x1, [1.0, 3.0], [1.0, 3.0], blur=0.6))
    at = x0.T + (t / 2)[:, None] * (x1 - x0).T
    density = torch.tensor([1.0, 3.0]) * torch.exp(-((x - at) ** 2) / (2 * 0.36))
    expected = (density * (x1 - x0).T / 2).sum(1) / density.sum(1)
    torch.testing.assert_close(drift[:, 0], expected, atol=1e-4, rtol=1e-3)
    # points count in proportion to mass
    mean = float((weight[:, None] * (x - at @ torch.tensor([[0.25], [0.75]]))).mean())
    assert mean == pytest.approx(0.0, abs=0.06)


def test_growth_is_mixed_by_posterior_shares():
    # one cell only grows, its neighbour only shrinks: between them the rates mix
    x = torch.tensor([[0.0], [1.0]])
    paths = mixture(x, x, [1.0, 1.0], [4.0, 0.25], delta=0.1, blur=0.4)
    t, at, drift, growth, *_ = draws(paths)
    s = t / 2
    up, down = 1 + s, 1 - s / 2
    rates = torch.stack([1 / up, -0.5 / down], 1)
    mass = torch.stack([up**2, down**2], 1)
    density = mass * torch.exp(-((at - x.T) ** 2) / (2 * 0.16))
    expected = (density * rates).sum(1) / density.sum(1)
    torch.testing.assert_close(growth, expected, atol=1e-4, rtol=1e-3)
    assert float(drift.abs().max()) < 1e-5


def test_births_and_deaths_stay_in_place():
    x0, x1 = torch.zeros(3, 2), torch.full((2, 2), 50.0)
    t, x, drift, growth, *_ = draws(mixture(x0, x1, delta=1.0))
    assert float(drift.abs().max()) == 0.0
    born = x[:, 0] > 25
    assert 0.2 < float(born.float().mean()) < 0.6
    s = t / 2
    torch.testing.assert_close(growth[born], (1 / s)[born], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(growth[~born], (-1 / (1 - s))[~born], rtol=1e-3, atol=1e-3)


def test_population_is_the_mass_of_all_pairs_on_their_way():
    # pairs that move and grow, one cell that dies and one that is born
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(7, 2, generator=generator), torch.randn(9, 2, generator=generator) + 0.5
    x0[0], x1[0] = 50.0, -50.0
    paths = mixture(x0, x1, [1.0] * 7, [2.0] * 9, delta=1.5)
    (first, last, mixed), table = paths.population()[0].tolist(), paths.tables[0]
    assert (first, last) == pytest.approx((7.0, 18.0))
    assert bool((table.source < 0).any())
    assert bool((table.target < 0).any())
    total = table.m0 + table.m1
    for s in (0.0, 0.3, 0.8, 1.0):
        mass = paths._paths(0, torch.tensor([s]), torch.arange(len(table)))[3][0]
        found = float((mass.double() * total).sum())
        expected = first * (1 - s) ** 2 + last * s**2 + 2 * mixed * s * (1 - s)
        assert found == pytest.approx(expected, rel=1e-5)
