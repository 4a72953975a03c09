"""Carry simulated positions into an embedding of the fitted cells."""

from __future__ import annotations

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from scruot.pl import _read

__all__ = ["carry"]


def carry(
    adata: AnnData,
    fitted: _read.Fit,
    position: NDArray[np.float64],
    basis: str | None,
    n_neighbors: int,
) -> tuple[str, NDArray[np.float64]]:
    """Return the name of a basis and `position`, given in the fitted representation, in it.

    Outside the fitted representation a position becomes the mean of the embedding of the
    `n_neighbors` nearest fitted cells, with Gaussian weights whose width is the position's own
    median distance to them.
    """
    name, target = _read.embedding(adata, fitted, basis)
    if name == fitted.basis:
        return name, position
    source = _read.matrix(adata, fitted.use_rep)[:, : position.shape[1]]
    known = np.isfinite(target).all(1) & np.isfinite(source).all(1)
    source, target = source[known], target[known]
    neighbors = NearestNeighbors(n_neighbors=min(n_neighbors, len(source))).fit(source)
    distance, index = neighbors.kneighbors(position)
    width = np.maximum(np.median(distance, axis=1, keepdims=True), np.finfo(float).tiny)
    # Relative to the nearest, so that a far-off position keeps a weight above zero.
    weight = np.exp(-0.5 * ((distance / width) ** 2 - (distance[:, :1] / width) ** 2))
    weight /= weight.sum(1, keepdims=True)
    return name, np.einsum("nk,nkd->nd", weight, target[index])
