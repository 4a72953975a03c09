"""Which groups of cells look like ends: late, sink-like, slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scruot.transport import Chain
from scruot.transport.chain import leaving as leaving_mass
from scruot.transport.chain import rows_of

__all__ = ["GroupFlow", "group_flow"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroupFlow:
    """How groups change from one time to the next, one entry per group.

    Attributes
    ----------
    last
        Position of the last time at which the group has cells; -1 for none.
    kept
        Share of the descendants of its cells that are in the group again at the next time; NaN
        where it has no cell before the last time.
    received
        Share of its members, from the second time on, whose ancestors were in another group.
    speed
        Mean displacement of its cells to the mean of their descendants, per unit of time, over
        that of all cells; NaN as above.
    """

    last: NDArray[np.int64]
    kept: Array
    received: Array
    speed: Array


def group_flow(
    chain: Chain,
    xs: Sequence[NDArray[np.floating]],
    codes: Sequence[NDArray[np.integer]],
    times: Sequence[float],
    n_groups: int,
) -> GroupFlow:
    """Measure groups on the plans between consecutive times.

    Parameters
    ----------
    chain
        Plans.
    xs
        Coordinates of the cells of each time in which displacements are measured.
    codes
        Group of each cell of each time; -1 for none.
    times
        The times.
    n_groups
        Number of groups.

    Returns
    -------
    Figures of every group.
    """
    last = np.full(n_groups, -1)
    for k, code in enumerate(codes):
        last[np.unique(code[code >= 0])] = k
    leaving, staying = np.zeros(n_groups), np.zeros(n_groups)
    arriving, foreign = np.zeros(n_groups), np.zeros(n_groups)
    moved, weighed = np.zeros(n_groups), np.zeros(n_groups)
    for k, plan in enumerate(chain.plans):
        matrix = rows_of(plan)
        before, after = one_hot(codes[k], n_groups), one_hot(codes[k + 1], n_groups)
        flow = before.T @ (matrix @ after)
        # only what is labelled at both ends tells
        leaving += flow.sum(1)
        staying += np.diag(flow)
        arriving += flow.sum(0)
        foreign += flow.sum(0) - np.diag(flow)
        rows = leaving_mass(matrix)
        ahead = np.divide(matrix @ xs[k + 1], rows[:, None], where=rows[:, None] > 0, out=xs[k] * 1)
        step = np.linalg.norm(ahead - xs[k], axis=1) / (times[k + 1] - times[k])
        moved += before.T @ (rows * step)
        weighed += before.T @ rows
    overall = moved.sum() / weighed.sum() if weighed.sum() > 0 else np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return GroupFlow(last, staying / leaving, foreign / arriving, moved / weighed / overall)


def one_hot(codes: NDArray[np.integer], n: int) -> Array:
    """Return membership, shape (n_cells, n); -1 is in no group."""
    return np.asarray(codes[:, None] == np.arange(n), dtype=np.float64)
