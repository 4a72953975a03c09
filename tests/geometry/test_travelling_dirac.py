"""The travelling Dirac against closed forms, finite differences and the action it should spend."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scruot.geometry import dirac_distance_squared, travelling_dirac

PRECISION = {torch.float32: 2e-5, torch.float64: 1e-12}
DTYPES = list(PRECISION)


def path(s, distance, m0, m1, delta, *, dtype=torch.float64, d=2):
    """Travel along a diagonal of d coordinates; masses and distance are numbers."""
    s = torch.as_tensor(s, dtype=dtype)
    n = len(s)
    x0 = torch.arange(d, dtype=dtype).expand(n, d)
    x1 = x0 + distance / math.sqrt(d)
    masses = (torch.full((n,), m, dtype=dtype) for m in (m0, m1))
    return travelling_dirac(s, x0, x1, *masses, delta), x0, x1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m0", "m1"), [(1.0, 1.0), (1.0, 3.0), (1.0, 1e8), (1e8, 1.0)])
@pytest.mark.parametrize("d", [1, 2, 2000])
def test_ends_are_met(dtype, m0, m1, d):
    # delta 0.7 puts the ends at 0.9 of the reach pi delta
    state, x0, x1 = path([0.0, 1.0], 0.9 * math.pi * 0.7, m0, m1, 0.7, dtype=dtype, d=d)
    tolerance = PRECISION[dtype] * max(1, d)
    torch.testing.assert_close(state.x[0], x0[0], rtol=0, atol=tolerance)
    torch.testing.assert_close(state.x[1], x1[1], rtol=0, atol=tolerance)
    expected = torch.tensor([m0, m1], dtype=dtype)
    torch.testing.assert_close(state.mass, expected, rtol=PRECISION[dtype], atol=0)


@given(
    s=st.floats(0.01, 0.99),
    reach=st.floats(0.0, 0.99),
    log_ratio=st.floats(-8.0, 8.0),
    delta=st.floats(0.05, 50.0),
)
def test_velocity_and_growth_are_derivatives(s, reach, log_ratio, delta):
    m0, m1, distance = 1.0, 10.0**log_ratio, reach * math.pi * delta

    time = torch.tensor([s], dtype=torch.float64, requires_grad=True)
    state, _, _ = path(time, distance, m0, m1, delta)
    # both coordinates move alike
    (x_rate,) = torch.autograd.grad(state.x[0, 0], time, retain_graph=True)
    (log_mass_rate,) = torch.autograd.grad(state.mass.log()[0], time)
    expected = x_rate.expand(1, 2)
    torch.testing.assert_close(state.velocity.detach(), expected, rtol=1e-8, atol=1e-10 * delta)
    torch.testing.assert_close(state.growth.detach(), log_mass_rate, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("reach", "m0", "m1"), [(0.3, 1.0, 1.0), (0.8, 1.0, 4.0), (0.0, 1.0, 3.0), (0.0, 1.0, 0.0)]
)
def test_action_is_the_squared_distance(reach, m0, m1):
    delta = 1.7
    distance = reach * math.pi * delta
    # Gauss-Legendre nodes: the action density is constant in s, and smooth however computed
    nodes, weights = np.polynomial.legendre.leggauss(12)
    state, _, _ = path((nodes + 1) / 2, distance, m0, m1, delta)
    density = state.mass * (state.velocity.square().sum(1) + delta**2 * state.growth**2) / 2
    action = float((torch.from_numpy(weights / 2) * density).sum())
    assert action == pytest.approx(dirac_distance_squared(distance, m0, m1, delta), rel=1e-10)


def test_action_is_spent_evenly():
    state, _, _ = path(torch.linspace(0, 1, 9), 1.0, 1.0, 2.0, 0.9)
    density = state.mass * (state.velocity.square().sum(1) + 0.9**2 * state.growth**2)
    torch.testing.assert_close(density, density[:1].expand(9), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_coinciding_ends_only_grow(dtype):
    s = torch.linspace(0, 1, 5, dtype=dtype)
    state, x0, _ = path(s, 0.0, 1.0, 4.0, 1.0, dtype=dtype)
    assert torch.equal(state.x, x0)
    assert not state.velocity.any()
    # sqrt of the mass is linear: 1 + s
    torch.testing.assert_close(state.mass, (1 + s) ** 2)
    torch.testing.assert_close(state.growth, 2 / (1 + s))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("birth", [True, False])
def test_births_and_deaths(dtype, birth):
    s = torch.linspace(0.1, 0.9, 5, dtype=dtype)
    m0, m1 = (0.0, 2.0) if birth else (2.0, 0.0)
    state, x0, _ = path(s, 0.0, m0, m1, 1.0, dtype=dtype)
    toward = s if birth else 1 - s
    torch.testing.assert_close(state.x, x0)
    torch.testing.assert_close(state.mass, 2 * toward**2)
    torch.testing.assert_close(state.growth, (2 if birth else -2) / toward)


def test_growth_of_a_death_stays_finite_at_the_end():
    state, _, _ = path([1.0 - 2**-24, 1.0], 0.0, 1.0, 0.0, 1.0, dtype=torch.float32)
    assert torch.isfinite(state.growth).all()
    assert torch.isfinite(state.velocity).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_delta_is_a_straight_line(dtype):
    s = torch.linspace(0, 1, 7, dtype=dtype)
    state, x0, x1 = path(s, 1.0, 1.0, 1.0, 1e4, dtype=dtype)
    # theta = 5e-5: the path departs from the line by theta^2 < 3e-9
    tolerance = 1e-6 if dtype == torch.float32 else 3e-9
    torch.testing.assert_close(state.x, torch.lerp(x0, x1, s[:, None]), rtol=0, atol=tolerance)
    torch.testing.assert_close(state.velocity, x1 - x0, rtol=tolerance, atol=0)
    assert state.growth.abs().max() < 1e-6


def test_near_the_reach_cells_die_and_are_born():
    # just inside pi delta the way leads through almost nothing, at theta -> pi / 2
    state, _, x1 = path([0.0, 0.5, 1.0], (1 - 1e-9) * math.pi, 1.0, 1.0, 1.0)
    assert state.mass[1] == pytest.approx(0.5)
    assert float(dirac_distance_squared(math.pi, 1.0, 1.0, 1.0)) == pytest.approx(4.0)
    assert float(dirac_distance_squared(50.0, 1.0, 1.0, 1.0)) == pytest.approx(4.0)
    torch.testing.assert_close(state.x[2], x1[2])


def test_distance_needs_no_order():
    there = dirac_distance_squared(1.0, 2.0, 3.0, 0.8)
    assert there == dirac_distance_squared(1.0, 3.0, 2.0, 0.8)
    assert dirac_distance_squared(0.0, 2.0, 2.0, 0.8) == pytest.approx(0.0, abs=1e-12)


def test_time_reversal_swaps_the_ends():
    s = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    x0, x1 = torch.zeros(9, 3, dtype=torch.float64), torch.ones(9, 3, dtype=torch.float64)
    m0, m1 = torch.full((9,), 2.0, dtype=torch.float64), torch.full((9,), 0.5, dtype=torch.float64)
    there = travelling_dirac(s, x0, x1, m0, m1, 0.9)
    back = travelling_dirac(1 - s, x1, x0, m1, m0, 0.9)
    torch.testing.assert_close(there.x, back.x)
    torch.testing.assert_close(there.mass, back.mass)
    torch.testing.assert_close(there.velocity, -back.velocity)
    torch.testing.assert_close(there.growth, -back.growth)


def test_stays_in_its_precision():
    for dtype in DTYPES:
        state, _, _ = path([0.3], 0.5, 1.0, 2.0, 1.0, dtype=dtype)
        assert {part.dtype for part in state} == {dtype}
