"""Distances to observed clouds, and the densities fitted to them."""

import math

import numpy as np
import pytest
import torch

from scruot.solvers.cloud_density import fit_cloud
from scruot.solvers.reconstruction import cloud_error, mass_error
from scruot.solvers.ruot_rollout import roll_out


def normal(n, seed=0, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# energy distance


def test_two_points_are_twice_their_distance_apart():
    x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    one = torch.zeros(1)
    assert float(cloud_error(x, one, y, one.exp(), softening=1e-3)) == pytest.approx(10.0, rel=1e-3)


def test_equal_laws_have_no_error_whatever_their_mass_and_number():
    x = normal(30)
    again = torch.cat([x, x])
    error = cloud_error(x, torch.full((30,), 2.0), again, torch.ones(60), softening=0.1)
    assert abs(float(error)) < 1e-5


def test_mass_at_the_wrong_place_is_told_to_shrink_rather_than_to_move():
    # two far groups; the second is twice as heavy as observed
    x = torch.tensor([[0.0, 0.0], [50.0, 0.0]], requires_grad=True)
    log_w = torch.tensor([0.0, math.log(2.0)], requires_grad=True)
    cells = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    error = cloud_error(x, log_w, cells, torch.ones(2), softening=1e-3)
    # closed form: 2 (1/3 - 1/2)^2 times the distance of the groups
    assert float(error.detach()) == pytest.approx(2 * 50 / 36, rel=1e-3)
    _, by_weight = torch.autograd.grad(error, (x, log_w))
    assert float(by_weight[1]) > 1
    assert float(by_weight[0]) < -1


def test_population_error_is_relative():
    log_w = torch.log(torch.tensor([1.0, 1.2]))
    assert float(mass_error(log_w, 2.0)) == pytest.approx(0.01, rel=1e-4)


# densities


def test_components_are_chosen_by_the_information_criterion():
    groups = torch.cat([normal(150), normal(300, 1) + 10])
    density = fit_cloud(groups, torch.ones(450), blur=0.1, random_state=0)
    assert len(density.weights) == 2
    np.testing.assert_allclose(sorted(density.weights), [1 / 3, 2 / 3], atol=0.01)
    single = fit_cloud(normal(300), torch.ones(300), blur=0.1, random_state=0)
    assert len(single.weights) == 1


@pytest.mark.parametrize("d", [2, 25])
def test_density_of_a_cloud_has_its_mass_and_is_that_of_its_samples(d):
    # a full covariance in few dimensions, a diagonal one in many
    cells = 0.3 * normal(500, d=d) + 2
    density = fit_cloud(cells, torch.full((500,), 0.004).double(), blur=0.1, random_state=0)
    generator = torch.Generator().manual_seed(0)
    x = density.sample(20_000, generator)
    np.testing.assert_allclose(x.mean(0), cells.mean(0), atol=0.02)
    np.testing.assert_allclose(x.var(0), cells.var(0) + 0.01, rtol=0.1)
    # mass 2, by importance sampling from a wider law
    wide = 0.4 * torch.randn(20_000, d, generator=generator) + 2
    log_wide = -((wide - 2) / 0.4).square().sum(1) / 2 - d * math.log(0.4 * math.sqrt(2 * math.pi))
    mass = (density.log(wide) - log_wide).exp().mean()
    assert float(mass) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("d", [2, 25])
def test_score_is_the_gradient_of_the_log_density(d):
    cells = torch.cat([normal(200, d=d), 0.5 * normal(200, 1, d=d) + 4])
    density = fit_cloud(cells, torch.ones(400), blur=0.1, random_state=0)
    x = (2 * normal(50, 2, d=d) + 2).requires_grad_()
    (expected,) = torch.autograd.grad(density.log(x).sum(), x)
    torch.testing.assert_close(density.score(x.detach()), expected, rtol=1e-3, atol=1e-3)


def test_weights_of_cells_count():
    x = torch.cat([normal(200), normal(200, 1) + 10])
    weights = torch.cat([torch.ones(200), torch.full((200,), 3.0)])
    density = fit_cloud(x, weights, blur=0.1, random_state=0)
    np.testing.assert_allclose(sorted(density.weights), [0.25, 0.75], atol=0.08)


def test_one_cell_is_a_blob():
    density = fit_cloud(torch.ones(1, 3), torch.ones(1), blur=0.2, random_state=0)
    at = density.log(torch.ones(1, 3))
    assert float(at) == pytest.approx(-3 * math.log(0.2 * math.sqrt(2 * math.pi)), rel=1e-5)


# particles


def test_particles_of_a_linear_field_and_their_gradients():
    rate = torch.tensor(0.7, requires_grad=True)

    def motion(t, x):
        return rate * x, t * torch.ones_like(x[:, 0]) * rate

    x = torch.tensor([[1.0, -2.0]])
    run = roll_out(motion, x, torch.zeros(1), (0.0, 1.0, 3.0), 0.02)
    expected = [x * math.exp(0.7 * t) for t in (0.0, 1.0, 3.0)]
    for got, want in zip(run.x, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=0)
    assert float(run.log_weights[-1].detach()) == pytest.approx(0.7 * 4.5, rel=1e-4)
    # through both intervals, to the very first step
    (slope,) = torch.autograd.grad(run.x[-1][0, 0], rate)
    assert float(slope) == pytest.approx(3 * math.exp(2.1), rel=1e-3)
    # sums over the nodes are integrals over time
    nodes = run.nodes
    integral = float((nodes.duration * nodes.t**2).sum())
    assert integral == pytest.approx(9.0, rel=1e-3)
