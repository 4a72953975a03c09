"""The three forms of the HJB residual, on potentials that solve the equation."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from scruot.dynamics.growth_penalty import GrowthPenalty
from scruot.dynamics.hjb import residual, temporal_difference

ALPHA = 2.0
NONE = torch.zeros(3, dtype=torch.float64)


def potential(value):
    """Return value and gradient of a function of time and state."""

    def both(t, x):
        if not x.requires_grad:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                result = value(t, x)
                (gradient,) = torch.autograd.grad(result.sum(), x)
            return result.detach(), gradient
        result = value(t, x)
        (gradient,) = torch.autograd.grad(result.sum(), x, create_graph=True)
        return result, gradient

    return both


def hamiltonian(penalty=GrowthPenalty(), alpha=ALPHA):  # noqa: B008
    return lambda value: alpha * penalty.conjugate(value / alpha)


def worst(found):
    return float(found.detach().abs().max())


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(100, generator=generator, dtype=torch.float64)
    return t, torch.randn(100, 3, generator=generator, dtype=torch.float64)


def plane_wave(amplitude=0.4):
    # mean A and amplitude R with A' = -(A^2 + R^2) / 2 alpha, R' = -A R / alpha: so A + R and
    # A - R each fall as 2 alpha / (t + c)
    high, low = 2 * ALPHA / (0.9 + amplitude), 2 * ALPHA / (0.9 - amplitude)
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)

    def value(t, x):
        a, b = 2 * ALPHA / (t + high), 2 * ALPHA / (t + low)
        return (a + b) / 2 + (a - b) / 2 * torch.cos(x @ direction / math.sqrt(ALPHA) - 0.3)

    return value


def noisy_plane_wave(sigma):
    # the same with diffusion, which damps R by the wave's own frequency
    def rates(t, y):
        mean, size = y
        damped = sigma**2 / (2 * ALPHA) * size
        return [-(mean**2 + size**2) / (2 * ALPHA), -mean * size / ALPHA + damped]

    path = solve_ivp(rates, (0, 1), [0.9, 0.4], dense_output=True, rtol=1e-11, atol=1e-12).sol

    class Known(torch.autograd.Function):
        @staticmethod
        def forward(ctx, t, row):
            ctx.save_for_backward(t)
            ctx.row = row
            return torch.from_numpy(path(t.detach().numpy())[row])

        @staticmethod
        def backward(ctx, grad):
            (t,) = ctx.saved_tensors
            slope = rates(0.0, path(t.detach().numpy()))[ctx.row]
            return grad * torch.from_numpy(np.asarray(slope)), None

    def value(t, x):
        phase = x[:, 0] / math.sqrt(ALPHA)
        return Known.apply(t, 0) + Known.apply(t, 1) * torch.cos(phase)

    return value


def radial_wave(t, x):
    centre = torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64)
    a, b = 2 * ALPHA / (t + 3.0), 2 * ALPHA / (t + 8.0)
    distance = (x - centre).square().sum(1).sqrt()
    return (a + b) / 2 + (a - b) / 2 * torch.cos(distance / math.sqrt(ALPHA))


def bridge(sigma, s0=0.4, s1=0.8):
    # isotropic Gaussian Schroedinger bridge over a unit of time: linear drift of slope k(t)
    root = (math.sqrt(4 * s0**2 * s1**2 + sigma**4) - sigma**2) / 2
    k0 = (root - s0**2) / s0**2
    step = torch.tensor([1.0, -1.0, -0.5], dtype=torch.float64)

    def value(t, x):
        apart = x - t[:, None] * step
        k = k0 / (1 + k0 * t)
        tilt = (apart * step).sum(1) + t / 2 * step.square().sum()
        return tilt + k / 2 * apart.square().sum(1) - 1.5 * sigma**2 * torch.log(1 + k0 * t)

    return value


@pytest.mark.parametrize("value", [plane_wave(), radial_wave])
def test_waves_solve_the_equation_without_noise(value, points):
    assert worst(residual(potential(value), hamiltonian(), *points, NONE)) < 1e-12


def test_noisy_plane_wave_solves_it_with_noise(points):
    sigma = torch.full((3,), 0.5, dtype=torch.float64)
    value = potential(noisy_plane_wave(0.5))
    assert worst(residual(value, hamiltonian(), *points, sigma)) < 1e-7
    # and not without
    assert worst(residual(value, hamiltonian(), *points, NONE)) > 0.01


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_gaussian_bridge_solves_it_where_growth_is_out_of_reach(sigma, points):
    noise = torch.full((3,), sigma, dtype=torch.float64)
    found = residual(potential(bridge(sigma)), lambda value: 0 * value, *points, noise)
    assert worst(found) < 1e-12


@pytest.mark.parametrize(
    ("penalty", "power"),
    [
        (GrowthPenalty(), 2.0),
        (GrowthPenalty("power", 3.0), 3.0),
        (GrowthPenalty("power", 2 / 15, cap=200.0), 2 / 15),
    ],
)
def test_pure_growth_of_any_power(penalty, power, points):
    # m = ((t + c) / c)^power, so g = power / (t + c), solves lambda' = -H(lambda)
    c = 1 / (2.4 ** (1 / power) - 1)

    def value(t, x):
        return ALPHA * penalty.slope(power / (t + c)) + 0 * x.sum(1)

    found = residual(potential(value), hamiltonian(penalty), *points, NONE)
    assert worst(found) < 1e-10


def test_noise_may_differ_between_coordinates(points):
    # lambda = sum a_i x_i^2 / 2 has the Laplacian term sum sigma_i^2 a_i / 2
    a = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    sigma = torch.tensor([0.3, 0.0, 2.0], dtype=torch.float64)

    def value(t, x):
        return (a * x.square()).sum(1) / 2 + 0 * t

    with_noise, without = (
        residual(potential(value), hamiltonian(), *points, s) for s in (sigma, NONE)
    )
    expected = (sigma.square() * a).sum() / 2
    torch.testing.assert_close(with_noise - without, expected.expand(100))


def test_three_forms_agree(points):
    t, x = points
    sigma = torch.tensor([0.5, 0.8, 0.3], dtype=torch.float64)

    def value(t, x):  # solves nothing
        return torch.sin(x[:, 0] + 2 * t) * x[:, 1] + 0.3 * x[:, 2].square() * x[:, 0]

    field = potential(value)
    exact = residual(field, hamiltonian(), t, x, sigma).detach()
    assert float(exact.abs().mean()) > 0.5
    generator = torch.Generator().manual_seed(1)
    n, h = 2000, 1e-3
    many_t, many_x = t.repeat(n), x.repeat(n, 1)
    signs = torch.randint(0, 2, many_x.shape, generator=generator) * 2.0 - 1
    estimates = residual(field, hamiltonian(), many_t, many_x, sigma, probes=signs.double())
    normal = torch.randn(many_x.shape, generator=generator, dtype=torch.float64)
    shock = math.sqrt(h) * sigma * normal
    here, u = field(many_t, many_x)
    ahead, slope = field(many_t + h, many_x + h * u + shock)
    ends = (here, u, hamiltonian()(here)), (ahead, slope, hamiltonian()(ahead))
    differences = temporal_difference(*ends, h, shock)
    # Hutchinson's is unbiased; the temporal difference has a bias of order h
    for found, bias in ((estimates.detach(), 1e-9), (differences, 20 * h)):
        runs = found.reshape(n, 100)
        slack = 5 * runs.std(0) / math.sqrt(n) + bias
        assert ((runs.mean(0) - exact).abs() < slack).all()


def test_temporal_difference_is_of_order_two_without_noise(points):
    t, x = points
    field = potential(plane_wave())
    errors = []
    for h in (0.2, 0.1, 0.05):
        value, u = field(t, x)
        ahead, slope = field(t + h, x + h * u)
        found = temporal_difference(
            (value, u, hamiltonian()(value)), (ahead, slope, hamiltonian()(ahead)), h, 0 * x
        )
        errors.append(worst(found))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) > 1.8
    assert errors[0] < 2e-3


@pytest.mark.parametrize("penalty", [GrowthPenalty(), GrowthPenalty("power", 2 / 15)])
def test_growth_rises_along_the_drift_where_the_penalty_is_convex(penalty, points):
    # at one time: u . grad g = |grad lambda|^2 / (alpha psi''(g)), whose sign is that of psi''
    t, x = points
    x = x.requires_grad_()
    value, u = potential(plane_wave())(t, x)
    (slope,) = torch.autograd.grad(penalty.growth(value / ALPHA).sum(), x)
    along = (u * slope).sum(1).detach()
    assert bool((along >= 0).all() if penalty.convex else (along <= 0).all())
    assert float(along.abs().max()) > 1e-3
