"""What CellRank and scVelo make of a file of scruot, in an environment without scruot."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import load_npz

import scruot
from tests.interop.conftest import cells_of_the_guide

pytestmark = pytest.mark.interop


def test_no_scruot_over_there(told):
    assert told.scruot is False
    assert set(told.versions) == {"cellrank", "scvelo"}


def test_every_kernel_was_made(told):
    assert told.kernels == ["VelocityKernel", "RealTimeKernel", "PrecomputedKernel"]


def test_streams_and_every_plot_of_fates_were_drawn(told):
    cells = [code for where, code in cells_of_the_guide() if where == "second"]
    streams, plots = (
        next(n for n, code in enumerate(cells) if name in code)
        for name in ("velocity_embedding_stream", "circular_projection")
    )
    assert told.figures[streams] == cells[streams].count("scv.pl.") == 2
    # one per call, and one per fate where a plot has panels of its own
    assert told.figures[plots] >= cells[plots].count("cr.pl.") == 9
    assert told.simplex == [[told.adata.n_obs, 2], True]


def steps_along_the_velocity(matrix, x, velocity):
    """Return the mean cosine between each cell's mean step and its velocity."""
    step = matrix @ x - x
    norms = np.linalg.norm(step, axis=1) * np.linalg.norm(velocity, axis=1)
    return float((np.einsum("nd,nd->n", step, velocity) / np.maximum(norms, 1e-12)).mean())


def test_the_velocity_kernel_steps_along_the_velocity(told):
    matrix = load_npz(told.folder / "VelocityKernel.npz")
    x, velocity = told.adata.obsm["X_pca"], told.adata.obsm["velocity_pca"]
    undirected = matrix.copy()
    undirected.data[:] = 1.0
    undirected = undirected.multiply(1 / undirected.sum(axis=1)).tocsr()
    along = steps_along_the_velocity(matrix, x, velocity)
    without = steps_along_the_velocity(undirected, x, velocity)
    assert along > 0.5 > without + 0.2


def test_rows_of_the_real_time_kernel_are_those_of_scruot(told):
    matrix = load_npz(told.folder / "RealTimeKernel.npz")
    expected = scruot.get.transition_matrix(told.adata)
    day = told.adata.obs["day"]
    for start, end in pairwise(day.cat.categories):
        rows, cols = (np.flatnonzero(day == t) for t in (start, end))
        found, wanted = (m[rows][:, cols].toarray() for m in (matrix, expected))
        # it keeps the largest entries of a row and blends in steps within the day
        share = found.sum(axis=1, keepdims=True)
        kept = found > 0
        wanted = np.where(kept, wanted, 0.0)
        np.testing.assert_allclose(found / share, wanted / wanted.sum(1, keepdims=True), atol=1e-8)


def test_a_precomputed_matrix_is_taken_as_it_is(told):
    matrix = load_npz(told.folder / "PrecomputedKernel.npz")
    assert abs(matrix - scruot.get.transition_matrix(told.adata)).max() < 1e-12


def test_lineages_have_their_names_colours_and_values(told):
    fates = told.adata.obsm["fate_probabilities"]
    assert told.names == fates.columns.tolist()
    kinds = told.adata.obs["cell_type"].cat.categories
    # those of scanpy's pictures
    colors = dict(zip(kinds, told.adata.uns["cell_type_colors"], strict=True))
    assert told.colors == [colors[name].lower() for name in told.names]
    np.testing.assert_array_equal(told.probabilities, fates.to_numpy())
