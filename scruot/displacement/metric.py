"""Where cells are near: a metric that does not let idle variance decide, and couplings in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scruot.transport import Penalty, couple

__all__ = ["couple_clouds", "mean_squared_distance", "quiet_metric"]

Array = NDArray[np.float64]

_RIDGE = 0.1  # of the largest variance of the quietest cloud


def quiet_metric(clouds: Sequence[Array], masses: Sequence[Array]) -> Array:
    r"""Return a linear map of the coordinates, shape ``(d, d)``: near cells are near after it.

    The covariance :math:`\Sigma` of the cloud of least total variance is whitened softly,
    :math:`(\Sigma + \lambda)^{-1/2}` with :math:`\lambda` a tenth of its largest eigenvalue. What
    varies before anything has happened cannot tell where cells go: programs that every cell runs
    at its own level (cycle, stress, depth) hold most of the variance of many data sets and would
    otherwise decide which cells are coupled and averaged.
    """
    covariances = [_covariance(x, m) for x, m in zip(clouds, masses, strict=True)]
    quiet = min(covariances, key=lambda c: float(np.trace(c)))
    values, vectors = np.linalg.eigh(quiet)
    ridge = _RIDGE * values[-1]
    if not ridge > 0:
        return np.eye(len(values))
    return np.asarray(vectors / np.sqrt(np.maximum(values, 0.0) + ridge))


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
    Total masses do not matter: both sides are taken to be of mass 1.
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
    return csr_matrix(plan.to_scipy())


def _covariance(x: Array, mass: Array) -> Array:
    p = mass / mass.sum()
    centred = x - p @ x
    return np.asarray((centred * p[:, None]).T @ centred)


def _spread(x: Array, p: Array) -> float:
    return float(p @ np.square(x - p @ x).sum(axis=1))
