"""Simulated cells in genes: through loadings, or from the observed cells nearest to them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from scruot._messages import unknown
from scruot.io.loadings import Loadings, find_loadings, gene_columns, require_loadings
from scruot.pp._expression import Expression, read_expression
from scruot.tl._fitted import FittedCells

logger = logging.getLogger(__name__)

Via = Literal["auto", "loadings", "neighbors"]
_VIA = ("auto", "loadings", "neighbors")
# cells whose expression makes that of one simulated cell
N_NEIGHBORS = 30
# numbers of one block of weights times expression: bounds memory
_NUMBERS = 20_000_000


@dataclass(frozen=True, eq=False)
class Expresser:
    """A map from states to the expression of some genes.

    Parameters
    ----------
    genes
        Names of the genes.
    via
        ``"loadings"`` or ``"neighbors"``.
    slope, intercept
        Of the linear map, shapes (d, genes) and (genes,).
    neighbors
        Index of the observed cells.
    expression
        Expression of these cells, shape (n, genes).
    """

    genes: list[str]
    via: str
    slope: NDArray[np.float64] | None = None
    intercept: NDArray[np.float64] | None = None
    neighbors: NearestNeighbors | None = None
    expression: Any = None

    def __call__(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the expression of states (n, d), shape (n, genes)."""
        if self.slope is not None and self.intercept is not None:
            return (x @ self.slope + self.intercept).astype(np.float32)
        rows = max(1, _NUMBERS // max(N_NEIGHBORS, len(self.genes)))
        out = np.empty((len(x), len(self.genes)), dtype=np.float32)
        for first in range(0, len(x), rows):
            block = slice(first, first + rows)
            mean = self._weights(x[block]) @ self.expression
            out[block] = mean.toarray() if sparse.issparse(mean) else mean
        return out

    def _weights(self, x: NDArray[np.floating]) -> sparse.csr_matrix:
        assert self.neighbors is not None
        distance, index = self.neighbors.kneighbors(x)
        width = np.maximum(np.median(distance, axis=1, keepdims=True), np.finfo(float).tiny)
        # relative to the nearest, so that a far-off state keeps a weight above zero
        weight = np.exp(-0.5 * ((distance / width) ** 2 - (distance[:, :1] / width) ** 2))
        weight /= weight.sum(axis=1, keepdims=True)
        n, k = index.shape
        entries = (weight.ravel(), index.ravel(), np.arange(0, n * k + 1, k))
        return sparse.csr_matrix(entries, shape=(n, self.neighbors.n_samples_fit_))


def expresser(
    adata: AnnData,
    cells: FittedCells,
    genes: Sequence[str],
    *,
    via: Via,
    layer: str | None,
    loadings: str | None,
) -> Expresser:
    """Read everything that the map needs.

    Raises
    ------
    KeyError
        For unknown genes or layers, or where loadings are asked for and missing.
    ValueError
        When there is no matrix, or the loadings do not belong to it.
    """
    if via not in _VIA:
        raise ValueError(unknown("genes_via", str(via), _VIA))
    matrix = read_expression(adata, layer=layer, use_raw=False, gene_symbols=None)
    columns = gene_columns(adata, genes)
    names = [str(name) for name in adata.var_names[columns]]
    use_rep, dim = str(cells.record["representation"]["use_rep"]), cells.model.dim
    found = None
    if via != "neighbors":
        find = require_loadings if via == "loadings" or loadings else find_loadings
        found = _belonging(find(adata, use_rep, dim, loadings), matrix, cells, strict=via != "auto")
    values = matrix.take([int(c) for c in columns])
    if not np.isfinite(values.data if sparse.issparse(values) else values).all():
        msg = f"{matrix.label} holds NaN or infinity in the genes asked for; expected numbers."
        raise ValueError(msg)
    if found is not None:
        slope = found.weights[columns].T
        mean = np.asarray(values.mean(axis=0), dtype=np.float64).ravel()
        return Expresser(
            names,
            "loadings",
            slope=slope,
            intercept=mean - cells.x.mean(axis=0, dtype=np.float64) @ slope,
        )
    known = cells.reference
    neighbors = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, int(known.sum())))
    neighbors.fit(cells.x[known])
    values = values.tocsr()[known] if sparse.issparse(values) else np.asarray(values)[known]
    return Expresser(names, "neighbors", neighbors=neighbors, expression=values)


def _belonging(
    found: Loadings | None, matrix: Expression, cells: FittedCells, *, strict: bool
) -> Loadings | None:
    """Return loadings that turn the matrix into the representation; others are refused."""
    if found is None or found.projects(matrix.matrix, cells.x):
        return found
    msg = (
        f"{found.source} does not turn {matrix.label} into the representation of the fit: the "
        "matrix is in other units, or the representation was changed (e.g. by batch correction)"
    )
    if strict:
        msg += ". Name the matrix that was projected with layer, or use genes_via='neighbors'."
        raise ValueError(msg)
    logger.warning("%s; genes are read from neighbouring cells instead.", msg)
    return None
