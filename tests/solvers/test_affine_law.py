"""The affine law beside DeepRUOT's networks: its splines, its moments, and what it is for."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from scruot.dynamics import Snapshots
from scruot.dynamics.noise import Noise
from scruot.geometry.blob_bridge import BlobBridge
from scruot.solvers.affine_law import AffineLaw
from scruot.solvers.bridge_moments import affine_law, sharpened_law
from scruot.solvers.deepruot import DEEPRUOT
from scruot.solvers.params import make_params
from scruot.solvers.run import fit_snapshots
from scruot.solvers.ruot_setup import Units, couple
from scruot.solvers.weighted_bridges import WeightedBridges
from scruot.transport import PairTable
from tests.solvers.gaussian_bridge import example

NAMES = ("level", "pull", "speed")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("full", [True, False])
def test_derivatives_are_those_of_the_values(full):
    law = AffineLaw([0.0, 1.0, 3.0], 2, full=full).double()
    rng = generator()
    for name in NAMES:
        buffer = law.get_buffer(name)
        buffer.copy_(torch.randn(buffer.shape, generator=rng))
    for name in ("precision", "gain"):
        root = torch.randn(law.get_buffer(name).shape, generator=rng)
        law.get_buffer(name).copy_(root @ root.mT if full else root.square())
    t = torch.tensor([0.01, 0.03, 0.1, 0.5, 0.97, 1.1, 2.0, 2.9], dtype=torch.float64)
    x = torch.randn(8, 2, generator=rng).double()
    step = 1e-6
    jet = law.log_density(t, x)
    ahead, behind = (law.log_density(t + h, x).value for h in (step, -step))
    torch.testing.assert_close(jet.rate, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-4)
    divergence = torch.zeros(8, dtype=torch.float64)
    for i in range(2):
        away = step * torch.eye(2, dtype=torch.float64)[i]
        up, down = law.log_density(t, x + away).value, law.log_density(t, x - away).value
        torch.testing.assert_close(jet.gradient[:, i], (up - down) / (2 * step), atol=1e-6, rtol=0)
        up, down = (law.velocity(t, x + h)[:, i] for h in (away, -away))
        divergence += (up - down) / (2 * step)
    torch.testing.assert_close(law.divergence(t), divergence, atol=1e-6, rtol=0)


def test_coefficients_are_exact_where_linear_in_time_and_jump_at_knots():
    law = AffineLaw([0.0, 1.0, 3.0], 1, full=True)
    law.speed.copy_(torch.stack([2 * torch.tensor(law.nodes()), torch.full((18,), 5.0)])[..., None])
    t = torch.tensor([0.0, 0.33, 0.99, 1.0, 3.0])
    speed = law.velocity(t, torch.zeros(5, 1))[:, 0]
    torch.testing.assert_close(speed, torch.tensor([0.0, 0.66, 1.98, 5.0, 5.0]))


def test_precision_stays_positive_where_a_cloud_collapses():
    law = AffineLaw([0.0, 1.0], 1, full=True)
    spread = 1 - torch.tensor(law.nodes()) * 0.999
    law.precision.copy_((spread**-2)[None, :, None, None])
    t = torch.linspace(0, 1, 200)
    assert float(law.log_density(t, torch.ones(200, 1)).gradient.max()) < -0.99


def test_two_cells_have_the_law_of_their_two_blobs():
    # one moves by one in x, the other rests and triples: balanced and growing, by hand
    # each of many equal cells: of two alone the covariance would be shrunk
    n = 1000
    x0 = torch.tensor([[0.0, 0.0], [0.0, 1.0]]).repeat(n, 1)
    x1 = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(n, 1)
    weights = [torch.tensor(w).double().repeat(n) / n for w in ([0.5, 0.5], [0.5, 1.5])]
    clouds = Snapshots((0.0, 1.0), (x0, x1), tuple(weights))
    table = PairTable(torch.arange(2 * n), torch.arange(2 * n), *weights)
    # a price of growth so high that the first keeps its mass and its pace
    bridges = WeightedBridges(clouds, [table], 1e3, [BlobBridge(0.3, 0.0, 0.0, 1.0)])
    law = affine_law(bridges, generator())
    for s in (0.0, 0.3, 1.0):
        # the root of a mass is linear in time
        mass = np.array([0.5, 0.5 * (1 + s * (math.sqrt(3) - 1)) ** 2])
        share = mass / mass.sum()
        centres = np.array([[s, 0.0], [0.0, 1.0]])
        mean = share @ centres
        covariance = np.cov(centres.T, aweights=share, ddof=0) + 0.09 * np.eye(2)
        x = torch.randn(50, 2, generator=generator(1))
        t = torch.full((50,), s)
        exact = multivariate_normal(mean, covariance).logpdf(x) + math.log(mass.sum())
        np.testing.assert_allclose(law.log_density(t, x).value, exact, rtol=0.003, atol=0.01)
        away = x.numpy() - mean
        inverse = np.linalg.inv(covariance)
        moving = np.outer([share[0], 0.0], centres[0] - mean) @ inverse
        expected = np.array([share[0], 0.0]) + away @ moving.T
        np.testing.assert_allclose(law.velocity(t, x), expected, atol=0.02)


@pytest.mark.parametrize(("width", "left"), [(1.0, 0.0), (0.0, 0.09 * 3 / 4)])
def test_the_blur_is_taken_back_as_far_as_clouds_are_wider(width, left):
    # many cells at the four corners of a rectangle of that half width, which rests
    corners = torch.tensor([[a * width, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    x = corners.repeat(1000, 1)
    weights = torch.full((4000,), 1 / 4000, dtype=torch.float64)
    clouds = Snapshots((0.0, 1.0), (x, x), (weights, weights))
    rows = torch.arange(4000)
    blob = BlobBridge(0.3, 0.0, 0.0, 1.0)
    bridges = WeightedBridges(clouds, [PairTable(rows, rows, weights, weights)], 1e3, [blob])
    blurred = affine_law(bridges, generator())
    sharp = sharpened_law(blurred, bridges, generator())
    for law, variance in ((blurred, 0.09), (sharp, left)):
        for t in (0.0, 0.5, 1.0):
            score = law.log_density(torch.full((2,), t), torch.eye(2)).gradient.diagonal()
            expected = -1 / torch.tensor([width**2 + variance, 1 + variance])
            # the covariance is shrunk by two cells in 4002
            torch.testing.assert_close(score, expected, rtol=0.01, atol=0.0)


def test_gaussian_schroedinger_bridge_in_ten_dimensions():
    bridge = example(10, 1.0)
    small = {"steps": 400, "batch_size": 256, "width": 32, "depth": 2}
    params = {"growth": False, "sigma": 1.0, "training": 0.0, **small}
    result = fit_snapshots(
        bridge.snapshots(800),
        DEEPRUOT,
        make_params(DEEPRUOT.params, params, "deepruot"),
        device=torch.device("cpu"),
    )
    for name in ("velocity", "drift", "score"):
        wrong = size = 0.0
        for t in (0.02, 0.25, 0.5, 0.75, 0.98):
            x = bridge.draw(t, 1000, 7)
            expected = getattr(bridge, name)(t, x)
            wrong += np.sum((np.asarray(getattr(result.dynamics, name)(t, x)) - expected) ** 2)
            size += np.sum(expected**2)
        assert math.sqrt(wrong / size) < 0.05
    # E |b|^2 / 2 along the bridge, by quadrature of its closed form
    s = np.linspace(0.005, 0.995, 100)
    cost = np.mean([np.sum(bridge.drift(t, bridge.draw(t, 2000, 3)) ** 2) / 4000 for t in s])
    assert result.quality["cost"] == pytest.approx(cost, rel=0.02)


def test_a_large_blurred_coupling_is_made_of_parts_and_has_all_cells(monkeypatch):
    monkeypatch.setattr("scruot.solvers.ruot_setup._MOST_WHOLE", 30)
    monkeypatch.setattr("scruot.solvers.ruot_setup._PART", 20)
    clouds = example(2, 1.0).snapshots(70, mass=2.0)
    tables = {}
    for method in ("auto", "exact"):
        units = Units(Noise(1.0, (), clouds.times), 8.0, 4.0, 0.1)
        tables[method] = couple(clouds, units, method, 0)[0]
    # four parts, each blurred over its own cells: a fourth of the pairs
    assert len(tables["auto"]) < 0.3 * len(tables["exact"])
    for table in tables.values():
        for rows, mass, weights in (
            (table.source, table.m0, clouds.weights[0]),
            (table.target, table.m1, clouds.weights[1]),
        ):
            found = torch.zeros(70, dtype=torch.float64).index_add_(0, rows, mass)
            torch.testing.assert_close(found, weights)
