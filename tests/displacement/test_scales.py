"""How wide neighbourhoods may be: the estimated risk against the true one."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix, identity

from scruot.displacement.averages import dense_columns, make_averages, reached
from scruot.displacement.neighbours import nearest_cells
from scruot.displacement.scales import adapted, risks

N = 600


def line(step: float, n_genes: int = 300):
    """Cells on a line; the right half displaces every gene by ``step``, the left one by none."""
    rng = np.random.default_rng(0)
    place = np.linspace(0.0, 1.0, N)[:, None]
    truth = step * np.repeat(place > 0.5, n_genes, axis=1)
    x, y = rng.normal(size=(2, N, n_genes))
    y += truth
    # each cell has one target
    reach = csr_matrix(identity(N))
    scales = [make_averages(nearest_cells(place, np.ones(N), k), reach) for k in (20, 40, 80, 160)]
    return scales, x, y, truth


@pytest.mark.parametrize("step", [0.0, 1.0])
def test_the_estimated_risk_is_the_true_one(step):
    scales, x, y, truth = line(step, 2000)
    found = risks(scales, x, y).mean(axis=0) / 2000
    genes = reached(scales[0].reach, x, y)
    unit = np.square(scales[0].difference(genes)[1]).mean(axis=0)
    # the narrowest is taken to be right: its own bias at the step is not in the estimate
    expected = [(np.square(s.displacement(genes) - truth) / unit).mean() for s in scales]
    bias = np.square(scales[0].displacement(genes._replace(here=0 * x, there=truth)) - truth) / unit
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=2 * bias.mean())


def test_cells_are_averaged_widely_where_all_move_alike():
    scales, x, y, _ = line(0.0)
    size = np.diff(adapted(scales, x, y).near.indptr)
    assert (size == 160).all()


def test_neighbourhoods_do_not_cross_where_cells_move_differently():
    scales, x, y, truth = line(1.0)
    chosen = adapted(scales, x, y)
    size = np.diff(chosen.near.indptr)
    middle = np.abs(np.arange(N) - N / 2)
    assert (size[middle > 120] == 160).all()
    # twenty cells here are on one side, eighty are not
    assert (size[(middle > 12) & (middle < 18)] < 80).all()
    genes = reached(chosen.reach, x, y)
    error = [np.square(a.displacement(genes) - truth).mean() for a in (chosen, *scales)]
    assert error[0] < 0.9 * min(error[1:])


def test_one_scale_is_taken_as_it_is():
    scales, x, y, _ = line(0.0)
    assert adapted(scales[:1], x, y) is scales[0]


def test_the_risk_does_not_depend_on_blocks_of_genes(monkeypatch):
    scales, x, y, _ = line(1.0)
    whole = risks(scales, x, y)
    monkeypatch.setattr("scruot.displacement.averages._BLOCK_BYTES", 8 * 2 * N * 7)
    assert len(list(dense_columns(x, y))) == 43
    np.testing.assert_allclose(risks(scales, x, y), whole)
