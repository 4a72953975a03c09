"""Weighted averages over near cells and over the cells that these are coupled with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, issparse
from sklearn.neighbors import NearestNeighbors

__all__ = ["Averages", "dense_columns", "make_averages", "nearest_cells"]

Array = NDArray[np.float64]

_BLOCK_BYTES = 2**26
_ROWS = 1024
_LEAST_VARIANCE = 0.25  # of the gene's median over cells


@dataclass(frozen=True, eq=False)
class Averages:
    """Two row-stochastic operators: near source cells, and the targets that they reach.

    Attributes
    ----------
    near
        Weights of source cells, shape ``(n, n)``.
    reach
        Coupling with rows of sum 1, shape ``(n, m)``; targets of ``i`` weigh ``near @ reach``.
    norms
        Sum of squared weights of each row of ``near`` and of ``near @ reach``, shape ``(2, n)``.
    """

    near: csr_matrix
    reach: csr_matrix
    norms: Array

    def difference(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return mean displacements of some genes and their standard errors, both ``(n, g)``.

        Parameters
        ----------
        x, y
            Genes of the source cells, shape ``(n, g)``, and of the target cells, ``(m, g)``.
        """
        before, var_before = self._moments(x, self.near @ x, self.near @ (x * x), 0)
        there = self.reach @ y
        after, var_after = self._moments(
            y, self.near @ there, self.near @ (self.reach @ (y * y)), 1
        )
        return after - before, np.sqrt(var_before + var_after)

    def _moments(self, values: Array, mean: Array, square: Array, side: int) -> tuple[Array, Array]:
        norm = self.norms[side][:, None]
        variance = np.maximum(square - mean * mean, 0.0) / np.maximum(1.0 - norm, 0.1)
        # a gene that happens to be flat in one neighbourhood is not known there without error
        least = _LEAST_VARIANCE * np.median(variance, axis=0)
        overall = 0.01 * values.var(axis=0)
        variance = np.maximum(variance, np.maximum(least, overall))
        return mean, variance * norm


def make_averages(near: csr_matrix, reach: csr_matrix) -> Averages:
    """Return the averages with their norms, in blocks of rows."""
    own = np.asarray(near.multiply(near).sum(axis=1)).ravel()
    far = np.empty(near.shape[0])
    for rows in range(0, near.shape[0], _ROWS):
        block = near[rows : rows + _ROWS] @ reach
        far[rows : rows + _ROWS] = np.asarray(block.multiply(block).sum(axis=1)).ravel()
    return Averages(near, reach, np.stack([own, far]))


def nearest_cells(features: Array, mass: Array, k: int) -> csr_matrix:
    """Return averages over each cell and its nearest, weighted by mass, rows of sum 1."""
    n = len(features)
    k = min(k, n)
    index = NearestNeighbors(n_neighbors=k).fit(features).kneighbors(features)[1]
    rows = np.repeat(np.arange(n), k)
    graph = csr_matrix((mass[index.ravel()], (rows, index.ravel())), shape=(n, n))
    return row_stochastic(graph)


def row_stochastic(matrix: csr_matrix) -> csr_matrix:
    """Divide every row by its sum; an empty row stays empty."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return csr_matrix(diags(inverse) @ matrix)


def dense_columns(*matrices: Any) -> Iterator[tuple[slice, list[Array]]]:
    """Yield blocks of columns of matrices, dense or sparse, as dense arrays in bounded memory."""
    n, d = sum(m.shape[0] for m in matrices), matrices[0].shape[1]
    width = max(1, _BLOCK_BYTES // (8 * max(n, 1)))
    by_column = [m.tocsc() if issparse(m) else m for m in matrices]
    for begin in range(0, d, width):
        block = slice(begin, min(begin + width, d))
        yield (
            block,
            [
                np.asarray(m[:, block].toarray() if issparse(m) else m[:, block], dtype=np.float64)
                for m in by_column
            ],
        )
