"""Where cells are near: a metric that does not let idle variance decide, and couplings in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, diags, vstack

from scruot.transport import Penalty, couple

__all__ = [
    "couple_clouds",
    "idle_covariance",
    "largest_entries",
    "mean_squared_distance",
    "quiet_metric",
]

Array = NDArray[np.float64]

_RIDGE = 0.1  # of the largest idle variance
_FLOOR = 1e-3  # of the total variance: directions with less are taken to be alike
_KEPT = 0.999  # of the mass of every row of a plan
_ROWS = 2048  # of a plan at a time
_CROWDED = 0.9  # dimensions per cell, at most: more leave no variance known


def quiet_metric(clouds: Sequence[Array], masses: Sequence[Array]) -> Array:
    r"""Return a linear map of the coordinates, shape ``(d, d)``: near cells are near after it.

    The idle covariance :math:`\Sigma` that all clouds have (:func:`idle_covariance`) is whitened
    softly, :math:`(\Sigma + \lambda)^{-1/2}`, :math:`\lambda` being a tenth of its top eigenvalue.
    What varies before anything has happened cannot tell where cells go: programs that every cell
    runs at its own level (cycle, stress, depth) hold most of the variance of many data sets and
    would otherwise decide which cells are coupled and averaged.
    """
    idle = idle_covariance(
        [_covariance(x, m) for x, m in zip(clouds, masses, strict=True)],
        [float(m.sum() ** 2 / np.square(m).sum()) for m in masses],
    )
    values, vectors = np.linalg.eigh(idle)
    ridge = _RIDGE * values[-1]
    if not ridge > 0:
        return np.eye(len(values))
    return np.asarray(vectors / np.sqrt(np.maximum(values, 0.0) + ridge))


def idle_covariance(covariances: Sequence[Array], sizes: Sequence[float]) -> Array:
    """Return the variance that all clouds have, direction by direction, shape ``(d, d)``.

    Beginning with the cloud of least total variance, the others are compared with what was found
    so far. In directions in which the two differ by no more than samples of one law do (the limits
    of the eigenvalues of a ratio of sample covariances) they are averaged; in others, in which one
    of the clouds has moved or spread, the smaller variance is taken. A choice of one whole cloud
    would be left to the noise of the idle variance, which can be larger than all that moves.

    Parameters
    ----------
    covariances
        Of each cloud, ``(d, d)``.
    sizes
        Effective numbers of cells.

    References
    ----------
    Wachter (1980), Annals of Statistics 8 (limits of the ratio) :cite:p:`wachter1980`.
    """
    order = np.argsort([np.trace(c) for c in covariances], kind="stable")
    found, n = covariances[order[0]], sizes[order[0]]
    d = len(found)
    floor = _FLOOR * np.trace(found) * np.eye(d)
    if not floor[0, 0] > 0:
        return found
    for k in order[1:]:
        ratio, basis = eigh(covariances[k] + floor, found + floor)
        low, high = _ratio_limits(d / n, d / sizes[k])
        share = sizes[k] / (n + sizes[k])
        mean = 1.0 - share + share * ratio
        taken = np.where(ratio < low, ratio, np.where(ratio > high, 1.0, mean))
        back = np.linalg.inv(basis)
        found = (back.T * taken) @ back - floor
        n += sizes[k]
    return found


def _ratio_limits(below: float, above: float) -> tuple[float, float]:
    """Return the least and the largest ratio of two sample variances in any direction."""
    below, above = min(below, _CROWDED), min(above, _CROWDED)
    h = np.sqrt(below + above - below * above)
    return float((1 - h) ** 2 / (1 - below) ** 2), float((1 + h) ** 2 / (1 - below) ** 2)


def mean_squared_distance(x: Array, y: Array, a: Array, b: Array) -> float:
    """Return the mean squared distance of all pairs of two weighted clouds."""
    p, q = a / a.sum(), b / b.sum()
    apart = np.square(p @ x - q @ y).sum()
    return float(apart + sum(_spread(z, w) for z, w in ((x, p), (y, q))))


def couple_clouds(
    x: Array,
    y: Array,
    a: Array,
    b: Array,
    *,
    reg: float,
    tau: float,
    random_state: int = 0,
) -> csr_matrix:
    """Return an entropic plan that may leave out mass of both sides, shape ``(n, m)``.

    ``reg`` and ``tau`` (Kullback-Leibler, both sides) are in units of the mean squared distance.
    Total masses do not matter: both sides are taken to be of mass 1. Each row is cut to the entries
    that hold all but a thousandth of its mass (:func:`largest_entries`).
    """
    scale = mean_squared_distance(x, y, a, b)
    side = Penalty("kl", tau)
    clouds = (torch.from_numpy(np.ascontiguousarray(z, dtype=np.float64)) for z in (x, y))
    masses = (torch.from_numpy(w / w.sum()) for w in (a, b))
    plan = couple(
        *clouds,
        *masses,
        source=side,
        target=side,
        reg=reg,
        cost_scale=scale if scale > 0 else 1.0,
        kept_mass=0.99,
        random_state=random_state,
    )
    return largest_entries(csr_matrix(plan.to_scipy()), _KEPT)


def largest_entries(plan: csr_matrix, share: float) -> csr_matrix:
    """Return each row's fewest entries that hold ``share`` of its mass, scaled to all of it.

    A mean over the targets of a cell then changes by less than ``1 - share`` times the range of
    what is averaged. An entropic plan has many entries next to nothing.

    Examples
    --------
    >>> largest_entries(csr_matrix([[6.0, 0.5, 3.5], [0.0, 2.0, 0.0]]), 0.9).toarray().round(2)
    array([[6.32, 0.  , 3.68],
           [0.  , 2.  , 0.  ]])
    """
    parts = [_largest(plan[i : i + _ROWS], share) for i in range(0, plan.shape[0], _ROWS)]
    return csr_matrix(vstack(parts))


def _largest(plan: csr_matrix, share: float) -> csr_matrix:
    n, counts = plan.shape[0], np.diff(plan.indptr)
    rows = np.repeat(np.arange(n), counts)
    order = np.lexsort((-plan.data, rows))
    taken = np.cumsum(plan.data[order])
    before = np.concatenate([[0.0], taken])[plan.indptr[:-1]]
    total = np.asarray(plan.sum(axis=1)).ravel()
    # what is taken before an entry of the same row
    missing = taken - plan.data[order] - before[rows] < share * total[rows]
    kept = np.sort(order[missing])
    found = csr_matrix((plan.data[kept], (rows[kept], plan.indices[kept])), shape=plan.shape)
    held = np.asarray(found.sum(axis=1)).ravel()
    factor = np.divide(total, held, out=np.ones(n), where=held > 0)
    return csr_matrix(diags(factor) @ found)


def _covariance(x: Array, mass: Array) -> Array:
    p = mass / mass.sum()
    centred = x - p @ x
    return np.asarray((centred * p[:, None]).T @ centred)


def _spread(x: Array, p: Array) -> float:
    return float(p @ np.square(x - p @ x).sum(axis=1))
