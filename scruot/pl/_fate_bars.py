"""Mean fates of groups of cells as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from scruot._messages import did_you_mean
from scruot.pl._figure import dress_plot, finish, font, name_outer, panels, shortened, title_panels
from scruot.pl._read import time_text
from scruot.pl._read_fates import Drawn, drawn_fates

__all__ = ["fate_bars"]


def fate_bars(
    adata: AnnData,
    groupby: str | None = None,
    *,
    key: str | None = None,
    groups: Sequence[str] | None = None,
    n_columns: int | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | list[Axes] | None:
    """Draw the mean fate probabilities of the cells of each time, a panel for each group.

    The number over a bar is that of its cells; those without a fate are left out.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.fate_probabilities`.
    groupby
        Column of ``obs`` with groups; by default all cells are one.
    key
        ``key_added`` of the fates.
    groups
        Only draw these.
    n_columns
        Panels in a row.
    title
        Title of the figure.
    figsize
        Width and height in inches.
    ax
        Axes to draw into, as many as there are groups.
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
        When there are no fates, or no such column.
    ValueError
        For an unknown group, or when `ax` has the wrong length.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(300, 5, n_continue=32, random_state=0)
    >>> scruot.tl.fate_probabilities(adata, "cell_type", source="transport", use_rep="X_sim")
    >>> axes = scruot.pl.fate_bars(adata, "cell_type", show=False)
    >>> [ax.get_title() for ax in axes]
    ['progenitor', 'bipotent', 'A', 'B', 'C']
    """
    stored = drawn_fates(adata, key)
    column = pd.Series("all", index=adata.obs_names) if groupby is None else _column(adata, groupby)
    column = column[stored.known]
    present = list(dict.fromkeys(map(str, column.astype("category").cat.categories)))
    lost = [str(name) for name in groups or () if str(name) not in present]
    if lost:
        msg = f"Found groups={lost}; expected some of {present}.{did_you_mean(lost[0], present)}"
        raise ValueError(msg)
    names = present if groups is None else [str(name) for name in groups]
    names = [name for name in names if (column.astype(str) == name).any()]
    axes = panels(len(names), ax, figsize, n_columns)
    times = _column(adata, stored.time_key)[stored.known]
    # the same places in all panels, also where a group has no cell at a time
    order = pd.Index(sorted(times.unique()))
    for one, name in zip(axes, names, strict=True):
        here = (column.astype(str) == name).to_numpy()
        _draw(one, stored, stored.table[stored.known][here], times[here], order)
        label = None if groupby is None else shortened(name)
        dress_plot(one, stored.time_key, "mean probability", label)
        if ax is None:
            name_outer(one)
    _explain(axes[-1], stored)
    if title is not None and groupby is None:
        axes[0].set_title(title, fontsize=font("title"))
    else:
        title_panels(axes, title, own=ax is None)
    if groupby is None:
        return finish(axes[0], given=ax is not None, show=show, save=save)
    return finish(axes, given=ax is not None, show=show, save=save)


def _column(adata: AnnData, name: str) -> pd.Series:
    if name not in adata.obs:
        msg = f"Found no column {name!r} in adata.obs.{did_you_mean(name, adata.obs.columns)}"
        raise KeyError(msg)
    return adata.obs[name]


def _draw(ax: Axes, stored: Drawn, table: pd.DataFrame, times: pd.Series, order: pd.Index) -> None:
    mean = table.groupby(times, observed=True).mean()
    count = times.value_counts()
    place = order.get_indexer(mean.index)
    base = np.zeros(len(mean))
    for name in table.columns:
        height = mean[name].to_numpy()
        ax.bar(place, height, bottom=base, color=stored.colors[name], width=0.8, linewidth=0)
        base = base + height
    for x, time in zip(place, mean.index, strict=True):
        ax.text(float(x), 1.01, str(count[time]), ha="center", va="bottom", fontsize=font("tick"))
    labels = [t if isinstance(t, str) else time_text(t) for t in order]
    ax.set_xticks(range(len(order)), labels=labels)
    ax.set_xlim(-0.6, len(order) - 0.4)
    ax.set_ylim(0, 1.12)
    ax.set_yticks([0, 0.5, 1])


def _explain(ax: Axes, stored: Drawn) -> None:
    handles = [
        Patch(color=color, label=shortened(str(n), 16)) for n, color in stored.colors.items()
    ]
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=font("legend"),
        title="fate",
        title_fontsize=font("legend"),
        handlelength=1.0,
    )
