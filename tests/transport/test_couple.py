"""Couplings under squared distances against closed forms, linear programmes and convex solvers."""

import functools
import itertools
import math

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linprog, minimize

from scruot import datasets
from scruot.transport import Penalty, auto_tau, blurred, couple, exact

EXACT = Penalty("exact")
SMOOTH = ("kl", "chi2", "l2")


def divergence(kind, p, q):
    """D(p | q), written once more, in numpy."""
    if kind == "kl":
        return np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / q), 0.0) - p + q)
    if kind == "chi2":
        return np.sum((p - q) ** 2 / q)
    if kind == "l2":
        return np.sum((p - q) ** 2) / (2 * q.mean())
    return np.abs(p - q).sum()


def slope(kind, p, q):
    if kind == "kl":
        return np.log(np.maximum(p, 1e-300) / q)
    return 2 * (p - q) / q if kind == "chi2" else (p - q) / q.mean()


@pytest.fixture
def tiny():
    """Two clouds of six and seven cells with unequal masses, and their squared distances."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(7, 2)) + 0.5
    a, b = rng.uniform(0.2, 2, 6), rng.uniform(0.2, 2, 7)
    cost = ((x[:, None] - y[None]) ** 2).sum(-1)
    return tuple(torch.tensor(v) for v in (x, y, a, b)), cost


@pytest.mark.parametrize("kinds", list(itertools.product(SMOOTH, SMOOTH)))
def test_smooth_penalties_agree_with_a_convex_solver(tiny, kinds):
    clouds, cost = tiny
    a, b = clouds[2].numpy(), clouds[3].numpy()
    taus = 0.5, 2.0

    def value(z):
        plan = z.reshape(cost.shape)
        sums = plan.sum(1), plan.sum(0)
        total, gradient = np.sum(plan * cost), cost
        for axis, (kind, tau, q) in enumerate(zip(kinds, taus, (a, b), strict=True)):
            total += tau * divergence(kind, sums[axis], q)
            part = tau * slope(kind, sums[axis], q)
            gradient = gradient + (part[:, None] if axis == 0 else part)
        return total, gradient.ravel()

    found = minimize(
        value,
        np.full(cost.size, 0.1),
        jac=True,
        bounds=[(0, None)] * cost.size,
        options={"maxiter": 20000, "maxfun": 10**6, "ftol": 1e-15, "gtol": 1e-10},
    )
    source, target = (Penalty(kind, tau) for kind, tau in zip(kinds, taus, strict=True))
    plan = couple(*clouds, source=source, target=target)
    assert plan.primal == pytest.approx(found.fun, rel=1e-6)
    assert plan.dual <= found.fun * (1 + 1e-12)
    assert plan.gap < 1e-6
    assert plan.converged
    assert plan.primal == pytest.approx(value(plan.to_scipy().toarray())[0], rel=1e-10)


def by_linear_programme(cost, a, b, taus):
    """Total-variation penalties with variables for destroyed and created mass."""
    (n, m), size = cost.shape, cost.size
    pairs = np.arange(size)
    equal = np.zeros((n + m, size + 2 * (n + m)))
    equal[pairs // m, pairs] = equal[n + pairs % m, pairs] = 1.0
    nodes = np.arange(n + m)
    equal[nodes, size + nodes], equal[nodes, size + n + m + nodes] = 1.0, -1.0
    price = np.repeat(taus, (n, m))
    free = np.isfinite(price)
    prices = np.tile(np.where(free, price, 0.0), 2)
    bounds = [(0, None)] * size + [(0, None if ok else 0) for ok in np.tile(free, 2)]
    right = np.concatenate([a, b])
    return linprog(np.append(cost.ravel(), prices), A_eq=equal, b_eq=right, bounds=bounds).fun


@pytest.mark.parametrize(
    "taus", [(0.5, 0.5), (0.3, 4.0), (4.0, 0.3), (math.inf, 1.0), (1.0, math.inf), (0.1, 10.0)]
)
def test_total_variation_agrees_with_linear_programming(tiny, taus):
    clouds, cost = tiny
    expected = by_linear_programme(cost, clouds[2].numpy(), clouds[3].numpy(), taus)
    plan = couple(*clouds, source=Penalty("tv", taus[0]), target=Penalty("tv", taus[1]))
    assert plan.primal == pytest.approx(expected, rel=1e-9)
    assert plan.dual == pytest.approx(expected, rel=1e-9)


def test_balanced_agrees_with_pot(small):
    x, y, a, b = small
    b = b * (a.sum() / b.sum())
    plan = couple(x, y, a, b, source=EXACT, target=EXACT, cost_scale=3.0)
    expected = ot.emd2(a.numpy(), b.numpy(), torch.cdist(x, y).square().numpy() / 3.0)
    assert plan.primal == pytest.approx(expected, rel=1e-9)
    assert plan.dual == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(plan.row_mass, a)
    torch.testing.assert_close(plan.col_mass, b)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_partial_agrees_with_pot(small, share):
    x, y, a, b = small
    moved = share * float(min(a.sum(), b.sum()))
    cost = torch.cdist(x, y).square().numpy()
    expected = np.sum(cost * ot.partial.partial_wasserstein(a.numpy(), b.numpy(), cost, m=moved))
    plan = couple(x, y, a, b, source=EXACT, target=EXACT, moved=moved)
    assert plan.primal == pytest.approx(expected, rel=1e-9)
    assert plan.dual == pytest.approx(expected, rel=1e-9)
    assert plan.moved == pytest.approx(moved, rel=1e-12)
    assert bool((plan.row_mass <= a * (1 + 1e-12)).all())


@pytest.mark.parametrize("reg", [0.05, 0.5])
def test_entropic_plans_agree_with_pot(small, reg):
    x, y, a, b = small
    a, b = a / a.sum(), b / b.sum()
    cost = torch.cdist(x, y).square().numpy()
    arrays = a.numpy(), b.numpy(), cost
    options = {"reg": reg, "kept_mass": 1.0}
    plan = couple(x, y, a, b, source=EXACT, target=EXACT, **options)
    expected = ot.sinkhorn(*arrays, reg, method="sinkhorn_log", stopThr=1e-12, numItermax=10**5)
    np.testing.assert_allclose(plan.to_scipy().toarray(), expected, atol=1e-7 * expected.max())
    kl = Penalty("kl", 1.0)
    plan = couple(x, y, a, b, source=kl, target=kl, **options)
    expected = ot.unbalanced.sinkhorn_unbalanced(*arrays, reg, 1.0, stopThr=1e-14, numItermax=10**5)
    np.testing.assert_allclose(plan.to_scipy().toarray(), expected, atol=1e-7 * expected.max())


@pytest.mark.parametrize(
    ("name", "interval"), [("dyngen", 2), ("dyngen", 3), ("emt", 0), ("three-gene", 0)]
)
@pytest.mark.parametrize("kind", ["kl", "tv", "chi2"])
def test_published_data_is_certified(published, name, interval, kind):
    x, y = published(name)[interval : interval + 2]
    side = Penalty(kind, auto_tau([x, y]))
    plan = couple(x, y, torch.ones(len(x)), torch.ones(len(y)), source=side, target=side)
    assert plan.certified
    assert plan.converged
    assert 0 <= plan.gap + 1e-12 <= 1e-4


def test_nearly_balanced_plans_get_the_steps_that_they_need(published):
    # one round of this takes 200 Newton steps, where others take 15
    x, y = (part / 0.7711 for part in published("three-gene")[3:5])
    side = Penalty("kl", 25.009876167423045)
    plan = couple(
        x, y, torch.ones(len(x)) / 400, torch.ones(len(y)) / 400, source=side, target=side
    )
    assert plan.converged
    assert 0 <= plan.gap + 1e-12 <= 1e-6


@pytest.mark.parametrize("kind", ["kl", "chi2"])
@pytest.mark.parametrize("tau", [10.0, 30.0])
def test_a_missing_pair_that_changes_much_leaves_the_gap_closed(kind, tau):
    # the second round of these has a first step that is thousands of times too long
    data = datasets.three_gene(100, random_state=0)
    time = data.obs["time"].to_numpy()
    x, y = (torch.from_numpy(data.obsm["X_genes"][time == k]).double() for k in (3, 4))
    a, b = torch.full((len(x),), len(y) / len(x)), torch.ones(len(y))
    plan = couple(x, y, a, b, source=Penalty(kind, tau), target=EXACT, cost_scale=1.79)
    assert plan.converged
    assert plan.gap <= 1e-6


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_entropic_partial_plans_agree_with_pot(small, share):
    x, y = small[:2]
    a, b = (torch.full((len(c),), 1 / len(c), dtype=torch.float64) for c in (x, y))
    cost = torch.cdist(x, y).square().numpy()
    # POT's reference is uniform, ours the product of the marginals: the same for equal masses
    expected = ot.partial.entropic_partial_wasserstein(
        a.numpy(), b.numpy(), cost, 0.3, m=share, numItermax=10**5, stopThr=1e-12
    )
    plan = couple(x, y, a, b, source=EXACT, target=EXACT, moved=share, reg=0.3, kept_mass=1.0)
    np.testing.assert_allclose(plan.to_scipy().toarray(), expected, atol=3e-5 * expected.max())
    assert plan.moved == pytest.approx(share, rel=1e-9)
    assert bool((plan.row_mass <= a * (1 + 1e-9)).all())
    assert plan.dual <= plan.primal


def test_row_blocks_give_the_same_plan(small):
    x, y, a, b = small
    for source, target in ((Penalty("kl", 1.0), EXACT), (Penalty("tv", 0.5), Penalty("l2", 1.0))):
        for reg in (0.0, 0.3):
            whole, blocks = (
                couple(x, y, a, b, source=source, target=target, reg=reg, method="exact", **options)
                for options in ({}, {"max_bytes": 7 * 8 * len(y)})
            )
            assert blocks.primal == pytest.approx(whole.primal, rel=1e-7)
            assert blocks.dual == pytest.approx(whole.dual, rel=1e-7)


def test_cut_entries_leave_the_marginals(small):
    x, y, a, b = small
    b = b * (a.sum() / b.sum())
    for source, target in ((EXACT, EXACT), (Penalty("kl", 1.0), Penalty("kl", 1.0))):
        whole, cut = (
            couple(x, y, a, b, source=source, target=target, reg=0.3, kept_mass=share)
            for share in (1.0, 0.95)
        )
        assert cut.row.numel() < 0.7 * whole.row.numel()
        torch.testing.assert_close(cut.row_mass, whole.row_mass, rtol=1e-6, atol=0.0)
        torch.testing.assert_close(cut.col_mass, whole.col_mass, rtol=1e-6, atol=0.0)


def test_a_solve_that_has_not_settled_says_what_to_change(small, caplog, monkeypatch):
    monkeypatch.setattr(blurred, "_MOST_SWEEPS", 20)
    monkeypatch.setattr(blurred, "_MOST_STEPS", 1)
    x, y, a, b = small
    with caplog.at_level("WARNING", logger="scruot"):
        plan = couple(x, y, a, b, source=Penalty("kl", 50.0), target=EXACT, reg=0.003)
    assert not plan.converged
    assert "raise reg" in caplog.text


def test_an_exact_solve_that_has_not_settled_does_not_advise_itself(small, caplog, monkeypatch):
    stopped = functools.partial(exact.solve_on_edges, max_iterations=2)
    monkeypatch.setattr(exact, "solve_on_edges", stopped)
    x, y, a, b = small
    kl = Penalty("kl", 50.0)
    with caplog.at_level("WARNING", logger="scruot"):
        plan = couple(x, y, a, b, source=kl, target=kl)
    assert plan.gap > 0.01
    assert "reg > 0" in caplog.text
    assert "method='exact'" not in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reg": -1.0}, "Found reg = -1.0"),
        ({"moved": 1.0}, "takes Penalty"),
        ({"source": EXACT, "target": EXACT}, "balanced transport needs equal"),
        ({"source": EXACT, "target": EXACT, "moved": 1e9}, "at most the smaller total"),
        ({"cost_scale": 0.0}, "Found cost_scale"),
        ({"kept_mass": 0.0}, "Found kept_mass"),
        ({"method": "exactly"}, "Did you mean 'exact'"),
    ],
)
def test_bad_input_has_one_clear_message(small, change, message):
    options = {"source": Penalty("kl", 1.0), "target": Penalty("kl", 1.0)} | change
    with pytest.raises(ValueError, match=message):
        couple(*small, **options)


def test_linear_programmes_need_their_whole_matrix(small):
    x, y, a, b = small
    options = {"source": EXACT, "target": EXACT, "max_bytes": 1000}
    with pytest.raises(ValueError, match="Raise max_bytes, or use reg > 0"):
        couple(x, y, a, b, moved=1.0, **options)
    with pytest.raises(ValueError, match="or use method='hierarchical'"):
        couple(x, y, a, b * (a.sum() / b.sum()), method="exact", **options)


def test_bad_penalties_are_refused(small):
    with pytest.raises(ValueError, match="Did you mean 'kl'"):
        Penalty("kll", 1.0)
    with pytest.raises(ValueError, match="expected a positive price"):
        Penalty("kl", 0.0)
    with pytest.raises(ValueError, match="exact marginal"):
        Penalty("exact", 1.0)
    with pytest.raises(TypeError, match="expected a Penalty"):
        couple(*small, source="kl", target=EXACT)
    x, y, a, b = small
    with pytest.raises(ValueError, match="no mass to couple"):
        couple(x, y, a, 0 * b, source=EXACT, target=Penalty("kl", 1.0))


def test_balanced_plan_is_feasible_where_sweeps_have_not_settled():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.repeat(rng.normal(size=(6, 1)), 2, axis=0))
    y = torch.from_numpy(rng.normal(size=(15, 1)))
    a, b = torch.from_numpy(rng.random(12)), torch.from_numpy(rng.random(15))
    b = b * (a.sum() / b.sum())
    exact = Penalty("exact")
    plan = couple(x, y, a, b, source=exact, target=exact, reg=1e-6)
    best = couple(x, y, a, b, source=exact, target=exact)
    torch.testing.assert_close(plan.row_mass, a)
    torch.testing.assert_close(plan.col_mass, b)
    assert best.primal - 1e-9 <= plan.primal < 1.1 * best.primal
    assert plan.dual <= best.primal + 1e-9
    assert plan.gap >= -1e-12
