"""Prices of mass from what is known: they bring back what they were asked for."""

import math

import pytest
import torch

from scruot.transport import (
    Penalty,
    auto_reg,
    auto_tau,
    couple,
    tau_for_group,
    tau_for_moved,
    tau_for_spread,
)


def solver(clouds, kind, target=None, **options):
    def solve(tau):
        side = Penalty(kind, tau)
        return couple(*clouds, source=side, target=target or side, **options)

    return solve


@pytest.mark.parametrize(("kind", "reg"), [("kl", 0.0), ("l2", 0.0), ("tv", 0.0), ("kl", 0.3)])
def test_wished_share_moves(small, kind, reg):
    solve = solver(small, kind, reg=reg)
    tau = tau_for_moved(solve, 0.6, start=auto_tau(small[:2]))
    share = solve(tau).moved / float(min(small[2].sum(), small[3].sum()))
    if kind == "tv":  # a step function: the price of the first step that reaches the share
        assert share >= 0.6
        assert solve(tau * (1 - 1e-6)).moved < solve(tau).moved
    else:
        assert share == pytest.approx(0.6, abs=1e-3)


def test_spread_of_growth_is_that_of_the_prior(clouds):
    x, y = clouds(60, 80)
    a, b = torch.ones(60, dtype=torch.float64), torch.ones(80, dtype=torch.float64)
    solve = solver((x, y, a, b), "kl", Penalty("exact"), reg=0.5)
    growth = torch.exp(0.2 * torch.randn(60, generator=torch.Generator().manual_seed(0)))
    plan = solve(tau_for_spread(solve, growth, start=auto_tau([x, y])))
    found = plan.row_mass.std(correction=0) / plan.row_mass.mean()
    assert float(found) == pytest.approx(float(growth.std(correction=0) / growth.mean()), abs=2e-3)


def test_reference_group_grows_as_known(clouds):
    x, y = clouds(60, 80)
    a, b = torch.ones(60, dtype=torch.float64), torch.ones(80, dtype=torch.float64)
    solve = solver((x, y, a, b), "kl", Penalty("exact"))
    group = x[:, 0] > 0.5
    free = solve(0.5).row_mass[group].sum() / group.sum()
    stiff = solve(1e4).row_mass[group].sum() / group.sum()
    wanted = float(free + stiff) / 2
    tau = tau_for_group(solve, group, wanted, start=auto_tau([x, y]))
    assert float(solve(tau).row_mass[group].sum() / group.sum()) == pytest.approx(wanted, abs=1e-3)
    with pytest.raises(ValueError, match="ask for a value in between"):
        tau_for_group(solve, group, 100.0, start=auto_tau([x, y]))


def test_rules_have_no_scale_of_their_own(small):
    x, y, a, b = small
    assert auto_reg(3 * x, 3 * y, a, 7 * b) == pytest.approx(9 * auto_reg(x, y, a, b))
    mean = (a[:, None] * b * torch.cdist(x, y).square()).sum() / (a.sum() * b.sum())
    assert auto_reg(x, y, a, b) == pytest.approx(0.05 * float(mean))
    assert auto_tau([3 * x, 3 * y]) == pytest.approx(9 * auto_tau([x, y]))


def test_what_cannot_be_reached_is_an_error(small):
    solve = solver(small, "kl")
    with pytest.raises(ValueError, match="moved share of 3"):
        tau_for_moved(solve, 3.0, start=1.0)
    with pytest.raises(ValueError, match="Found start"):
        tau_for_moved(solve, 0.5, start=math.inf)
    with pytest.raises(ValueError, match="Found growth of shape"):
        tau_for_spread(solve, torch.ones(3), start=1.0)
    with pytest.raises(ValueError, match="empty group"):
        tau_for_group(solve, torch.zeros(40, dtype=torch.bool), 1.0, start=1.0)
