"""The automatic metric and noise: invariances, and what they are made of."""

import pytest
import torch

from scruot.transport import auto_settings


def snapshots(scale=1.0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    xs, shift = [], torch.tensor([2.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    for k, n in enumerate((60, 80, 70)):
        x = torch.randn(n, 4, generator=rng, dtype=torch.float64)
        xs.append(scale * (x * torch.tensor([1.0 + k, 0.5 + k, 0.3, 0.2]) + k * shift))
    weights = [0.5 + torch.rand(len(x), generator=rng, dtype=torch.float64) for x in xs]
    return xs, weights


def test_metric_whitens_the_narrowest_snapshot():
    xs, weights = snapshots()
    found = auto_settings(xs, weights, [0.0, 1.0, 2.0])
    share = weights[0] / weights[0].sum()
    flat = (xs[0] - share @ xs[0]) @ found.metric
    variance = torch.linalg.eigvalsh(flat.T @ (share[:, None] * flat))
    original = xs[0] - share @ xs[0]
    raw = torch.linalg.eigvalsh(original.T @ (share[:, None] * original))
    torch.testing.assert_close(variance, raw / (raw + 0.1 * raw[-1]))


def test_units_of_length_time_and_mass_do_not_matter():
    xs, weights = snapshots()
    one = auto_settings(xs, weights, [0.0, 1.0, 3.0])
    other = auto_settings([7 * x for x in xs], [5 * w for w in weights], [0.0, 24.0, 72.0])
    torch.testing.assert_close(torch.tensor(one.reg), torch.tensor(other.reg))
    torch.testing.assert_close(one.tau, [30 * r for r in one.reg])
    assert one.reg[1] == pytest.approx(2 * one.reg[0])
    for x in xs:
        torch.testing.assert_close(torch.pdist(x @ one.metric), torch.pdist(7 * x @ other.metric))


def test_noise_is_that_of_a_direct_computation():
    xs, weights = snapshots()
    ones = [torch.ones_like(w) for w in weights]
    found = auto_settings(xs, ones, [0.0, 1.0, 2.0])
    flat = [x @ found.metric for x in xs]
    spread = min(float(x.var(0, correction=0).sum()) for x in flat)
    near = []
    for x in flat:
        k = round(0.1 * (len(x) - 1))
        square = torch.cdist(x, x).square().sort(dim=1).values[:, 1 : k + 1]
        near.append(float(square.mean(1).median()))
    assert found.reg[0] == pytest.approx(min(0.4 * spread, 0.8 * min(near)), rel=1e-9)
    assert found.spread_over_near == pytest.approx(spread / min(near), rel=1e-9)


def test_bad_input_has_one_clear_message():
    xs, weights = snapshots()
    with pytest.raises(ValueError, match="two or more of each"):
        auto_settings(xs, weights[:2], [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="expected them to increase"):
        auto_settings(xs, weights, [0.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="without mass"):
        auto_settings(xs, [0 * weights[0], *weights[1:]], [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="all alike"):
        auto_settings([0 * xs[0], *xs[1:]], weights, [0.0, 1.0, 2.0])
