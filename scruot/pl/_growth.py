"""Cells coloured by growth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from scruot.pl import _read
from scruot.pl._colors import GROWTH_LABEL, GROWTH_MAP, diverging
from scruot.pl._figure import dress_embedding, finish, new_axes
from scruot.pl._layers import numbered_cells

__all__ = ["growth"]


def growth(
    adata: AnnData,
    basis: str | None = None,
    *,
    key: str | None = None,
    times: Iterable[Any] | None = None,
    components: tuple[int, int] = (1, 2),
    vmax: float | None = None,
    cmap: str | Colormap | None = None,
    size: float | None = None,
    alpha: float = 1.0,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw the cells coloured by their growth, with 0 in the middle of the colour map.

    Orange cells multiply, purple cells are lost, pale ones do neither.

    Parameters
    ----------
    adata
        Annotated data with a fit.
    basis
        Where to draw: any embedding in ``obsm``, as ``"umap"`` or ``"X_umap"``. By default the
        fitted representation.
    key
        ``key_added`` of the fit.
    times
        Only draw the cells of these times.
    components
        Which two dimensions of the basis to draw, counted from 1.
    vmax
        The colours end at ``-vmax`` and ``vmax``, per unit of time. By default at the 99th
        percentile of the absolute growth.
    cmap
        A diverging colour map, by default ``"PuOr_r"`` with a grey middle, to show on white.
    size
        Area of a cell's dot in points squared.
    alpha
        Opacity of the cells.
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
        When there is no fit, no growth, or no such basis.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> ax = scruot.pl.growth(adata, title="Growth", show=False)
    >>> ax.get_title()
    'Growth'
    """
    fitted = _read.fit(adata, key)
    rates = _rates(adata, fitted)
    cells = numbered_cells(adata, fitted, rates, "finite growth", basis, times, components)
    mappable = diverging(cells.values, vmax, cmap or GROWTH_MAP)
    axes = new_axes(ax, figsize)
    cells.draw(axes, mappable, GROWTH_LABEL if colorbar else None, size=size, alpha=alpha)
    dress_embedding(axes, cells.basis, components, title)
    return finish(axes, given=ax is not None, show=show, save=save)


def _rates(adata: AnnData, fitted: _read.Fit) -> NDArray[np.float64]:
    name = fitted.slots.growth
    if name not in adata.obs:
        msg = (
            f"Found no growth (adata.obs[{name!r}] is missing). "
            "Run scruot.tl.fit_dynamics(adata) with a method that learns growth first."
        )
        raise KeyError(msg)
    return adata.obs[name].to_numpy(dtype=float, na_value=np.nan)
