"""Streamlines of the velocity over the cells."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from scruot.pl._figure import dress_embedding, finish, new_axes
from scruot.pl._grid import Grid, smooth_on_grid
from scruot.pl._layers import arrows_and_cells

__all__ = ["velocity_stream"]


def velocity_stream(
    adata: AnnData,
    basis: str | None = None,
    *,
    field: Literal["velocity", "drift", "score"] = "velocity",
    key: str | None = None,
    color: str | None = None,
    times: Iterable[Any] | None = None,
    components: tuple[int, int] = (1, 2),
    density: float = 1.2,
    smooth: float = 0.04,
    min_cells: int | None = None,
    n_grid: int = 60,
    linewidth: float = 0.9,
    stream_color: Any = "0.15",
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
    """Draw streamlines of the fitted velocity over the cells.

    The stored velocity of each cell, at the cell's own time, is averaged with a Gaussian kernel
    onto a grid; where there are no cells there are no lines. Thick lines are fast. The dynamics
    may depend on time, a streamline does not: pass `times` to see one moment.

    Parameters
    ----------
    adata
        Annotated data with a fit.
    basis
        Where to draw: any representation with a stored velocity, as ``"pca"`` or ``"X_pca"``.
        By default the fitted one; others come from :func:`scruot.tl.project_velocity`.
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
    density
        Closeness of the streamlines, as in :meth:`matplotlib.axes.Axes.streamplot`.
    smooth
        Width of the kernel, as a part of the extent of each axis.
    min_cells
        Lines stop where there are fewer cells within one width of the kernel; by default 3, or
        one in a thousand cells where that is more.
    n_grid
        Grid points along each axis.
    linewidth
        Width of the fastest lines in points.
    stream_color
        Colour of the lines.
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
        When `field` is unknown.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> ax = scruot.pl.velocity_stream(adata, color="growth", show=False)
    >>> ax.get_xlabel()
    'genes1'
    """
    layers = arrows_and_cells(adata, basis, key, color, cmap, times, components, field)
    axes = new_axes(ax, figsize)
    layers.draw_cells(axes, size=size, alpha=alpha, colorbar=colorbar)
    grid = smooth_on_grid(
        layers.position, layers.velocity, n_grid=n_grid, smooth=smooth, min_cells=min_cells
    )
    _draw_streams(axes, grid, density=density, linewidth=linewidth, color=stream_color)
    dress_embedding(axes, layers.basis, components, title)
    return finish(axes, given=ax is not None, show=show, save=save)


def _draw_streams(ax: Axes, grid: Grid, *, density: float, linewidth: float, color: Any) -> None:
    limits = ax.get_xlim(), ax.get_ylim()
    speed = grid.speed.filled(0.0)
    fastest = np.percentile(grid.speed.compressed(), 95) if grid.speed.count() else 0.0
    ratio = speed / fastest if fastest > 0 else np.ones_like(speed)
    ax.streamplot(
        grid.x,
        grid.y,
        grid.u,
        grid.v,
        density=density,
        linewidth=linewidth * (0.35 + 0.65 * np.clip(ratio, 0, 1)),
        color=color,
        arrowsize=0.7,
        arrowstyle="-|>",
        minlength=0.05,
        zorder=3,
    )
    ax.set(xlim=limits[0], ylim=limits[1])
