"""Number of displaced genes against how well the map arrives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from scruot._keys import displacement_slots
from scruot._messages import did_you_mean
from scruot.pl._figure import dress_plot, finish, font, new_axes

__all__ = ["sparsity_path"]


def sparsity_path(
    adata: AnnData,
    *,
    key: str | None = None,
    color: str = "#0072B2",
    numbers: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw how the distance to the target grows as a map is made sparser.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.sparsity_path`.
    key
        ``key_added`` of the path.
    color
        Colour of the curve.
    numbers
        Whether to write the strengths beside the points.
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
        When there is no path.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.sparse_displacement("jumping", n_cells=100, n_genes=60)
    >>> scruot.tl.sparsity_path(adata, [0.1, 3.0], source=0.0, target=1.0)
    >>> scruot.pl.sparsity_path(adata, show=False).get_xlabel()
    'displaced genes per cell'
    """
    name = displacement_slots(key).path
    if name not in adata.uns:
        held = [k for k, v in adata.uns.items() if isinstance(v, Mapping) and "penalty" in v]
        msg = (
            f"No path in uns[{name!r}] (found {held}).{did_you_mean(name, held)} Call "
            "scruot.tl.sparsity_path(adata, source=..., target=...) first, or give its key_added "
            "as key."
        )
        raise KeyError(msg)
    entry = adata.uns[name]
    table = entry["table"].sort_values("dimension")
    axes = new_axes(ax, figsize)
    axes.plot(table["dimension"], table["distance"], "o-", color=color, markersize=4)
    start = float(np.median(table["distance"] / table["relative"]))
    for level, words in ((start, "source as it is"), (float(table["floor"].iloc[0]), "two halves")):
        axes.axhline(level, color="0.6", linewidth=0.8, linestyle=(0, (4, 2)))
        axes.annotate(
            words,
            (1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            fontsize=font("tick"),
            color="0.4",
        )
    if numbers:
        for row in table.itertuples(index=False):
            axes.annotate(
                f"{row.strength:g}",
                (float(row.dimension), float(row.distance)),
                xytext=(3, 4),
                textcoords="offset points",
                fontsize=font("tick"),
                color=color,
            )
    axes.margins(0.1, 0.12)
    goal = f"W1 of mapped {entry['source']} to {entry['target']}"
    dress_plot(axes, "displaced genes per cell", goal, title)
    return finish(axes, given=ax is not None, show=show, save=save)
