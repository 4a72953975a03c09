"""The potential's gradient in closed form, and its jumps."""

import pytest
import torch

from scruot.dynamics.device import make_generator
from scruot.dynamics.potential import PotentialNet

KNOTS = (0.0, 1.0, 2.5)
CPU = torch.device("cpu")


def net(*, shared=False):
    made = PotentialNet(3, KNOTS, shared=shared, width=16, generator=make_generator(CPU, 0))
    made.slope.copy_(torch.arange(6.0).reshape(2, 3))
    made.offset.copy_(torch.tensor([0.5, -2.0]))
    made.spread.fill_(1.7)
    made.price.fill_(0.8)
    made.population.copy_(torch.tensor([[1.0, 3.0, 1.5], [3.0, 2.0, 0.4]]))
    return made.double()


@pytest.mark.parametrize("shared", [False, True])
def test_gradient_is_that_of_the_value(shared):
    generator = torch.Generator().manual_seed(0)
    t = 2.5 * torch.rand(50, generator=generator).double()
    x = torch.randn(50, 3, generator=generator).double().requires_grad_()
    value, gradient = net(shared=shared)(t, x)
    (expected,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, expected)
    # and can be differentiated again: the Laplacian has a gradient
    (second,) = torch.autograd.grad(gradient[:, 0].sum(), x, create_graph=True)
    (again,) = torch.autograd.grad(expected[:, 0].sum(), x)
    torch.testing.assert_close(second, again)
    assert second.requires_grad


def test_gradient_needs_no_graph():
    with torch.no_grad():
        value, gradient = net()(torch.zeros(4).double(), torch.ones(4, 3).double())
    assert not gradient.requires_grad
    assert value.shape == (4,)


def test_potential_jumps_at_snapshots_unless_it_is_shared():
    x = torch.ones(1, 3).double()
    for shared, jumps in ((False, True), (True, False)):
        field = net(shared=shared)
        field.slope.zero_()
        field.offset.zero_()
        field.price.zero_()
        ends = torch.tensor([1 - 1e-9, 1.0], dtype=torch.float64)
        before, after = field(ends, x.expand(2, 3))[0].tolist()
        assert (abs(after - before) > 1e-3) is jumps
    field = net()
    at = torch.ones(1).double()
    # which of the two is meant can be said
    inside = float(field(at, x, 0)[0].detach())
    assert inside == pytest.approx(float(field(at - 1e-9, x)[0].detach()), abs=1e-6)
    assert float(field(at, x, 1)[0].detach()) == float(field(at, x)[0].detach())


def test_level_of_a_population_that_only_grows_solves_the_equation():
    # lambda = alpha g with g the rate of a mass whose root is linear in time: d_t lambda =
    # -lambda^2 / (2 alpha), and nothing else is in the equation of a constant potential
    field = net()
    field.population.copy_(torch.tensor([[1.0, 4.0, 2.0], [4.0, 1.0, 2.0]]))
    t = torch.linspace(0.01, 2.49, 40).double().requires_grad_()
    value = field.level(t)
    root = torch.where(t < 1, 1 + t, 2 - (t - 1) / 1.5)
    slope = torch.where(t < 1, torch.ones_like(t), torch.full_like(t, -1 / 1.5))
    torch.testing.assert_close(value, 0.8 * 2 * slope / root)
    (rate,) = torch.autograd.grad(value.sum(), t)
    torch.testing.assert_close(rate, -value.square() / (2 * 0.8))
