"""Simulated trajectories over the cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LogNorm, Normalize, to_rgba
from numpy.typing import NDArray

from scruot._keys import FATE, ORIGIN, SIMULATION, embedding_key, group_colors_key
from scruot._messages import did_you_mean
from scruot.pl import _read
from scruot.pl._colors import GROWTH_MAP, Coloring, add_key, category_colors
from scruot.pl._figure import dress_embedding, finish, new_axes
from scruot.pl._project import carry
from scruot.pl._scatter import scatter_cells

__all__ = ["trajectories"]

# Columns that need tl.simulate(groupby=...).
_ENDS = (FATE, ORIGIN)
_MISSING = "lightgray"


def trajectories(
    adata: AnnData,
    simulation: AnnData,
    *,
    basis: str | None = None,
    key: str | None = None,
    color: str = "time",
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
        ``"time"``; ``"weight"``: each lineage's mass relative to its own beginning, on a
        logarithmic scale with 1 in the middle; ``"fate"``: the group where a trajectory ends
        (``"origin"`` backwards), in the stored colours of the groups, after
        ``tl.simulate(..., groupby=...)``; any other column of ``simulation.obs``; or a gene of
        ``tl.simulate(..., genes=...)``.
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
        When `simulation` is not a simulation, or there is no such basis, column or gene.

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
    _check(simulation)
    fitted = _read.fit(adata, key or simulation.uns[SIMULATION].get("key"))
    paths, weight = _paths(simulation, n_trajectories)
    rows = np.concatenate(paths)
    coloring = _coloring(adata, fitted, simulation, color, cmap, rows, weight[rows])
    name, xy = _positions(adata, fitted, simulation, rows, basis, components, n_neighbors)
    cells = _read.pick(_read.embedding(adata, fitted, basis)[1], components, name)
    axes = new_axes(ax, figsize)
    scatter_cells(axes, cells[np.isfinite(cells).all(1)], background, size=size)
    _draw(axes, xy, [len(path) for path in paths], coloring.rgba, linewidth, alpha)
    if colorbar:
        add_key(axes, coloring)
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
) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]:
    """Return the rows of each drawn trajectory from start to end, and all relative weights."""
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
    return [paths[i] for i in chosen], relative


def _coloring(
    adata: AnnData,
    fitted: _read.Fit,
    simulation: AnnData,
    color: str,
    cmap: str | Colormap | None,
    rows: NDArray[np.int64],
    weight: NDArray[np.float64],
) -> Coloring:
    """Return the colours of the drawn rows."""
    if color == "weight":
        limit = max(float(np.exp(np.percentile(np.abs(np.log(weight)), 99))), 1.1)
        mappable = ScalarMappable(LogNorm(1 / limit, limit), cmap or GROWTH_MAP)
        return Coloring(mappable.to_rgba(weight), "weight relative to start", mappable=mappable)
    values = _values(simulation, color)
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return _by_group(adata, simulation, values.astype("category"), color, rows)
    numbers = values.to_numpy(dtype=float, na_value=np.nan)[rows]
    finite = numbers[np.isfinite(numbers)]
    norm = Normalize(finite.min(), finite.max()) if finite.size else Normalize(0, 1)
    mappable = ScalarMappable(norm, cmap or "viridis")
    rgba = mappable.to_rgba(np.nan_to_num(numbers))
    rgba[~np.isfinite(numbers)] = to_rgba(_MISSING)
    return Coloring(rgba, fitted.time_key if color == "time" else color, mappable=mappable)


def _values(simulation: AnnData, color: str) -> pd.Series:
    """Return a column or a gene of the simulated cells."""
    if color in simulation.obs:
        return simulation.obs[color]
    if color in simulation.var_names and simulation.X is not None:
        gene: Any = simulation[:, color].X
        gene = gene.toarray() if hasattr(gene, "toarray") else np.asarray(gene)
        return pd.Series(gene.ravel(), index=simulation.obs_names)
    options = [*map(str, simulation.obs.columns), *map(str, simulation.var_names)]
    remedy = f" Expected one of {options[:20]}.{did_you_mean(color, options)}"
    if color in _ENDS:
        remedy = " Name the groups: scruot.tl.simulate(adata, ..., groupby=...)."
    msg = f"Found color={color!r}, neither a column nor a gene of the simulated cells.{remedy}"
    raise KeyError(msg)


def _by_group(
    adata: AnnData, simulation: AnnData, groups: pd.Series, name: str, rows: NDArray[np.int64]
) -> Coloring:
    names = [str(category) for category in groups.cat.categories]
    stored = simulation.uns.get(group_colors_key(name), adata.uns.get(group_colors_key(name)))
    colors = category_colors(len(names))
    if stored is not None and len(stored) >= len(names):
        colors = list(stored)
    codes = groups.cat.codes.to_numpy()[rows]
    table = np.array([to_rgba(color) for color in [*colors[: len(names)], _MISSING]])
    shown = {names[code]: colors[code] for code in np.unique(codes[codes >= 0])}
    # Code -1, a missing value, picks the last row.
    return Coloring(table[codes], name, categories=shown)


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
    rgba: NDArray[np.float64],
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
        colors=rgba[tail + 1],
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
        c=rgba[end],
        edgecolors="0.2",
        linewidths=0.3,
        zorder=4,
        label="end",
    )
