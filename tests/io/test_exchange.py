"""Couplings from moscot and for CellRank: fakes of their exact shapes, and every known trap."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import scruot


class JaxLike:
    """An array that knows NumPy's protocol and little else, as jax arrays do for our purposes."""

    def __init__(self, values):
        self._values = np.asarray(values, dtype=np.float32)

    def __array__(self, dtype=None, copy=None):
        return self._values.astype(dtype or np.float32)


@pytest.fixture
def cells(rng):
    time = np.repeat([0.0, 1.5, 4.0], [4, 5, 6])
    obs = pd.DataFrame({"day": time}, index=[f"c{i}" for i in range(15)])
    adata = AnnData(obs=obs)
    return adata[rng.permutation(15)].copy()


@pytest.fixture
def plans(rng):
    first, second = rng.random((4, 5)), rng.random((5, 6))
    return {(0.0, 1.5): first / first.sum(), (1.5, 4.0): second / second.sum()}


def imported(cells, couplings, **options):
    found = scruot.tl.import_couplings(cells, couplings, time_key="day", copy=True, **options)
    return scruot.get.transport(found)


def test_plans_get_the_population_of_their_later_time(cells, plans):
    found = imported(cells, plans)
    assert [p.sum() for p in found.couplings] == pytest.approx([5.0, 6.0])
    np.testing.assert_allclose(found.couplings[0].toarray(), plans[0.0, 1.5] * 5)
    # in the order of the cells of the day, which is not sorted here
    assert found.cells[0].tolist() == cells.obs_names[cells.obs["day"] == 0].tolist()


def test_moscot_problems_and_their_solutions(cells, plans):
    solutions = {k: SimpleNamespace(transport_matrix=JaxLike(p)) for k, p in plans.items()}
    problem = SimpleNamespace(solutions=solutions)
    for given in (solutions, problem, {k: JaxLike(p) for k, p in plans.items()}):
        found = imported(cells, given)
        np.testing.assert_allclose(found.couplings[1].toarray(), plans[1.5, 4.0] * 6, rtol=1e-6)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.coo_array, np.asarray])
def test_kinds_of_matrices(cells, plans, kind):
    found = imported(cells, {k: kind(p) for k, p in plans.items()})
    np.testing.assert_allclose(found.couplings[0].toarray(), plans[0.0, 1.5] * 5)


def test_annotated_plans_are_matched_by_name(cells, plans, rng):
    expected = imported(cells, plans)
    annotated = {}
    for k, pair in enumerate(plans):
        part = AnnData(
            plans[pair],
            obs=pd.DataFrame(index=expected.cells[k]),
            var=pd.DataFrame(index=expected.cells[k + 1]),
        )
        annotated[pair] = part[rng.permutation(part.n_obs)][:, rng.permutation(part.n_vars)].copy()
    found = imported(cells, annotated)
    for one, two in zip(found.couplings, expected.couplings, strict=True):
        np.testing.assert_allclose(one.toarray(), two.toarray())


def test_keys_may_be_labels(cells, plans):
    cells.obs["day"] = cells.obs["day"].map(lambda t: f"day {t:g}").astype("category")
    found = imported(cells, {("day 0", "day 1.5"): plans[0.0, 1.5], (1.5, 4): plans[1.5, 4.0]})
    np.testing.assert_array_equal(found.times, [0.0, 1.5, 4.0])


def test_couplings_over_several_intervals_are_left_out(cells, plans, caplog):
    wide = {**plans, (0.0, 4.0): np.ones((4, 6))}
    with caplog.at_level("INFO", logger="scruot"):
        found = imported(cells, wide)
    assert "are composed instead" in caplog.text
    assert len(found.couplings) == 2


BAD = [
    ({}, TypeError, r"expected a mapping \{\(time, next_time\): matrix\}, not empty"),
    ([1], TypeError, r"Found couplings of type list"),
    ({0.0: np.ones((4, 5))}, ValueError, r"Found the key 0.0 in couplings; expected \(time, next"),
    ({(0.0, 2.0): np.ones((4, 5))}, ValueError, r"key \(0.0, 2.0\).*values of obs\['day'\]"),
    ({(0.0, 1.5): np.ones((5, 4))}, ValueError, r"has shape \(5, 4\); expected \(4, 5\)"),
    ({(0.0, 1.5): -np.ones((4, 5))}, ValueError, r"negative or non-finite entries"),
    ({(0.0, 1.5): np.full((4, 5), np.nan)}, ValueError, r"negative or non-finite entries"),
    ({(0.0, 1.5): np.zeros((4, 5))}, ValueError, r"has no mass at all"),
    ({(0.0, 1.5): "plan"}, ValueError, r"array of 0 dimensions of dtype <U4 as .*give an array"),
    ({(0.0, 1.5): np.full((4, 5), "a")}, ValueError, r"a matrix of dtype <U1 .*a matrix of masses"),
    ({(1.5, 0.0): np.ones((5, 4))}, ValueError, r"lack the intervals \[\(0.0, 1.5\)\]"),
]


@pytest.mark.parametrize(("couplings", "error", "message"), BAD)
def test_one_clear_message(cells, couplings, error, message):
    with pytest.raises(error, match=message):
        scruot.tl.import_couplings(cells, couplings, time_key="day")
    assert not cells.uns


@pytest.fixture
def coupled(cells, plans):
    scruot.tl.import_couplings(cells, plans, time_key="day")
    return cells


def real_time_kernel(adata, time_key, couplings):
    """Do to couplings what CellRank's RealTimeKernel does: check, change in place, stitch."""
    column = adata.obs[time_key]
    assert isinstance(column.dtype, pd.CategoricalDtype), "CellRank raises TypeError"
    categories = list(column.cat.categories)
    assert set(couplings) == set(pairwise(categories))
    blocks = np.zeros((adata.n_obs, adata.n_obs))
    for (source, target), coupling in couplings.items():
        rows, cols = (np.flatnonzero(column == t) for t in (source, target))
        assert coupling.obs_names.tolist() == adata.obs_names[rows].tolist()
        assert coupling.var_names.tolist() == adata.obs_names[cols].tolist()
        assert sparse.isspmatrix_csr(coupling.X)
        dense = coupling.X.toarray()
        blocks[np.ix_(rows, cols)] = dense / dense.sum(axis=1, keepdims=True)
        coupling.X.data[:] = 0.0
        couplings[source, target] = None
    return blocks


def test_couplings_for_the_real_time_kernel(coupled, rng):
    before = scruot.get.transport(coupled).couplings[0].toarray()
    other = coupled[rng.permutation(coupled.n_obs)].copy()
    other.obs["day"] = other.obs["day"].astype("category")
    blocks = real_time_kernel(other, "day", scruot.get.cellrank_couplings(other))
    np.testing.assert_array_equal(scruot.get.transport(other).couplings[0].toarray(), before)
    expected = scruot.get.transition_matrix(other).toarray()
    last = other.obs["day"].to_numpy() == 4.0
    np.testing.assert_allclose(blocks[~last], expected[~last], atol=1e-12)
    np.testing.assert_array_equal(expected[last], np.eye(15)[last])


def test_transition_matrix_is_row_stochastic_in_the_order_of_the_cells(coupled):
    matrix = scruot.get.transition_matrix(coupled)
    assert isinstance(matrix, sparse.csr_matrix), "PrecomputedKernel takes no sparse arrays"
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 1.0)
    found = scruot.get.transport(coupled)
    i, j = (coupled.obs_names.get_loc(found.cells[k][0]) for k in (0, 1))
    row = found.couplings[0].toarray()[0]
    assert matrix[i, j] == pytest.approx(row[0] / row.sum())


def test_cells_without_descendants_are_reported(cells, plans, caplog):
    plans[0.0, 1.5][1] = 0.0
    scruot.tl.import_couplings(cells, plans, time_key="day")
    scruot.get.cellrank_couplings(cells)
    assert "1 cells at time 0 have no descendants; CellRank spreads" in caplog.text
    matrix = scruot.get.transition_matrix(cells)
    i = cells.obs_names.get_loc(scruot.get.transport(cells).cells[0][1])
    assert matrix[i, i] == 1.0


def test_labels_need_a_numeric_column(cells, plans):
    cells.obs["label"] = cells.obs["day"].map(lambda t: f"day {t:g}")
    scruot.tl.import_couplings(cells, plans, time_key="label")
    with pytest.raises(ValueError, match=r"CellRank reads numbers alone.*name it with time_key"):
        scruot.get.cellrank_couplings(cells)
    assert set(scruot.get.cellrank_couplings(cells, time_key="day")) == set(plans)


def test_other_cells_and_times_are_refused(coupled):
    with pytest.raises(ValueError, match=r"adata lacks 1 of .* cells .*CellRank needs all of them"):
        scruot.get.cellrank_couplings(coupled[1:].copy())
    wrong = coupled.copy()
    wrong.obs["day"] += 1
    with pytest.raises(ValueError, match=r"has times \[1.0, 2.5, 5.0\], the transport \[0.0, 1.5"):
        scruot.get.cellrank_couplings(wrong)
    order = pd.Categorical(coupled.obs["day"], categories=[4.0, 1.5, 0.0], ordered=True)
    coupled.obs["day"] = order
    with pytest.raises(ValueError, match=r"expected an increasing one: set it with .cat.reorder"):
        scruot.get.cellrank_couplings(coupled)


def test_data_frames_are_matched_by_name(cells, plans, rng):
    expected = imported(cells, plans)
    frames = {}
    for (start, end), plan in plans.items():
        names = [cells.obs_names[cells.obs["day"] == t] for t in (start, end)]
        frame = pd.DataFrame(plan, index=names[0], columns=names[1])
        shuffled = [rng.permutation(n) for n in frame.shape]
        frames[start, end] = frame.iloc[shuffled[0], shuffled[1]]
    found = imported(cells, frames)
    for one, other in zip(found.couplings, expected.couplings, strict=True):
        np.testing.assert_allclose(one.toarray(), other.toarray())


def test_a_time_is_not_coupled_with_itself(cells):
    with pytest.raises(ValueError, match="expected two different times"):
        imported(cells, {(0.0, 0.0): np.eye(4)})
