"""Population of every group over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scruot._keys import LINEAGE_MASS
from scruot._messages import unknown
from scruot.pl import _read
from scruot.pl._colors import group_colors
from scruot.pl._figure import dress_plot, finish, font, new_axes, shortened

__all__ = ["lineage_mass"]

# Standard errors on each side: 95 % where errors are normal.
_BAND = 1.96


def lineage_mass(
    adata: AnnData,
    *,
    key: str | None = None,
    groups: Sequence[str] | None = None,
    share: bool = False,
    log: bool = False,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw the population of every group over time, as predicted and as observed.

    Lines are predicted, with bands of 95 % for the sample of start cells; dots with bars, of 95 %
    for the sample of cells, are observed.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.lineage_mass`.
    key
        ``key_added`` of the table, or of the fit that it is about.
    groups
        Which groups to draw, all by default.
    share
        Draw parts of the population at each time in place of sizes relative to the start;
        without bands, as the errors are those of sizes.
    log
        Logarithmic axis: constant growth becomes a straight line.
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
        When there is no such table.
    ValueError
        For an unknown group.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> table = scruot.tl.lineage_mass(adata, "lineage")
    >>> ax = scruot.pl.lineage_mass(adata, show=False)
    >>> ax.get_ylabel()
    'population relative to start'
    """
    stored = _read.result(adata, LINEAGE_MASS, key, "lineage_mass(adata, groupby")
    table = stored["table"]
    names = list(dict.fromkeys(table["group"].astype(str)))
    for name in groups or ():
        if name not in names:
            raise ValueError(unknown("group", str(name), names))
    colors = group_colors(adata, str(stored["groupby"]), names)
    drawn = [name for name in names if groups is None or name in groups]
    axes = new_axes(ax, figsize)
    for name in drawn:
        curve = table[table["group"].astype(str) == name].sort_values("time")
        _draw(axes, curve, colors[name], share=share)
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    label = "share of the population" if share else "population relative to start"
    axes.margins(x=0.05)
    dress_plot(axes, str(stored["time_key"]), label, title)
    _explain(axes, {name: colors[name] for name in drawn})
    return finish(axes, given=ax is not None, show=show, save=save)


def _draw(ax: Axes, curve: pd.DataFrame, color: Any, *, share: bool) -> None:
    name = "share" if share else "mass"
    time, value = curve["time"].to_numpy(), curve[name].to_numpy()
    ax.plot(time, value, color=color, linewidth=1.4, zorder=2)
    seen = curve[np.isfinite(curve[f"{name}_observed"])]
    error = None
    if not share:
        width = _BAND * curve["mass_se"].to_numpy()
        low = np.maximum(value - width, 0)
        ax.fill_between(time, low, value + width, color=color, alpha=0.2, linewidth=0)
        error = np.nan_to_num(_BAND * seen["mass_observed_se"].to_numpy())
    ax.errorbar(
        seen["time"],
        seen[f"{name}_observed"],
        yerr=error,
        linestyle="",
        marker="o",
        markersize=4,
        color=color,
        elinewidth=0.8,
        zorder=3,
    )


def _explain(ax: Axes, colors: dict[str, Any]) -> None:
    handles = [
        Line2D([], [], color="0.3", linewidth=1.4, label="predicted"),
        Line2D([], [], color="0.3", linestyle="", marker="o", markersize=4, label="observed"),
    ]
    handles += [
        Line2D([], [], color=color, linewidth=3, label=shortened(name))
        for name, color in colors.items()
    ]
    ax.legend(
        handles=handles,
        frameon=False,
        fontsize=font("legend"),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )
