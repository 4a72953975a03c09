"""Neighbours along the trajectory: cells that are near and on the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors

from scruot.displacement.averages import row_stochastic
from scruot.displacement.metric import mean_squared_distance
from scruot.displacement.neighbours import nearest_cells

__all__ = ["excess", "heading_features"]

Array = NDArray[np.float64]

_EDGE = 5.0  # times the null variance beyond which a direction is one in which cells move
_RIDGE = 1e-3
_SELF = 50


def excess(z: Array, w: Array, a: Array, plan: csr_matrix, width: float) -> Array:
    r"""Return where each cell goes beyond where its like are, shape ``(n, k)``.

    The mean of its targets minus the mean of the *other* source cells under the same blur,
    :math:`\exp(-|z_i - z_j|^2 / \mathrm{width})`: what blur alone does (all cells move towards the
    middle) is in both and cancels, so that this is zero on average where nothing moves.
    """
    k = min(_SELF, len(z) - 1)
    distance, index = NearestNeighbors(n_neighbors=k + 1).fit(z).kneighbors(z)
    square, index = distance[:, 1:] ** 2, index[:, 1:]
    weight = np.exp(-(square - square[:, :1]) / width) * a[index]
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray(row_stochastic(plan) @ w - np.einsum("ij,ijk->ik", weight, z[index]))


def heading_features(
    z: Array,
    w: Array,
    a: Array,
    b: Array,
    plan: csr_matrix,
    null: Sequence[Array],
    *,
    reg: float,
    n_neighbors: int,
) -> Array:
    """Return coordinates in which near cells are near in place and in heading, ``(n, k + r)``.

    Directions in which cells move more than five times (in variance) what they do between random
    halves are found by a generalised eigenproblem; the smoothed movement along these ``r``
    directions, in units of its null deviation, joins the position, which is scaled so that
    neighbourhoods weigh the noise of both alike. Two lineages that still lie among each other but
    head apart are then no neighbours. Without such a direction it is the position alone.

    Parameters
    ----------
    z, w
        Positions, shapes ``(n, k)`` and ``(m, k)``.
    a, b
        Masses.
    plan
        Transported mass, ``(n, m)``.
    null
        :func:`excess` of random halves, which have half of the cells.
    reg
        Regularisation of the plan, in units of the mean squared distance.
    n_neighbors
        Cells of a neighbourhood.
    """
    mass = np.asarray(plan.sum(axis=1)).ravel()
    moved = excess(z, w, a, plan, reg * mean_squared_distance(z, w, a, b))
    still = np.concatenate(list(null))
    noise = still.T @ still / len(still) / 2.0
    noise += _RIDGE * np.trace(noise) / len(noise) * np.eye(len(noise))
    signal = (moved * mass[:, None]).T @ moved / mass.sum()
    values, vectors = eigh(signal, noise)
    chosen = vectors[:, values > _EDGE]
    if chosen.shape[1] == 0:
        return z
    smooth = nearest_cells(z, mass, n_neighbors) @ moved
    k = min(n_neighbors, len(z))
    radius = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(z)[0][:, -1]
    unit = max(float(np.median(radius**2)), 1e-300)
    return np.concatenate([z * np.sqrt(2.0 * chosen.shape[1] / unit), smooth @ chosen], axis=1)
