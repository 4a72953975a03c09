"""Reliability diagram: do fate probabilities come true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from scruot._keys import fate_slots
from scruot.pl._colors import group_colors
from scruot.pl._figure import dress_plot, finish, font, new_axes, shortened

__all__ = ["fate_calibration"]

_LARGEST = 60.0  # points squared, of the bin with most cells


def fate_calibration(
    adata: AnnData,
    *,
    key: str | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw how often fates came true against how probable they were said to be.

    On the diagonal probabilities are right; a curve that is flatter is overconfident. The area of a
    dot is the number of cells, bars are two standard errors.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.fate_calibration`.
    key
        ``key_added`` of the fates.
    title
        Title of the axes; by default the skill.
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
        When there is no calibration.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(300, 5, n_continue=32, random_state=0)
    >>> scruot.tl.fate_probabilities(adata, "cell_type", source="transport", use_rep="X_sim")
    >>> table = scruot.tl.fate_calibration(adata, "fate_true")
    >>> ax = scruot.pl.fate_calibration(adata, show=False)
    >>> ax.get_xlabel()
    'predicted probability'
    """
    slots = fate_slots(key)
    stored = adata.uns.get(slots.calibration)
    if not isinstance(stored, Mapping) or "table" not in stored:
        argument = "" if key is None else f", key={key!r}"
        msg = (
            f"Found no calibration in adata.uns[{slots.calibration!r}]. Run "
            f"scruot.tl.fate_calibration(adata, truth=...{argument}) first."
        )
        raise KeyError(msg)
    table = stored["table"]
    names = list(dict.fromkeys(table["fate"].astype(str)))
    colors = group_colors(adata, slots.fate, names)
    axes = new_axes(ax, figsize)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--", zorder=0.5)
    most = float(table["n_cells"].max())
    for name in names:
        part = table[table["fate"].astype(str) == name]
        x, y = part["predicted"].to_numpy(), part["observed"].to_numpy()
        error = 2 * np.nan_to_num(part["se"].to_numpy())
        axes.errorbar(x, y, yerr=error, color=colors[name], linewidth=1.0, elinewidth=0.7)
        area = np.maximum(_LARGEST * part["n_cells"].to_numpy() / most, 3.0)
        axes.scatter(x, y, s=area, color=colors[name], zorder=3, label=shortened(name, 16))
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_aspect("equal")
    axes.legend(frameon=False, fontsize=font("legend"), loc="upper left", markerscale=0.7)
    figures = stored["scores"]
    label = title if title is not None else f"skill {float(figures['skill']):.2f}"
    dress_plot(axes, "predicted probability", "observed frequency", label)
    return finish(axes, given=ax is not None, show=show, save=save)
