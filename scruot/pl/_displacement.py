"""One gene's displacement on an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from scruot.pl import _read
from scruot.pl._colors import color_bar, colormap, diverging
from scruot.pl._figure import dress_embedding, finish, panels
from scruot.pl._read_displacement import displacement_of, used_rep
from scruot.pl._scatter import scatter_cells

__all__ = ["displacement"]

_NO_TARGET = "0.85"


def displacement(
    adata: AnnData,
    genes: str | Sequence[str],
    *,
    basis: str | None = None,
    key: str | None = None,
    components: Sequence[int] = (1, 2),
    cmap: str | Colormap = "RdBu_r",
    size: float | None = None,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    n_columns: int | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | list[Axes] | None:
    """Draw how much a gene changes in each cell until the next time, or to the other condition.

    Cells without a target (those of the last time) are grey.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.sparse_displacement`.
    genes
        One gene, or several for a panel each.
    basis
        Embedding to draw in, e.g. ``"umap"``; by default the representation that was used.
    key
        ``key_added`` of the displacement.
    components
        Which two coordinates, counted from 1.
    cmap
        Diverging colour map, white at no displacement.
    size
        Area of a dot in points squared.
    colorbar
        Whether to explain the colours.
    title
        Title of a single panel; by default the gene.
    figsize
        Width and height in inches.
    n_columns
        Panels side by side.
    ax
        Axes to draw into, one for each gene.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes (a list of them for several genes), or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no displacement, gene or embedding.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.sparse_displacement("jumping", n_cells=200, n_genes=150)
    >>> scruot.tl.sparse_displacement(adata)
    >>> best = adata.var["displacement_score"].idxmax()
    >>> ax = scruot.pl.displacement(adata, best, show=False)
    >>> ax.get_title() == best
    True
    """
    names = [genes] if isinstance(genes, str) else list(genes)
    values = [displacement_of(adata, name, key) for name in names]
    name, position = _read.positions(adata, used_rep(adata, key), basis)
    planar = _read.pick(position, components, f"the basis {name!r}")
    axes = panels(len(names), ax, figsize, n_columns)
    chosen = colormap(cmap).with_extremes(bad=_NO_TARGET)
    for one, gene, moved in zip(axes, names, values, strict=True):
        top = float(np.nanmax(np.abs(moved), initial=0.0)) or 1.0
        mappable = diverging(moved, top, chosen)
        rgba = mappable.to_rgba(np.ma.masked_invalid(moved))
        scatter_cells(one, planar, rgba, size=size)
        if colorbar:
            color_bar(one, mappable, "displacement")
        dress_embedding(one, name, components, title if title and len(names) == 1 else gene)
    if isinstance(genes, str):
        return finish(axes[0], given=ax is not None, show=show, save=save)
    return finish(axes, given=ax is not None, show=show, save=save)
