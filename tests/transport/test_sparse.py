"""Hierarchical and blurred couplings against the exact one."""

import numpy as np
import pytest
import torch

from scruot.transport import exact, hierarchical, wfr_cost, wfr_coupling


@pytest.mark.parametrize("delta", [1.5, 5.0])
def test_hierarchical_reaches_the_exact_value(clouds, delta):
    x, y = clouds(1500, 1800)
    a, b = torch.ones(1500), torch.ones(1800)
    exact = wfr_coupling(x, y, a, b, delta)
    fast = wfr_coupling(x, y, a, b, delta, method="hierarchical")
    assert exact.gap < 1e-4
    assert fast.certified
    assert fast.gap < 1e-2
    assert fast.dual <= exact.primal
    assert fast.primal >= exact.dual
    assert fast.row.numel() < 5 * 1500


def test_hierarchical_depends_on_nothing_but_its_seed(clouds):
    x, y = clouds(600, 700)
    plans = [
        wfr_coupling(x, y, torch.ones(600), torch.ones(700), 2.0, method="hierarchical")
        for _ in range(2)
    ]
    assert torch.equal(plans[0].mass, plans[1].mass)


def test_hierarchical_handles_isolated_cells(clouds):
    x, y = clouds(300, 300)
    x[0] += 1e3
    plan = wfr_coupling(x, y, torch.ones(300), torch.ones(300), 2.0, method="hierarchical")
    assert float(plan.row_mass[0]) == 0.0
    assert plan.gap < 1e-2


def test_beyond_the_checked_size_the_dual_is_no_certificate(clouds, monkeypatch):
    monkeypatch.setattr(hierarchical, "_MOST_CHECKED", 1000)
    monkeypatch.setattr(hierarchical, "_MOST_EARLY", 1000)
    x, y = clouds(600, 700)
    x[0] += 1e3
    a, b = torch.ones(600), torch.ones(700)
    plan = wfr_coupling(x, y, a, b, 2.0, method="hierarchical")
    exact = wfr_coupling(x, y, a, b, 2.0, method="exact")
    assert not plan.certified
    assert exact.certified
    assert plan.primal >= exact.dual
    assert plan.primal == pytest.approx(exact.primal, rel=0.05)
    assert float(plan.row_mass[0]) == 0.0


def test_size_chooses_the_method(clouds):
    x, y = clouds(60, 70)
    a, b = torch.ones(60), torch.ones(70)
    assert wfr_coupling(x, y, a, b, 2.0).method == "exact"
    assert wfr_coupling(x, y, a, b, 2.0, max_exact=50).method == "hierarchical"
    assert wfr_coupling(x, y, a, b, 2.0, max_bytes=1000).method == "hierarchical"


def test_blur_tends_to_the_exact_plan(small):
    x, y, a, b = small
    exact = wfr_coupling(x, y, a, b, 0.8)
    gaps, targets = [], []
    for blur in (3.0, 0.3, 0.03):
        plan = wfr_coupling(x, y, a, b, 0.8, blur=blur)
        assert plan.primal >= exact.dual
        gaps.append(plan.primal - exact.primal)
        targets.append(float(plan.effective_targets().mean()))
    assert gaps == sorted(gaps, reverse=True)
    assert targets == sorted(targets, reverse=True)
    assert gaps[-1] < 1e-3 * exact.primal


def test_blurred_plan_solves_the_entropic_problem(small):
    x, y, a, b = small
    plan = wfr_coupling(x, y, a, b, 5.0, blur=10.0, kept_mass=1.0)
    dense = plan.to_scipy().toarray()
    a, b = a.numpy(), b.numpy()
    cost = wfr_cost(x, y, 5.0)
    eps = 10.0 * float(torch.cat([cost.amin(1), cost.amin(0)]).median())
    reference = np.outer(a, b) / np.sqrt(a.sum() * b.sum())
    i, j = dense.nonzero()
    assert len(i) > 0.9 * dense.size
    growth = np.log(dense.sum(1) / a)[i] + np.log(dense.sum(0) / b)[j]
    slope = cost.numpy()[i, j] + eps * np.log(dense[i, j] / reference[i, j]) + growth
    np.testing.assert_allclose(slope, 0.0, atol=1e-5)


def test_blurred_plan_is_homogeneous(small):
    x, y, a, b = small
    one = wfr_coupling(x, y, a, b, 0.8, blur=0.3)
    many = wfr_coupling(x, y, 1e3 * a, 1e3 * b, 0.8, blur=0.3)
    np.testing.assert_allclose(1e3 * one.to_scipy().toarray(), many.to_scipy().toarray(), rtol=1e-6)


def test_cut_entries_leave_the_marginals(small):
    x, y, a, b = small
    whole = wfr_coupling(x, y, a, b, 0.8, blur=1.0, kept_mass=1.0)
    cut = wfr_coupling(x, y, a, b, 0.8, blur=1.0, kept_mass=0.99)
    assert cut.row.numel() < 0.9 * whole.row.numel()
    np.testing.assert_allclose(cut.row_mass, whole.row_mass, rtol=1e-9)
    np.testing.assert_allclose(cut.col_mass, whole.col_mass, rtol=1e-2)


def test_a_plan_that_is_cut_in_parts_is_cut_as_a_whole(small, monkeypatch):
    x, y, a, b = small
    whole = wfr_coupling(x, y, a, b, 2.0, blur=1.0, kept_mass=0.8)
    monkeypatch.setattr(exact, "_SORTED", 50)
    parts = wfr_coupling(x, y, a, b, 2.0, blur=1.0, kept_mass=0.8)
    assert 0.01 < len(whole.mass) / (len(a) * len(b)) < 0.9
    assert torch.equal(parts.row, whole.row)
    assert torch.equal(parts.col, whole.col)
    torch.testing.assert_close(parts.mass, whole.mass, rtol=1e-12, atol=0.0)
