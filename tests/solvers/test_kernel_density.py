"""Kernel densities of weighted clouds and their bandwidth."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from scruot.dynamics import Snapshots
from scruot.solvers.kernel_density import KernelDensity, best_bandwidth, kernel_densities


def cloud(n, seed=0, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def density(n=7, d=3, bandwidth=0.4):
    weights = torch.linspace(1, 3, n) / 10
    return KernelDensity(cloud(n, d=d), weights.log(), bandwidth), weights


def test_is_the_sum_of_its_kernels():
    rho, weights = density()
    at = cloud(5, 1, 3)
    kernels = [multivariate_normal(c.numpy(), 0.16 * np.eye(3)) for c in rho.x]
    expected = sum(float(w) * k.pdf(at.numpy()) for w, k in zip(weights, kernels, strict=True))
    np.testing.assert_allclose(rho.log(at), np.log(expected), rtol=1e-4)


def test_blocks_change_nothing(monkeypatch):
    rho, at = density()[0], cloud(50, 1, 3)
    whole = rho.log(at)
    monkeypatch.setattr("scruot.solvers.kernel_density._BLOCK", 20)
    torch.testing.assert_close(rho.log(at), whole)


def test_far_from_all_cells_it_is_finite_and_its_gradient_leads_back():
    # a density in single precision would be zero from 14 bandwidths on
    rho, weights = density(n=1, bandwidth=0.01)
    at = (rho.x + torch.tensor([[3.0, 0.0, 4.0]])).requires_grad_()
    value = rho.log(at)
    value.sum().backward()
    level = math.log(float(weights[0])) - 3 * math.log(0.01 * math.sqrt(2 * math.pi))
    assert float(value.detach()) == pytest.approx(level - 25 / (2 * 0.01**2), rel=1e-5)
    np.testing.assert_allclose(at.grad, [[-3e4, 0, -4e4]], rtol=1e-4, atol=1)


def test_gradient_at_a_centre_is_a_number():
    rho = KernelDensity(torch.zeros(1, 2), torch.zeros(1), 1.0)
    at = torch.zeros(1, 2, requires_grad=True)
    rho.log(at).sum().backward()
    assert at.grad.tolist() == [[0.0, 0.0]]


def test_samples_have_its_moments():
    rho, weights = density()
    x = rho.sample(200_000, torch.Generator().manual_seed(0)).numpy()
    share = (weights / weights.sum()).numpy()
    mean = share @ rho.x.numpy()
    np.testing.assert_allclose(x.mean(0), mean, atol=0.01)
    between = np.cov(rho.x.numpy().T, aweights=share, bias=True)
    np.testing.assert_allclose(np.cov(x.T), between + 0.16 * np.eye(3), atol=0.02)


def test_thinning_keeps_the_mass():
    rho, weights = density(n=40)
    few = rho.thinned(9, torch.Generator().manual_seed(0))
    assert len(few.x) == 9
    assert float(few.log_weights.exp().sum()) == pytest.approx(float(weights.sum()))
    assert rho.thinned(40, torch.Generator()) is rho
    assert few.widened(3.0).bandwidth == pytest.approx(1.2)


def test_densities_of_snapshots_have_their_masses():
    clouds = Snapshots(
        (0.0, 1.0),
        (cloud(20), cloud(30, 1)),
        (torch.full((20,), 0.05).double(), torch.full((30,), 0.1).double()),
    )
    for rho, mass in zip(kernel_densities(clouds, 0.3), (1.0, 3.0), strict=True):
        assert float(rho.log_weights.exp().sum()) == pytest.approx(mass, rel=1e-5)
        assert rho.bandwidth == 0.3


def leave_one_out(x, weights, h):
    total = 0.0
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        kernels = multivariate_normal(x[i], h**2 * np.eye(x.shape[1])).pdf(x[others])
        total += weights[i] * math.log(weights[others] @ kernels)
    return total


@pytest.mark.parametrize("d", [1, 2, 5])
def test_bandwidth_has_the_largest_left_out_likelihood(d):
    x = cloud(60, d=d)
    weights = torch.linspace(0.5, 1.5, 60).double()
    h = best_bandwidth(x, weights)
    cells, w = x.double().numpy(), weights.numpy()
    here = leave_one_out(cells, w, h)
    for other in (0.5, 0.75, 1.33, 2.0):
        assert leave_one_out(cells, w, other * h) < here


def test_bandwidth_without_neighbours_is_the_least():
    for x in (torch.zeros(1, 2), torch.zeros(5, 2)):
        assert best_bandwidth(x, torch.ones(len(x)).double()) == pytest.approx(1e-3)
