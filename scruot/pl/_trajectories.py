"""Simulated trajectories over the cells."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LogNorm, Normalize
from numpy.typing import NDArray

from scruot._keys import SIMULATION, embedding_key
from scruot._messages import unknown
from scruot.pl import _read
from scruot.pl._colors import color_bar
from scruot.pl._figure import dress_embedding, finish, new_axes
from scruot.pl._project import carry
from scruot.pl._scatter import scatter_cells

__all__ = ["trajectories"]

_COLORS = ("time", "weight")


def trajectories(
    adata: AnnData,
    simulation: AnnData,
    *,
    basis: str | None = None,
    key: str | None = None,
    color: Literal["time", "weight"] = "time",
    components: tuple[int, int] = (1, 2),
    n_trajectories: int = 100,
    n_neighbors: int = 30,
    linewidth: float = 0.8,
    cmap: str | Colormap | None = None,
    background: str = "0.86",
    size: float | None = None,
    alpha: float = 0.9,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw simulated trajectories over the observed cells.

    Open circles mark where trajectories begin, dots where they end.

    Parameters
    ----------
    adata
        Annotated data with the fit that was simulated.
    simulation
        What :func:`scruot.tl.simulate` returned.
    basis
        Where to draw. By default the fitted representation. Elsewhere, unless
        ``simulation.obsm`` holds that basis, a simulated position is drawn at the mean of the
        embedding of the `n_neighbors` fitted cells nearest to it, with Gaussian weights.
    key
        ``key_added`` of the fit, by default the one that was simulated.
    color
        ``"time"``, or ``"weight"``: each lineage's mass relative to its own beginning, on a
        logarithmic scale with 1 in the middle.
    components
        Which two dimensions of the basis to draw, counted from 1.
    n_trajectories
        At most so many trajectories, drawn at random, always the same.
    n_neighbors
        Neighbours for a basis that was not simulated.
    linewidth
        Width of the lines in points.
    cmap
        Colour map of the lines.
    background
        Colour of the observed cells.
    size
        Area of an observed cell's dot in points squared.
    alpha
        Opacity of the lines.
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
        When `simulation` is not a simulation, or there is no such basis.
    ValueError
        When `color` is unknown.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> simulation = scruot.tl.simulate(adata, n_cells=20)
    >>> ax = scruot.pl.trajectories(adata, simulation, color="weight", show=False)
    >>> ax.get_xlabel()
    'genes1'
    """
    if color not in _COLORS:
        raise ValueError(unknown("color", color, _COLORS))
    _check(simulation)
    fitted = _read.fit(adata, key or simulation.uns[SIMULATION].get("key"))
    paths, time, weight = _paths(simulation, n_trajectories)
    rows = np.concatenate(paths)
    name, xy = _positions(adata, fitted, simulation, rows, basis, components, n_neighbors)
    cells = _read.pick(_read.embedding(adata, fitted, basis)[1], components, name)
    axes = new_axes(ax, figsize)
    scatter_cells(axes, cells[np.isfinite(cells).all(1)], background, size=size)
    if color == "time":
        values, label = time[rows], fitted.time_key
        norm: Normalize = Normalize(values.min(), values.max())
    else:
        values, label = weight[rows], "weight relative to start"
        limit = max(float(np.exp(np.percentile(np.abs(np.log(values)), 99))), 1.1)
        norm = LogNorm(1 / limit, limit)
    default = "viridis" if color == "time" else "PuOr_r"
    mappable = ScalarMappable(norm, cmap if isinstance(cmap, Colormap) else cmap or default)
    _draw(axes, xy, [len(path) for path in paths], values, mappable, linewidth, alpha)
    if colorbar:
        color_bar(axes, mappable, label)
    dress_embedding(axes, name, components, title)
    return finish(axes, given=ax is not None, show=show, save=save)


def _check(simulation: AnnData) -> None:
    missing = [name for name in ("time", "weight", "trajectory") if name not in simulation.obs]
    if SIMULATION not in simulation.uns or missing:
        lacks = f"obs {missing}" if missing else f"uns[{SIMULATION!r}]"
        msg = f"Found no simulation: {lacks} missing. Pass what scruot.tl.simulate(adata) returned."
        raise KeyError(msg)


def _paths(
    simulation: AnnData, n_trajectories: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.float64], NDArray[np.float64]]:
    """Return the rows of each drawn trajectory from start to end, all times, relative weights."""
    time = simulation.obs["time"].to_numpy(dtype=float)
    weight = simulation.obs["weight"].to_numpy(dtype=float)
    codes = np.unique(simulation.obs["trajectory"].to_numpy(), return_inverse=True)[1]
    backward = simulation.uns[SIMULATION].get("direction") == "backward"
    order = np.lexsort((-time if backward else time, codes))
    first = np.flatnonzero(np.diff(codes[order], prepend=-1))
    start = order[first]
    # Lost lineages stay on the logarithmic scale.
    relative = np.maximum(weight / weight[start[codes]], 1e-6)
    paths = np.split(order, first[1:])
    chosen = np.sort(np.random.default_rng(0).permutation(len(paths))[:n_trajectories])
    return [paths[i] for i in chosen], time, relative


def _positions(
    adata: AnnData,
    fitted: _read.Fit,
    simulation: AnnData,
    rows: NDArray[np.int64],
    basis: str | None,
    components: tuple[int, int],
    n_neighbors: int,
) -> tuple[str, NDArray[np.float64]]:
    """Return the basis and the drawn rows in it; a basis that was simulated is taken as it is."""
    name, _ = _read.embedding(adata, fitted, basis)
    stored = embedding_key(name, list(simulation.obsm.keys()))
    if stored in simulation.obsm:
        return name, _read.pick(_read.matrix(simulation, stored)[rows], components, name)
    simulated = _read.matrix(simulation, simulation.uns[SIMULATION]["use_rep"])[rows]
    name, position = carry(adata, fitted, simulated, basis, n_neighbors)
    return name, _read.pick(position, components, name)


def _draw(
    ax: Axes,
    xy: NDArray[np.float64],
    lengths: list[int],
    values: NDArray[np.float64],
    mappable: ScalarMappable,
    linewidth: float,
    alpha: float,
) -> None:
    end = np.cumsum(lengths) - 1
    start = np.concatenate([[0], end[:-1] + 1])
    inside = np.ones(len(xy), dtype=bool)
    # The last point of a trajectory has no segment to the first of the next.
    inside[end] = False
    tail = np.flatnonzero(inside)
    lines = LineCollection(
        list(np.stack([xy[tail], xy[tail + 1]], axis=1)),
        colors=mappable.to_rgba(values[tail + 1]),
        linewidths=linewidth,
        alpha=alpha,
        capstyle="round",
        zorder=3,
    )
    ax.add_collection(lines)
    begin, stop = xy[start], xy[end]
    ax.scatter(
        begin[:, 0],
        begin[:, 1],
        s=7,
        facecolors="white",
        edgecolors="0.2",
        linewidths=0.6,
        zorder=5,
        label="start",
    )
    ax.scatter(
        stop[:, 0],
        stop[:, 1],
        s=7,
        c=mappable.to_rgba(values[end]),
        edgecolors="0.2",
        linewidths=0.3,
        zorder=4,
        label="end",
    )
