"""Transitions between groups of cells as a heatmap with numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from numpy.typing import NDArray

from scruot._messages import unknown
from scruot.pl._colors import color_bar, colormap
from scruot.pl._figure import COLUMN_WIDTH, dress_plot, finish, font, new_axes, shortened
from scruot.pl._read_transport import table_entry, transported

__all__ = ["transition_table"]

_LABELS = {
    "forward": "share of the descendants",
    "backward": "share of the ancestors",
    "mass": "mass",
}
# Inches of a cell of the table that holds three digits.
_CELL = 0.33
# With more groups than this the numbers would be smaller than can be read.
_MAX_NUMBERS = 20


def transition_table(
    adata: AnnData,
    *,
    key: str | None = None,
    values: Literal["forward", "backward", "mass"] = "forward",
    numbers: bool | None = None,
    cmap: str | Colormap | None = None,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw the table of transitions: rows are groups of the start, columns those of the end.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.transition_table`.
    key
        ``key_added`` of the transport.
    values
        ``"forward"``: where the descendants of each group are, rows sum to 1. ``"backward"``:
        where the ancestors of each group were, columns sum to 1. ``"mass"``: the mass itself.
    numbers
        Whether to write the numbers; by default where there are at most 20 groups.
    cmap
        Sequential colour map.
    colorbar
        Whether to explain the colours.
    title
        Title of the axes.
    figsize
        Width and height in inches; by default at least a single column of a journal, more for
        many groups or long names.
    ax
        Axes to draw into.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes, or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no transport, or no table.
    ValueError
        When `values` is unknown.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> table = scruot.tl.transition_table(adata, "lineage")
    >>> ax = scruot.pl.transition_table(adata, show=False)
    >>> ax.get_xlabel()
    'lineage at time 4'
    """
    if values not in _LABELS:
        raise ValueError(unknown("values", str(values), _LABELS))
    entry = table_entry(adata, key)
    stored = transported(adata, key)
    table = np.asarray(entry[values], dtype=float)
    rows, columns = ([str(g) for g in entry[k]] for k in ("source_groups", "target_groups"))
    axes = new_axes(ax, figsize or _size(rows, columns, colorbar=colorbar))
    mappable = _mappable(table, values, cmap)
    axes.imshow(mappable.to_rgba(np.ma.masked_invalid(table)), aspect="auto")
    if max(table.shape) <= _MAX_NUMBERS if numbers is None else numbers:
        _write(axes, table, mappable, values)
    if colorbar:
        color_bar(axes, mappable, _LABELS[values])
    times = (stored.labels.get(float(entry[k]), "") for k in ("source_time", "target_time"))
    before, after = (f"{entry['groupby']} at {stored.time_key} {t}" for t in times)
    dress_plot(axes, after, before, title)
    _label(axes, rows, columns)
    return finish(axes, given=ax is not None, show=show, save=save)


def _size(rows: list[str], columns: list[str], *, colorbar: bool) -> tuple[float, float]:
    letter = 0.55 * font("tick") / 72
    across, down = (max(len(shortened(n)) for n in names) * letter for names in (rows, columns))
    width = across + _CELL * len(columns) + 0.4 + (0.7 if colorbar else 0.0)
    height = _CELL * 0.8 * len(rows) + 0.5 + (down if _turned(columns) else 0.2)
    return max(COLUMN_WIDTH, width), max(0.6 * COLUMN_WIDTH, height)


def _turned(columns: list[str]) -> bool:
    """Tell whether names of columns do not fit side by side."""
    longest = max(len(shortened(name)) for name in columns) * 0.55 * font("tick") / 72
    return longest > max(_CELL, 1.8 / len(columns))


def _mappable(
    table: NDArray[np.float64], values: str, cmap: str | Colormap | None
) -> ScalarMappable:
    top = float(np.nanmax(table, initial=0.0)) if values == "mass" else 1.0
    chosen = colormap(cmap, default="Blues")
    return ScalarMappable(Normalize(0, top or 1.0), chosen.with_extremes(bad="0.9"))


def _write(ax: Axes, table: NDArray[np.float64], mappable: ScalarMappable, values: str) -> None:
    rgba = mappable.to_rgba(table)
    for (i, j), value in np.ndenumerate(table):
        if not np.isfinite(value):
            continue
        red, green, blue, _ = rgba[i, j]
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        ax.text(
            j,
            i,
            _digits(float(value), values),
            ha="center",
            va="center",
            color="white" if dark else "0.15" if value else "0.6",
            fontsize=font("tick"),
        )


def _digits(value: float, values: str) -> str:
    if values == "mass":
        return f"{value:.2g}" if value < 100 else f"{value:.0f}"
    # a share that would read 0.00 is not nothing
    return "0" if value == 0 else "<.01" if value < 0.005 else f"{value:.2f}".lstrip("0")


def _label(ax: Axes, rows: list[str], columns: list[str]) -> None:
    turned: dict[str, Any] = {"rotation": 90} if _turned(columns) else {}
    ax.set_xticks(range(len(columns)), [shortened(name) for name in columns], **turned)
    ax.set_yticks(range(len(rows)), [shortened(name) for name in rows])
    ax.tick_params(length=0, labelsize=font("tick"))
    ax.spines[:].set_visible(False)
    # lines of paper between the cells
    ax.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1)
    ax.tick_params(which="minor", length=0)
