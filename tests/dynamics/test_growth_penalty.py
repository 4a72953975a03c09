"""Penalties of growth: the conjugate, its derivative, and what they come from."""

import math

import pytest
import torch

from scruot.dynamics import growth_penalty
from scruot.dynamics.growth_penalty import GrowthPenalty, register_penalty

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


@pytest.fixture(autouse=True)
def own_registry():
    """Forget what a test registers: the names are a view, so the mapping itself must stay."""
    yield
    growth_penalty.REGISTERED.clear()


def reluctant(p):
    """Growth of psi = 2 g^2 for death and g^2 / 2 for division."""
    return torch.where(p < 0, p / 4, p)


def conjugate(p):
    return torch.where(p < 0, p**2 / 8, p**2 / 2)


def log_cosh(p):
    """Conjugate of the penalty whose growth is tanh(p), finite for any potential."""
    return p.abs() + (-2 * p.abs()).exp().log1p() - math.log(2)


def test_a_registered_pair_is_a_penalty():
    register_penalty("reluctant", growth=reluctant, conjugate=conjugate)
    penalty, p = GrowthPenalty("reluctant"), grid()
    growth = penalty.growth(p)
    torch.testing.assert_close(
        penalty.cost(p), torch.where(growth < 0, 2 * growth**2, growth**2 / 2)
    )
    torch.testing.assert_close(penalty.slope(growth), p)
    assert penalty.convex


def test_potential_of_a_growth_that_is_never_reached_is_large_and_finite():
    # psi with a wall at one
    register_penalty("wall", growth=torch.tanh, conjugate=lambda p: torch.cosh(p).log())
    found = GrowthPenalty("wall").slope(torch.tensor([-2.0, 0.0, 0.5, 2.0]))
    torch.testing.assert_close(found[1:3], torch.tensor([0.0, 0.5]).atanh())
    assert float(found[0]) < -1e3
    assert float(found[3]) > 1e3
    assert bool(torch.isfinite(found).all())


def test_growth_that_is_steep_or_jumps_is_a_penalty():
    # psi = g^4 / 4, and a psi that is flat between growth of -1 and 1
    register_penalty(
        "steep",
        growth=lambda p: torch.sign(p) * p.abs() ** (1 / 3),
        conjugate=lambda p: 0.75 * p.abs() ** (4 / 3),
    )
    register_penalty(
        "jumping",
        growth=lambda p: torch.where(p > 0, p + 1, p - 1),
        conjugate=lambda p: p**2 / 2 + p.abs(),
    )
    assert {"steep", "jumping"} < set(growth_penalty.PENALTIES)


def test_penalty_of_a_growth_is_that_of_its_potential_with_the_slope():
    register_penalty("reluctant", growth=reluctant, conjugate=conjugate)
    g = grid().requires_grad_()
    value = GrowthPenalty("reluctant").of_growth(g)
    torch.testing.assert_close(value, torch.where(g < 0, 2 * g**2, g**2 / 2))
    (slope,) = torch.autograd.grad(value.sum(), g)
    torch.testing.assert_close(slope, torch.where(g < 0, 4 * g, g))


def test_penalty_beyond_a_wall_is_steep_and_finite():
    register_penalty("wall", growth=torch.tanh, conjugate=log_cosh)
    penalty = GrowthPenalty("wall")
    g = torch.tensor([-3.0, 2.0, 3.0], requires_grad=True)
    value = penalty.of_growth(g)
    (slope,) = torch.autograd.grad(value.sum(), g)
    torch.testing.assert_close(slope, torch.tensor([-1e3, 1e3, 1e3]))
    assert float((value[2] - value[1]).detach()) == pytest.approx(1e3, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Mine"}, "Found the name 'Mine'; expected lower-case letters"),
        ({"name": "cosh"}, "Found a penalty 'cosh' already; expected a new name"),
        ({"name": "huber"}, "Found a penalty 'huber' already; expected a new name"),
        ({"name": "taken"}, "replace=True"),
        ({"growth": lambda p: p.sum()}, r"growth\(p\) of shape \(\)"),
        ({"conjugate": torch.log}, r"conjugate\(p\) of shape .* not finite"),
        ({"growth": torch.neg, "conjugate": lambda p: -(p**2) / 2}, "a growth that falls"),
        ({"conjugate": lambda p: p**2}, "not the derivative of the conjugate"),
    ],
)
def test_pairs_that_are_no_penalty_are_refused(change, message):
    register_penalty("taken", growth=reluctant, conjugate=conjugate)
    given = {"name": "mine", "growth": reluctant, "conjugate": conjugate} | change
    with pytest.raises(ValueError, match=message):
        register_penalty(given.pop("name"), **given)
    assert "mine" not in growth_penalty.PENALTIES


def test_a_penalty_that_is_not_registered_says_how():
    with pytest.raises(ValueError, match=r"Unknown penalty of growth 'mine'.*register_penalty"):
        GrowthPenalty("mine")
