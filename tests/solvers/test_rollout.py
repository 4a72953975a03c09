"""Simulated particles: growth with noise, resampling, action and residual."""

import math

import pytest
import torch

from scruot.dynamics.device import make_generator
from scruot.dynamics.noise import Noise
from scruot.solvers.rollout import Local, roll_out

CPU = torch.device("cpu")
TIMES = (0.0, 1.0, 2.0)
NONE = Noise(0.0, (), TIMES)


def constant(speed=1.0, rate=0.0, tilt=0.0):
    """Return a drift along the first axis, and growth that is linear along it."""

    def rates(t, x, k):
        drift = torch.zeros_like(x)
        drift[:, 0] = speed
        growth = rate + tilt * x[:, 0]
        return Local(speed * x[:, 0], drift, growth, 0 * t - speed**2 / 2, growth.square() / 2)

    return rates


def roll(rates, x, noise=NONE, **options):
    settings = {"step": 0.1, "generator": make_generator(CPU, 0), **options}
    return roll_out(rates, x, x.new_full((len(x),), -math.log(len(x))), TIMES, noise, **settings)


def test_linear_growth_with_noise_has_the_closed_form_population():
    # X = v t + sigma W and d log w = (r + c X) dt: the integral of X is Gaussian
    v, r, c, sigma, n = 0.7, 0.2, 0.5, 0.6, 40_000
    run = roll(constant(v, r, c), torch.zeros(n, 2), Noise(sigma, (), TIMES))
    for t, log_w in zip(TIMES, run.log_weights, strict=True):
        expected = math.exp(r * t + c * v * t**2 / 2 + c**2 * sigma**2 * t**3 / 6)
        error = 6 * float(log_w.exp().std()) * math.sqrt(n)
        assert float(log_w.exp().sum()) == pytest.approx(expected, abs=error + 2e-3 * expected)


def test_action_and_residual_of_a_straight_line():
    run = roll(constant(2.0, rate=0.5), torch.zeros(5, 2))
    torch.testing.assert_close(run.x[-1][:, 0], torch.full((5,), 4.0))
    # int e^(t / 2) (2 + 1 / 8) dt
    assert float(run.action) == pytest.approx(2.125 * 2 * (math.e - 1), rel=1e-3)
    # lambda = 2 x with H = -2 solves the equation
    assert float(run.squared_residual) < 1e-9
    # and with the wrong Hamiltonian the residual is what is wrong
    wrong = roll(lambda t, x, k: constant(2.0)(t, x, k)._replace(hamiltonian=0 * t), run.x[0])
    assert float(wrong.squared_residual) == pytest.approx(2 * 2.0**2, rel=1e-4)


def test_each_interval_asks_for_its_own_potential():
    asked = []

    def rates(t, x, k):
        asked.append((float(t[0]), k))
        return constant()(t, x, k)

    roll(rates, torch.zeros(2, 1), step=0.5)
    assert {k for t, k in asked if t < 1} == {0}
    assert {k for t, k in asked if t > 1} == {1}
    assert {k for t, k in asked if t == 1.0} == {0, 1}


def test_graded_steps_are_shortest_at_the_start_of_every_interval():
    run = roll(constant(2.0, rate=0.5), torch.zeros(3, 2), step=0.25, grading=2.0)
    assert run.durations == pytest.approx([1 / 16, 3 / 16, 5 / 16, 7 / 16] * 2)
    starts = [float(t[0]) for t, _, _ in run.nodes]
    assert starts == pytest.approx([0, 1 / 16, 1 / 4, 9 / 16, 1, 17 / 16, 5 / 4, 25 / 16])
    # what is integrated stays what it is
    torch.testing.assert_close(run.x[-1][:, 0], torch.full((3,), 4.0))
    assert float(run.action) == pytest.approx(2.125 * 2 * (math.e - 1), rel=2e-2)


def test_resampling_keeps_the_law_and_its_gradient():
    n = 2000
    x = torch.randn(n, 1, generator=make_generator(CPU, 1))
    tilt = torch.tensor(2.0, requires_grad=True)

    def rates(t, x, k):
        rest = constant(0.0)(t, x, k)
        return rest._replace(growth=tilt * x[:, 0] * (k == 0))

    results = []
    for least in (0.0, 0.9):
        run = roll(rates, x, least_effective=least)
        total = run.log_weights[-1].exp().sum()
        mean = (run.log_weights[-1].exp() * run.x[-1][:, 0]).sum() / total
        slopes = [torch.autograd.grad(v, tilt, retain_graph=True)[0] for v in (total, mean)]
        results.append([float(v.detach()) for v in (total, mean, *slopes)])
        assert run.effective[1] > 0.999 if least else run.effective[1] < 0.1
    plain, drawn = results
    # the total and its gradient are kept; those of a mean up to the noise of the draw
    assert drawn[0] == pytest.approx(plain[0], rel=1e-4)
    assert drawn[2] == pytest.approx(plain[2], rel=0.02)
    assert drawn[1] == pytest.approx(plain[1], rel=0.02)
    assert drawn[3] == pytest.approx(plain[3], rel=0.15)
