"""The distance to a snapshot and its gradient, by finite differences."""

import numpy as np
import pytest
import torch

from scruot.metrics import w2
from scruot.solvers.matching import transport_loss


@pytest.fixture
def clouds():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 2, generator=generator).double() for n in (12, 17))
    mass, target = (torch.rand(n, generator=generator).double() + 0.2 for n in (12, 17))
    return x, mass, y + 1, target


def test_value_is_half_the_squared_distance(clouds):
    x, mass, y, target = clouds
    assert float(transport_loss(*clouds)) == pytest.approx(w2(x, y, mass, target) ** 2 / 2)
    # masses are normalised on both sides
    scaled = transport_loss(x, 3 * mass, y, 7 * target)
    torch.testing.assert_close(scaled, transport_loss(*clouds))


@pytest.mark.parametrize("which", [0, 1])
def test_gradient_in_states_and_masses(clouds, which):
    given = list(clouds)
    given[which] = given[which].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(transport_loss(*given), given[which])
    step = 1e-6
    for index in np.ndindex(*clouds[which].shape):
        values = []
        for sign in (1, -1):
            moved = [v.clone() for v in clouds]
            moved[which][index] += sign * step
            values.append(float(transport_loss(*moved)))
        assert float(gradient[index]) == pytest.approx(
            (values[0] - values[1]) / (2 * step), abs=1e-5
        )
    assert float(gradient.abs().max()) > 1e-3


def test_particles_that_are_met_have_no_gradient_in_states():
    x = torch.arange(6.0).reshape(3, 2).requires_grad_()
    loss = transport_loss(x, torch.ones(3), x.detach().flip(0), torch.ones(3))
    (gradient,) = torch.autograd.grad(loss, x)
    assert float(loss.detach()) == 0.0
    assert float(gradient.abs().max()) == 0.0
