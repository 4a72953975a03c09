"""Nearest neighbours against the whole distance matrix, with and without slices."""

import math

import pytest
import torch

from scruot.geometry import neighbours
from scruot.geometry.neighbours import nearest_distance, typical_spacing


@pytest.fixture
def clouds():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 3, generator=generator), torch.randn(55, 3, generator=generator)


@pytest.mark.parametrize("entries", [4_000_000, 200, 1])
def test_blocks_change_nothing(clouds, entries, monkeypatch):
    monkeypatch.setattr(neighbours, "_SLICE", entries)
    x, y = clouds
    whole = (x[:, None] - y[None]).square().sum(2).sqrt()
    torch.testing.assert_close(nearest_distance(x, y), whole.amin(1))


def test_a_point_is_not_its_own_neighbour(clouds):
    x, _ = clouds
    distance = (x[:, None] - x[None]).square().sum(2).sqrt()
    distance.fill_diagonal_(math.inf)
    torch.testing.assert_close(nearest_distance(x, x, skip=1), distance.amin(1))


def test_small_distances_far_from_zero_survive():
    x = torch.tensor([[4096.0, 0.0], [4096.0 + 2**-10, 0.0]])
    assert nearest_distance(x, x, skip=1).tolist() == [2**-10, 2**-10]


def test_spacing_of_a_line():
    line = 3.0 * torch.arange(10.0)[:, None]
    assert typical_spacing((line, line[:1])) == pytest.approx(3.0)


def test_spacing_needs_two_cells():
    assert typical_spacing((torch.zeros(1, 2), torch.ones(1, 2))) == 0.0


def test_spacing_scales_with_the_cloud(clouds):
    assert typical_spacing((10 * clouds[0],)) == pytest.approx(10 * typical_spacing((clouds[0],)))
