"""Derivatives of any function of the cells along a direction, by regression on neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors

# Rows worked on at once: bounds the memory of neighbours times dimensions.
_ROWS = 1024
# Above this, exact neighbours cost more than everything else together.
_EXACT_UP_TO = 100_000
# Directions with less than this share of the neighbours' mean variance say nothing.
_RIDGE = 1e-3


def directional_derivative(
    x: NDArray[np.float32], v: NDArray[np.float32], n_neighbors: int
) -> csr_matrix:
    r"""Return the matrix `C` for which ``C @ f`` is the derivative of `f` along `v`.

    Around each cell, `f` is taken to be linear in the coordinates, and fitted to the `k` nearest
    cells by weighted least squares with weights :math:`w_j = \exp(-r_j^2 / 2 m^2)`, `m` the median
    distance. The slope along :math:`v_i` is a sum over neighbours,

    .. math:: \sum_j c_{ij} f_j, \qquad
        c_{ij} = w_j (x_j - \bar x)^\top (S_i + \lambda \bar s_i I)^{-1} v_i,

    with :math:`S_i` the weighted scatter of the neighbours and :math:`\bar s_i` its mean
    eigenvalue (Cleveland 1979 :cite:p:`cleveland1979`, locally weighted regression).

    Parameters
    ----------
    x, v
        Coordinates and directions (n, d).
    n_neighbors
        Neighbours of each cell, itself among them.

    Returns
    -------
    Shape (n, n), with ``n_neighbors`` entries a row, whose sum is zero.
    """
    n, k = len(x), min(n_neighbors, len(x))
    index = _neighbours(x, k)
    values = np.empty((n, k))
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        values[rows] = _coefficients(x[index[rows]] - x[rows, None], v[rows])
    matrix = csr_matrix((values.ravel(), index.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    matrix.sort_indices()
    return matrix


def _neighbours(x: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    if len(x) <= _EXACT_UP_TO:
        return NearestNeighbors(n_neighbors=k).fit(x).kneighbors(x, return_distance=False)
    # Imported late: it compiles at import and is needed for large data only.
    from pynndescent import NNDescent

    return NNDescent(x, n_neighbors=k, random_state=0).neighbor_graph[0]


def _coefficients(way: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the coefficients of the neighbours, from the ways to them (b, k, d)."""
    step = way.astype(np.float64)
    square = np.square(step).sum(-1)
    scale = np.median(square, axis=1, keepdims=True)
    # all neighbours at the very same point: there is no slope, and none is invented
    weight = np.exp(-square / (2 * np.where(scale > 0, scale, 1.0)))
    weight /= weight.sum(1, keepdims=True)
    step -= np.einsum("bk,bkd->bd", weight, step)[:, None]
    scatter = np.einsum("bk,bkd,bke->bde", weight, step, step)
    d = step.shape[-1]
    size = np.trace(scatter, axis1=1, axis2=2) / d
    ridge = np.where(size > 0, _RIDGE * size, 1.0)[:, None, None] * np.eye(d)
    slope = np.linalg.solve(scatter + ridge, v.astype(np.float64)[..., None])[..., 0]
    return weight * np.einsum("bkd,bd->bk", step, slope)
