"""From measures of genes to scores, p-values and false discovery rates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

__all__ = ["adjusted", "calibrated", "pooled"]

Array = NDArray[np.float64]

_TAIL = 0.03  # share of the null whose excess gives the slope of its tail
_SHARED = 0.25  # correlation of squared z scores of two intervals that share a snapshot


def calibrated(measures: Array, null: Array) -> tuple[Array, Array]:
    """Return a score and a p-value of each gene, shape ``(d,)``.

    Each measure is centred and scaled by the null; the score is the largest. Its p-value is the
    share of null genes with a larger one, and beyond their last hundredths an exponential tail with
    the mean excess of these, which is heavier than that of a normal deviate.

    Parameters
    ----------
    measures
        Shape ``(s, d)``.
    null
        The same of genes that do not move, shape ``(s, N)``.
    """
    if len(measures) > len(null):  # halves were too small for the wider scale
        measures = measures[[*range(len(null) - 1), -1]]
    centre = np.median(null, axis=1, keepdims=True)
    spread = np.maximum(np.quantile(null, 0.95, axis=1, keepdims=True) - centre, 1e-12)
    score, other = (((m - centre) / spread).max(axis=0) for m in (measures, null))
    ordered = np.sort(other)
    p_value = 1.0 - np.searchsorted(ordered, score, side="left") / len(ordered)
    start = np.quantile(ordered, 1 - _TAIL)
    excess = ordered[ordered > start] - start
    slope = max(float(excess.mean()) if len(excess) else 0.0, 1e-12)
    beyond = score > start
    p_value[beyond] = _TAIL * np.exp(-(score[beyond] - start) / slope)
    return score, np.clip(p_value, 1e-300, 1.0)


def pooled(p_values: Array) -> Array:
    """Return one p-value per gene of several intervals, shape ``(k, d)`` to ``(d,)``.

    Fisher's sum of logarithms, with the degrees of freedom that Brown gives it, since consecutive
    intervals share a snapshot.

    References
    ----------
    Brown (1975), Biometrics 31 :cite:p:`brown1975`.
    """
    k = len(p_values)
    if k == 1:
        return p_values[0]
    total = -2.0 * np.log(p_values).sum(axis=0)
    stretch = (4.0 * k + 8.0 * _SHARED * (k - 1)) / (4.0 * k)
    return np.asarray(chi2.sf(total / stretch, 2.0 * k / stretch))


def adjusted(p_value: Array) -> Array:
    """Return false discovery rates by Benjamini and Hochberg."""
    n = len(p_value)
    order = np.argsort(p_value, kind="stable")
    rates = p_value[order] * n / np.arange(1, n + 1)
    found = np.empty(n)
    found[order] = np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1.0)
    return found
