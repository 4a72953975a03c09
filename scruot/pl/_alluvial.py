"""Where nodes, ribbons and names of an alluvial plot go: plain geometry, nothing is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Alluvium", "Node", "Ribbon", "layout", "spread"]


@dataclass(frozen=True)
class Node:
    """A group at a time, from `low` to `high`."""

    time: float
    group: str
    low: float
    high: float

    @property
    def middle(self) -> float:
        """Half-way up."""
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class Ribbon:
    """A flow: from `left` (low, high) at its source to `right` at its target."""

    start: float
    end: float
    source: str
    target: str
    left: tuple[float, float]
    right: tuple[float, float]


@dataclass(frozen=True)
class Alluvium:
    """All of a picture, in units of the population at the first time, centred on 0."""

    nodes: list[Node]
    ribbons: list[Ribbon]
    total: dict[float, float]


def layout(
    population: pd.DataFrame, flow: pd.DataFrame, order: Sequence[str], *, gap: float
) -> Alluvium:
    """Stack the groups of each time from the top and join them.

    A ribbon is as thick at its source as the part of the source's cells whose descendants it
    holds, and at its target as these descendants are: it widens where they grow.

    Parameters
    ----------
    population
        ``time``, ``group``, ``mass``.
    flow
        ``start``, ``end``, ``source``, ``target``, ``mass_start``, ``mass``.
    order
        Groups from top to bottom.
    gap
        Space between groups, as a part of the tallest column.
    """
    rank = {group: i for i, group in enumerate(order)}
    population = population[population["group"].isin(order) & (population["mass"] > 0)]
    flow = flow[flow["source"].isin(order) & flow["target"].isin(order)]
    totals = population.groupby("time")["mass"].sum()
    first = float(totals.iloc[0])
    space = gap * float(totals.max()) / first
    nodes: dict[tuple[float, str], Node] = {}
    for time in totals.index.tolist():
        column = population[population["time"] == time]
        column = column.iloc[np.argsort([rank[group] for group in column["group"]])]
        heights = column["mass"].to_numpy() / first
        top = (heights.sum() + space * (len(heights) - 1)) / 2
        for group, height in zip(column["group"], heights, strict=True):
            nodes[time, group] = Node(time, group, top - height, top)
            top -= height + space
    left = _stacked(flow, nodes, rank, first, ("start", "source"), ("target", "mass_start"))
    right = _stacked(flow, nodes, rank, first, ("end", "target"), ("source", "mass"))
    ends = (flow[name].tolist() for name in ("start", "end", "source", "target"))
    ribbons = [
        Ribbon(start, end, source, target, left[i], right[i])
        for i, (start, end, source, target) in enumerate(zip(*ends, strict=True))
    ]
    total = dict(zip(totals.index.tolist(), (totals / first).tolist(), strict=True))
    return Alluvium(list(nodes.values()), ribbons, total)


def _stacked(
    flow: pd.DataFrame,
    nodes: Mapping[tuple[float, str], Node],
    rank: Mapping[str, int],
    first: float,
    here: tuple[str, str],
    there: tuple[str, str],
) -> dict[int, tuple[float, float]]:
    """Return where each flow touches its node at one end; `there`: the other group, and mass."""
    places: dict[int, tuple[float, float]] = {}
    rows = flow.reset_index(drop=True)
    for (time, group), node in nodes.items():
        part = rows[(rows[here[0]] == time) & (rows[here[1]] == group)]
        part = part.iloc[np.argsort([rank[group] for group in part[there[0]]])]
        heights = part[there[1]].to_numpy() / first
        # a soft marginal may bring more than there is
        heights = heights * min(1.0, (node.high - node.low) / max(heights.sum(), 1e-300))
        # cells without ancestors or descendants are left bare, above and below
        top = node.middle + heights.sum() / 2
        for row, height in zip(part.index, heights, strict=True):
            places[int(row)] = (top - height, top)
            top -= height
    return places


def spread(wanted: NDArray[np.float64], room: float) -> NDArray[np.float64]:
    """Move heights apart until neighbours have `room`, as little as possible in square.

    Blocks that would overlap are merged and centred on the mean of what their members want:
    isotonic regression of ``wanted - rank * room``.

    Parameters
    ----------
    wanted
        Heights in any order, shape (n,).
    room
        Least distance of neighbours.
    """
    if not len(wanted):
        return wanted
    order = np.argsort(wanted, kind="stable")
    steps = room * np.arange(len(wanted))
    blocks: list[tuple[float, int]] = []
    for value in wanted[order] - steps:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, n = blocks.pop()
            mean, size = (mean * size + before * n) / (size + n), size + n
        blocks.append((mean, size))
    placed = np.concatenate([np.full(size, mean) for mean, size in blocks]) + steps
    result = np.empty_like(placed)
    result[order] = placed
    return result
