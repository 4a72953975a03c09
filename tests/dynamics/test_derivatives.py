"""Derivatives of fields against automatic differentiation."""

import pytest
import torch

from scruot.dynamics.derivatives import divergence, scalar_jet
from scruot.dynamics.fields import Field


@pytest.fixture
def field():
    generator = torch.Generator().manual_seed(0)
    made = Field(
        3,
        {"velocity": 3, "potential": 1},
        width=16,
        depth=2,
        span=2.5,
        generator=generator,
    ).double()
    made.set_output_scale("potential", torch.tensor([0.7]), torch.tensor(2.5))
    made.set_output_scale("velocity", torch.tensor([0.1, 0.2, 0.3]), torch.tensor(1.7))
    return made


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(1)
    t = 2.5 * torch.rand(7, generator=generator, dtype=torch.float64)
    return t, torch.randn(7, 3, generator=generator, dtype=torch.float64)


def test_scalar_and_its_first_derivatives(field, points):
    t, x = (v.requires_grad_() for v in points)
    value = field(t, x)["potential"]
    rate, gradient = torch.autograd.grad(value.sum(), (t, x))
    with torch.no_grad():
        jet = scalar_jet(field, t, x, "potential")
    torch.testing.assert_close(jet.value, value)
    torch.testing.assert_close(jet.gradient, gradient)
    torch.testing.assert_close(jet.rate, rate)


def test_gradients_of_derivatives_reach_the_weights(field, points):
    t, x = points
    jet = scalar_jet(field, t, x, "potential")
    (jet.gradient.square().sum() + jet.rate.square().sum()).backward()
    mine = [layer.weight.grad.clone() for layer in field.trunk]
    field.zero_grad()
    t, x = t.requires_grad_(), x.requires_grad_()
    value = field(t, x)["potential"].sum()
    rate, gradient = torch.autograd.grad(value, (t, x), create_graph=True)
    (gradient.square().sum() + rate.square().sum()).backward()
    for got, layer in zip(mine, field.trunk, strict=True):
        torch.testing.assert_close(got, layer.weight.grad)


def test_exact_divergence(field, points):
    t, x = points
    jacobian = torch.autograd.functional.jacobian(lambda y: field(t, y)["velocity"].sum(0), x)
    expected = torch.einsum("ini->n", jacobian)
    torch.testing.assert_close(divergence(field, t, x), expected)


def test_probes_estimate_the_divergence_without_bias(field, points):
    t, x = (v[:1] for v in points)
    # all eight sign vectors: the mean over them is the trace
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    probes = signs[:, None]
    estimates = divergence(field, t, x, probes)
    assert estimates.shape == (8, 1)
    assert float(estimates.detach().std()) > 0
    torch.testing.assert_close(estimates.mean(0), divergence(field, t, x))
