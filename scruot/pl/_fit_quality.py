"""Observed against simulated cells, time by time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from numpy.typing import NDArray

from scruot.pl import _read
from scruot.pl._figure import (
    dress_embedding,
    figure_of,
    finish,
    font,
    name_outer,
    panels,
    point_size,
    title_panels,
)
from scruot.pl._project import carry
from scruot.pl._scatter import scatter_cells

__all__ = ["fit_quality"]

_OBSERVED = "#56B4E9"
_SIMULATED = "#D55E00"
# Area of all simulated dots relative to that of all observed ones.
_SIMULATED_INK = 0.25


def fit_quality(
    adata: AnnData,
    basis: str | None = None,
    *,
    key: str | None = None,
    times: Iterable[Any] | None = None,
    components: tuple[int, int] = (1, 2),
    n_neighbors: int = 30,
    n_columns: int | None = None,
    size: float | None = None,
    alpha: float = 0.8,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> list[Axes] | None:
    """Draw observed and simulated cells of every time, a panel each, with their distance W1.

    The simulation starts from the cells of the first time. The area of a simulated dot is
    proportional to its weight, so lineages that grow are seen to. The distance is measured in all
    dimensions of the fitted representation, whatever is drawn.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.evaluate`.
    basis
        Where to draw. By default the fitted representation. Elsewhere a simulated position is
        drawn at the mean of the embedding of the `n_neighbors` fitted cells nearest to it, with
        Gaussian weights.
    key
        ``key_added`` of the fit.
    times
        Only draw these times.
    components
        Which two dimensions of the basis to draw, counted from 1.
    n_neighbors
        Neighbours for a basis other than the fitted one.
    n_columns
        Panels in a row.
    size
        Area of an observed cell's dot in points squared.
    alpha
        Opacity of the dots.
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
        When there is no fit, it was not evaluated, or there is no such basis.
    ValueError
        When there is no simulation of one of `times`, or `ax` has the wrong length.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> table = scruot.tl.evaluate(adata, n_cells=100)
    >>> axes = scruot.pl.fit_quality(adata, show=False)
    >>> len(axes) == table["time"].nunique()
    True
    """
    fitted = _read.fit(adata, key)
    table = _read.evaluation(adata, fitted, "table")
    simulated = _read.evaluation(adata, fitted, "simulated")
    time = np.asarray(simulated["time"], dtype=float)
    weight = np.asarray(simulated["weight"], dtype=float)
    observed = _read.time_labels(adata, fitted)
    labels = {float(t): observed.get(t, _read.time_text(t)) for t in np.unique(time)}
    shown = _read.wanted_times(labels, times, "simulated cells")
    name, cells = _read.embedding(adata, fitted, basis)
    cells = _read.pick(cells, components, name)
    position = carry(adata, fitted, np.asarray(simulated["x"], dtype=float), basis, n_neighbors)[1]
    position = _read.pick(position, components, name)
    seen_cells = [cells[_read.cell_mask(adata, fitted, [t])] for t in shown]
    axes = panels(len(shown), ax, figsize, n_columns)
    for one, t, seen in zip(axes, shown, seen_cells, strict=True):
        scatter_cells(one, seen, _OBSERVED, size=size, alpha=alpha, label="observed")
        now = time == t
        _draw_weighted(one, position[now], weight[now], len(seen), size, alpha)
        dress_embedding(one, name, components, _panel_title(fitted, table, t))
        if ax is None:
            name_outer(one)
    _explain(axes, title, own=ax is None)
    return finish(axes, given=ax is not None, show=show, save=save)


def _draw_weighted(
    ax: Axes,
    position: NDArray[np.float64],
    weight: NDArray[np.float64],
    n_observed: int,
    size: float | None,
    alpha: float,
) -> None:
    """Draw simulated cells, smaller than observed ones so that both are seen."""
    share = weight / weight.sum()
    area = _SIMULATED_INK * point_size(n_observed, size, ax) * n_observed * share
    ax.scatter(
        position[:, 0],
        position[:, 1],
        s=area,
        c=_SIMULATED,
        alpha=alpha,
        linewidths=0,
        rasterized=True,
        zorder=2,
        label="simulated",
    )


def _panel_title(fitted: _read.Fit, table: pd.DataFrame, time: float) -> str:
    rows = table[(table["comparison"] == "model") & (table["time"] == time)]
    # All cells of a time come before the few that the fit did not see.
    rows = rows.sort_values("split", key=lambda split: split == "held-out cells")
    title = f"{fitted.time_key} {_read.time_text(time)}"
    if rows.empty or not np.isfinite(rows["w1"].iloc[0]):
        return title
    note = ", held out" if rows["split"].iloc[0] == "held-out time" else ""
    return f"{title}{note}\nW1 = {rows['w1'].iloc[0]:#.3g}"


def _explain(axes: list[Axes], title: str | None, *, own: bool) -> None:
    handles: list[Any] = axes[0].get_legend_handles_labels()[0]
    style: dict[str, Any] = {"frameon": False, "fontsize": font("legend"), "handletextpad": 0.1}
    if own:
        style |= {"loc": "outside lower center", "ncols": 2}
        legend = figure_of(axes[0]).legend(handles=handles, **style)
    else:
        legend = axes[0].legend(handles=handles, **style)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set(sizes=[16], alpha=1)
    title_panels(axes, title, own=own)
