"""Axes in, axes out: figures are made, dressed, saved and shown here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

__all__ = [
    "COLUMN_WIDTH",
    "dress_embedding",
    "dress_plot",
    "figure_of",
    "finish",
    "font",
    "name_outer",
    "new_axes",
    "panels",
    "point_size",
    "shortened",
    "title_panels",
]

Drawn = TypeVar("Drawn", Axes, list[Axes])

#: Width in inches of one column of most journals.
COLUMN_WIDTH = 3.3
_MIN_FONT = 7.0
_SAVED_DPI = 300
# Longer names leave no room for what they name.
_MAX_NAME = 28
_SCALES = {"title": 0.9, "label": 0.85, "tick": 0.75, "legend": 0.75}
_NAMES = {"pca": "PCA", "umap": "UMAP", "phate": "PHATE", "tsne": "tSNE", "diffmap": "DC"}


def font(role: str) -> float:
    """Return a size in points: follows the user's ``font.size``, never below 7."""
    return max(_MIN_FONT, _SCALES[role] * float(mpl.rcParams["font.size"]))


def new_axes(ax: Axes | None, figsize: tuple[float, float] | None) -> Axes:
    """Return the user's axes, or those of a new figure as wide as a journal's column."""
    if ax is not None:
        return ax
    size = figsize or (COLUMN_WIDTH, 0.82 * COLUMN_WIDTH)
    return plt.subplots(figsize=size, layout="constrained")[1]


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure, also of axes in a part of one."""
    figure = ax.figure
    while isinstance(figure, SubFigure):
        figure = figure.figure
    return figure


def panels(
    n: int,
    ax: Sequence[Axes] | Axes | None,
    figsize: tuple[float, float] | None,
    n_columns: int | None,
    *,
    share: bool = True,
) -> list[Axes]:
    """Return `n` axes of one figure, with shared limits (`share`), or the user's own.

    Raises
    ------
    ValueError
        For no panel at all, or another number of axes.
    """
    if n == 0:
        msg = "Found an empty list of what to draw; expected at least one, or None for all."
        raise ValueError(msg)
    if ax is not None:
        given = [ax] if isinstance(ax, Axes) else list(np.ravel(np.asarray(ax, dtype=object)))
        if len(given) != n:
            msg = f"Found {len(given)} axes for {n} panels. Pass {n} axes, or none."
            raise ValueError(msg)
        return given
    columns = min(n, n_columns or (n if n <= 3 else ceil(n / ceil(n / 4))))
    rows = ceil(n / columns)
    size = figsize or (max(COLUMN_WIDTH, 1.7 * columns), 1.75 * rows + 0.25)
    _, grid = plt.subplots(
        rows,
        columns,
        figsize=size,
        layout="constrained",
        squeeze=False,
        sharex=share,
        sharey=share,
    )
    axes = list(grid.ravel())
    for unused in axes[n:]:
        unused.set_axis_off()
    return axes[:n]


def point_size(n: int, size: float | None, ax: Axes) -> float:
    """Return the area of a cell's dot in points squared: many cells, small dots."""
    if size is not None:
        return size
    box = ax.get_window_extent()
    area = box.width * box.height / figure_of(ax).dpi ** 2
    return float(np.clip(3000 * area / max(n, 1), 0.8, 40))


def shortened(name: str, most: int = _MAX_NAME) -> str:
    """Return a name of a group, cut in the middle where it has more than `most` letters."""
    if len(name) <= most:
        return name
    # both ends tell: "CD4-positive, alpha-beta memory T cell" and "... naive T cell"
    half = (most - 1) // 2
    return f"{name[: most - 1 - half].rstrip()}…{name[len(name) - half :].lstrip()}"


def dress_embedding(ax: Axes, basis: str, components: Sequence[int], title: str | None) -> None:
    """Name the axes of an embedding; its numbers mean nothing, so it has no ticks."""
    name = _NAMES.get(basis, basis)
    name = f"{name} " if name[-1:].isdigit() else name
    ax.set_xlabel(f"{name}{components[0]}", fontsize=font("label"))
    ax.set_ylabel(f"{name}{components[1]}", fontsize=font("label"))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[["top", "right"]].set_visible(False)
    if title is not None:
        ax.set_title(title, fontsize=font("title"))


def name_outer(ax: Axes) -> None:
    """Keep the names of the outer axes of a grid; a panel above an empty place is outer, too."""
    name, here = ax.get_xlabel(), ax.get_subplotspec()
    ax.label_outer()
    if here is None:
        return
    places = [other.get_subplotspec() for other in ax.figure.axes if other.axison]
    below = any(
        place is not None
        and place.colspan.start == here.colspan.start
        and place.rowspan.start > here.rowspan.start
        for place in places
    )
    if not below:
        ax.set_xlabel(name, fontsize=font("label"))
        ax.tick_params(axis="x", labelbottom=True)


def dress_plot(ax: Axes, xlabel: str, ylabel: str, title: str | None) -> None:
    """Name the axes of a curve and keep its ticks."""
    ax.set_xlabel(xlabel, fontsize=font("label"))
    ax.set_ylabel(ylabel, fontsize=font("label"))
    ax.tick_params(which="both", labelsize=font("tick"))
    ax.spines[["top", "right"]].set_visible(False)
    if title is not None:
        ax.set_title(title, fontsize=font("title"))


def title_panels(axes: Sequence[Axes], title: str | None, *, own: bool) -> None:
    """Write a title over all panels of scruot's own figure, or over the first of the user's."""
    if title is not None and own:
        figure_of(axes[0]).suptitle(title, fontsize=font("title"))
    elif title is not None:
        axes[0].set_title(f"{title}\n{axes[0].get_title()}", fontsize=font("title"))


def finish(
    drawn: Drawn, *, given: bool, show: bool | None, save: str | Path | None
) -> Drawn | None:
    """Save and show; return the axes where they are not shown.

    Parameters
    ----------
    drawn
        The axes, one or several.
    given
        Whether the user made them.
    show
        ``None`` shows a figure that scruot made and did not save, if scanpy's
        ``settings.autoshow`` allows.
    save
        Where to; the suffix names the format.
    """
    if save is not None:
        figure = figure_of(drawn if isinstance(drawn, Axes) else drawn[0])
        own = mpl.rcParams["savefig.dpi"]
        figure.savefig(save, dpi=_SAVED_DPI if own == "figure" else own)
    if show is None:
        show = not given and save is None and _autoshow()
    if not show:
        return drawn
    plt.show()
    return None


def _autoshow() -> bool:
    # Imported late: scanpy takes seconds to load, and whoever set the switch has loaded it.
    from scanpy import settings

    return bool(settings.autoshow)
