"""Runge-Kutta against exact solutions, and the stochastic integrator against exact moments."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from scruot.dynamics.simulate import (
    Trajectories,
    integrate_flow,
    integrate_flow_adaptively,
    integrate_sde,
)

A = torch.tensor([[-0.5, 2.0], [-2.0, -0.5]], dtype=torch.float64)
X0 = torch.tensor([[1.0, 0.0], [0.3, -2.0]], dtype=torch.float64)
LOG_W = torch.tensor([0.0, 1.0], dtype=torch.float64)


def driven(t, x):
    """A linear system with a drive, and growth by the first coordinate and the time."""
    drive = torch.stack([t.cos(), torch.zeros_like(t)], dim=1)
    return x @ A.T + drive, x[:, 0] - t.sin()


def exact(t):
    """Solve it as one linear system: state, cos, sin, integral of the growth."""
    rows = torch.zeros(5, 5, dtype=torch.float64)
    rows[:2, :2] = A
    rows[0, 2] = 1.0
    rows[2, 3], rows[3, 2] = -1.0, 1.0
    rows[4, 0], rows[4, 3] = 1.0, -1.0
    start = torch.cat([X0, torch.tensor([[1.0, 0.0]] * 2, dtype=torch.float64), LOG_W[:, None]], 1)
    end = start @ torch.linalg.matrix_exp(t * rows).T
    return end[:, :2], end[:, 4]


def test_order_four():
    errors = []
    for step in (0.2, 0.1, 0.05):
        x, log_w = integrate_flow(driven, X0, LOG_W, [0.0, 2.0], step)
        x_exact, log_exact = exact(2.0)
        errors.append(
            [float((x[-1] - x_exact).abs().max()), float((log_w[-1] - log_exact).abs().max())]
        )
    for coarse, fine in pairwise(errors):
        for before, after in zip(coarse, fine, strict=True):
            assert 3.7 < math.log2(before / after) < 4.3


def test_backwards_inverts_forwards():
    x, log_w = integrate_flow(driven, X0, LOG_W, [0.0, 1.0, 2.0], 0.02)
    back, back_log = integrate_flow(driven, x[-1], log_w[-1], [2.0, 1.0, 0.0], 0.02)
    torch.testing.assert_close(back, x.flip(0), rtol=0, atol=1e-7)
    torch.testing.assert_close(back_log, log_w.flip(0), rtol=0, atol=1e-7)


def test_uneven_times_and_steps_that_do_not_fit():
    times = [0.0, 0.13, 1.9, 2.0]
    x, log_w = integrate_flow(driven, X0, LOG_W, times, 0.03)
    for k, t in enumerate(times):
        torch.testing.assert_close(x[k], exact(t)[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(log_w[k], exact(t)[1], rtol=0, atol=1e-6)


def test_dead_cells_stay_dead():
    log_w = torch.tensor([-math.inf, 0.0], dtype=torch.float64)
    _, logs = integrate_flow(driven, X0, log_w, [0.0, 1.0], 0.1)
    assert logs[-1].exp()[0] == 0.0
    assert torch.isfinite(logs[-1][1])


def test_adaptive_steps_reach_their_tolerance():
    x, log_w = integrate_flow_adaptively(driven, X0, LOG_W, [0.0, 2.0], tolerance=1e-8)
    torch.testing.assert_close(x[-1], exact(2.0)[0], rtol=0, atol=1e-8)
    torch.testing.assert_close(log_w[-1], exact(2.0)[1], rtol=0, atol=1e-8)


def test_adaptive_steps_give_up_at_once_where_states_explode():
    calls = []

    def explosive(t, x):
        calls.append(1)
        return x**3, x.new_zeros(len(x))

    with pytest.raises(RuntimeError, match="leave the finite numbers"):
        integrate_flow_adaptively(explosive, X0, LOG_W, [0.0, 5.0])
    assert len(calls) <= 4 * (50 + 100)


def test_adaptive_steps_allow_particles_without_mass():
    _, log_w = integrate_flow_adaptively(driven, X0, LOG_W.log(), [0.0, 1.0])
    assert float(log_w[-1, 0]) == -math.inf


def test_adaptive_steps_give_up_on_a_jump():
    def jump(t, x):
        speed = torch.where(t < 0.3217, 50.0, -50.0).to(x)
        return speed[:, None].expand_as(x), 0 * t

    with pytest.raises(RuntimeError, match="too steep"):
        integrate_flow_adaptively(jump, X0, LOG_W, [0.0, 1.0], max_halvings=3, tolerance=1e-9)


def test_population_and_effective_size():
    run = Trajectories(
        torch.tensor([0.0, 1.0]),
        torch.zeros(2, 4, 1),
        torch.tensor([[0.25] * 4, [2.0, 0.0, 0.0, 0.0]]),
    )
    assert run.mass.tolist() == [1.0, 2.0]
    assert run.effective_sample_size.tolist() == [4.0, 1.0]


def ornstein(t, x):
    return -0.7 * x, 0.2 * t


# 0.37 and 1.03 fall between the steps, 7 / 3 is no float32 number
TIMES = [0.0, 0.37, 1.03, 7 / 3]


def test_sde_has_the_moments_of_ornstein_and_uhlenbeck():
    n, d, sigma = 20_000, 2, torch.tensor([0.8, 0.3], dtype=torch.float64)
    x0 = torch.full((n, d), 2.0, dtype=torch.float64)
    x, log_w = integrate_sde(ornstein, x0, x0.new_zeros(n), TIMES, 0.02, sigma, 3)
    for k, t in enumerate(TIMES[1:], start=1):
        mean, variance = 2 * math.exp(-0.7 * t), sigma**2 * (1 - math.exp(-1.4 * t)) / 1.4
        # five standard errors
        assert ((x[k].mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
        assert ((x[k].var(0) / variance - 1).abs() < 5 * math.sqrt(2 / n)).all()
    # no noise in the weights: the integral of 0.2 t
    torch.testing.assert_close(log_w[-1], torch.full_like(log_w[-1], 0.1 * (7 / 3) ** 2))


def test_sde_is_of_order_two_where_noise_is_weak():
    x0, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    errors = []
    for step in (0.1, 0.05, 0.025):
        x, log_w = integrate_sde(
            lambda t, x: (-0.7 * x, x[:, 0]), x0, x0[:, 0] * 0, [0.0, 2.0], step, none, 0
        )
        exact = math.exp(-1.4), (1 - math.exp(-1.4)) / 0.7
        errors.append([abs(float(x[-1]) - exact[0]), abs(float(log_w[-1]) - exact[1])])
    for coarse, fine in pairwise(errors):
        for before, after in zip(coarse, fine, strict=True):
            assert 1.9 < math.log2(before / after) < 2.1


@pytest.mark.parametrize("times", [[0.0, 1.0, 2.0], [0.0, 2.0]])
def test_a_step_ends_before_the_field_jumps(times):
    # displacement and growth 1 until time 1, and 5 from then on
    def jump(t, x):
        rate = torch.where(t < 1, 1.0, 5.0)
        return rate[:, None].expand_as(x), rate

    x0 = torch.zeros(3, 2)
    forwards = integrate_flow(jump, x0, x0[:, 0], times, 0.1)
    noisy = integrate_sde(jump, x0, x0[:, 0], times, 0.1, torch.zeros(2), 0)
    backwards = integrate_flow(jump, x0, x0[:, 0], times[::-1], 0.1)
    for sign, (x, log_w) in ((1, forwards), (1, noisy), (-1, backwards)):
        torch.testing.assert_close(x[-1], torch.full((3, 2), sign * 6.0))
        torch.testing.assert_close(log_w[-1], torch.full((3,), sign * 6.0))


def test_noise_is_whole_at_times_between_steps():
    # pure noise at a third of a long step: interpolated paths would have a third of the variance
    n = 20_000
    x0 = torch.zeros(n, 1, dtype=torch.float64)
    sigma = torch.ones(1, dtype=torch.float64)

    def still(t, x):
        return 0 * x, 0 * t

    x, _ = integrate_sde(still, x0, x0[:, 0], [0.0, 1.0, 3.0], 3.0, sigma, 0)
    assert float(x[1].var()) == pytest.approx(1.0, abs=5 * math.sqrt(2 / n))
    assert float((x[2] - x[1]).var()) == pytest.approx(2.0, abs=10 * math.sqrt(2 / n))
    assert abs(float(torch.corrcoef(torch.cat([x[1], x[2] - x[1]], 1).T)[0, 1])) < 5 / math.sqrt(n)


def test_entropy_fixes_the_path():
    x0, sigma = torch.zeros(5, 2), torch.ones(2)
    runs = [
        integrate_sde(ornstein, x0, x0[:, 0], TIMES, 0.1, sigma, entropy)[0]
        for entropy in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.isclose(runs[0][1:], runs[2][1:]).any()


def test_one_time_is_the_start():
    x0, sigma = torch.ones(5, 2), torch.ones(2)
    x, log_w = integrate_sde(ornstein, x0, x0[:, 0], [1.0], 0.1, sigma, 0)
    assert torch.equal(x, x0[None])
    assert torch.equal(log_w, x0[None, :, 0])


def test_noise_begins_with_short_steps_after_an_observed_time():
    seen = []

    def still(t, x):
        seen.append(float(t[0]))
        return torch.zeros_like(x), x[:, 0]

    x0 = torch.zeros(1, 1)
    times = [0.0, 1.0, 2.0]
    x, log_w = integrate_sde(still, x0, x0[:, 0], times, 0.1, torch.zeros(1), 0, knots=(0.0, 1.5))
    begun = np.array(seen[::2])  # a scheme of two stages, of which the first is at the start
    short = np.arange(12) / 40
    expected = [short, np.arange(3, 15) / 10, 1.5 + short, np.arange(18, 20) / 10]
    np.testing.assert_allclose(begun, np.concatenate(expected), atol=1e-6)
    assert x.shape == (3, 1, 1)
    assert log_w.shape == (3, 1)
