"""Couplings of large clouds: their parts against oracles, the whole against the exact solver."""

import math

import pytest
import torch

from scruot.transport import Penalty, couple, hierarchical, screening, wfr_coupling
from scruot.transport.clusters import cluster
from scruot.transport.cost import CostBlocks, cost_of_squares, squared_distances, tangent_at
from scruot.transport.graph import EdgeGraph
from scruot.transport.newton import newton_potentials
from scruot.transport.penalties import WFR, Sides
from scruot.transport.sinkhorn import DenseCost, EdgeCost, annealed


def overlapping(n, m, seed=0):
    """Draw two bent, overlapping clouds in the plane."""
    rng = torch.Generator().manual_seed(seed)
    out = []
    for count, shift in ((n, 0.0), (m, 0.4)):
        angle = 3.0 * torch.rand(count, generator=rng, dtype=torch.float64) + shift
        noise = 0.15 * torch.randn(count, 2, generator=rng, dtype=torch.float64)
        out.append(torch.stack([angle.cos(), angle.sin()], 1) + noise)
    return out


def masses(n, m, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return tuple(0.5 + torch.rand(k, generator=rng, dtype=torch.float64) for k in (n, m))


@pytest.mark.parametrize("delta", [0.8, math.inf])
@pytest.mark.parametrize("budget", [0.0, 1e9])
def test_screened_potentials_are_feasible_and_nearly_the_largest(monkeypatch, delta, budget):
    monkeypatch.setattr(screening, "_MOST_EXACT", budget)
    x, y = overlapping(300, 400)
    x, y = torch.cat([x, x + 5.0]), torch.cat([y, y + 5.0])
    costs = CostBlocks(x, y, delta=delta, max_bytes=0)
    a, b = masses(len(x), len(y))
    left, right = cluster(costs.x0, a, 0), cluster(costs.x1, b, 0)
    cost = cost_of_squares(squared_distances(costs.x0, costs.x1), delta)
    psi = 0.02 * torch.sin(7.0 * y[:, 0])
    truth = (cost - psi).amin(1)
    phi = truth + 0.01 * torch.cos(9.0 * x[:, 1]).abs()
    near, pairs = screening.near_clusters(costs, left, right, phi, psi)
    tangent = (cost - psi).argmin(1)
    found = screening.screen(
        costs,
        left,
        right,
        (phi, psi),
        near=near,
        tangent=cost.gather(1, tangent[:, None])[:, 0],
        slack=1e-4,
    )
    assert pairs < 0.6 * len(x) * len(y)
    assert float((found.phi[:, None] + psi - cost).max()) <= 1e-12
    assert float((truth - found.phi).max()) < (2e-3 if budget == 0 else 1.1e-4)
    violating = phi > truth + 2e-4
    if budget:
        assert set(found.row.tolist()) >= set(torch.nonzero(violating)[:, 0].tolist())
        assert bool((cost[found.row, found.col] < phi[found.row] + psi[found.col]).all())


@pytest.mark.parametrize("delta", [0.8, math.inf])
def test_tangents_bound_the_cost_from_below(delta):
    square = torch.linspace(1e-6, 6.0, 400, dtype=torch.float64)
    cost = cost_of_squares(square.clone(), delta)
    value, slope = tangent_at(cost[:, None], delta)
    assert float((value + slope * square - cost).max()) <= 1e-12
    touching = (value + slope * square).diagonal()[cost < 10]
    torch.testing.assert_close(touching, cost[cost < 10], atol=1e-9, rtol=1e-9)


SIDES = {
    "wfr": WFR,
    "kl": Sides(Penalty("kl", 0.3), Penalty("kl", 2.0)),
    "semi": Sides(Penalty("exact"), Penalty("kl", 0.5)),
    "tv": Sides(Penalty("tv", 0.4), Penalty("tv", 0.4)),
    "l2": Sides(Penalty("l2", 0.5), Penalty("chi2", 0.5)),
}


@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
def test_newton_steps_find_the_entropic_potentials(sides):
    x, y = overlapping(60, 80)
    a, b = (m / m.sum() for m in masses(60, 80))
    cost = squared_distances(x, y)
    graph = EdgeGraph(torch.arange(60).repeat_interleave(80), torch.arange(80).repeat(60), (60, 80))
    edges = EdgeCost(graph, cost.reshape(-1))
    found = newton_potentials(edges, a, b, first=0.3, last=0.02, tol=1e-9, sides=sides)
    sweeps = annealed(
        DenseCost(cost), a, b, first=0.3, last=0.02, most_last=20000, tol=1e-10, sides=sides
    )
    assert found.residual <= 1e-9
    plan = edges.plan(a, b, found.phi, found.psi, 0.02)
    reference = edges.plan(a, b, sweeps.phi, sweeps.psi, 0.02)
    torch.testing.assert_close(plan, reference, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("delta", [0.3, 3.0])
def test_overlapping_clouds_agree_with_the_exact_plan(delta):
    x, y = overlapping(700, 800)
    a, b = masses(700, 800)
    exact = wfr_coupling(x, y, a, b, delta, method="exact")
    plan = wfr_coupling(x, y, a, b, delta, method="hierarchical")
    assert exact.dual <= plan.primal <= (1 + 4e-3) * exact.primal
    assert plan.dual <= exact.primal


@pytest.mark.parametrize("delta", [0.3, 3.0])
def test_overlapping_clouds_beyond_the_exact_solver(delta):
    x, y = overlapping(4500, 5000)
    plan = wfr_coupling(x, y, *masses(4500, 5000), delta)
    assert plan.method == "hierarchical"
    assert plan.certified
    assert plan.converged
    assert 0 <= plan.gap < 5e-3


def test_cells_out_of_reach_die_or_are_born():
    x, y = overlapping(500, 600)
    x[:50] += torch.arange(50.0)[:, None] * 10 + 20
    y[:30] -= torch.arange(30.0)[:, None] * 10 + 20
    a, b = masses(500, 600)
    exact = wfr_coupling(x, y, a, b, 0.5, method="exact")
    plan = wfr_coupling(x, y, a, b, 0.5, method="hierarchical")
    assert plan.certified
    assert exact.dual <= plan.primal <= (1 + 5e-3) * exact.primal
    assert plan.dual <= exact.primal
    assert float(plan.row_mass[:50].sum()) == float(plan.col_mass[:30].sum()) == 0.0
    assert bool((plan.row_mass[50:] > 0).all())


def test_without_a_certificate_the_gap_is_estimated(monkeypatch):
    x, y = overlapping(1500, 1400)
    problem = x, y, *masses(1500, 1400), 0.15
    options = {"method": "hierarchical", "random_state": 1}
    monkeypatch.setattr(hierarchical, "_MOST_ROUNDS", 1)
    monkeypatch.setattr(hierarchical, "_FACTOR", 1e9)
    certain = wfr_coupling(*problem, **options)
    monkeypatch.setattr(hierarchical, "_MOST_CHECKED", 1000)
    monkeypatch.setattr(hierarchical, "_MOST_SAMPLED", 200_000)
    guess = wfr_coupling(*problem, **options)
    assert certain.certified
    assert not guess.certified
    assert guess.primal == certain.primal
    lost = certain.primal - certain.dual
    assert certain.primal - guess.dual == pytest.approx(lost, rel=0.25)
    assert not guess.converged


def test_clouds_out_of_each_others_reach():
    x, y = overlapping(40, 50)
    plan = wfr_coupling(x, y + 100, *masses(40, 50), 0.5, method="hierarchical")
    assert plan.mass.numel() == 0
    assert plan.primal == pytest.approx(float(plan.a.sum() + plan.b.sum()))
    assert plan.certified


def test_the_same_call_gives_the_same_bits():
    x, y = overlapping(700, 600)
    one, two = (wfr_coupling(x, y, *masses(700, 600), 1.0, method="hierarchical") for _ in "12")
    assert torch.equal(one.col, two.col)
    assert torch.equal(one.mass, two.mass)
    assert one.dual == two.dual


def test_a_plan_that_has_not_converged_says_so(monkeypatch, caplog):
    monkeypatch.setattr(hierarchical, "_MOST_ROUNDS", 1)
    x, y = overlapping(700, 600)
    with caplog.at_level("WARNING", logger="scruot.transport"):
        plan = wfr_coupling(x, y, *masses(700, 600), 1.0, method="hierarchical")
    assert not plan.converged
    assert plan.gap > 5e-3
    assert "method='exact'" in caplog.text


@pytest.mark.parametrize("kind", ["balanced", "semi-relaxed", "kl", "tv", "chi2", "l2"])
def test_any_penalty_is_near_the_optimum(clouds, kind):
    x, y = clouds(600, 700)
    a, b = masses(600, 700)
    b = b * (a.sum() / b.sum())
    source = target = Penalty("exact")
    if kind == "semi-relaxed":
        source = Penalty("kl", 5.0)
    elif kind != "balanced":
        source, target = Penalty(kind, 5.0), Penalty(kind, 8.0)
    plan, best = (
        couple(x, y, a, b, source=source, target=target, method=method)
        for method in ("hierarchical", "exact")
    )
    assert plan.method == "hierarchical"
    assert plan.certified
    assert plan.converged
    assert plan.dual <= best.primal * (1 + 1e-12)
    assert plan.primal >= best.dual * (1 - 1e-12)
    assert plan.gap <= 5e-3
    if source.exact:
        torch.testing.assert_close(plan.row_mass, a, rtol=1e-6, atol=0.0)
    if target.exact:
        torch.testing.assert_close(plan.col_mass, b, rtol=1e-6, atol=0.0)


def test_size_chooses_the_method_of_any_coupling(clouds):
    x, y = clouds(80, 90)
    a, b = masses(80, 90)
    side = Penalty("kl", 5.0)
    for most, method in ((80, "exact"), (79, "hierarchical")):
        assert couple(x, y, a, b, source=side, target=side, max_exact=most).method == method


COUPLED = {
    **SIDES,
    "balanced": Sides(Penalty("exact"), Penalty("exact")),
    "semi, other side": Sides(Penalty("kl", 0.5), Penalty("exact")),
}


@pytest.mark.parametrize("sides", COUPLED.values(), ids=COUPLED)
def test_every_penalty_agrees_with_the_exact_plan(sides):
    x, y = overlapping(400, 500)
    a, b = (m / m.sum() for m in masses(400, 500))
    options = {"source": sides.source, "target": sides.target}
    exact = couple(x, y, a, b, method="exact", **options)
    plan = couple(x, y, a, b, method="hierarchical", **options)
    assert plan.method == "hierarchical"
    assert plan.certified
    assert plan.converged
    slack = 1e-6 * exact.primal
    assert exact.dual - slack <= plan.primal <= 1.005 * exact.primal
    assert 0.995 * exact.primal <= plan.dual <= exact.primal + slack
    if sides.source.exact:
        torch.testing.assert_close(plan.row_mass, a, rtol=1e-6, atol=0)
    if sides.target.exact:
        torch.testing.assert_close(plan.col_mass, b, rtol=1e-6, atol=0)


def test_balanced_masses_cross_between_clusters():
    # the left cluster holds 60 per cent of the first cloud and 40 of the second
    rng = torch.Generator().manual_seed(0)
    centre = torch.tensor([[0.0] * 5, [10.0] * 5], dtype=torch.float64)
    sizes = torch.tensor([300, 200]), torch.tensor([200, 300])
    x, y = (
        centre.repeat_interleave(size, 0) + torch.randn(500, 5, generator=rng, dtype=torch.float64)
        for size in sizes
    )
    a = torch.full((500,), 1 / 500, dtype=torch.float64)
    options = {"source": Penalty("exact"), "target": Penalty("exact")}
    exact = couple(x, y, a, a, method="exact", **options)
    plan = couple(x, y, a, a, method="hierarchical", **options)
    assert plan.certified
    assert exact.primal <= plan.primal * (1 + 1e-9) <= 1.005 * exact.primal
    assert float(plan.mass[(plan.row < 300) & (plan.col >= 200)].sum()) == pytest.approx(0.2)
