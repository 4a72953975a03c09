"""Names of groups in an alluvial plot: beside its ends and inside, none over another."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from scruot.pl._alluvial import Alluvium, Node, spread
from scruot.pl._figure import figure_of, font, shortened

__all__ = ["NODE_WIDTH", "beside", "extent", "write_names"]

#: Width of a node, where neighbouring times are 1 apart.
NODE_WIDTH = 0.07
_POINTS = 72.0
# Width of a letter, as a part of the size of the font.
_LETTER = 0.55


def extent(drawn: Alluvium) -> float:
    """Return the height of the data, with room for the populations above."""
    return 1.12 * (max(n.high for n in drawn.nodes) - min(n.low for n in drawn.nodes))


def beside(drawn: Alluvium) -> float:
    """Return the inches that names at both sides take, with what holds them off."""
    ends = min(drawn.total), max(drawn.total)
    names = [[shortened(n.group) for n in drawn.nodes if n.time == time] for time in ends]
    letters = sum(max(map(len, side), default=0) for side in names)
    return letters * _LETTER * font("legend") / _POINTS + 0.45


def write_names(ax: Axes, drawn: Alluvium, place: dict[float, float], *, outside: bool) -> None:
    """Write the groups of the first time at the left, of the last at the right."""
    times = list(place)
    for side, time in ((-1, times[0]), (1, times[-1])):
        nodes = [node for node in drawn.nodes if node.time == time]
        _name_side(ax, nodes, drawn, place[time], side)
    # a group of the middle only is named where it is largest
    named = {node.group for node in drawn.nodes if node.time in (times[0], times[-1])}
    inside: dict[float, list[Node]] = {}
    for node in sorted(drawn.nodes, key=lambda node: node.low - node.high):
        if node.group not in named:
            named.add(node.group)
            inside.setdefault(node.time, []).append(node)
    room = _width(ax) if outside else figure_of(ax).get_figwidth() - beside(drawn)
    letters = (
        room / max(len(times) - 1, 1) * (1 - 2 * NODE_WIDTH) * _POINTS / (_LETTER * font("legend"))
    )
    for time, nodes in inside.items():
        _name_inside(ax, nodes, drawn, place[time], max(5, int(letters)))


def _name_inside(ax: Axes, nodes: list[Node], drawn: Alluvium, x: float, letters: int) -> None:
    heights = spread(np.array([node.middle for node in nodes]), _line(ax, drawn))
    for node, y in zip(nodes, heights, strict=True):
        ax.text(
            x + NODE_WIDTH,
            y,
            shortened(node.group, letters),
            va="center",
            fontsize=font("legend"),
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
            zorder=4,
        )


def _name_side(ax: Axes, nodes: list[Node], drawn: Alluvium, x: float, side: int) -> None:
    middle = np.array([node.middle for node in nodes])
    line = _line(ax, drawn)
    heights = spread(middle, line)
    moved = np.abs(heights - middle) > 0.25 * line
    reach = x + side * (NODE_WIDTH / 2 + 0.02)
    away = reach + side * (0.1 if moved.any() else 0.02)
    for node, y, far in zip(nodes, heights, moved, strict=True):
        if far:
            lead: dict[str, Any] = {"color": "0.5", "linewidth": 0.5, "clip_on": False, "zorder": 3}
            ax.plot([reach, away], [node.middle, y], **lead)
        ax.text(
            away + side * 0.02,
            y,
            shortened(node.group),
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=font("legend"),
            zorder=4,
        )


def _line(ax: Axes, drawn: Alluvium) -> float:
    """Return the height of a line of text in units of the data."""
    return 1.3 * font("legend") / (_POINTS * _height(ax)) * extent(drawn)


def _width(ax: Axes) -> float:
    """Return the width of the axes in inches."""
    return float(ax.get_window_extent().width / figure_of(ax).dpi)


def _height(ax: Axes) -> float:
    """Return the height of the axes in inches."""
    return float(ax.get_window_extent().height / figure_of(ax).dpi)
