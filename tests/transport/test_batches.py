"""Couplings within batches: joined plans, and what each batch weighs."""

import numpy as np
import pytest
import torch

from scruot.transport import Penalty, couple, couple_within, pairs, wfr_coupling


def solve(x0, x1, a, b):
    return wfr_coupling(x0, x1, a, b, 1.0)


@pytest.fixture
def clouds(rng):
    """Return two batches, far apart, that move alike but were captured unevenly."""
    shift = {0: 0.0, 1: 0.7}
    batch0 = torch.tensor([0] * 9 + [1] * 3)
    batch1 = torch.tensor([1] * 8 + [0] * 4)
    x0, x1 = (torch.from_numpy(rng.normal(size=(12, 2))).float() * 0.1 for _ in range(2))
    for x, batch in ((x0, batch0), (x1, batch1)):
        x[:, 1] += torch.tensor([shift[int(k)] for k in batch])
    return x0, x1, torch.ones(12), 2 * torch.ones(12), batch0, batch1


def test_no_cell_is_coupled_with_another_batch(clouds):
    *ends, batch0, batch1 = clouds
    plan = couple_within(*ends, batch0=batch0, batch1=batch1, solve=solve)
    assert (batch0[plan.row] == batch1[plan.col]).all()
    assert (batch0[solve(*ends).row] != batch1[solve(*ends).col]).any()
    order = plan.row * plan.shape[1] + plan.col
    assert (order[1:] > order[:-1]).all()


def test_every_batch_grows_as_the_whole(clouds):
    *ends, batch0, batch1 = clouds
    plan = couple_within(*ends, batch0=batch0, batch1=batch1, solve=solve)
    assert float(plan.a.sum()) == pytest.approx(12.0)
    assert float(plan.b.sum()) == pytest.approx(24.0)
    for batch, share in ((0, (9 / 12 + 4 / 12) / 2), (1, (3 / 12 + 8 / 12) / 2)):
        assert float(plan.a[batch0 == batch].sum()) == pytest.approx(12 * share)
        assert float(plan.b[batch1 == batch].sum()) == pytest.approx(24 * share)
    table = pairs(plan)
    assert float(table.m1.sum() / table.m0.sum()) == pytest.approx(2.0)


def test_the_plan_and_its_value_are_those_of_the_batches(clouds):
    x0, x1, _, _, batch0, batch1 = clouds
    plan = couple_within(*clouds[:4], batch0=batch0, batch1=batch1, solve=solve)
    values, dense = 0.0, plan.to_scipy().toarray()
    for batch in (0, 1):
        i, j = np.flatnonzero(batch0 == batch), np.flatnonzero(batch1 == batch)
        alone = solve(x0[i], x1[j], plan.a[i], plan.b[j])
        values += alone.primal
        np.testing.assert_allclose(dense[np.ix_(i, j)], alone.to_scipy().toarray(), rtol=1e-12)
    assert plan.primal == pytest.approx(values)
    assert plan.certified
    assert plan.gap < 1e-6


def test_one_batch_is_none(clouds):
    one = torch.zeros(12, dtype=torch.int64)
    plan = couple_within(*clouds[:4], batch0=one, batch1=one, solve=solve)
    expected = solve(*clouds[:4])
    np.testing.assert_array_equal(plan.to_scipy().toarray(), expected.to_scipy().toarray())


def test_balanced_plans_stay_balanced(clouds):
    x0, x1, a, _, batch0, batch1 = clouds
    exact = Penalty("exact")
    plan = couple_within(
        x0,
        x1,
        a,
        a,
        batch0=batch0,
        batch1=batch1,
        solve=lambda *ends: couple(*ends, source=exact, target=exact),
    )
    np.testing.assert_allclose(plan.row_mass, plan.a, rtol=1e-6)
    np.testing.assert_allclose(plan.col_mass, plan.b, rtol=1e-6)


def test_a_batch_at_one_end_has_no_part(clouds):
    *ends, batch0, batch1 = clouds
    plan = couple_within(
        *ends, batch0=batch0, batch1=torch.where(batch1 == 1, 2, batch1), solve=solve
    )
    assert set(batch0[plan.row].tolist()) == {0}
    assert float(plan.a[batch0 == 1].sum()) == 0.0
    assert float(plan.a.sum()) == pytest.approx(12.0)
    # and neither dies nor is born
    assert float(pairs(plan).m0.sum()) == pytest.approx(12.0)
    with pytest.raises(ValueError, match="No batch has cells at both ends"):
        couple_within(*ends, batch0=batch0, batch1=batch1 + 5, solve=solve)
