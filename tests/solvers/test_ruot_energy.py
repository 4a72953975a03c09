"""The two forms of the energy, and the Fokker-Planck residual, on closed forms."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from scruot.dynamics.derivatives import ScalarJet
from scruot.dynamics.growth_penalty import register_penalty
from scruot.solvers.growth_cost import KINDS, GrowthCost
from scruot.solvers.ruot_energy import control_energy, fisher_energy, residual

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
MEANS = np.array([[0.0, 0.0], [3.0, 1.0]])
COVARIANCES = np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.4, -0.1], [-0.1, 1.2]]])


def quadrature(mean, covariance, n=24):
    """Return points and weights that integrate polynomials under a Gaussian exactly."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    z = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    weight = np.outer(w, w).ravel() / (2 * np.pi)
    return torch.tensor(mean + z @ np.linalg.cholesky(covariance).T), torch.tensor(weight)


def full(value, like):
    return torch.full((len(like),), float(value), dtype=torch.float64)


def gaussian_jet(x, mean, covariance, mean_rate, covariance_rate, log_mass=0.0, mass_rate=0.0):
    """Return the log density of a moving Gaussian, with both derivatives."""
    inverse = np.linalg.inv(covariance)
    y = x.numpy() - mean
    score = -y @ inverse
    value = (
        log_mass + 0.5 * (score * y).sum(1) - 0.5 * np.log(np.linalg.det(2 * np.pi * covariance))
    )
    turning = inverse @ covariance_rate @ inverse
    rate = (
        mass_rate
        - score @ mean_rate
        + 0.5 * np.einsum("ni,ij,nj->n", y, turning, y)
        - 0.5 * np.trace(inverse @ covariance_rate)
    )
    return ScalarJet(torch.tensor(value), torch.tensor(score), torch.tensor(rate))


class Bridge:
    """Gaussian Schroedinger bridge between two Gaussians, on [0, 1]."""

    def __init__(self, sigma):
        (s0, s1), self.sigma = COVARIANCES, sigma
        root = np.real(sqrtm(s0))
        inner = np.real(sqrtm(4 * root @ s1 @ root + sigma**4 * np.eye(2)))
        self.cross = (root @ inner @ np.linalg.inv(root) - sigma**2 * np.eye(2)) / 2

    def moments(self, t):
        (s0, s1), c, eye = COVARIANCES, self.cross, self.sigma**2 * np.eye(2)
        both = c + c.T + eye
        mean = (1 - t) * MEANS[0] + t * MEANS[1]
        covariance = (1 - t) ** 2 * s0 + t**2 * s1 + t * (1 - t) * both
        rate = -2 * (1 - t) * s0 + 2 * t * s1 + (1 - 2 * t) * both
        return mean, covariance, MEANS[1] - MEANS[0], rate

    def velocity(self, t, x):
        mean, covariance, step, _ = self.moments(t)
        (s0, s1), c = COVARIANCES, self.cross
        slope = (1 - t) * (c.T - s0) + t * (s1 - c) + (0.5 - t) * self.sigma**2 * np.eye(2)
        return step + (x.numpy() - mean) @ (slope @ np.linalg.inv(covariance)).T

    def cost(self):
        """Return ``sigma^2 KL`` to the Wiener measure, in closed form."""
        (s0, s1), c, noise = COVARIANCES, self.cross, self.sigma**2
        moved = np.sum((MEANS[1] - MEANS[0]) ** 2) + np.trace(s0 + s1 - 2 * c)
        left = s1 - c.T @ np.linalg.inv(s0) @ c
        return moved / 2 + noise * (np.log(noise) - 1) - noise / 2 * np.log(np.linalg.det(left))


def negentropy(covariance):
    return -0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))


@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_fisher_energy_and_boundary_are_the_cost_of_the_bridge(sigma):
    bridge = Bridge(sigma)
    fisher = control = 0.0
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        t = (node + 1) / 2
        x, w = quadrature(*bridge.moments(t)[:2])
        jet = gaussian_jet(x, *bridge.moments(t))
        v = torch.tensor(bridge.velocity(t, x))
        none, noise = full(0.0, x), full(sigma**2, x)
        fisher += weight / 2 * float(w @ fisher_energy(v, none, jet, noise, none))
        control += weight / 2 * float(w @ control_energy(v, jet, noise))
        # and it is a solution
        divergence = full(_trace(bridge, t), x)
        assert float(residual(v, none, divergence, jet).abs().max()) < 1e-8
    boundary = sigma**2 / 2 * (negentropy(COVARIANCES[1]) - negentropy(COVARIANCES[0]))
    assert control == pytest.approx(bridge.cost(), rel=1e-8)
    assert fisher + boundary == pytest.approx(bridge.cost(), rel=1e-8)


def _trace(bridge, t):
    zero, eye = torch.zeros(1, 2).double(), torch.eye(2).double()
    return np.trace(bridge.velocity(t, eye) - bridge.velocity(t, zero))


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_with_growth_and_changing_noise_only_the_ends_differ(slope):
    # drift u, growth a + c.x, noise variance n(t) = 0.2 + slope t: the law stays Gaussian
    u, a, c = np.array([0.5, -0.2]), 0.1, np.array([0.3, 0.4])
    m0, s0 = np.array([1.0, -0.5]), np.array([[0.8, 0.2], [0.2, 0.5]])

    def law(t):
        grown = 0.2 * t + slope * t**2 / 2
        covariance = s0 + grown * np.eye(2)
        mean = m0 + u * t + (s0 * t + (0.1 * t**2 + slope * t**3 / 6) * np.eye(2)) @ c
        return mean, covariance

    nodes = (NODES + 1) / 2
    means = [law(t)[0] for t in nodes]

    def log_mass(t):
        inner = (NODES + 1) / 2 * t
        return a * t + sum(w / 2 * t * (c @ law(s)[0]) for w, s in zip(WEIGHTS, inner, strict=True))

    fisher = control = 0.0
    for t, weight, mean in zip(nodes, WEIGHTS / 2, means, strict=True):
        noise = 0.2 + slope * t
        covariance = law(t)[1]
        x, w = quadrature(mean, covariance)
        growth = torch.tensor(a + x.numpy() @ c)
        mean_rate, covariance_rate = u + covariance @ c, noise * np.eye(2)
        jet = gaussian_jet(
            x, mean, covariance, mean_rate, covariance_rate, log_mass(t), a + c @ mean
        )
        v = torch.tensor(u) - noise / 2 * jet.gradient
        n, rate = full(noise, x), full(slope, x)
        mass = weight * np.exp(log_mass(t))
        fisher += mass * float(w @ fisher_energy(v, growth, jet, n, rate))
        control += mass * float(w @ control_energy(v, jet, n))
        divergence = full(noise / 2 * np.trace(np.linalg.inv(covariance)), x)
        assert float(residual(v, growth, divergence, jet).abs().max()) < 1e-8

    def end(t):
        mass = np.exp(log_mass(t))
        return (0.2 + slope * t) / 2 * mass * (negentropy(law(t)[1]) + log_mass(t))

    assert fisher + end(1.0) - end(0.0) == pytest.approx(control, rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_costs_of_growth_are_convex_even_and_agree_where_they_should(kind):
    cost = GrowthCost(kind, rate=2.0)
    g = torch.linspace(-8, 8, 161, dtype=torch.float64)
    value = cost(g)
    torch.testing.assert_close(value, cost(-g))
    assert float(cost(torch.zeros(1))) == 0
    assert bool((value.diff().diff() > 0).all())
    small = torch.tensor([1e-3], dtype=torch.float64)
    if kind != "quartic":
        assert float(cost(small)) == pytest.approx(1e-6, rel=1e-5)
    else:
        assert float(cost(torch.tensor([2.0]))) == pytest.approx(4.0)
    # in another unit of time the cost is that of the same growth
    other = GrowthCost(kind, rate=6.0)
    torch.testing.assert_close(other(3 * g), 9 * value)


def test_a_registered_penalty_is_a_cost_of_growth():
    register_penalty(
        "own_cosh",
        growth=torch.asinh,
        conjugate=lambda p: p * torch.asinh(p) - (1 + p.square()).sqrt() + 1,
        replace=True,
    )
    g = torch.linspace(-9, 9, 37, dtype=torch.float64, requires_grad=True)
    own, known = (GrowthCost(kind, rate=2.0)(g) for kind in ("own_cosh", "cosh"))
    torch.testing.assert_close(own, known)
    slopes = (torch.autograd.grad(value.sum(), g)[0] for value in (own, known))
    torch.testing.assert_close(*slopes)
    with pytest.raises(ValueError, match=r"Unknown penalty of growth 'cost_unheard_of'"):
        GrowthCost("cost_unheard_of")(g)


def test_costs_of_growth_stay_finite():
    g = torch.tensor([1e4], requires_grad=True)
    for kind in KINDS:
        value = GrowthCost(kind)(g)
        (slope,) = torch.autograd.grad(value.sum(), g)
        assert bool(torch.isfinite(value).all())
        assert float(slope) > 0
