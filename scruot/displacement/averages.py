"""Weighted averages over near cells and over the cells that these are coupled with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, issparse

__all__ = [
    "Averages",
    "Reached",
    "compact",
    "dense_columns",
    "make_averages",
    "reached",
    "row_stochastic",
]

Array = NDArray[np.float64]

_BLOCK_BYTES = 2**26
_ROWS = 1024
_LEAST_VARIANCE = 0.25  # of the gene's median over cells
_DENSE = 0.05  # share of entries beyond which a dense matrix multiplies faster


class Reached(NamedTuple):
    """Some genes of the source cells, and the means of their targets; each ``(n, g)``.

    Attributes
    ----------
    here, there
        Genes, and their means over the targets of each source cell.
    here_square, there_square
        The same of squares.
    least
        Smallest believable variances on either side, ``(2, g)``.
    """

    here: Array
    there: Array
    here_square: Array
    there_square: Array
    least: Array


def reached(reach: csr_matrix, x: Array, y: Array) -> Reached:
    """Follow the genes of the source cells ``(n, g)`` to those of the targets ``(m, g)``."""
    least = 0.01 * np.stack([x.var(axis=0), y.var(axis=0)])
    far = compact(reach)
    return Reached(x, far @ y, x * x, far @ (y * y), least)


@dataclass(frozen=True, eq=False)
class Averages:
    """Two row-stochastic operators: near source cells, and the targets that they reach.

    Attributes
    ----------
    near
        Weights of source cells, shape ``(k, n)``: those near each cell, or in each group.
    reach
        Coupling with rows of sum 1, shape ``(n, m)``; targets of ``i`` weigh ``near @ reach``.
    norms
        Sum of squared weights of each row of ``near`` and of ``near @ reach``, shape ``(2, k)``.
    """

    near: csr_matrix
    reach: csr_matrix
    norms: Array

    def difference(self, genes: Reached) -> tuple[Array, Array]:
        """Return mean displacements of some genes and their standard errors, both ``(k, g)``."""
        moved, *variances = self.moments(genes)
        here, there = (v * n[:, None] for v, n in zip(variances, self.norms, strict=True))
        return moved, np.sqrt(here + there)

    def moments(self, genes: Reached) -> tuple[Array, Array, Array]:
        """Return mean displacements, and variances of single cells here and there, ``(k, g)``."""
        near = compact(self.near)
        before, after = near @ genes.here, near @ genes.there
        return (
            after - before,
            _floored(before, near @ genes.here_square, self.norms[0], genes.least[0]),
            _floored(after, near @ genes.there_square, self.norms[1], genes.least[1]),
        )

    def displacement(self, genes: Reached) -> Array:
        """Return mean displacements alone."""
        return np.asarray(compact(self.near) @ (genes.there - genes.here))


def _floored(mean: Array, square: Array, norm: Array, least: Array) -> Array:
    variance = np.maximum(square - mean * mean, 0.0) / np.maximum(1.0 - norm[:, None], 0.1)
    # a gene that happens to be flat in one neighbourhood is not known there without error
    typical = _LEAST_VARIANCE * np.median(variance, axis=0)
    return np.maximum(variance, np.maximum(typical, least))


def compact(matrix: csr_matrix) -> Any:
    """Return a small matrix with many entries as a dense one, which multiplies faster."""
    size = matrix.shape[0] * matrix.shape[1]
    return matrix.toarray() if size * 8 <= _BLOCK_BYTES and matrix.nnz > _DENSE * size else matrix


def make_averages(near: csr_matrix, reach: csr_matrix) -> Averages:
    """Return the averages with their norms, in blocks of rows."""
    own = np.asarray(near.multiply(near).sum(axis=1)).ravel()
    far, there = np.empty(near.shape[0]), compact(reach)
    for rows in range(0, near.shape[0], _ROWS):
        block = near[rows : rows + _ROWS]
        block = (block if issparse(there) else compact(block)) @ there
        square = block.multiply(block) if issparse(block) else block * block
        far[rows : rows + _ROWS] = np.asarray(square.sum(axis=1)).ravel()
    return Averages(near, reach, np.stack([own, far]))


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
