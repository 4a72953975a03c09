"""The course of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from numpy.typing import NDArray

from scruot.pl import _read
from scruot.pl._colors import category_colors
from scruot.pl._figure import dress_plot, finish, font, new_axes

__all__ = ["loss"]

_STEP = "step"
_VALIDATION = "validation"
_TOTAL = "loss"


def loss(
    adata: AnnData,
    *,
    key: str | None = None,
    smooth: float = 0.02,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw every term of the training loss over the steps, on a logarithmic scale.

    Parameters
    ----------
    adata
        Annotated data with a fit.
    key
        ``key_added`` of the fit.
    smooth
        Length of the running mean drawn over the values of single steps, as a part of all steps;
        0 draws the values alone.
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
        When there is no fit, or none that kept its history.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> ax = scruot.pl.loss(adata, show=False)
    >>> ax.get_yscale()
    'log'
    """
    fitted = _read.fit(adata, key)
    terms = _terms(adata, fitted)
    axes = new_axes(ax, figsize)
    for color, (name, (step, value)) in zip(
        category_colors(len(terms)), terms.items(), strict=True
    ):
        _draw(axes, name, step, value, color, smooth)
    axes.set_yscale("log")
    dress_plot(axes, "training step", "loss", title)
    if len(terms) > 1:
        axes.legend(frameon=False, fontsize=font("legend"), handlelength=1.4)
    return finish(axes, given=ax is not None, show=show, save=save)


def _terms(
    adata: AnnData, fitted: _read.Fit
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return steps and values of each term that has any; the total comes first."""
    history = adata.uns[fitted.slots.uns].get("history", {})
    steps = f"{_VALIDATION}_{_STEP}"
    names = sorted(set(history) - {_STEP, steps}, key=lambda name: (name != _TOTAL, name))
    terms = {}
    for name in names:
        value = np.asarray(history[name], dtype=float)
        known = history.get(steps if name == _VALIDATION else _STEP)
        step = np.arange(1.0, len(value) + 1) if known is None else np.asarray(known, dtype=float)
        # A logarithmic axis has no place for a term that is switched off.
        if (value > 0).any():
            terms[name] = (step, np.where(value > 0, value, np.nan))
    if not terms:
        msg = (
            f"Found no loss history in adata.uns[{fitted.slots.uns!r}]['history']. "
            "Run scruot.tl.fit_dynamics(adata) with a method that is trained."
        )
        raise KeyError(msg)
    return terms


def _draw(
    ax: Axes,
    name: str,
    step: NDArray[np.float64],
    value: NDArray[np.float64],
    color: Any,
    smooth: float,
) -> None:
    label = name.replace("_", " ")
    width = round(smooth * len(value))
    if name == _VALIDATION or width < 2:
        marker = "o" if name == _VALIDATION else ""
        ax.plot(step, value, color=color, marker=marker, markersize=3, linewidth=1.2, label=label)
        return
    ax.plot(step, value, color=color, linewidth=0.5, alpha=0.3, rasterized=len(value) > 5000)
    ax.plot(step, _running_mean(value, width), color=color, linewidth=1.3, label=label)


def _running_mean(value: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Average over a centred window that shrinks at both ends; missing values do not count."""
    known = np.isfinite(value)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, value, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    at = np.arange(len(value))
    low, high = np.maximum(at - width // 2, 0), np.minimum(at + width // 2 + 1, len(value))
    n = count[high] - count[low]
    return np.where(n > 0, (total[high] - total[low]) / np.maximum(n, 1), np.nan)
