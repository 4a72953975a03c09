"""Probabilities of fates on an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize

from scruot.pl import _read
from scruot.pl._colors import color_bar, colormap
from scruot.pl._figure import (
    dress_embedding,
    finish,
    name_outer,
    panels,
    point_size,
    shortened,
    title_panels,
)
from scruot.pl._read_fates import drawn_fates
from scruot.pl._scatter import scatter_cells

__all__ = ["fate_probabilities"]

_WITHOUT = "lightgray"


def fate_probabilities(
    adata: AnnData,
    basis: str | None = None,
    *,
    key: str | None = None,
    fates: str | Sequence[str] | None = None,
    components: tuple[int, int] = (1, 2),
    cmap: str | Colormap | None = None,
    n_columns: int | None = None,
    size: float | None = None,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> list[Axes] | None:
    """Draw the probability of each fate on an embedding, a panel for each.

    Cells without a fate are grey.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.fate_probabilities`.
    basis
        Where to draw: any embedding in ``obsm``. By default the representation of the fates.
    key
        ``key_added`` of the fates.
    fates
        Only draw these.
    components
        Which two dimensions of the basis to draw, counted from 1.
    cmap
        Sequential colour map, by default ``"viridis"``.
    n_columns
        Panels in a row.
    size
        Area of a cell's dot in points squared.
    colorbar
        Whether to explain the colours.
    title
        Title of the figure.
    figsize
        Width and height in inches.
    ax
        As many axes as there are fates.
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
        When there are no fates, or no such basis.
    ValueError
        For an unknown fate, or when `ax` has the wrong length.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(300, 5, n_continue=32, random_state=0)
    >>> scruot.tl.fate_probabilities(adata, "cell_type", source="transport", use_rep="X_sim")
    >>> axes = scruot.pl.fate_probabilities(adata, show=False)
    >>> [ax.get_title() for ax in axes]
    ['A', 'B', 'C']
    """
    stored = drawn_fates(adata, key, fates)
    name, coordinates = _read.positions(adata, stored.use_rep, basis)
    position = _read.pick(coordinates, components, name)
    mappable = ScalarMappable(Normalize(0, 1), colormap(cmap))
    axes = panels(stored.table.shape[1], ax, figsize, n_columns)
    known = stored.known
    for one, fate in zip(axes, stored.table.columns, strict=True):
        # one size for all: the few cells without a fate are no larger than the others
        area = point_size(len(position), size, one)
        if (~known).any():
            scatter_cells(one, position[~known], _WITHOUT, size=area, zorder=0.5)
        values = stored.table[fate].to_numpy()[known]
        scatter_cells(one, position[known], np.asarray(mappable.to_rgba(values)), size=area)
        dress_embedding(one, name, components, shortened(str(fate)))
        if ax is None:
            name_outer(one)
    if colorbar:
        color_bar(axes, mappable, "fate probability", fraction=0.03, aspect=25)
    title_panels(axes, title, own=ax is None)
    return finish(axes, given=ax is not None, show=show, save=save)
