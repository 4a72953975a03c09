"""Populations: what the total mass was at every time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scruot._messages import unknown

Mass = str | Mapping[float, float]


def read_mass(obs: pd.DataFrame, times: NDArray[np.float64], mass: Mass) -> NDArray[np.float64]:
    """Return the absolute mass of every cell, shape (n,).

    ``"counts"`` gives every cell mass 1, ``"equal"`` every time point the same total, a
    mapping from time to population that population shared by the cells of the time, and
    the name of an ``obs`` column the cells' own weights.

    Raises
    ------
    TypeError, ValueError
        For unknown words, missing times, and masses that are negative, not finite or all
        zero at a time.
    """
    unique, counts = np.unique(times, return_counts=True)
    share = 1.0 / counts[np.searchsorted(unique, times)]
    if isinstance(mass, Mapping):
        weights = share * _totals(mass, unique)[np.searchsorted(unique, times)]
    elif not isinstance(mass, str):
        msg = (
            f"Found mass of type {type(mass).__name__}; expected 'counts', 'equal', a mapping "
            "from time to population, or the name of an obs column of cell weights."
        )
        raise TypeError(msg)
    elif mass == "counts":
        weights = np.ones(len(times))
    elif mass == "equal":
        weights = share
    else:
        weights = _column(obs, mass)
    totals = np.array([weights[times == t].sum() for t in unique])
    if (totals <= 0).any():
        msg = (
            f"The total mass at time {unique[totals <= 0][0]:g} is zero; every time point needs "
            "a positive population."
        )
        raise ValueError(msg)
    return weights


def describe_mass(mass: Mass, times: NDArray[np.float64], weights: NDArray[np.float64]) -> str:
    """Say what was assumed about populations, and what they came to."""
    if isinstance(mass, Mapping):
        how = "populations as given"
    else:
        how = {
            "counts": "mass='counts' takes cell counts as populations (they may reflect capture "
            "and not growth: give mass='equal' or true sizes if they do)",
            "equal": "mass='equal' takes populations as constant",
        }.get(mass, f"cell weights from obs[{mass!r}]")
    totals = ", ".join(f"{t:g}: {weights[times == t].sum():.6g}" for t in np.unique(times))
    return f"{how}; totals per time {totals}"


def _totals(mass: Mapping[float, float], unique: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        given = {float(t): float(m) for t, m in mass.items()}
    except (TypeError, ValueError) as error:
        msg = f"Found mass={dict(mass)!r}; expected numbers: time to population."
        raise TypeError(msg) from error
    absent = [f"{t:g}" for t in unique if t not in given]
    if absent:
        msg = (
            f"mass has no population for time {', '.join(absent)}; found times "
            f"{sorted(given)}, expected {[float(t) for t in unique]}."
        )
        raise ValueError(msg)
    totals = np.array([given[t] for t in unique])
    if not np.isfinite(totals).all() or (totals <= 0).any():
        msg = f"Found populations {totals.tolist()}; expected finite, positive numbers."
        raise ValueError(msg)
    return totals


def _column(obs: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in obs:
        options = ["counts", "equal", *map(str, obs.columns)]
        raise ValueError(unknown("mass", name, options))
    column = obs[name]
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        msg = f"obs[{name!r}] has dtype {column.dtype}; expected numeric cell weights."
        raise ValueError(msg)
    weights = column.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        msg = (
            f"obs[{name!r}] holds {int(bad.sum())} weights that are missing, infinite or "
            f"negative (first: cell {obs.index[bad][0]!r}); expected finite weights >= 0."
        )
        raise ValueError(msg)
    return weights
