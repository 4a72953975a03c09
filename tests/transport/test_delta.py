"""The rule for delta, the static floor, and the cost."""

import math

import pytest
import torch

from scruot.transport import auto_delta, static_floor, wfr_cost, wfr_coupling


def test_delta_scales_with_the_data(clouds):
    x, y = clouds(200, 300)
    assert auto_delta([10 * x, 10 * y]) == pytest.approx(10 * auto_delta([x, y]), rel=1e-12)


def test_nearly_all_cells_have_a_partner_well_inside(clouds):
    x, y = clouds(200, 300)
    distance = torch.cdist(x, y)
    nearest = torch.cat([distance.amin(1), distance.amin(0)])
    reach = math.pi * auto_delta([x, y])
    assert float((nearest < 0.25 * reach).double().mean()) > 0.98


def test_cells_without_mass_do_not_count(clouds):
    x, y = clouds(50, 60)
    far = torch.cat([x, x[:1] + 1e4])
    weights = [torch.cat([torch.ones(50), torch.zeros(1)]), torch.ones(60)]
    assert auto_delta([far, y], weights) == pytest.approx(auto_delta([x, y]), rel=1e-12)


def test_degenerate_snapshots_still_give_a_length(clouds):
    x, _ = clouds(50, 60)
    assert auto_delta([x, x]) > 0
    assert auto_delta([torch.zeros(3, 2), torch.zeros(4, 2)]) == 1.0
    with pytest.raises(ValueError, match="at least two"):
        auto_delta([x])


def test_floor_of_growth_alone():
    x, one = torch.zeros(1, 2), torch.ones(1)
    plans = [wfr_coupling(x, x, one, 4 * one, 2.0), wfr_coupling(x, x, 4 * one, one, 2.0)]
    dual, primal = static_floor(plans, delta=2.0, durations=[1.0, 0.5])
    assert dual == pytest.approx(24.0, rel=1e-6)
    assert primal == pytest.approx(24.0, rel=1e-6)
    assert dual <= primal


def test_cost_has_its_closed_form_near_and_far():
    x = torch.zeros(1, 2, dtype=torch.float64)
    distance = torch.tensor([0.0, 1e-6, 1.0, 3.0, 3.15], dtype=torch.float64)
    cost = wfr_cost(x, torch.stack([distance, torch.zeros(5)], 1), 1.0)[0]
    assert float(cost[0]) == 0.0
    assert float(cost[1]) == pytest.approx(0.25e-12, rel=1e-6)
    assert float(cost[2]) == pytest.approx(-2 * math.log(math.cos(0.5)), rel=1e-12)
    assert float(cost[3]) == pytest.approx(-2 * math.log(math.cos(1.5)), rel=1e-10)
    assert math.isinf(cost[4])
