"""What a perturbation does to fates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scruot._keys import PERTURBATION
from scruot._messages import unknown
from scruot.pl import _read
from scruot.pl._colors import group_colors
from scruot.pl._figure import COLUMN_WIDTH, dress_plot, finish, font, new_axes, shortened

__all__ = ["perturbation"]

_BAND = 1.96
_COLUMNS = {
    "share": ("share_change", "share_change_se", "qval", "change in share of descendants"),
    "mass": ("mass_log2fc", "mass_log2fc_se", "mass_qval", "log2 fold change of mass"),
}


def perturbation(
    adata: AnnData,
    *,
    key: str | None = None,
    value: Literal["share", "mass"] = "share",
    perturbations: Sequence[str] | None = None,
    fdr: float = 0.05,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw how perturbations change fates, with intervals of 95 %.

    A filled dot is a change that is significant at `fdr`, an open one is not.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.perturbation`.
    key
        ``key_added`` of the table, or of the fit that it is about.
    value
        ``"share"``: change of the share of all descendants; ``"mass"``: fold change of the mass
        of each group.
    perturbations
        Which to draw and in which order, all by default.
    fdr
        False discovery rate up to which a dot is filled.
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
        When there is no such table.
    ValueError
        For an unknown value or perturbation.

    Examples
    --------
    >>> import numpy as np
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> table = scruot.tl.perturbation(adata, np.array([0.5, 0.0]), groupby="lineage")
    >>> ax = scruot.pl.perturbation(adata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['shift']
    """
    stored = _read.result(adata, PERTURBATION, key, "perturbation(adata, perturb")
    if value not in _COLUMNS:
        raise ValueError(unknown("value", str(value), _COLUMNS))
    table = stored["table"]
    known = list(dict.fromkeys(table["perturbation"].astype(str)))
    for name in perturbations or ():
        if name not in known:
            raise ValueError(unknown("perturbation", str(name), known))
    rows = known if perturbations is None else list(perturbations)
    groups = list(dict.fromkeys(table["group"].astype(str)))
    colors = group_colors(adata, str(stored["groupby"]), groups)
    height = 0.55 + 0.2 * len(rows) * max(len(groups), 2)
    axes = new_axes(ax, figsize or (COLUMN_WIDTH, float(np.clip(height, 1.6, 9))))
    axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    offsets = np.linspace(-0.3, 0.3, len(groups)) if len(groups) > 1 else np.zeros(1)
    for group, offset in zip(groups, offsets, strict=True):
        part = table[table["group"].astype(str) == group].set_index("perturbation").loc[rows]
        _draw(axes, part, np.arange(len(rows)) + offset, colors[group], value, fdr)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), labels=[shortened(name) for name in rows])
    dress_plot(axes, _COLUMNS[value][3], "", title)
    axes.set_ylabel("perturbation", fontsize=font("label"))
    _explain(axes, colors, fdr)
    return finish(axes, given=ax is not None, show=show, save=save)


def _draw(
    ax: Axes, part: pd.DataFrame, y: np.ndarray[Any, Any], color: Any, value: str, fdr: float
) -> None:
    change, error, adjusted, _ = _COLUMNS[value]
    x, width = part[change].to_numpy(float), _BAND * part[error].to_numpy(float)
    shown = np.isfinite(x)
    width = np.nan_to_num(width)
    ax.hlines(y[shown], (x - width)[shown], (x + width)[shown], color=color, linewidth=1, zorder=2)
    for sure, face in ((True, color), (False, "white")):
        picked = shown & ((part[adjusted].to_numpy(float) <= fdr) == sure)
        ax.plot(
            x[picked],
            y[picked],
            linestyle="",
            marker="o",
            markersize=4.5,
            markerfacecolor=face,
            markeredgecolor=color,
            zorder=3,
        )


def _explain(ax: Axes, colors: dict[str, Any], fdr: float) -> None:
    handles = [
        Line2D([], [], color=color, linestyle="", marker="o", markersize=4.5, label=shortened(name))
        for name, color in colors.items()
    ]
    handles.append(
        Line2D(
            [],
            [],
            color="0.3",
            linestyle="",
            marker="o",
            markersize=4.5,
            markerfacecolor="white",
            label=f"q > {fdr:g}",
        )
    )
    ax.legend(
        handles=handles,
        frameon=False,
        fontsize=font("legend"),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        handletextpad=0.2,
    )
