"""Arrows of the velocity, one per cell or on a grid."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from scruot._messages import unknown
from scruot.pl._figure import dress_embedding, finish, new_axes
from scruot.pl._grid import smooth_on_grid
from scruot.pl._layers import ArrowsAndCells, arrows_and_cells

__all__ = ["velocity"]

_KINDS = ("grid", "cells")


def velocity(
    adata: AnnData,
    basis: str | None = None,
    *,
    kind: Literal["grid", "cells"] = "grid",
    field: Literal["velocity", "drift", "score"] = "velocity",
    key: str | None = None,
    color: str | None = None,
    times: Iterable[Any] | None = None,
    components: tuple[int, int] = (1, 2),
    n_arrows: int = 200,
    n_grid: int = 20,
    arrow_length: float = 1.0,
    arrow_color: Any = "0.15",
    smooth: float = 0.03,
    min_cells: int | None = None,
    cmap: str | Colormap | None = None,
    size: float | None = None,
    alpha: float = 0.5,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw the fitted velocity as arrows whose lengths are proportional to speed.

    Parameters
    ----------
    adata
        Annotated data with a fit.
    basis
        Where to draw: any representation with a stored velocity, as ``"pca"`` or ``"X_pca"``.
        By default the fitted one; others come from :func:`scruot.tl.project_velocity`.
    kind
        ``"grid"`` averages the cells around the points of a grid, ``"cells"`` draws the arrows
        of single cells.
    field
        ``"velocity"``; or of a model with noise ``"drift"``, or ``"score"``, the gradient of the
        log density, which points to where cells are more. Only the velocity can be projected:
        the others are drawn in the fitted representation.
    key
        ``key_added`` of the fit.
    color
        Column of ``obs``, or one colour for all cells. By default the time. Categories take the
        colours of ``uns["<color>_colors"]`` where there are any.
    times
        Only draw the cells of these times.
    components
        Which two dimensions of the basis to draw, counted from 1.
    n_arrows
        With ``kind="cells"``: at most so many arrows, of cells drawn at random, always the same.
    n_grid
        With ``kind="grid"``: grid points along each axis.
    arrow_length
        Multiplies all lengths. At 1, a fast arrow (95th percentile) is as long as 1.6 steps of
        the grid, or with ``kind="cells"`` as a fourteenth of the picture.
    arrow_color
        Colour of the arrows.
    smooth
        With ``kind="grid"``: width of the kernel, as a part of the extent of each axis.
    min_cells
        With ``kind="grid"``: no arrows where there are fewer cells within one width of the
        kernel; by default 3, or one in a thousand cells where that is more.
    cmap
        Colour map of times and numbers.
    size
        Area of a cell's dot in points squared.
    alpha
        Opacity of the cells.
    colorbar
        Whether to explain the colours.
    title
        Title of the axes.
    figsize
        Width and height in inches, by default a single column of a journal.
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
        When there is no fit, no such basis, or no such field in it.
    ValueError
        When `kind` or `field` is unknown.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> ax = scruot.pl.velocity(adata, kind="cells", times=[1], n_arrows=50, show=False)
    >>> ax.get_xlabel()
    'genes1'
    """
    if kind not in _KINDS:
        raise ValueError(unknown("kind", kind, _KINDS))
    layers = arrows_and_cells(adata, basis, key, color, cmap, times, components, field)
    if kind == "grid":
        tail, arrow = _grid_arrows(layers, n_grid, smooth, min_cells)
        long = 1.6 / n_grid
    else:
        tail, arrow = _cell_arrows(layers, n_arrows)
        long = 1 / 14
    axes = new_axes(ax, figsize)
    layers.draw_cells(axes, size=size, alpha=alpha, colorbar=colorbar)
    extent = np.ptp(layers.position, axis=0)
    _draw_arrows(axes, tail, arrow, extent, long * arrow_length, arrow_color)
    dress_embedding(axes, layers.basis, components, title)
    return finish(axes, given=ax is not None, show=show, save=save)


def _grid_arrows(
    layers: ArrowsAndCells, n_grid: int, smooth: float, min_cells: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grid = smooth_on_grid(
        layers.position, layers.velocity, n_grid=n_grid, smooth=smooth, min_cells=min_cells
    )
    tail = np.stack(np.meshgrid(grid.x, grid.y), axis=-1)
    keep = ~np.ma.getmaskarray(grid.u)
    return tail[keep], np.stack([grid.u.data[keep], grid.v.data[keep]], axis=1)


def _cell_arrows(
    layers: ArrowsAndCells, n_arrows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = len(layers.position)
    chosen = np.sort(np.random.default_rng(0).permutation(n)[:n_arrows])
    return layers.position[chosen], layers.velocity[chosen]


def _draw_arrows(
    ax: Axes,
    tail: NDArray[np.float64],
    arrow: NDArray[np.float64],
    extent: NDArray[np.float64],
    long: float,
    color: Any,
) -> None:
    """Draw arrows in the units of the data; a fast one covers `long` of the picture."""
    relative = np.linalg.norm(arrow / np.where(extent > 0, extent, 1.0), axis=1)
    fast = np.percentile(relative, 95) if len(relative) else 0.0
    ax.quiver(
        tail[:, 0],
        tail[:, 1],
        arrow[:, 0],
        arrow[:, 1],
        angles="xy",
        scale_units="xy",
        scale=fast / long if fast > 0 else 1.0,
        color=color,
        width=0.0045,
        headwidth=4,
        headlength=4.5,
        headaxislength=4,
        minlength=0.5,
        zorder=3,
    )
