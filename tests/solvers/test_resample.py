"""Bootstrap samples: their spread is the standard error over replicates."""

import numpy as np
import pytest
import torch

from scruot.dynamics.snapshots import Snapshots
from scruot.solvers.resample import Replicates, bootstrap_cells, bootstrap_replicates

# cells of each replicate at the two times
SIZES = ((8, 12), (20, 30, 40))


@pytest.fixture
def clouds():
    n = [sum(sizes) for sizes in SIZES]
    x = tuple(torch.arange(k, dtype=torch.float32)[:, None] for k in n)
    batch = tuple(torch.arange(k) % 2 for k in n)
    return Snapshots((0.0, 1.0), x, tuple(torch.ones(k, dtype=torch.float64) for k in n), batch)


def replicates(*, sizes_given):
    labels = tuple(np.repeat(np.arange(len(sizes)), sizes) for sizes in SIZES)
    return Replicates(labels, sizes_given)


def populations(clouds, *, sizes_given, n=3000):
    drawn = (
        bootstrap_replicates(clouds, replicates(sizes_given=sizes_given), seed) for seed in range(n)
    )
    return np.array([[float(w.sum()) for w in one.weights] for one in drawn])


def test_the_spread_is_the_standard_error_of_a_sum_over_replicates(clouds):
    found = populations(clouds, sizes_given=False)
    # the first population is the unit, whose own spread comes with the ratio
    first = 20 * 90 / found[:, 1]
    standard_error = [np.sqrt(n) * np.std(s, ddof=1) for n, s in zip((2, 3), SIZES, strict=True)]
    relative = np.hypot(standard_error[0] / 20, standard_error[1] / 90)
    assert np.std(np.log(first)) == pytest.approx(relative, rel=0.05)
    np.testing.assert_allclose(found[:, 0], 20)


def test_given_sizes_stay(clouds):
    np.testing.assert_allclose(populations(clouds, sizes_given=True, n=20), [[20, 90]] * 20)


def test_whole_replicates_are_drawn(clouds):
    found = bootstrap_replicates(clouds, replicates(sizes_given=False), 0)
    labels = replicates(sizes_given=False).labels
    for k, x in enumerate(found.x):
        rows = x[:, 0].long().numpy()
        drawn = np.unique(labels[k][rows])
        assert len(drawn) < len(SIZES[k])
        assert len(rows) == sum(SIZES[k][r] for r in drawn)
        # batches stay with their cells
        assert found.batch[k].tolist() == [row % 2 for row in rows]


def test_cells_are_drawn_and_populations_stay(clouds):
    found = bootstrap_cells(clouds, 3)
    assert [float(w.sum()) for w in found.weights] == pytest.approx([20, 90])
    assert 0.5 < len(found.x[1]) / 90 < 0.75
    assert [len(b) for b in found.batch] == [len(x) for x in found.x]
    other = bootstrap_cells(clouds, 4)
    assert not np.array_equal(found.x[1], other.x[1])
