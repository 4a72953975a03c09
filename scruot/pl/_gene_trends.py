"""Genes along time, for each fate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scruot._keys import GENE_TRENDS
from scruot._messages import unknown
from scruot.pl import _read
from scruot.pl._colors import group_colors
from scruot.pl._figure import dress_plot, figure_of, finish, font, panels, shortened

__all__ = ["gene_trends"]


def gene_trends(
    adata: AnnData,
    genes: Sequence[str] | None = None,
    *,
    key: str | None = None,
    lineages: Sequence[str] | None = None,
    n_columns: int | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> list[Axes] | None:
    """Draw genes along time, a panel for each gene and a line for each fate, with 95 % bands.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.gene_trends`.
    genes
        Which genes, in which order; all by default.
    key
        ``key_added`` of the table, or of the fit that it is about.
    lineages
        Which fates, all by default.
    n_columns
        Panels in a row.
    title
        Title of the first panel, before its gene.
    figsize
        Width and height in inches.
    ax
        Axes to draw into, one for each gene.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes of the panels, or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no such table.
    ValueError
        For a gene or fate that is not in it.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(100, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> simulated = scruot.tl.simulate(adata, groupby="lineage", genes=["x1", "x2"])
    >>> table = scruot.tl.gene_trends(adata, ["x1", "x2"], simulation=simulated)
    >>> axes = scruot.pl.gene_trends(adata, show=False)
    >>> [ax.get_title() for ax in axes]
    ['x1', 'x2']
    """
    stored = _read.result(adata, GENE_TRENDS, key, "gene_trends(adata, genes")
    table = stored["table"]
    wanted = _chosen("gene", genes, table["gene"])
    shown = _chosen("lineage", lineages, table["lineage"])
    every = list(dict.fromkeys(table["lineage"].astype(str)))
    colors = group_colors(adata, str(stored["groupby"]), every)
    # each gene has a scale of its own
    axes = panels(len(wanted), ax, figsize, n_columns, share=False)
    for panel, gene in zip(axes, wanted, strict=True):
        of_gene = table[table["gene"].astype(str) == gene]
        for name in shown:
            _draw(panel, of_gene[of_gene["lineage"].astype(str) == name], colors[name])
        first = title is not None and panel is axes[0]
        name = f"{title}\n{gene}" if first else gene
        dress_plot(panel, _time_label(str(stored["time"])), "expression", name)
    if shown != ["all"]:
        _explain(axes, {name: colors[name] for name in shown}, given=ax is not None)
    return finish(axes, given=ax is not None, show=show, save=save)


def _time_label(time: str) -> str:
    """Return a name that fits under a panel."""
    return "pseudotime" if time.endswith("pseudotime") else shortened(time)


def _chosen(what: str, asked: Sequence[str] | None, column: pd.Series) -> list[str]:
    known = list(dict.fromkeys(column.astype(str)))
    names = known if asked is None else [asked] if isinstance(asked, str) else list(asked)
    for name in names:
        if name not in known:
            raise ValueError(unknown(what, str(name), known))
    return names


def _draw(ax: Axes, curve: pd.DataFrame, color: Any) -> None:
    rows = curve.sort_values("time")
    time = rows["time"].to_numpy()
    ax.fill_between(time, rows["lower"], rows["upper"], color=color, alpha=0.22, linewidth=0)
    ax.plot(time, rows["mean"].to_numpy(), color=color, linewidth=1.4)


def _explain(axes: list[Axes], colors: dict[str, Any], *, given: bool) -> None:
    handles = [
        Line2D([], [], color=color, linewidth=3, label=shortened(name))
        for name, color in colors.items()
    ]
    options: dict[str, Any] = {"handles": handles, "frameon": False, "fontsize": font("legend")}
    if given:
        axes[-1].legend(loc="best", **options)
    else:
        figure_of(axes[0]).legend(loc="outside right center", **options)
