"""All fates at once: every cell between the corners of a polygon."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from scruot._keys import slots
from scruot.pl._colors import add_key, color_cells
from scruot.pl._figure import COLUMN_WIDTH, finish, font, new_axes, shortened
from scruot.pl._read import Fit
from scruot.pl._read_fates import drawn_fates
from scruot.pl._scatter import scatter_cells

__all__ = ["fate_map"]


def fate_map(
    adata: AnnData,
    *,
    key: str | None = None,
    fates: str | Sequence[str] | None = None,
    color: str | None = None,
    cmap: str | Colormap | None = None,
    size: float | None = None,
    alpha: float = 0.8,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw every cell at the mean of the corners of a polygon, weighted by its fate probabilities.

    A cell in a corner is committed to that fate, one in the middle to none. With three fates the
    triangle shows all that there is; with more, cells with different probabilities may fall
    together, less so where fates that cells choose between are neighbours: give their order.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.fate_probabilities`.
    key
        ``key_added`` of the fates.
    fates
        Fates in the order of the corners, counter-clockwise from the top; at least three. With some
        of them, probabilities are shares among these.
    color
        Column of ``obs`` that colours the cells, or one colour. The time by default.
    cmap
        Colour map of numbers.
    size
        Area of a cell's dot in points squared.
    alpha
        Opacity of the cells.
    title
        Title of the axes.
    figsize
        Width and height in inches.
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
        When there are no fates, or no such column.
    ValueError
        With fewer than three fates, or an unknown one.

    References
    ----------
    Velten et al. (2017), Nature Cell Biology 19, 271-281 :cite:p:`velten2017` (circular
    projection).

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(300, 5, n_continue=32, random_state=0)
    >>> scruot.tl.fate_probabilities(adata, "cell_type", source="transport", use_rep="X_sim")
    >>> ax = scruot.pl.fate_map(adata, color="fate", show=False)
    >>> sorted(text.get_text() for text in ax.texts)
    ['A', 'B', 'C']
    """
    stored = drawn_fates(adata, key, fates)
    n = stored.table.shape[1]
    if n < 3:
        msg = (
            f"Found {n} fates; a map needs at least three corners. Use scruot.pl.fate_bars, or "
            "scruot.pl.fate_probabilities."
        )
        raise ValueError(msg)
    shares = stored.table.to_numpy()
    total = shares.sum(1)
    known = np.isfinite(total) & (total > 0)
    angle = np.pi / 2 + 2 * np.pi * np.arange(n) / n
    corners = np.column_stack([np.cos(angle), np.sin(angle)])
    position = shares[known] @ corners / total[known][:, None]
    axes = new_axes(ax, figsize or (COLUMN_WIDTH, 0.9 * COLUMN_WIDTH))
    outline = np.vstack([corners, corners[:1]])
    axes.plot(*outline.T, color="0.6", linewidth=0.8, zorder=0.5)
    for name, corner in zip(stored.table.columns, corners, strict=True):
        axes.plot(*corner, marker="o", markersize=5, color=stored.colors[name], zorder=3)
        axes.annotate(
            shortened(str(name), 16),
            corner,
            xytext=8 * corner,
            textcoords="offset points",
            ha="center" if abs(corner[0]) < 0.1 else "left" if corner[0] > 0 else "right",
            va="bottom" if corner[1] > 0.1 else "top" if corner[1] < -0.1 else "center",
            fontsize=font("label"),
        )
    cells = pd.Series(known, index=adata.obs_names)
    shown = adata[cells.to_numpy()]
    shown = AnnData(obs=shown.obs, uns=dict(shown.uns))
    # there need not be a fit: times are numbers like any others
    coloring = color_cells(shown, Fit(slots(None), "", ""), color or stored.time_key, cmap)
    scatter_cells(axes, position, coloring.rgba, size=size, alpha=alpha)
    axes.set_aspect("equal")
    axes.margins(0.12)
    axes.set_axis_off()
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(font("label"))
    add_key(axes, coloring)
    if title is not None:
        axes.set_title(title, fontsize=font("title"))
    return finish(axes, given=ax is not None, show=show, save=save)
