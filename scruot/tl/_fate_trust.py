"""Whether fates can be trusted: figures and warnings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scruot.fates import shares
from scruot.tl._fate_carry import Carried, FateCells

logger = logging.getLogger(__name__)

_NO_PROGENITORS = 2.0  # spread of the narrowest snapshot over near distances
# what one Gaussian of few dimensions has, whose cells have near neighbours anyway
_ROUND = {1: 114.0, 2: 9.2, 3: 4.2, 4: 2.8, 5: 2.1}
_BEYOND = 1.1  # how far beyond that a snapshot is no one cloud
_UNLIKE = 0.5  # of the variance of coupled fates that simulated ones miss
_LOST = 0.2  # share of descendants that end in no state
ALIKE = 0.02  # spread of early probabilities below which they say nothing about single cells


def quality(cells: FateCells, found: Carried) -> dict[str, Any]:
    """Return figures by which to judge fates.

    ``spread_over_near``
        Of :func:`scruot.transport.auto_settings`: beyond ``progenitor_limit`` no snapshot looks
        like progenitors.
    ``progenitor_limit``
        2, and more in less than six dimensions, where one Gaussian has as much.
    ``none_share``
        Share of the descendants, over all cells, that end in no terminal state.
    ``without_fate``
        Number of cells without a fate.
    ``early_spread``
        How far the probabilities of the first cells are apart: the root of their variance between
        cells over that of certain fates, ``sqrt(sum_f var p_f / sum_f m_f (1 - m_f))`` with means
        ``m``. 0 where all cells are told the same, 1 where each fate is certain.
    ``early_time``
        Time of these cells, the first with cells that are in no terminal state.
    ``agreement``
        With ``stochastic=True``: one minus the Brier score of simulated against coupled fates over
        that of the mean of these; 1 where both agree. Of cells of the earlier half of the times,
        where simulations of a model are too sure; later on they agree anyway.
    """
    known = np.isfinite(found.mass).all(1) & (cells.mass > 0)
    total = cells.mass[known] @ found.mass[known]
    early, spread = _early(cells, found, known)
    return {
        "spread_over_near": float("nan")
        if found.settings is None
        else float(found.settings.spread_over_near),
        "progenitor_limit": _limit(cells.x.shape[1]),
        "none_share": float(total[-1] / total.sum()) if total.sum() > 0 else float("nan"),
        "without_fate": int((~known).sum()),
        "early_time": early,
        "early_spread": spread,
        "agreement": _agreement(cells, found, known),
    }


def _early(cells: FateCells, found: Carried, known: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the first time with cells on their way, and how far their probabilities are apart."""
    p = shares(found.mass[:, :-1])
    rows = known & np.isfinite(p).all(1) & (cells.states.codes < 0)
    if not rows.any():
        return float("nan"), float("nan")
    first = float(cells.time[rows].min())
    rows &= cells.time == first
    weight = cells.mass[rows] / cells.mass[rows].sum()
    mean = weight @ p[rows]
    certain = float((mean * (1.0 - mean)).sum())
    between = float((weight @ (p[rows] - mean) ** 2).sum())
    # where all end alike there is nothing to tell apart
    return first, float(np.sqrt(between / certain)) if certain > 1e-12 else float("nan")


def _limit(n_dims: int) -> float:
    """Return what the spread over near distances may be in so many dimensions."""
    return max(_NO_PROGENITORS, _BEYOND * _ROUND.get(n_dims, 0.0))


def _agreement(cells: FateCells, found: Carried, known: NDArray[np.bool_]) -> float:
    """Return one minus the Brier score against coupled fates over that of their mean."""
    if found.reference is None:
        return float("nan")
    # cells that are in a state agree trivially
    rows = known & np.isfinite(found.reference).all(1) & (cells.states.codes < 0)
    times = np.unique(cells.time[rows & (cells.time < cells.last)])
    if not len(times):
        return float("nan")
    rows &= cells.time <= times[(len(times) - 1) // 2]
    first, second = shares(found.mass[rows, :-1]), shares(found.reference[rows, :-1])
    own = np.isfinite(first).all(1) & np.isfinite(second).all(1)
    first, second = first[own], second[own]
    spread = ((second - second.mean(0)) ** 2).sum()
    return float(1 - ((first - second) ** 2).sum() / spread) if spread > 0 else float("nan")


def warn(figures: Mapping[str, Any]) -> None:
    """Log what makes fates doubtful, with the remedy."""
    ratio, limit = figures["spread_over_near"], figures["progenitor_limit"]
    if ratio > limit:
        logger.warning(
            "No snapshot looks like progenitors: the narrowest is %.*f times as wide as its near "
            "distances (up to %.2g is usual). Noise cannot be told from fates, so probabilities of "
            "early cells are not to be trusted; add an earlier snapshot, or start with cells of "
            "one kind.",
            0 if ratio >= 10 else 1,
            ratio,
            limit,
        )
    if figures["early_spread"] < ALIKE:
        logger.warning(
            "All cells of time %g have nearly the same probabilities (spread %.3f, 1 is certain): "
            "these are the shares of the ends, and say nothing about single cells there. Read "
            "fates of later times, or give what tells early cells apart: couplings from clones or "
            "RNA velocity (scruot.tl.import_couplings), or another representation.",
            figures["early_time"],
            figures["early_spread"],
        )
    if figures["agreement"] < 1 - _UNLIKE:
        logger.warning(
            "Simulated fates depart from those of the couplings of the same model (agreement %.2f, "
            "1 is perfect): its noise is not calibrated, and probabilities are too sure of "
            "themselves. Leave out stochastic=True.",
            figures["agreement"],
        )
    if figures["none_share"] > _LOST:
        logger.warning(
            "%.0f %% of the descendants end in no terminal state; name more states "
            "(terminal_states), or look at them with none=True.",
            100 * figures["none_share"],
        )


def warn_without_fate(cells: FateCells, probabilities: NDArray[np.float64]) -> None:
    """Log how many cells have no fate because no state ends after them, with the remedy."""
    last = max(cells.states.exit_times(cells.time))
    missing: NDArray[np.bool_] = ~np.asarray(np.isfinite(probabilities).all(1))
    name = "name more states or sets of cells in terminal_states"
    for here, when, remedy in (
        (cells.time == last, "of", f"{name}, or keep 'none of these' as a column with none=True"),
        (cells.time > last, "after", f"{name}, or leave these cells out"),
    ):
        counted = here & (cells.mass > 0)
        if missing[counted].any():
            logger.warning(
                "%d of %d cells %s time %g are in no terminal state and have no fate (NaN); %s.",
                missing[counted].sum(),
                counted.sum(),
                when,
                last,
                remedy,
            )
