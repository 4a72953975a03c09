"""A signed network of genes on a circle."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.legend_handler import HandlerPatch
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from scruot.pl._figure import font

__all__ = ["draw_network", "explain_network"]

# Radius of the free disc around a node, reach of a loop and place of a name, on a unit circle.
_FREE, _LOOP, _NAME = 0.11, 0.4, 0.46
_THIN, _THICK = 0.5, 1.8
_LINE = 0.2
# How far arrows bend, so that two between the same genes lie apart.
_BEND = 0.14
# Where on the colour map: strong enough to be seen on white.
_SIGNS = (0.1, 0.9)
# Edges weaker than this share of the strongest are not drawn.
_LEAST = 0.01


def draw_network(
    ax: Axes,
    values: NDArray[np.float64],
    names: list[str],
    top: float,
    cmap: Colormap,
    n_edges: int,
) -> None:
    """Draw arrows from regulators (columns) to regulated genes (rows), and loops."""
    n = len(names)
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    place = np.column_stack([np.cos(angle), np.sin(angle)])
    size = np.abs(np.nan_to_num(values))
    loops = np.flatnonzero(np.diag(size) > _LEAST * top)
    between = size.copy()
    np.fill_diagonal(between, 0.0)
    order = np.argsort(-between, axis=None, kind="stable")[:n_edges]
    # weak ones first, strong ones on top
    for i, j in zip(*np.unravel_index(order[::-1], size.shape), strict=True):
        if between[i, j] > _LEAST * top:
            start, end = _shortened(place[j], place[i])
            ax.add_patch(_arrow(values[i, j], top, cmap, posA=start, posB=end))
    for i in loops:
        ax.add_patch(_arrow(values[i, i], top, cmap, path=_loop(angle[i])))
    ax.scatter(place[:, 0], place[:, 1], s=22, color="0.25", zorder=3)
    far = 1 + _NAME if len(loops) else 1 + 1.5 * _FREE
    for name, a in zip(names, angle, strict=True):
        x, y = far * np.cos(a), far * np.sin(a)
        across = "center" if abs(np.cos(a)) < 0.2 else "left" if x > 0 else "right"
        up = "center" if abs(np.cos(a)) >= 0.2 else "bottom" if y > 0 else "top"
        ax.text(x, y, name, ha=across, va=up, fontsize=font("tick"))
    reach = far + 0.05
    ax.set_xlim(-reach, reach)
    # the names above and below are a line high
    ax.set_ylim(-reach - _LINE, reach + _LINE)
    ax.set_aspect("equal")
    ax.set_axis_off()


def explain_network(ax: Axes, cmap: Colormap) -> None:
    """Explain pointed and flat ends."""
    handles = [
        FancyArrowPatch((0, 0), (1, 0), label=label, **_style(sign, 1.4, cmap))
        for sign, label in ((1.0, "activates"), (-1.0, "represses"))
    ]
    ax.legend(
        handles=handles,
        handler_map={FancyArrowPatch: HandlerPatch(patch_func=_in_legend)},
        frameon=False,
        fontsize=font("legend"),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.02),
        borderaxespad=0.0,
        handlelength=1.6,
        handletextpad=0.5,
        columnspacing=1.0,
        ncols=2,
    )


def _in_legend(
    legend: Any,
    orig_handle: FancyArrowPatch,
    xdescent: float,
    ydescent: float,
    width: float,
    height: float,
    fontsize: float,
) -> FancyArrowPatch:
    middle = (height - ydescent) / 2
    return FancyArrowPatch(
        (-xdescent, middle),
        (width - xdescent, middle),
        arrowstyle=orig_handle.get_arrowstyle(),
        mutation_scale=orig_handle.get_mutation_scale(),
    )


def _style(value: float, width: float, cmap: Colormap) -> dict[str, Any]:
    head = "-|>,head_length=0.35,head_width=0.18" if value > 0 else "|-|,widthA=0,widthB=0.33"
    return {
        "arrowstyle": head,
        "mutation_scale": 7.0 + 2 * width,
        "color": cmap(_SIGNS[int(value > 0)]),
        "linewidth": width,
        "shrinkA": 0.0,
        "shrinkB": 0.0,
        "joinstyle": "miter",
        "capstyle": "butt",
    }


def _arrow(value: float, top: float, cmap: Colormap, **where: Any) -> FancyArrowPatch:
    width = _THIN + (_THICK - _THIN) * min(1.0, abs(value) / top)
    if "posA" in where:
        where["connectionstyle"] = f"arc3,rad={_BEND}"
    return FancyArrowPatch(**where, **_style(value, width, cmap), zorder=2)


def _shortened(
    start: NDArray[np.float64], end: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave the discs around both nodes free."""
    way = (end - start) / np.linalg.norm(end - start)
    return start + _FREE * way, end - _FREE * way


def _loop(angle: float) -> Path:
    """Return a loop that leaves a node outwards and comes back to it."""
    node = np.array([np.cos(angle), np.sin(angle)])

    def at(radius: float, turn: float) -> NDArray[np.float64]:
        return node + radius * np.array([np.cos(angle + turn), np.sin(angle + turn)])

    # a cubic reaches three quarters of the way to its inner points
    far = _LOOP / 0.75
    return Path(
        [at(_FREE, 0.7), at(far, 0.8), at(far, -0.8), at(_FREE, -0.7)],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
