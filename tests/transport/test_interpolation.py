"""Static interpolation along WFR geodesics."""

import pytest
import torch

from scruot.geometry import travelling_dirac
from scruot.transport import Penalty, couple, interpolate, wfr_coupling, wfr_interpolation


def test_ends_are_the_clouds(clouds):
    x, y = clouds(40, 50)
    a, b = torch.ones(40, dtype=x.dtype), 2 * torch.ones(50, dtype=x.dtype)
    for share, cloud, mass in ((0.0, x, a), (1.0, y, b)):
        position, weight = wfr_interpolation(x, y, a, b, 3.0, share=share)
        assert float(weight.sum()) == pytest.approx(float(mass.sum()))
        mean = (weight[:, None] * position).sum(0) / weight.sum()
        torch.testing.assert_close(mean, (mass[:, None] * cloud).sum(0) / mass.sum())


def test_one_pair_is_a_travelling_dirac():
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    a, b = torch.tensor([1.0]).double(), torch.tensor([3.0]).double()
    position, mass = wfr_interpolation(x, y, a, b, 1.0, share=0.3)
    path = travelling_dirac(torch.tensor([0.3]).double(), x, y, a, b, 1.0)
    torch.testing.assert_close(position, path.x)
    torch.testing.assert_close(mass, path.mass)


def test_cells_without_a_partner_die_and_are_born():
    x, y = torch.tensor([[0.0], [100.0]]).double(), torch.tensor([[0.0], [-100.0]]).double()
    one = torch.ones(2, dtype=torch.float64)
    position, mass = wfr_interpolation(x, y, one, one, 1.0, share=0.25)
    order = position[:, 0].argsort()
    assert position[order, 0].tolist() == [-100.0, 0.0, 100.0]
    assert mass[order].tolist() == pytest.approx([0.25**2, 1.0, 0.75**2])


def test_the_value_of_the_coupling_is_the_action_along_the_way(clouds):
    x, y = clouds(30, 35)
    a, b = torch.ones(30, dtype=x.dtype), torch.ones(35, dtype=x.dtype)
    plan = wfr_coupling(x, y, a, b, 3.0)
    half = wfr_interpolation(x, y, a, b, 3.0, share=0.5)
    first = wfr_coupling(x, half[0], a, half[1], 3.0)
    # a geodesic: half of the way costs a quarter of the squared distance
    assert first.primal == pytest.approx(plan.primal / 4, rel=1e-3)


def test_along_any_coupling_mass_and_ends_are_kept(small):
    x, y, a, b = small
    plan = couple(x, y, a, b, source=Penalty("tv", 0.3), target=Penalty("tv", 0.3))
    assert plan.moved < 0.99 * float(min(a.sum(), b.sum()))
    for share in (0.0, 0.3, 1.0):
        position, mass = interpolate(plan, x, y, share=share)
        assert float(mass.sum()) == pytest.approx(
            float((1 - share) * a.sum() + share * b.sum()), rel=1e-10
        )
        mean = (mass[:, None] * position).sum(0)
        if share in (0.0, 1.0):
            cloud, weight = (x, a) if share == 0 else (y, b)
            torch.testing.assert_close(mean, (weight[:, None] * cloud).sum(0))


def test_balanced_interpolation_is_a_geodesic(small):
    x, y, a, b = small
    b = b * (a.sum() / b.sum())
    exact = Penalty("exact")
    plan = couple(x, y, a, b, source=exact, target=exact)
    position, mass = interpolate(plan, x, y, share=0.25)
    part = couple(x, position, a, mass, source=exact, target=exact)
    assert part.primal == pytest.approx(plan.primal / 16, rel=1e-8)


def test_wrong_clouds_and_shares_are_refused(small):
    x, y, a, b = small
    plan = couple(x, y, a, b, source=Penalty("kl", 1.0), target=Penalty("kl", 1.0))
    with pytest.raises(ValueError, match="like the coupling"):
        interpolate(plan, y, x, share=0.5)
    with pytest.raises(ValueError, match="from 0 to 1"):
        interpolate(plan, x, y, share=1.5)
