"""Distances between weighted clouds.

All compute in float64 on dense matrices of all pairs: for clouds of many thousands of points,
take random subsets first.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import ot
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

__all__ = ["energy_distance", "mass_error", "mmd", "w1", "w2"]

# of the network simplex, which needs about ten per point
_MAX_ITERATIONS = 10_000_000


def w1(x: ArrayLike, y: ArrayLike, a: ArrayLike | None = None, b: ArrayLike | None = None) -> float:
    """Return the exact 1-Wasserstein distance with Euclidean cost.

    Parameters
    ----------
    x, y
        Clouds, shapes (n, d) and (m, d); arrays or tensors.
    a, b
        Weights, shapes (n,) and (m,); uniform by default, normalised to one.

    Returns
    -------
    The distance, in units of the clouds.

    Raises
    ------
    ValueError
        When shapes do not fit, values are not finite, or weights are negative or all zero.
    RuntimeError
        When the optimum is not reached, as may happen with very many points.

    Examples
    --------
    >>> from scruot.metrics import w1
    >>> w1([[0.0], [1.0]], [[1.0], [2.0]])
    1.0
    """
    return _transport_cost(x, y, a, b, "euclidean")


def w2(x: ArrayLike, y: ArrayLike, a: ArrayLike | None = None, b: ArrayLike | None = None) -> float:
    """Return the exact 2-Wasserstein distance: the root of the least mean squared distance.

    Parameters
    ----------
    x, y
        Clouds, shapes (n, d) and (m, d); arrays or tensors.
    a, b
        Weights, shapes (n,) and (m,); uniform by default, normalised to one.

    Returns
    -------
    The distance, in units of the clouds.

    Raises
    ------
    ValueError
        When shapes do not fit, values are not finite, or weights are negative or all zero.
    RuntimeError
        When the optimum is not reached, as may happen with very many points.

    Examples
    --------
    >>> from scruot.metrics import w2
    >>> w2([[0.0], [0.0]], [[1.0], [1.0]])
    1.0
    """
    return float(np.sqrt(max(_transport_cost(x, y, a, b, "sqeuclidean"), 0.0)))


def energy_distance(
    x: ArrayLike, y: ArrayLike, a: ArrayLike | None = None, b: ArrayLike | None = None
) -> float:
    """Return the energy distance ``sqrt(2 E|X-Y| - E|X-X'| - E|Y-Y'|)``.

    Parameters
    ----------
    x, y
        Clouds, shapes (n, d) and (m, d); arrays or tensors.
    a, b
        Weights, shapes (n,) and (m,); uniform by default, normalised to one.

    Returns
    -------
    The distance, in the root of the clouds' unit.

    Raises
    ------
    ValueError
        When shapes do not fit, values are not finite, or weights are negative or all zero.

    References
    ----------
    Szekely, Rizzo (2013), J. Stat. Plan. Inference 143, 1249-1272 :cite:p:`szekely2013`.

    Examples
    --------
    >>> from scruot.metrics import energy_distance
    >>> energy_distance([[0.0]], [[0.0]])
    0.0
    """
    x, y, a, b = _clouds(x, y, a, b)
    cross, within_x, within_y = (
        float(p @ _distances(u, v, "euclidean") @ q)
        for u, v, p, q in ((x, y, a, b), (x, x, a, a), (y, y, b, b))
    )
    return float(np.sqrt(max(2 * cross - within_x - within_y, 0.0)))


def mmd(
    x: ArrayLike,
    y: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    bandwidth: float | None = None,
) -> float:
    """Return the maximum mean discrepancy with a Gaussian kernel.

    Parameters
    ----------
    x, y
        Clouds, shapes (n, d) and (m, d); arrays or tensors.
    a, b
        Weights, shapes (n,) and (m,); uniform by default, normalised to one.
    bandwidth
        Standard deviation of the kernel, in units of the clouds; by default the median
        distance between points of ``y``, so that scores against one cloud are comparable.
        Only with a given bandwidth are the two clouds interchangeable.

    Returns
    -------
    The discrepancy (not squared), without unit.

    Raises
    ------
    ValueError
        When shapes do not fit, values are not finite, weights are negative or all zero, or
        the bandwidth is not positive.

    References
    ----------
    Gretton et al. (2012), J. Mach. Learn. Res. 13, 723-773 :cite:p:`gretton2012`.

    Examples
    --------
    >>> from scruot.metrics import mmd
    >>> mmd([[0.0], [1.0]], [[0.0], [1.0]])
    0.0
    """
    x, y, a, b = _clouds(x, y, a, b)
    if bandwidth is not None and not bandwidth > 0:
        msg = f"Found bandwidth={bandwidth!r}; expected a positive number."
        raise ValueError(msg)
    inner = _distances(y, y, "sqeuclidean")
    if bandwidth is None:
        above = inner[inner > 0]
        bandwidth = float(np.sqrt(np.median(above))) if above.size else 1.0

    def mean_kernel(squared: NDArray[np.float64], p: Any, q: Any) -> float:
        return float(p @ np.exp(-squared / (2 * bandwidth**2)) @ q)

    value = mean_kernel(_distances(x, x, "sqeuclidean"), a, a) + mean_kernel(inner, b, b)
    cross = mean_kernel(_distances(x, y, "sqeuclidean"), a, b)
    return float(np.sqrt(max(value - 2 * cross, 0.0)))


def mass_error(predicted: float, observed: float) -> float:
    """Return the relative error of a population.

    Parameters
    ----------
    predicted, observed
        Populations in the same unit.

    Returns
    -------
    ``|predicted - observed| / observed``.

    Raises
    ------
    ValueError
        When the observed population is not positive.

    Examples
    --------
    >>> from scruot.metrics import mass_error
    >>> mass_error(1.5, 1.0)
    0.5
    """
    if not observed > 0:
        msg = f"Found an observed population of {observed!r}; expected a positive number."
        raise ValueError(msg)
    return abs(predicted - observed) / observed


def _transport_cost(x: Any, y: Any, a: Any, b: Any, metric: str) -> float:
    x, y, a, b = _clouds(x, y, a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        cost, report = ot.emd2(a, b, _distances(x, y, metric), numItermax=_MAX_ITERATIONS, log=True)
    if report["warning"] is not None:
        msg = (
            f"Exact transport between {len(x)} and {len(y)} points was not solved "
            f"({report['warning']}); use fewer points, e.g. random subsets."
        )
        raise RuntimeError(msg)
    return float(cost)


def _distances(x: NDArray[np.float64], y: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    # not by |x|^2 + |y|^2 - 2 x.y, which loses short distances far from the origin
    return np.asarray(cdist(x, y, metric), dtype=np.float64)


def _clouds(x: Any, y: Any, a: Any, b: Any) -> tuple[NDArray[np.float64], ...]:
    first, second = _cloud(x, "x"), _cloud(y, "y")
    if first.shape[1] != second.shape[1]:
        msg = (
            f"Found clouds with {first.shape[1]} and {second.shape[1]} coordinates; expected "
            "the same number."
        )
        raise ValueError(msg)
    return first, second, _weights(a, len(first), "a"), _weights(b, len(second), "b")


def _cloud(x: Any, name: str) -> NDArray[np.float64]:
    array = _numpy(x)
    if array.ndim != 2 or len(array) == 0:
        msg = f"Found {name} of shape {array.shape}; expected (n, d) with n >= 1."
        raise ValueError(msg)
    if not np.isfinite(array).all():
        msg = f"{name} holds NaN or infinity; expected finite coordinates."
        raise ValueError(msg)
    return array


def _weights(a: Any, n: int, name: str) -> NDArray[np.float64]:
    if a is None:
        return np.full(n, 1 / n)
    weights = _numpy(a)
    if weights.shape != (n,):
        msg = f"Found weights {name} of shape {weights.shape}; expected ({n},)."
        raise ValueError(msg)
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        msg = f"Weights {name} must be finite, not negative, and not all zero."
        raise ValueError(msg)
    return np.asarray(weights / weights.sum())


def _numpy(x: Any) -> NDArray[np.float64]:
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().numpy()
    return np.asarray(x, dtype=np.float64)
