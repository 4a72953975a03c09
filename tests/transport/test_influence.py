"""Outliers: without bound for balanced couplings, bounded by the price of mass otherwise."""

import numpy as np
import pytest
import torch

from scruot.transport import Penalty, couple, outlier_influence

EXACT = Penalty("exact")


@pytest.fixture
def even(small):
    x, y, a, b = small
    return x, y, a / a.sum(), b / b.sum()


@pytest.mark.parametrize("kind", ["kl", "tv", "chi2"])
def test_influence_is_bounded_by_the_price_of_mass(even, kind):
    distances = [3.0, 10.0, 30.0, 100.0, 1000.0]
    penalties = [EXACT, Penalty(kind, 0.5), Penalty(kind, 5.0)]
    balanced, cheap, dear = outlier_influence(*even, penalties=penalties, distances=distances)
    assert float(balanced[-1]) == pytest.approx(1000.0**2, rel=0.01)
    assert bool((balanced.diff() > 0).all())
    for curve, tau in ((cheap, 0.5), (dear, 5.0)):
        assert float(curve.max()) <= 2 * tau
        assert float(curve.max()) >= 0.5 * tau
        assert bool((curve.diff() >= -1e-6 * tau).all())
    assert float(dear[0]) > float(cheap[0])


def mean_displacement(plan, x, y):
    step = y[plan.col] - x[plan.row]
    return float((plan.mass[:, None] * step).sum(0).norm() / plan.moved)


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_breakdown(even, share):
    """The smallest share of far outliers breaks balanced couplings; no share breaks others."""
    x, y, a, b = even
    cloud = torch.cat([x, torch.tensor([[1e4, 0.0]], dtype=torch.float64)])
    mass = torch.cat([(1 - share) * a, a.new_tensor([share])])
    spread = float((torch.cdist(x, y)).max())
    balanced = couple(cloud, y, mass, b, source=EXACT, target=EXACT)
    assert mean_displacement(balanced, cloud, y) == pytest.approx(1e4 * share, rel=0.01)
    for kind in ("kl", "tv", "chi2", "l2"):
        side = Penalty(kind, 1.0)
        assert mean_displacement(couple(cloud, y, mass, b, source=side, target=side), cloud, y) < (
            spread
        )


def test_bad_share_is_refused(even):
    with pytest.raises(ValueError, match="Found share = 0"):
        outlier_influence(*even, penalties=[EXACT], distances=[1.0], share=0)


def test_curves_are_those_of_the_definition(even):
    x, y, a, b = even
    side = Penalty("kl", 1.0)
    curve = outlier_influence(*even, penalties=[side], distances=[2.0], share=0.1)
    centre, start = (b[:, None] * y).sum(0), (a[:, None] * x).sum(0)
    outlier = centre + 2.0 * (start - centre) / (start - centre).norm()
    dirty = torch.cat([0.9 * a, a.new_tensor([0.1])])
    value = couple(torch.cat([x, outlier[None]]), y, dirty, b, source=side, target=side).primal
    clean = couple(*even, source=side, target=side).primal
    np.testing.assert_allclose(curve, [[(value - clean) / 0.1]], rtol=1e-9)
