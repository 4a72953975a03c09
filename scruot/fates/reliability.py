"""Whether probabilities come true: reliability in bins, Brier score and skill."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["reliability", "scores"]

Array = NDArray[np.float64]


def reliability(p: Array, truth: Array, names: list[str], n_bins: int = 10) -> pd.DataFrame:
    """Compare predicted with true probabilities in bins of the predicted ones.

    Parameters
    ----------
    p, truth
        Predicted and true probabilities (or what came to be, zero or one), shape ``(n, F)``.
    names
        Names of the fates.
    n_bins
        Number of bins of equal width.

    Returns
    -------
    One row per fate and bin that is not empty: ``fate``, ``low``, ``high``, ``predicted`` and
    ``observed`` (means), ``se`` (standard error of the latter), ``n_cells``.
    """
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    rows = []
    for k, name in enumerate(names):
        which = np.clip(np.digitize(p[:, k], edges[1:-1]), 0, n_bins - 1)
        for b in np.unique(which):
            here = which == b
            n = int(here.sum())
            spread = truth[here, k].std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
            means = float(p[here, k].mean()), float(truth[here, k].mean())
            rows.append((name, edges[b], edges[b + 1], *means, float(spread), n))
    columns = ["fate", "low", "high", "predicted", "observed", "se", "n_cells"]
    return pd.DataFrame(rows, columns=columns)


def scores(p: Array, truth: Array) -> dict[str, float]:
    """Return Brier score, skill, expected calibration error and mean correlation.

    Skill is one minus the Brier score over that of telling every cell the mean: 1 is perfect, 0
    useless, below it harmful.
    """
    brier = float(((p - truth) ** 2).sum(1).mean())
    null = float(((truth - truth.mean(0)) ** 2).sum(1).mean())
    table = reliability(p, truth, [str(k) for k in range(p.shape[1])])
    gap = (table["predicted"] - table["observed"]).abs()
    pairs = [
        np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, truth.T, strict=True) if a.std() and b.std()
    ]
    return {
        "brier": brier,
        "skill": 1.0 - brier / null if null > 0 else float("nan"),
        "calibration_error": float(np.average(gap, weights=table["n_cells"])),
        "r": float(np.mean(pairs)) if pairs else float("nan"),
    }
