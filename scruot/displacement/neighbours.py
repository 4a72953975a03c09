"""Averages over near cells, in neighbourhoods that grow until they meet a gap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors

from scruot.displacement.averages import row_stochastic

__all__ = ["nearest_cells", "nested_neighbourhoods"]

Array = NDArray[np.float64]

# Distance beyond what cells at one density have, as a factor, that is taken for a gap.
_GAP = 1.2


def nearest_cells(features: Array, mass: Array, k: int) -> csr_matrix:
    """Return averages over each cell and its nearest, weighted by mass, rows of sum 1."""
    return nested_neighbourhoods(features, mass, [k])[0]


def nested_neighbourhoods(features: Array, mass: Array, sizes: Sequence[int]) -> list[csr_matrix]:
    r"""Return averages over each cell and its nearest, in neighbourhoods that grow.

    Wider neighbourhoods than the first end at a gap: cells of another type are not near, however
    few there are of the own. Among cells at one density in :math:`D` dimensions the :math:`m`-th
    nearest is at a distance :math:`\propto m^{1/D}`; the median over cells of what the distance
    grows by in the outer half of the first neighbourhood tells :math:`1/D`, and who is a fifth
    farther than it lets expect is left out.

    Parameters
    ----------
    features
        Coordinates, shape ``(n, k)``.
    mass
        Weights of the cells, shape ``(n,)``.
    sizes
        Numbers of cells, increasing; all cells where there are fewer.

    Returns
    -------
    For each size weights of shape ``(n, n)``, rows of sum 1.
    """
    n = len(features)
    widest, first = min(max(sizes), n), min(sizes[0], n)
    distance, index = NearestNeighbors(n_neighbors=widest).fit(features).kneighbors(features)
    found = []
    for size in (min(k, n) for k in sizes):
        near = distance[:, :size] <= _reach(distance, first, size)[:, None]
        near[:, :first] = True
        weight = mass[index[:, :size][near]]
        starts = np.concatenate([[0], np.cumsum(near.sum(axis=1))])
        graph = csr_matrix((weight, index[:, :size][near], starts), shape=(n, n))
        found.append(row_stochastic(graph))
    return found


def _reach(distance: Array, first: int, size: int) -> Array:
    """Return how far each cell's neighbourhood of some size may go, shape ``(n,)``."""
    edge, inner = distance[:, first - 1], distance[:, max(first // 2, 1) - 1]
    # equal cells, and neighbourhoods of one, tell no dimension
    known = inner > 0
    if size == first or not known.any():
        return np.full(len(distance), np.inf)
    growth = float(np.median(edge[known] / inner[known]))
    doublings = np.log2(size / first)
    return np.asarray(_GAP * growth**doublings * edge)
