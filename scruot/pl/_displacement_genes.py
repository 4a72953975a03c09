"""Ranked displacement genes: as ranks, as a dot plot, as a heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from scruot._messages import unknown
from scruot.pl._colors import color_bar, diverging
from scruot.pl._figure import (
    COLUMN_WIDTH,
    dress_plot,
    figure_of,
    finish,
    font,
    new_axes,
    panels,
    shortened,
)
from scruot.pl._read_displacement import ranked_groups

__all__ = ["displacement_genes"]

_KINDS = ("ranked", "dotplot", "heatmap")
_LABEL = "mean displacement"
_LARGEST_DOT = 90.0
_GENE, _GROUP = 0.17, 0.2  # inches


def displacement_genes(
    adata: AnnData,
    groups: Sequence[str] | str | None = None,
    *,
    kind: Literal["ranked", "dotplot", "heatmap"] = "ranked",
    n_genes: int = 10,
    genes: Sequence[str] | str | None = None,
    key: str | None = None,
    cmap: str | Colormap = "RdBu_r",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | list[Axes] | None:
    """Draw the genes that :func:`scruot.tl.sparse_displacement` has ranked.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.sparse_displacement`.
    groups
        Names of groups, or of groups and intervals as in ``uns["displacement_genes"]``; by
        default all.
    kind
        ``"ranked"``: a panel for each group and interval, with bars of the mean displacement of its
        best genes, best on top. ``"dotplot"``: groups and intervals against genes; the colour is
        the mean displacement, the area the share of cells in which the gene is displaced.
        ``"heatmap"``: the colours alone.
    n_genes
        Best genes of each group.
    genes
        Genes to draw instead, in this order.
    key
        ``key_added`` of the displacement.
    cmap
        Diverging colour map, white at no displacement.
    title
        Title of the axes; several panels have their groups' names.
    figsize
        Width and height in inches.
    ax
        Axes to draw into; for ``"ranked"`` one for each panel.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes (a list of them for ``"ranked"``), or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no displacement, or no such gene.
    ValueError
        For an unknown kind or group, or no gene.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.sparse_displacement("jumping", n_cells=200, n_genes=150)
    >>> scruot.tl.sparse_displacement(adata, groupby="cell_type")
    >>> axes = scruot.pl.displacement_genes(adata, ["type1", "type2"], show=False)
    >>> [ax.get_title() for ax in axes]
    ['type1, 0 to 1', 'type2, 0 to 1']
    """
    if kind not in _KINDS:
        raise ValueError(unknown("kind", str(kind), _KINDS))
    genes = [genes] if isinstance(genes, str) else genes
    if n_genes < 1 or (genes is not None and len(genes) == 0):
        msg = f"Found n_genes={n_genes}, genes={genes}; expected at least one gene."
        raise ValueError(msg)
    tables = ranked_groups(adata, key, groups)
    if genes is not None:
        lost = [g for g in genes if g not in adata.var_names]
        if lost:
            raise KeyError(unknown("gene", str(lost[0]), list(map(str, adata.var_names))))
    if kind == "ranked":
        tall = len(genes) if genes is not None else n_genes
        height = _GENE * tall + 0.55
        size = figsize or _panel_size(len(tables), height)
        axes = panels(len(tables), ax, size, None, share=False)
        for one, (name, table) in zip(axes, tables.items(), strict=True):
            named = title if title is not None and len(tables) == 1 else name
            _bars(one, _chosen(table, genes, n_genes), named)
        return finish(axes, given=ax is not None, show=show, save=save)
    means, shares = _matrices(tables, genes, n_genes)
    across, down = means.shape[1] * _GENE, means.shape[0] * _GROUP
    longest = max(len(shortened(name)) for name in means.index) * 0.55 * font("tick") / 72
    size = figsize or (max(COLUMN_WIDTH, across + longest + 1.0), max(1.6, down + 1.1))
    one = new_axes(ax if isinstance(ax, Axes) else None, size)
    _grid(one, means, shares if kind == "dotplot" else None, cmap, title)
    return finish(one, given=ax is not None, show=show, save=save)


def _panel_size(n: int, height: float) -> tuple[float, float]:
    columns = min(n, n if n <= 3 else -(-n // -(-n // 4)))
    return max(COLUMN_WIDTH, 1.9 * columns), height * -(-n // columns)


def _chosen(table: pd.DataFrame, genes: Sequence[str] | None, n_genes: int) -> pd.DataFrame:
    if genes is not None:
        return table.set_index("gene").loc[list(genes)].reset_index()
    return table.iloc[:n_genes]


def _bars(ax: Axes, table: pd.DataFrame, name: str) -> None:
    place = np.arange(len(table))
    values = table["displacement"].to_numpy()
    colors = np.where(values > 0, "#b2182b", "#2166ac")
    ax.barh(place, values, color=colors, height=0.75)
    ax.axvline(0.0, color="0.3", linewidth=0.6)
    ax.set_yticks(place, [shortened(str(g), 14) for g in table["gene"]])
    ax.set_ylim(len(table) - 0.5, -0.5)
    dress_plot(ax, _LABEL, "", shortened(name))


def _matrices(
    tables: dict[str, pd.DataFrame], genes: Sequence[str] | None, n_genes: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    chosen = list(
        dict.fromkeys(
            g for table in tables.values() for g in _chosen(table, genes, n_genes)["gene"]
        )
    )
    indexed = {name: table.set_index("gene").loc[chosen] for name, table in tables.items()}
    means = pd.DataFrame({n: t["displacement"] for n, t in indexed.items()}).T
    shares = pd.DataFrame({n: t["share"] for n, t in indexed.items()}).T
    return means, shares


def _grid(
    ax: Axes,
    means: pd.DataFrame,
    shares: pd.DataFrame | None,
    cmap: str | Colormap,
    title: str | None,
) -> None:
    values = means.to_numpy()
    top = float(np.abs(values).max()) or 1.0
    mappable = diverging(values, top, cmap)
    if shares is None:
        ax.imshow(mappable.to_rgba(values), aspect="auto")
    else:
        row, column = np.indices(values.shape)
        area = _LARGEST_DOT * shares.to_numpy()
        ax.scatter(
            column.ravel(),
            row.ravel(),
            s=area.ravel(),
            c=mappable.to_rgba(values.ravel()),
            edgecolors="0.4",
            linewidths=0.4,
        )
        ax.set_xlim(-0.6, values.shape[1] - 0.4)
        ax.set_ylim(values.shape[0] - 0.4, -0.6)
        for share in (0.25, 0.5, 1.0):
            ax.scatter([], [], s=_LARGEST_DOT * share, c="0.6", label=f"{share:.0%}")
        figure_of(ax).legend(
            *ax.get_legend_handles_labels(),
            loc="outside upper right",
            ncols=3,
            title="share of cells",
            fontsize=font("legend"),
            title_fontsize=font("legend"),
            frameon=False,
        )
    color_bar(ax, mappable, _LABEL)
    dress_plot(ax, "", "", title)
    ax.set_xticks(
        range(values.shape[1]), [shortened(str(g), 14) for g in means.columns], rotation=90
    )
    ax.set_yticks(range(values.shape[0]), [shortened(str(n)) for n in means.index])
    ax.tick_params(length=0)
    if shares is None:
        ax.spines[:].set_visible(False)
