"""Batches follow the law that their weights promise."""

import math
from itertools import pairwise

import pytest
import torch

from scruot.dynamics import Snapshots
from scruot.geometry import Bridge, Geodesic, travelling_dirac
from scruot.solvers.pair_sampler import PairSampler
from scruot.transport import pairs, wfr_coupling

DELTA = 0.6


@pytest.fixture
def clouds():
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(15, 2, generator=generator),
        torch.randn(20, 2, generator=generator),
        torch.randn(12, 2, generator=generator) + 0.5,
    )
    weights = tuple(torch.rand(len(v), generator=generator).double() + 0.1 for v in x)
    return Snapshots((0.0, 0.5, 2.0), x, weights)


@pytest.fixture
def tables(clouds):
    found = [
        pairs(wfr_coupling(x[0], x[1], w[0], w[1], DELTA))
        for x, w in zip(pairwise(clouds.x), pairwise(clouds.weights), strict=True)
    ]
    # all three kinds of pairs take part
    assert all(bool((t.source >= 0).logical_and(t.target >= 0).any()) for t in found)
    assert any(bool((t.source < 0).any()) for t in found)
    assert any(bool((t.target < 0).any()) for t in found)
    return found


def draw(clouds, tables, n, seed=0, noise=0.0):
    sampler = PairSampler(clouds, tables, Geodesic(DELTA), noise)
    return sampler.draw(n, torch.Generator().manual_seed(seed))


def test_intervals_by_their_duration(clouds, tables):
    n = 4000
    batch = draw(clouds, tables, n)
    # systematic: within one of the expected number
    assert abs(int((batch.t < 0.5).sum()) - n / 4) <= 1
    assert ((batch.t >= 0) & (batch.t <= 2)).all()
    late = batch.t[batch.t >= 0.5]
    assert float(late.mean()) == pytest.approx(1.25, abs=5 * 1.5 / math.sqrt(12 * len(late)))


def test_weights_have_mean_one_in_every_interval(clouds, tables):
    batch = draw(clouds, tables, 40_000)
    for here in (batch.t < 0.5, batch.t >= 0.5):
        w = batch.weight[here]
        assert float(w.mean()) == pytest.approx(1.0, abs=5 * float(w.std()) / math.sqrt(len(w)))
        assert (w >= 0).all()


def test_weighted_batches_follow_the_mass_along_the_paths(clouds, tables):
    batch = draw(clouds, tables, 60_000)

    def figures(x, velocity, growth):
        return torch.stack([x[:, 0], x[:, 1] ** 2, velocity[:, 0], growth], dim=1)

    nodes = (torch.arange(400) + 0.5) / 400
    for k, (start, stop) in enumerate(pairwise(clouds.times)):
        # the exact law: all pairs, at all times of a fine grid
        table, duration = tables[k], stop - start
        x0 = clouds.x[k][torch.where(table.source < 0, 0, table.source)]
        x1 = clouds.x[k + 1][torch.where(table.target < 0, 0, table.target)]
        x0 = torch.where((table.source < 0)[:, None], x1, x0)
        x1 = torch.where((table.target < 0)[:, None], x0, x1)
        total, mass = torch.zeros(4), 0.0
        for s in nodes:
            m0, m1 = table.m0.float(), table.m1.float()
            state = travelling_dirac(s.expand(len(m0)), x0, x1, m0, m1, DELTA)
            value = figures(state.x, state.velocity / duration, state.growth / duration)
            total += (state.mass[:, None] * value).sum(0)
            mass += float(state.mass.sum())
        expected = total / mass
        here = (batch.t >= start) & (batch.t < stop)
        value = figures(
            batch.x[here], batch.targets["velocity"][here], batch.targets["growth"][here]
        )
        weighted = batch.weight[here][:, None] * value
        error = weighted.std(0) / math.sqrt(int(here.sum()))
        assert ((weighted.mean(0) - expected).abs() < 5 * error).all()


def test_noise_moves_positions_alone(clouds, tables):
    still, noisy = (draw(clouds, tables, 5000, noise=noise) for noise in (0.0, 0.3))
    for name in ("velocity", "growth"):
        assert torch.equal(still.targets[name], noisy.targets[name])
    moved = noisy.x - still.x
    assert float(moved.std()) == pytest.approx(0.3, rel=5 / math.sqrt(2 * moved.numel()))


def test_same_generator_same_batch(clouds, tables):
    first, same, other = (draw(clouds, tables, 50, seed) for seed in (0, 0, 1))
    for a, b in ((first.x, same.x), (first.weight, same.weight)):
        assert torch.equal(a, b)
    assert torch.equal(first.targets["growth"], same.targets["growth"])
    assert not torch.isclose(first.x, other.x).all()


def test_kinds_and_shapes(clouds, tables):
    batch = draw(clouds, tables, 7)
    tensors = [batch.t, batch.x, batch.weight, batch.targets["velocity"], batch.targets["growth"]]
    assert [tuple(v.shape) for v in tensors] == [(7,), (7, 2), (7,), (7, 2), (7,)]
    assert {v.dtype for v in tensors} == {torch.float32}
    assert all(torch.isfinite(v).all() for v in tensors)
    assert batch.precision == {}


# bridges


SIGMA, NOISE = 0.4, 0.1


@pytest.fixture
def bridges(clouds, tables):
    """Return a batch of bridges, and for each point what its pair and its noise must have been."""
    quantities = ("velocity", "growth", "score")
    sampler = PairSampler(clouds, tables, Bridge(SIGMA), NOISE, quantities=quantities)
    return sampler.draw(60_000, torch.Generator().manual_seed(0))


def test_what_a_target_counts_does_not_depend_on_the_unit_of_length(clouds, tables, bridges):
    larger = Snapshots(clouds.times, tuple(10 * x for x in clouds.x), clouds.weights)
    quantities = ("velocity", "growth", "score")
    sampler = PairSampler(larger, tables, Bridge(10 * SIGMA), 10 * NOISE, quantities=quantities)
    batch = sampler.draw(60_000, torch.Generator().manual_seed(0))
    for name, precision in bridges.precision.items():
        torch.testing.assert_close(batch.precision[name], precision)


def test_score_is_of_a_gaussian_about_the_mean(clouds, bridges):
    duration = torch.where(bridges.t < 0.5, 0.5, 1.5)
    s = torch.where(bridges.t < 0.5, bridges.t, bridges.t - 0.5) / duration
    variance = SIGMA**2 * duration * s * (1 - s) + NOISE**2
    # in proportion to the variance, whatever the unit of length
    precision = bridges.precision["score"]
    torch.testing.assert_close(precision / precision.mean(), variance / variance.mean())
    e = -bridges.targets["score"] * variance.sqrt()[:, None]
    assert float(e.mean()) == pytest.approx(0.0, abs=5 / math.sqrt(e.numel()))
    assert float(e.var()) == pytest.approx(1.0, abs=5 * math.sqrt(2 / e.numel()))
    # the velocity of a bridge: that of its mean, and half the rate of the log variance times
    # the distance from it; without the latter a straight line leads back to a cell
    mean = bridges.x - variance.sqrt()[:, None] * e
    rate = SIGMA**2 * (1 - 2 * s) / 2
    straight = bridges.targets["velocity"] - (rate / variance)[:, None] * (bridges.x - mean)
    start = mean - (s * duration)[:, None] * straight
    cells = torch.cat(clouds.x[:2])
    assert float(torch.cdist(start[:2000], cells).min(1).values.max()) < 1e-3


def test_drift_leads_to_the_later_cell(clouds, bridges):
    duration = torch.where(bridges.t < 0.5, 0.5, 1.5)
    s = torch.where(bridges.t < 0.5, bridges.t, bridges.t - 0.5) / duration
    variance = SIGMA**2 * duration * s * (1 - s) + NOISE**2
    away = -bridges.targets["score"] * variance[:, None]
    # of a bridge without the added noise: (x1 - x) / ((1 - s) D), here about the mean
    straight = bridges.targets["drift"] + (SIGMA**2 * s / variance)[:, None] * away
    end = bridges.x - away + ((1 - s) * duration)[:, None] * straight
    cells = torch.cat(clouds.x[1:])
    assert float(torch.cdist(end[:2000], cells).min(1).values.max()) < 1e-3


def test_precision_depends_on_time_alone(bridges):
    order = torch.argsort(bridges.t)
    for name, value in bridges.precision.items():
        # late in an interval the drift is known no better than the velocity
        assert (value >= 0).all() if name == "drift" else (value > 0).all()
        assert float(value[order].diff().abs().median()) < 1e-4


def test_exponential_masses(clouds, tables):
    sampler = PairSampler(clouds, tables, Bridge(), 0.0)
    batch = sampler.draw(40_000, torch.Generator().manual_seed(0))
    for here in (batch.t < 0.5, batch.t >= 0.5):
        w = batch.weight[here]
        assert float(w.mean()) == pytest.approx(1.0, abs=5 * float(w.std()) / math.sqrt(len(w)))
