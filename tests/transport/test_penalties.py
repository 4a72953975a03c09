"""Penalties and the limits, invariances and bounds that follow from them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from scruot.transport import Penalty, couple, sinkhorn
from scruot.transport.objective import centre_potentials, dual_value
from scruot.transport.penalties import Sides

EXACT = Penalty("exact")
KINDS = ("kl", "tv", "chi2", "l2")
ONE = torch.ones(1, dtype=torch.float64)


def both(kind, tau):
    return {"source": Penalty(kind, tau), "target": Penalty(kind, tau)}


def line(distance):
    x = torch.zeros(1, 2, dtype=torch.float64)
    return x, x + torch.tensor([distance, 0.0])


@pytest.mark.parametrize("kind", KINDS)
@given(
    phi=st.floats(-0.9, 3.0), tau=st.floats(0.5, 20.0), q=st.floats(0.1, 5.0), p=st.floats(0.0, 9.0)
)
@settings(max_examples=40, deadline=None)
def test_dual_is_the_least_price(kind, phi, tau, q, p):
    side, q_ = Penalty(kind, tau), q * ONE
    phi = phi * min(tau, 1.0)
    value = float(side.dual(phi * ONE, q_))
    assert value <= float(side.value(p * ONE, q_)) + phi * p + 1e-9 * (1 + p * tau)
    best = float(side.marginal(phi * ONE, q_))
    assert float(side.value(best * ONE, q_)) + phi * best == pytest.approx(value, abs=1e-9 * tau)


@pytest.mark.parametrize("kind", KINDS)
@given(soft=st.floats(-60.0, 60.0), eps=st.sampled_from([1e-3, 0.1, 5.0]), q=st.floats(0.1, 5.0))
@settings(max_examples=40, deadline=None)
def test_sinkhorn_step_solves_its_equation(kind, soft, eps, q):
    side, q_ = Penalty(kind, 0.7), q * ONE
    phi = float(side.step(soft * ONE, eps, q_))

    def excess(value):  # of the row mass over that of the penalty, in logarithms
        mass = float(side.marginal(value * ONE, q_))
        return value / eps + soft - (math.log(mass / q) if mass > 0 else -math.inf)

    if kind == "tv":
        assert phi == pytest.approx(min(max(-eps * soft, -0.7), 0.7))
        return
    top = {"kl": 200.0, "chi2": 1.4, "l2": 0.7}[kind] * (1 - 1e-15)
    expected = brentq(excess, -200.0, top, xtol=1e-14) if excess(top) > 0 else top
    assert phi == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masses", [(1.0, 1.0), (0.5, 2.0)])
def test_two_diracs_have_the_closed_form(kind, masses):
    x, y = line(1.0)
    a, b = (m * ONE for m in masses)
    tau = 0.8
    found = couple(x, y, a, b, **both(kind, tau))
    side = Penalty(kind, tau)

    def value(mass):
        return mass + float(side.value(mass * ONE, a) + side.value(mass * ONE, b))

    best = minimize_scalar(value, bounds=(0.0, 3.0), method="bounded", options={"xatol": 1e-12})
    assert found.primal == pytest.approx(best.fun, rel=1e-6)
    assert found.dual == pytest.approx(best.fun, rel=1e-6)
    if kind == "kl":
        root = math.sqrt(masses[0] * masses[1])
        assert found.moved == pytest.approx(root * math.exp(-1.0 / (2 * tau)), rel=1e-5)
    if kind == "tv":
        assert found.moved == pytest.approx(min(masses))
    if kind == "chi2" and masses[0] == masses[1]:
        assert found.moved == pytest.approx(1 - 1.0 / (4 * tau), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reg", [0.0, 0.2])
def test_limits_of_the_price(small, kind, reg):
    """An infinite price is balanced transport, a vanishing one frees the mass."""
    x, y, a, b = small
    b = b * (a.sum() / b.sum())
    balanced = couple(x, y, a, b, source=EXACT, target=EXACT, reg=reg)
    stiff = couple(x, y, a, b, reg=reg, **both(kind, 1e5))
    assert stiff.primal == pytest.approx(balanced.primal, rel=2e-4)
    torch.testing.assert_close(stiff.row_mass, a, rtol=1e-3, atol=0.0)
    difference = abs(stiff.to_scipy() - balanced.to_scipy()).sum() / balanced.moved
    assert difference < (0.02 if reg else 0.2)
    free = couple(x, y, a, b, **both(kind, 1e-5))
    assert free.moved < 1e-3 * balanced.moved
    assert free.primal <= 1e-5 * float(a.sum() + b.sum()) * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_doubling_both_measures_doubles_the_plan(small, kind, reg):
    x, y, a, b = small
    one, many = (couple(x, y, c * a, c * b, reg=reg, **both(kind, 0.7)) for c in (1.0, 1e3))
    dense = many.to_scipy().toarray()
    np.testing.assert_allclose(1e3 * one.to_scipy().toarray(), dense, atol=1e-5 * dense.max())
    assert many.primal == pytest.approx(1e3 * one.primal)
    assert many.dual == pytest.approx(1e3 * one.dual)


@pytest.mark.parametrize("distance", [5.0, 10.0, 20.0])
def test_isolated_cells_fade_with_kl_and_stay_put_with_tv(distance):
    """KL: never exactly nothing. Total variation: nothing at all beyond twice the price."""
    x = torch.tensor([[0.0], [distance], [1e3]], dtype=torch.float64)
    y = torch.tensor([[0.0], [1e3]], dtype=torch.float64)
    a, b = torch.ones(3, dtype=torch.float64), torch.tensor([1e3, 1.0], dtype=torch.float64)
    tau, reg, cost = 3.0, 0.5, distance**2
    plan = couple(x, y, a, b, reg=reg, kept_mass=1.0, source=Penalty("kl", tau), target=EXACT)
    share = plan.row_mass / a
    # both rows see the same crowded target, so that only their costs differ
    expected = -cost / (tau + reg)
    assert float((share[1] / share[0]).log()) == pytest.approx(expected, rel=1e-6)
    assert float(share[1]) > 0
    if distance == 5.0:  # smaller shares are beyond the certified gap
        kl = couple(x, y, a, b, **both("kl", tau))
        assert float((kl.row_mass[1] / kl.row_mass[0]).log()) == pytest.approx(
            -cost / tau, rel=0.05
        )
    for factor, moves in ((0.99, False), (1.01, True)):
        tv = couple(x, y, a, b, **both("tv", factor * cost / 2))
        assert (float(tv.row_mass[1]) > 0) == moves


def test_moved_mass_of_tv_is_a_step_function_and_partial_transport(small):
    x, y, a, b = small
    prices = np.geomspace(1e-3, 20, 25)
    plans = [couple(x, y, a, b, **both("tv", float(tau))) for tau in prices]
    moved = np.array([plan.moved for plan in plans])
    assert (np.diff(moved) >= -1e-9).all()
    assert moved[0] < 0.1 * moved[-1]
    assert moved[-1] == pytest.approx(float(min(a.sum(), b.sum())))
    fine = [couple(x, y, a, b, **both("tv", 0.1 + 1e-7 * k)).moved for k in range(3)]
    assert np.ptp(fine) < 1e-9  # flat between its steps
    for plan in plans[8:20:4]:
        partial = couple(x, y, a, b, source=EXACT, target=EXACT, moved=plan.moved)
        cost = float((plan.mass * (x[plan.row] - y[plan.col]).square().sum(1)).sum())
        assert partial.primal == pytest.approx(cost, rel=1e-9)
        assert bool((plan.row_mass <= a * (1 + 1e-9)).all())


@pytest.mark.parametrize(
    ("source", "target"), [("kl", "kl"), ("kl", "chi2"), ("l2", "kl"), ("chi2", "l2"), ("tv", "kl")]
)
def test_best_shift_of_potentials(small, source, target):
    _, _, a, b = small
    sides = Sides(Penalty(source, 0.7), Penalty(target, 2.0))
    rng = torch.Generator().manual_seed(3)
    phi = 0.6 * (torch.rand(len(a), generator=rng, dtype=torch.float64) - 0.5)
    psi = torch.rand(len(b), generator=rng, dtype=torch.float64) - 0.2
    best = dual_value(*centre_potentials(phi, psi, a, b, sides), a, b, sides)
    for shift in np.linspace(-0.3, 0.3, 61):
        assert dual_value(phi + shift, psi - shift, a, b, sides) <= best + 1e-9


def sweeps_needed(monkeypatch, clouds, tau, centre):
    """Count the sweeps until the potentials settle."""
    x, y, a, b = clouds
    cost = sinkhorn.DenseCost(torch.cdist(x, y).square())
    if not centre:
        monkeypatch.setattr(sinkhorn, "centre_potentials", lambda phi, psi, *_: (phi, psi))
    sides = Sides(Penalty("kl", tau), Penalty("kl", tau))
    for most in (20, 40, 80, 160, 320, 640, 1280, 2560, 5120):
        options = {"first": 0.5, "last": 0.5, "most_last": most, "tol": 1e-8, "sides": sides}
        if sinkhorn.annealed(cost, a, b, **options).converged:
            return most
    return math.inf


def test_translation_invariance_spares_sweeps(monkeypatch, small):
    """Without it the potentials creep by eps / tau of their distance per sweep."""
    x, y, a, b = small
    clouds = x, y, a / a.sum(), 3 * b / b.sum()
    fast = sweeps_needed(monkeypatch, clouds, 500.0, centre=True)
    slow = sweeps_needed(monkeypatch, clouds, 500.0, centre=False)
    assert 8 * fast <= slow


@given(
    seed=st.integers(0, 10**6),
    kinds=st.tuples(st.sampled_from(("exact", *KINDS)), st.sampled_from(KINDS)),
    taus=st.tuples(st.floats(0.05, 50.0), st.floats(0.05, 50.0)),
    reg=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=25, deadline=None)
def test_certificates_hold_for_any_penalties(seed, kinds, taus, reg):
    rng = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, 2, generator=rng, dtype=torch.float64) for n in (9, 12))
    a, b = (0.1 + torch.rand(n, generator=rng, dtype=torch.float64) for n in (9, 12))
    source = EXACT if kinds[0] == "exact" else Penalty(kinds[0], taus[0])
    target = Penalty(kinds[1], taus[1])
    plan = couple(x, y, a, b, source=source, target=target, reg=reg)
    swapped = couple(y, x, b, a, source=target, target=source, reg=reg)
    assert plan.converged
    assert plan.dual <= plan.primal * (1 + 1e-12)
    assert plan.primal == pytest.approx(swapped.primal, rel=1e-4 if reg else 1e-6)
    if reg == 0:
        assert plan.gap < 1e-6
    if source.exact:
        torch.testing.assert_close(plan.row_mass, a, rtol=1e-9, atol=0.0)
