"""Descendants and ancestors of a set of cells on an embedding, a panel for each time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from numpy.typing import NDArray

from scruot._messages import did_you_mean
from scruot.pl import _read
from scruot.pl._colors import color_bar, colormap
from scruot.pl._figure import dress_embedding, finish, name_outer, panels, point_size, title_panels
from scruot.pl._read_transport import Transported, transported
from scruot.pl._scatter import scatter_cells

__all__ = ["ancestors", "descendants"]

_OTHERS = "0.88"


@dataclass(frozen=True)
class _Style:
    """How to draw, as the two functions are asked."""

    basis: str | None
    components: tuple[int, int]
    cmap: str | Colormap | None
    vmax: float | None
    n_columns: int | None
    size: float | None
    title: str | None
    figsize: tuple[float, float] | None
    colorbar: bool


def descendants(
    adata: AnnData,
    basis: str | None = None,
    *,
    key: str | None = None,
    column: str | None = None,
    times: Iterable[Any] | None = None,
    components: tuple[int, int] = (1, 2),
    cmap: str | Colormap | None = None,
    vmax: float | None = None,
    n_columns: int | None = None,
    size: float | None = None,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> list[Axes] | None:
    """Draw which later cells descend from a set of cells, a panel for each time.

    The first panel shows the set itself. Cells of other times are grey.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.descendants`.
    basis
        Where to draw. By default the representation of the transport.
    key
        ``key_added`` of the transport.
    column
        Column of ``obs`` with the values, the ``key_added`` of :func:`scruot.tl.descendants`.
    times
        Only draw these times.
    components
        Which two dimensions of the basis to draw, counted from 1.
    cmap
        Sequential colour map, pale for 0.
    vmax
        Value of the last colour; by default 1 for probabilities, and for masses their 99th
        percentile.
    n_columns
        Panels in a row.
    size
        Area of a cell's dot in points squared.
    colorbar
        Whether to explain the colours.
    title
        Title of the figure.
    figsize
        Width and height in inches.
    ax
        As many axes as there are times.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes, one per time, or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no transport, no such column, or no such basis.
    ValueError
        For times without values, or when `ax` has the wrong length.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> scruot.tl.descendants(adata, {"lineage": "transition"}, source_time=1)
    >>> axes = scruot.pl.descendants(adata, show=False)
    >>> [ax.get_title() for ax in axes]
    ['time 1 (set)', 'time 2', 'time 3', 'time 4']
    """
    style = _Style(basis, components, cmap, vmax, n_columns, size, title, figsize, colorbar)
    axes = _draw(adata, key, column, times, "descendants", style, ax)
    return finish(axes, given=ax is not None, show=show, save=save)


def ancestors(
    adata: AnnData,
    basis: str | None = None,
    *,
    key: str | None = None,
    column: str | None = None,
    times: Iterable[Any] | None = None,
    components: tuple[int, int] = (1, 2),
    cmap: str | Colormap | None = None,
    vmax: float | None = None,
    n_columns: int | None = None,
    size: float | None = None,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> list[Axes] | None:
    """Draw from which earlier cells a set of cells descends, a panel for each time.

    The last panel shows the set itself. Cells of other times are grey.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.ancestors`.
    basis
        Where to draw. By default the representation of the transport.
    key
        ``key_added`` of the transport.
    column
        Column of ``obs`` with the values, the ``key_added`` of :func:`scruot.tl.ancestors`.
    times
        Only draw these times.
    components
        Which two dimensions of the basis to draw, counted from 1.
    cmap
        Sequential colour map, pale for 0.
    vmax
        Value of the last colour; by default 1 for probabilities, and for masses their 99th
        percentile.
    n_columns
        Panels in a row.
    size
        Area of a cell's dot in points squared.
    colorbar
        Whether to explain the colours.
    title
        Title of the figure.
    figsize
        Width and height in inches.
    ax
        As many axes as there are times.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes, one per time, or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no transport, no such column, or no such basis.
    ValueError
        For times without values, or when `ax` has the wrong length.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> scruot.tl.ancestors(adata, {"lineage": "transition"}, target_time=3)
    >>> axes = scruot.pl.ancestors(adata, show=False)
    >>> [ax.get_title() for ax in axes]
    ['time 0', 'time 1', 'time 2', 'time 3 (set)']
    """
    style = _Style(basis, components, cmap, vmax, n_columns, size, title, figsize, colorbar)
    axes = _draw(adata, key, column, times, "ancestors", style, ax)
    return finish(axes, given=ax is not None, show=show, save=save)


def _draw(
    adata: AnnData,
    key: str | None,
    column: str | None,
    times: Iterable[Any] | None,
    direction: Literal["descendants", "ancestors"],
    style: _Style,
    ax: Sequence[Axes] | Axes | None,
) -> list[Axes]:
    stored = transported(adata, key)
    column = column or getattr(stored.slots, direction)
    values = _values(adata, stored, column, direction)
    basis, coordinates = _read.positions(adata, stored.use_rep, style.basis)
    position = _read.pick(coordinates, style.components, basis)
    known = list(stored.labels)
    valued = {known[k]: stored.labels[known[k]] for k in _with_values(stored, values)}
    shown = sorted(set(_read.wanted_times(valued, times, "values")))
    own = next(iter(valued)) if direction == "descendants" else list(valued)[-1]
    mappable = _mappable(values[stored.position == known.index(own)], values, style)
    axes = panels(len(shown), ax, style.figsize, style.n_columns)
    for one, time in zip(axes, shown, strict=True):
        here = (stored.position == known.index(time)) & np.isfinite(values)
        _draw_panel(one, position, values, here, mappable, style.size)
        note = " (set)" if time == own else ""
        number = _read.time_text(time) == valued[time]
        title = f"{stored.time_key} {valued[time]}" if number else valued[time]
        dress_embedding(one, basis, style.components, f"{title}{note}")
        if ax is None:
            name_outer(one)
    if style.colorbar:
        color_bar(axes, mappable, column, fraction=0.03, aspect=25)
    title_panels(axes, style.title, own=ax is None)
    return axes


def _values(
    adata: AnnData, stored: Transported, column: str, direction: str
) -> NDArray[np.float64]:
    if column not in adata.obs:
        hint = did_you_mean(column, map(str, adata.obs.columns))
        end = "source" if direction == "descendants" else "target"
        msg = (
            f"Found no column {column!r} in adata.obs.{hint} Run scruot.tl.{direction}(adata, "
            f"{end}=...{stored.key_argument}) first."
        )
        raise KeyError(msg)
    numbers = pd.to_numeric(adata.obs[column], errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(numbers[stored.position >= 0]).any():
        msg = (
            f"Found no number in adata.obs[{column!r}] of a cell of the transport; expected what "
            f"scruot.tl.{direction} writes."
        )
        raise ValueError(msg)
    return numbers


def _with_values(stored: Transported, values: NDArray[np.float64]) -> list[int]:
    """Return the positions of the times that have values."""
    position = stored.position[np.isfinite(values)]
    return [int(k) for k in np.unique(position) if k >= 0]


def _mappable(
    own: NDArray[np.float64], values: NDArray[np.float64], style: _Style
) -> ScalarMappable:
    # in the set a probability is 1; a mass may be anything
    whole = bool(np.nanmax(own) == 1 and np.nanmax(values) <= 1)
    top = style.vmax or (1.0 if whole else float(np.nanpercentile(values, 99)) or 1.0)
    # its palest end would not show beside the grey of other cells
    own_map = ListedColormap(colormaps["YlOrRd"](np.linspace(0.08, 1, 256)))
    return ScalarMappable(Normalize(0, top), colormap(style.cmap or own_map))


def _draw_panel(
    ax: Axes,
    position: NDArray[np.float64],
    values: NDArray[np.float64],
    here: NDArray[np.bool_],
    mappable: ScalarMappable,
    size: float | None,
) -> None:
    area = point_size(len(position), size, ax)
    if size is None:
        # the cells of one time are few: where all dots are small, theirs need not be
        area = max(area, min(2 * area, 8.0))
    scatter_cells(ax, position[~here], _OTHERS, size=0.5 * area, zorder=1, label="other cells")
    # small values below large ones, which are few
    order = np.flatnonzero(here)[np.argsort(values[here], kind="stable")]
    ax.scatter(
        position[order, 0],
        position[order, 1],
        s=area,
        c=mappable.to_rgba(values[order]),
        linewidths=0,
        rasterized=len(order) > 2000,
        zorder=2,
        label="cells",
    )
