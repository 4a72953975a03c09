"""Observed and predicted population over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scruot.pl import _read
from scruot.pl._colors import group_colors
from scruot.pl._figure import dress_plot, finish, font, new_axes

__all__ = ["mass"]

_MODEL = "model"
_HELD_OUT = "held-out time"
_HELD_OUT_CELLS = "held-out cells"
_MASSES = ["mass", "mass_observed"]
_ONE = "#0072B2"


def mass(
    adata: AnnData,
    *,
    key: str | None = None,
    groups: bool = False,
    log: bool = False,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw the population over time, relative to the first, as predicted and as observed.

    Lines are predicted, dots are observed; an open dot is a time that the fit did not see.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.evaluate`.
    key
        ``key_added`` of the fit.
    groups
        Draw each group of cells; needs ``tl.evaluate(adata, groupby=...)``.
    log
        Logarithmic population axis: constant growth becomes a straight line.
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
        When there is no fit or it was not evaluated.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> table = scruot.tl.evaluate(adata, n_cells=100)
    >>> ax = scruot.pl.mass(adata, show=False)
    >>> ax.get_xlabel()
    'time'
    """
    fitted = _read.fit(adata, key)
    table = _model_rows(_read.evaluation(adata, fitted, "table"))
    held_out = set(table.loc[table["split"] == _HELD_OUT, "time"])
    curves = {"": _with_start(adata, fitted, table)}
    if groups:
        curves = dict(tuple(_read.evaluation(adata, fitted, "groups").groupby("group", sort=False)))
    colors = _curve_colors(adata, fitted, list(curves))
    axes = new_axes(ax, figsize)
    for name, curve in curves.items():
        _draw(axes, curve.sort_values("time"), colors[name], held_out)
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.08 * max(curve[_MASSES].max().max() for curve in curves.values()))
    axes.set_xticks(np.unique(np.concatenate([curve["time"] for curve in curves.values()])))
    axes.margins(x=0.05)
    dress_plot(axes, fitted.time_key, "population relative to start", title)
    _explain(axes, colors, any_held_out=bool(held_out))
    return finish(axes, given=ax is not None, show=show, save=save)


def _model_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep one row per time; cells left out of the fit count where there are no others."""
    rows = table[table["comparison"] == _MODEL]
    rows = rows.sort_values("split", key=lambda split: split == _HELD_OUT_CELLS, kind="stable")
    return rows.drop_duplicates("time")


def _with_start(adata: AnnData, fitted: _read.Fit, table: pd.DataFrame) -> pd.DataFrame:
    """Put the first fitted time before the table: there the relative population is 1."""
    before = _read.times_of(adata, fitted)
    before = before[before < table["time"].min()]
    if not before.size:
        return table
    start = pd.DataFrame({"time": [before.max()], "mass": [1.0], "mass_observed": [1.0]})
    return pd.concat([start, table[start.columns]], ignore_index=True)


def _curve_colors(adata: AnnData, fitted: _read.Fit, names: list[str]) -> dict[str, Any]:
    """Return the colours that the data hold for the groups, or our own."""
    if names == [""]:
        return {"": _ONE}
    groupby = adata.uns[fitted.slots.evaluation].get("groupby")
    return group_colors(adata, str(groupby), names)


def _draw(ax: Axes, curve: pd.DataFrame, color: Any, held_out: set[float]) -> None:
    ax.plot(curve["time"], curve["mass"], color=color, linewidth=1.4, zorder=2)
    is_open = curve["time"].isin(held_out).to_numpy()
    for rows, face in ((~is_open, color), (is_open, "white")):
        if rows.any():
            ax.plot(
                curve["time"][rows],
                curve["mass_observed"][rows],
                linestyle="",
                marker="o",
                markersize=4.5,
                markerfacecolor=face,
                markeredgecolor=color,
                zorder=3,
            )


def _explain(ax: Axes, colors: dict[str, Any], *, any_held_out: bool) -> None:
    neutral = _ONE if len(colors) == 1 else "0.3"
    handles = [
        Line2D([], [], color=neutral, linewidth=1.4, label="predicted"),
        Line2D([], [], color=neutral, linestyle="", marker="o", markersize=4.5, label="observed"),
    ]
    if any_held_out:
        handles.append(
            Line2D(
                [],
                [],
                color=neutral,
                linestyle="",
                marker="o",
                markersize=4.5,
                markerfacecolor="white",
                label="held out",
            )
        )
    names = [name for name in colors if name]
    handles += [Line2D([], [], color=colors[name], linewidth=3, label=str(name)) for name in names]
    outside: dict[str, Any] = (
        {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if names else {"loc": "best"}
    )
    ax.legend(handles=handles, frameon=False, fontsize=font("legend"), **outside)
