"""Neighbourhoods grow as far as the density goes on, and end at gaps."""

import numpy as np
import pytest

from scruot.displacement.neighbours import nearest_cells, nested_neighbourhoods


@pytest.mark.parametrize("dim", [1, 2, 10])
def test_without_a_gap_neighbourhoods_have_the_wanted_size(dim):
    rng = np.random.default_rng(dim)
    place = rng.random((600, dim)) if dim < 3 else rng.normal(size=(600, dim))
    found = nested_neighbourhoods(place, np.ones(600), [20, 40, 80])
    for near, size in zip(found, (20, 40, 80), strict=True):
        count = np.diff(near.indptr)
        assert count.max() == size
        assert (count >= 0.9 * size).mean() > 0.8


@pytest.mark.parametrize("dim", [2, 10])
def test_neighbourhoods_end_at_a_gap(dim):
    rng = np.random.default_rng(0)
    place = rng.normal(size=(120, dim))
    group = np.repeat([0, 1, 2], 40)
    place[:, 0] += 20.0 * group
    narrow, wide = nested_neighbourhoods(place, np.ones(120), [20, 80])
    assert (np.diff(narrow.indptr) == 20).all()
    rows, columns = wide.nonzero()
    assert (group[rows] == group[columns]).all()
    # the own cells are there but for those at the rim
    assert np.diff(wide.indptr).mean() > 30
    np.testing.assert_allclose(wide.sum(axis=1), 1.0)


def test_few_cells_of_a_kind_still_have_the_narrowest_neighbourhood():
    place = np.concatenate([np.zeros((5, 2)), 9.0 + np.zeros((50, 2))])
    place += 0.1 * np.random.default_rng(1).normal(size=place.shape)
    narrow = nested_neighbourhoods(place, np.ones(55), [10, 20])[0]
    assert (np.diff(narrow.indptr) == 10).all()


def test_weights_are_masses_and_equal_cells_are_no_gap():
    mass = np.arange(1.0, 7.0)
    same = nested_neighbourhoods(np.zeros((6, 3)), mass, [2, 6])[1].toarray()
    np.testing.assert_allclose(same, np.tile(mass / mass.sum(), (6, 1)))
    assert nearest_cells(np.zeros((6, 3)), mass, 99).shape == (6, 6)
