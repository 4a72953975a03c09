"""Frank-Wolfe steps on the dual, against the interior point and on clouds that overlap."""

import math

import pytest
import torch

from scruot.transport import solve, wfr_coupling
from scruot.transport.cost import CostBlocks
from scruot.transport.frank_wolfe import solve_frank_wolfe


def curves(n: int, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two clouds on one noisy, unevenly covered curve, with repeated points."""
    rng = torch.Generator().manual_seed(0)
    clouds = []
    for count, power in ((n, 1.0), (m, 2.0)):
        s = torch.rand(count, generator=rng, dtype=torch.float64) ** power
        noise = 0.02 * torch.randn(count, 2, generator=rng, dtype=torch.float64)
        cloud = torch.stack([s, torch.sin(3 * s)], dim=1) + noise
        clouds.append(torch.cat([cloud, cloud[:10]]))
    return clouds[0], clouds[1]


def test_same_value_as_the_interior_point(monkeypatch):
    x, y = curves(200, 150)
    a, b = torch.ones(len(x)).double(), 2 * torch.ones(len(y)).double()
    newton = wfr_coupling(x, y, a, b, 0.3, method="exact")
    monkeypatch.setattr(solve, "_MOST_NEWTON", 10)
    steps = wfr_coupling(x, y, a, b, 0.3, method="exact")
    assert steps.method == "exact"
    assert steps.certified
    assert -1e-9 <= steps.gap <= 1e-3
    assert steps.primal == pytest.approx(newton.primal, rel=1e-3)
    assert steps.dual <= newton.primal * (1 + 1e-9)
    assert len(steps.mass) < 6 * len(x)


def test_every_step_brackets_the_optimum():
    x, y = curves(80, 90)
    costs = CostBlocks(x, y, delta=0.3, max_bytes=2**29)
    a, b = (torch.full((len(z),), 1 / len(z)).double() for z in (x, y))
    optimum = wfr_coupling(x, y, a, b, 0.3, method="exact").primal
    gaps = []
    for most in (1, 3, 10):
        found = solve_frank_wolfe(costs, a, b, most=most)
        slack = costs.matrix() - found.phi[:, None] - found.psi
        assert float(slack.min()) > -1e-12
        assert found.dual <= optimum * (1 + 1e-6)
        assert found.primal >= optimum * (1 - 1e-6)
        gaps.append(found.primal - found.dual)
    assert gaps[0] > gaps[1] > gaps[2]


def test_cells_out_of_reach_are_left_to_the_interior_point(monkeypatch):
    # the network simplex must move all mass, which is the wrong start where most cells are far
    x, y = curves(60, 50)
    y = y + 0.9 * math.pi * 0.3
    a, b = torch.ones(len(x)).double(), torch.ones(len(y)).double()
    newton = wfr_coupling(x, y, a, b, 0.3, method="exact")
    monkeypatch.setattr(solve, "_MOST_NEWTON", 10)
    steps = wfr_coupling(x, y, a, b, 0.3, method="exact")
    assert steps.gap <= 1e-3
    assert steps.primal == pytest.approx(newton.primal, rel=1e-3)
