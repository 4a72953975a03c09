"""Genes that go with each fate, with the intervals of their correlations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scruot._checks import whole
from scruot._keys import fate_slots
from scruot._messages import unknown
from scruot.io.fates import NONE
from scruot.pl._colors import group_colors
from scruot.pl._figure import dress_plot, finish, font, panels, shortened
from scruot.pl._read_fates import NONE_COLOR
from scruot.pl._read_genes import all_fates, correlated, known_genes

__all__ = ["driver_genes"]

_ORDERS = ("positive", "negative", "both")
_GENE = 0.17  # inches


def driver_genes(
    adata: AnnData,
    fates: Sequence[str] | str | None = None,
    *,
    n_genes: int = 10,
    order: Literal["positive", "negative", "both"] = "positive",
    genes: Sequence[str] | None = None,
    key: str | None = None,
    fdr: float = 0.05,
    n_columns: int | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | list[Axes] | None:
    """Draw the genes that :func:`scruot.tl.driver_genes` has correlated with fates, best on top.

    A dot is a correlation and the line through it its confidence interval. Dots are filled where
    the false discovery rate is at most `fdr`. All panels have the same axis.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.driver_genes`.
    fates
        Fates to draw, a panel for each; by default all whose probability varies.
    n_genes
        Best genes of each fate.
    order
        Which genes are best: those of the most ``"positive"`` correlation, the most
        ``"negative"``, or the largest of ``"both"`` signs.
    genes
        Genes to draw instead, in this order.
    key
        ``key_added`` of the fates.
    fdr
        False discovery rate up to which dots are filled.
    n_columns
        Panels side by side.
    title
        Title of a single panel; by default the fate.
    figsize
        Width and height in inches.
    ax
        Axes to draw into, one for each fate.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes (a list of them unless `fates` is one name), or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no table of driver genes, or no such fate or gene.
    ValueError
        For a fate or a gene that does not vary, an unknown order, or numbers out of range.

    Examples
    --------
    >>> import numpy as np, pandas as pd, scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> late = np.clip(adata.obsm["X_genes"][:, 1] / 2, 0, 1)  # made up for the example
    >>> adata.obsm["fate_probabilities"] = pd.DataFrame(
    ...     {"high": late, "low": 1 - late}, index=adata.obs_names
    ... )
    >>> scruot.tl.driver_genes(adata)
    >>> ax = scruot.pl.driver_genes(adata, "high", show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['x2', 'x1']
    """
    if order not in _ORDERS:
        raise ValueError(unknown("order", str(order), _ORDERS))
    whole("n_genes", n_genes)
    tables = correlated(adata, key, fates)
    wanted = None if genes is None else known_genes(genes, adata.var_names)
    shown = {fate: _best(fate, table, wanted, n_genes, order) for fate, table in tables.items()}
    rows = max(len(table) for table in shown.values())
    n, across = len(shown), n_columns or (len(shown) if len(shown) <= 3 else 4)
    size = figsize or (max(3.3, 1.7 * min(n, across)), (_GENE * rows + 0.75) * -(-n // across))
    axes = panels(n, ax, size, min(n, across), share=False)
    colors = group_colors(adata, fate_slots(key).fate, all_fates(adata, key))
    colors[NONE] = NONE_COLOR
    ends = _ends(list(shown.values()))
    for one, (fate, table) in zip(axes, shown.items(), strict=True):
        _draw(one, table, colors[fate], fdr)
        one.set_xlim(*ends)
        one.locator_params(axis="x", nbins=5 if across > 1 else 7)
        named = title if title is not None and n == 1 else shortened(fate, 20)
        dress_plot(one, "correlation", "gene" if one is axes[0] else "", named)
    if any((table["qval"] > fdr).any() for table in shown.values()):
        _explain(axes[-1], fdr)
    if isinstance(fates, str):
        return finish(axes[0], given=ax is not None, show=show, save=save)
    return finish(axes, given=ax is not None, show=show, save=save)


def _best(
    fate: str, table: pd.DataFrame, genes: list[str] | None, n_genes: int, order: str
) -> pd.DataFrame:
    if genes is not None:
        still = [gene for gene in genes if gene not in table.index]
        if still:
            msg = (
                f"Found no correlation of {', '.join(still)} with {fate!r}; expected genes that "
                "scruot.tl.driver_genes has tested and that vary."
            )
            raise ValueError(msg)
        return table.loc[genes]
    corr = table["corr"].to_numpy()
    rank = {"positive": -corr, "negative": corr, "both": -np.abs(corr)}[order]
    return table.iloc[np.argsort(rank, kind="stable")[:n_genes]]


def _ends(tables: list[pd.DataFrame]) -> tuple[float, float]:
    """Return the limits of all panels: the intervals, no correlation, and some room."""
    low = min(0.0, *(float(table["ci_low"].min()) for table in tables))
    high = max(0.0, *(float(table["ci_high"].max()) for table in tables))
    room = 0.05 * (high - low)
    return low - room, high + room


def _draw(ax: Axes, table: pd.DataFrame, color: Any, fdr: float) -> None:
    place = np.arange(len(table))
    ax.axvline(0.0, color="0.7", linewidth=0.8, zorder=0)
    ax.hlines(place, table["ci_low"], table["ci_high"], color=color, linewidth=1.2, zorder=2)
    sure = table["qval"].to_numpy() <= fdr
    for picked, face in ((sure, color), (~sure, "white")):
        ax.plot(
            table["corr"].to_numpy()[picked],
            place[picked],
            linestyle="",
            marker="o",
            markersize=4.5,
            markerfacecolor=face,
            markeredgecolor=color,
            zorder=3,
        )
    ax.set_yticks(place, [shortened(str(gene), 14) for gene in table.index])
    ax.set_ylim(len(table) - 0.5, -0.5)


def _explain(ax: Axes, fdr: float) -> None:
    style: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 4.5, "color": "0.3"}
    handles = [
        Line2D([], [], **style, label=f"q ≤ {fdr:g}"),
        Line2D([], [], **style, markerfacecolor="white", label=f"q > {fdr:g}"),
    ]
    ax.legend(
        handles=handles,
        frameon=False,
        fontsize=font("legend"),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        handletextpad=0.1,
    )
