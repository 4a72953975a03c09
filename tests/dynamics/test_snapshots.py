"""Clouds, their checks, and the units that a solver works in."""

import math

import pytest
import torch

from scruot.dynamics import Scale, Snapshots


@pytest.fixture
def clouds():
    generator = torch.Generator().manual_seed(0)
    x = tuple(5 + 3 * torch.randn(n, 4, generator=generator) for n in (20, 30, 1))
    weights = tuple(torch.full((len(v),), 0.5 + k, dtype=torch.float64) for k, v in enumerate(x))
    return Snapshots((2.0, 3.0, 10.0), x, weights)


def test_what_is_derived(clouds):
    assert clouds.dim == 4
    assert clouds.masses == (1.0, 4.5, 0.25)
    assert clouds.durations == (1.0, 7.0)


def test_standardised_is_centred_and_of_unit_spread(clouds):
    scaled, scale = clouds.standardised()
    cells = torch.cat(scaled.x).double()
    torch.testing.assert_close(
        cells.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert float(cells.square().mean()) == pytest.approx(1.0, rel=1e-6)
    assert scaled.times == (0.0, 0.25, 2.0)
    assert (scale.origin, scale.time) == (2.0, 4.0)
    assert scaled.masses == pytest.approx(clouds.masses)
    assert float(scaled.weights[0].sum()) == pytest.approx(1.0)
    assert {v.dtype for v in scaled.x} == {torch.float32}
    assert {w.dtype for w in scaled.weights} == {torch.float64}


def test_one_length_keeps_proportions(clouds):
    stretched = Snapshots(
        clouds.times, tuple(x * torch.tensor([10.0, 1, 1, 1]) for x in clouds.x), clouds.weights
    )
    cells = torch.cat(stretched.standardised()[0].x)
    assert float(cells[:, 0].std() / cells[:, 1].std()) == pytest.approx(
        float(torch.cat(stretched.x)[:, 0].std() / torch.cat(stretched.x)[:, 1].std()), rel=1e-4
    )


def test_there_and_back(clouds):
    scaled, scale = clouds.standardised()
    for x, y in zip(clouds.x, scaled.x, strict=True):
        torch.testing.assert_close(scale.x_in(x), y)
        torch.testing.assert_close(scale.x_out(y), x, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(scale.x_in(x.double()), y)
    assert [scale.time_in(t) for t in clouds.times] == list(scaled.times)


def test_far_from_zero_the_cloud_keeps_its_shape(clouds):
    _, scale = Snapshots(
        clouds.times, tuple(x + 1000.0 for x in clouds.x), clouds.weights
    ).standardised()
    # subtracted in double precision: nothing is lost beyond float32's own rounding at 1000
    x = torch.tensor([[1000.125] * 4])
    expected = (1000.125 - torch.tensor(scale.shift, dtype=torch.float64)) / scale.length
    torch.testing.assert_close(scale.x_in(x)[0].double(), expected, rtol=1e-6, atol=0)


def test_unit_is_one_where_nothing_varies():
    same = Snapshots((0.0, 1.0), (torch.ones(3, 2),) * 2, (torch.ones(3, dtype=torch.float64),) * 2)
    scaled, scale = same.standardised()
    assert scale.length == 1.0
    assert not scaled.x[0].any()


def test_dimensions_of_quantities():
    scale = Scale(shift=(0.0,), length=6.0, origin=0.0, time=4.0)
    assert scale.factor("velocity") == scale.factor("drift") == 1.5
    assert scale.factor("growth") == 0.25
    assert scale.factor("score") == pytest.approx(1 / 6)
    # velocity is the gradient of the potential
    assert scale.factor("potential") == scale.factor("velocity") * 6.0
    # sigma^2 is length^2 per time
    assert scale.sigma_out(1.0) ** 2 == pytest.approx(36.0 / 4.0)
    # half sigma^2 score is a velocity
    assert scale.sigma_out(1.0) ** 2 * scale.factor("score") == pytest.approx(
        scale.factor("velocity")
    )


def test_select_keeps_populations(clouds):
    masks = [torch.arange(len(x)) % 2 == 0 for x in clouds.x]
    half = clouds.select(masks)
    assert [len(x) for x in half.x] == [10, 15, 1]
    assert half.masses == pytest.approx(clouds.masses)
    assert torch.equal(half.x[0], clouds.x[0][::2])


@pytest.mark.parametrize(
    ("times", "n_clouds", "message"),
    [
        ((0.0, 1.0), 3, "expected one cloud and one weight vector per time"),
        ((0.0,), 1, "at least two"),
        ((0.0, 0.0), 2, "strictly increasing"),
        ((1.0, 0.0), 2, "strictly increasing"),
        ((0.0, math.nan), 2, "strictly increasing"),
    ],
)
def test_refusals(times, n_clouds, message):
    with pytest.raises(ValueError, match=message):
        Snapshots(times, (torch.zeros(2, 2),) * n_clouds, (torch.ones(2),) * n_clouds)
