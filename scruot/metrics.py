"""Distances between weighted clouds."""

from __future__ import annotations

from typing import Any

import numpy as np
import ot
import torch
from numpy.typing import ArrayLike, NDArray

__all__ = ["energy_distance", "mass_error", "mmd", "w1", "w2"]


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
    Szekely, Rizzo (2013), J. Stat. Plan. Inference 143, 1249-1272.

    Examples
    --------
    >>> from scruot.metrics import energy_distance
    >>> energy_distance([[0.0]], [[0.0]])
    0.0
    """
    x, y, a, b = _clouds(x, y, a, b)
    cross, within_x, within_y = (
        p @ ot.dist(u, v, metric="euclidean") @ q
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

    Returns
    -------
    The discrepancy (not squared), without unit.

    Raises
    ------
    ValueError
        When shapes do not fit, values are not finite, or weights are negative or all zero.

    References
    ----------
    Gretton et al. (2012), J. Mach. Learn. Res. 13, 723-773.

    Examples
    --------
    >>> from scruot.metrics import mmd
    >>> mmd([[0.0], [1.0]], [[0.0], [1.0]])
    0.0
    """
    x, y, a, b = _clouds(x, y, a, b)
    inner = ot.dist(y, y)
    if bandwidth is None:
        above = inner[inner > 0]
        bandwidth = float(np.sqrt(np.median(above))) if above.size else 1.0

    def mean_kernel(squared: NDArray[np.float64], p: Any, q: Any) -> float:
        return float(p @ np.exp(-squared / (2 * bandwidth**2)) @ q)

    value = mean_kernel(ot.dist(x, x), a, a) + mean_kernel(inner, b, b)
    return float(np.sqrt(max(value - 2 * mean_kernel(ot.dist(x, y), a, b), 0.0)))


def mass_error(predicted: float, observed: float) -> float:
    """Return the relative error of a population.

    Parameters
    ----------
    predicted, observed
        Populations in the same unit.

    Returns
    -------
    ``|predicted - observed| / observed``.

    Examples
    --------
    >>> from scruot.metrics import mass_error
    >>> mass_error(1.5, 1.0)
    0.5
    """
    return abs(predicted - observed) / observed


def _transport_cost(x: Any, y: Any, a: Any, b: Any, metric: str) -> float:
    x, y, a, b = _clouds(x, y, a, b)
    return float(ot.emd2(a, b, ot.dist(x, y, metric=metric), numItermax=10_000_000))


def _clouds(x: Any, y: Any, a: Any, b: Any) -> tuple[NDArray[np.float64], ...]:
    first, second = _cloud(x, "x"), _cloud(y, "y")
    if first.shape[1] != second.shape[1]:
        msg = f"Found clouds with {first.shape[1]} and {second.shape[1]} coordinates; expected the same."
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
    return weights / weights.sum()


def _numpy(x: Any) -> NDArray[np.float64]:
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().numpy()
    return np.asarray(x, dtype=np.float64)
