"""Penalties of growth: the conjugate, its derivative, and what they come from."""

import pytest
import torch

from scruot.dynamics.growth_penalty import GrowthPenalty

PENALTIES = [
    GrowthPenalty(),
    GrowthPenalty("cosh"),
    GrowthPenalty("power", 1.5),
    GrowthPenalty("power", 4.0),
    GrowthPenalty("power", 2 / 15, cap=3.0),
]


def grid():
    return torch.cat([-torch.linspace(0.01, 3, 60), torch.linspace(0.01, 3, 60)]).double()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_growth_is_the_derivative_of_the_conjugate(penalty):
    p = grid().requires_grad_()
    (slope,) = torch.autograd.grad(penalty.conjugate(p).sum(), p)
    torch.testing.assert_close(slope, penalty.growth(p.detach()))


@pytest.mark.parametrize("penalty", PENALTIES[:4])
def test_conjugate_of_a_convex_penalty_is_the_largest_value(penalty):
    psi = {
        "quadratic": lambda g: g**2 / 2,
        "cosh": lambda g: torch.cosh(g) - 1,
        "power": lambda g: g.abs() ** penalty.exponent,
    }[penalty.kind]
    p, rates = grid(), torch.linspace(-6, 6, 24_001).double()
    best = (p[:, None] * rates - psi(rates)).max(1)
    torch.testing.assert_close(penalty.conjugate(p), best.values, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(penalty.growth(p), rates[best.indices], atol=5e-3, rtol=0)
    torch.testing.assert_close(penalty.cost(p), psi(penalty.growth(p)))
    torch.testing.assert_close(penalty.slope(penalty.growth(p)), p)
    assert penalty.convex


def test_small_power_of_the_paper():
    # g = sign(p) (q / |p|)^(15/13) and H = -(13/15) (q / |p|)^(2/13) with q = 2/15
    penalty, q = GrowthPenalty("power", 2 / 15, cap=50.0), 2 / 15
    p = grid()
    size = (q / p.abs()) ** (15 / 13)
    assert float(size.max()) < 50
    torch.testing.assert_close(penalty.growth(p), torch.sign(p) * size)
    torch.testing.assert_close(penalty.conjugate(p), -(13 / 15) * (q / p.abs()) ** (2 / 13))
    torch.testing.assert_close(penalty.cost(p), size**q)
    torch.testing.assert_close(penalty.slope(penalty.growth(p)), p)
    assert not penalty.convex


def test_cap_bounds_growth_without_a_jump():
    penalty = GrowthPenalty("power", 2 / 15, cap=3.0)
    p = torch.linspace(-0.2, 0.2, 4001).double()
    growth, conjugate = penalty.growth(p), penalty.conjugate(p)
    assert float(growth.abs().max()) == pytest.approx(3.0, abs=0.01)
    assert float(growth.diff().abs().max()) < 0.02
    assert float(conjugate.diff().abs().max()) < 1e-3
    assert float(penalty.growth(torch.zeros(1))) == 0.0
    assert bool(torch.isfinite(penalty.slope(torch.tensor([-9.0, 0.0, 1e-6, 9.0]))).all())


@pytest.mark.parametrize("penalty", PENALTIES)
def test_derivatives_are_finite_everywhere(penalty):
    p = torch.tensor([-1e3, -1e-8, 0.0, 1e-8, 1e3]).requires_grad_()
    for function in (penalty.growth, penalty.conjugate, penalty.cost):
        value = function(p)
        (slope,) = torch.autograd.grad(value.sum(), p)
        assert bool(torch.isfinite(value).all())
        assert bool(torch.isfinite(slope).all())
