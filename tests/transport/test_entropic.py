"""Entropic plans held by their potentials, and sweeps that Newton steps finish."""

import numpy as np
import pytest
import torch

from scruot.transport import Chain, Penalty, blurred, couple, entropic_plan

EXACT, SOFT = Penalty("exact"), Penalty("kl", 2.0)


@pytest.fixture
def clouds():
    """Thirty with forty cells, some of them without mass."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 2, generator=rng), torch.randn(40, 2, generator=rng) + 0.5
    a, b = torch.rand(30, generator=rng).double() + 0.1, torch.rand(40, generator=rng).double()
    a[3], b[[0, 7]] = 0.0, 0.0
    return x, y, a * (b.sum() / a.sum()), b


@pytest.mark.parametrize("source", [EXACT, SOFT, Penalty("tv", 1.0)])
@pytest.mark.parametrize("max_bytes", [2**28, 8 * 40 * 7])
def test_it_multiplies_like_the_plan_with_all_its_entries(clouds, source, max_bytes):
    plan = entropic_plan(*clouds, source=source, target=EXACT, reg=0.5, max_bytes=max_bytes)
    sparse = couple(*clouds, source=source, target=EXACT, reg=0.5, kept_mass=1.0)
    dense = sparse.to_scipy().toarray()
    assert plan.converged
    rng = np.random.default_rng(0)
    there, here = rng.normal(size=(40, 3)), rng.normal(size=(30, 2))
    np.testing.assert_allclose(plan @ there, dense @ there, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(plan.T @ here, dense.T @ here, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(plan.T @ np.ones(30), clouds[3], rtol=1e-6, atol=1e-12)
    cut = plan.coupling(kept_mass=0.9)
    expected = couple(*clouds, source=source, target=EXACT, reg=0.5, kept_mass=0.9)
    torch.testing.assert_close(cut.row, expected.row)
    torch.testing.assert_close(cut.mass, expected.mass, rtol=1e-5, atol=1e-9)
    assert (cut.method, cut.reg) == ("entropic", 0.5)


def test_vectors_go_through_chains_of_it(clouds):
    x, y, a, b = clouds
    first = entropic_plan(x, y, a, b, source=SOFT, target=EXACT, reg=0.5)
    second = entropic_plan(y, x, b, a, source=EXACT, target=SOFT, reg=1.0)
    held = Chain([first, second])
    sparse = Chain([p.coupling(kept_mass=1.0).to_scipy() for p in (first, second)])
    values = np.random.default_rng(0).normal(size=(30, 2))
    close = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(held.pull(values, 0, 2), sparse.pull(values, 0, 2), **close)
    np.testing.assert_allclose(held.push(values, 0, 2), sparse.push(values, 0, 2), **close)
    with pytest.raises(TypeError, match="take its coupling"):
        held.between(0, 2)


def test_clouds_that_cannot_be_coupled_are_refused(clouds):
    x, y, a, b = clouds
    with pytest.raises(ValueError, match="Found reg = 0"):
        entropic_plan(x, y, a, b, source=SOFT, target=EXACT, reg=0.0)
    with pytest.raises(ValueError, match="without mass"):
        entropic_plan(x, y, a * 0, b, source=SOFT, target=EXACT, reg=1.0)


@pytest.fixture
def apart():
    """Two groups of which one grows by a trace, which is all that they exchange."""
    rng = torch.Generator().manual_seed(1)
    where = torch.tensor([0.0, 6.0]).repeat_interleave(9)[:, None]
    ends = [where + 0.3 * torch.randn(18, 1, generator=rng) for _ in range(2)]
    a, b = torch.ones(18).double(), torch.ones(18).double()
    b[9:] *= 1 + 1e-4
    return *ends, a / a.sum(), b / b.sum()


@pytest.mark.parametrize("side", [EXACT, Penalty("kl", 1e5)])
def test_newton_steps_settle_what_sweeps_do_not(apart, side, monkeypatch, caplog):
    x, y, a, b = apart
    plan = couple(x, y, a, b, source=side, target=EXACT, reg=1.0)
    assert plan.converged
    assert not caplog.records
    torch.testing.assert_close(plan.col_mass, b, rtol=1e-6, atol=0.0)
    dense = torch.from_numpy(
        entropic_plan(x, y, a, b, source=side, target=EXACT, reg=1.0) @ np.eye(18)
    )
    # at the optimum log(P / ab) + c / eps is a term of the row and one of the column, and the
    # term of the row is what the penalty asks for
    sums = (dense / (a[:, None] * b)).log() + torch.cdist(x.double(), y.double()) ** 2
    phi = sums.mean(1)
    torch.testing.assert_close(sums - phi[:, None], (sums - phi[:, None])[:1].expand(18, 18))
    row = dense.sum(1) / a
    asked = torch.ones(18).double() if side.exact else (-phi / side.tau).exp()
    torch.testing.assert_close(row / row[0], asked / asked[0], rtol=1e-6, atol=0.0)
    monkeypatch.setattr(blurred, "_MOST_STEPS", 0)
    assert not couple(x, y, a, b, source=side, target=EXACT, reg=1.0).converged
    assert "has not converged" in caplog.text


def test_sharp_plans_take_many_products(monkeypatch):
    rng = torch.Generator().manual_seed(2)
    x, y = (torch.randn(150, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    a = torch.ones(150).double() / 150
    monkeypatch.setattr(blurred, "_MOST_SWEEPS", 20)
    plan = couple(x, y, a, a, source=EXACT, target=EXACT, reg=0.02)
    assert plan.converged
    torch.testing.assert_close(plan.col_mass, a, rtol=1e-6, atol=0.0)
    monkeypatch.setattr(blurred, "_MOST_PRODUCTS", 5)
    monkeypatch.setattr(blurred, "_MOST_STEPS", 10)
    assert not couple(x, y, a, a, source=EXACT, target=EXACT, reg=0.02).converged
