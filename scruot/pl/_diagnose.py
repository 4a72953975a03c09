"""The diagnosis of a fit as a picture: verdicts, figures within their limits, remedies."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from scruot.pl import _read
from scruot.pl._figure import finish, font

__all__ = ["diagnose"]

# by shape as well as by colour (Okabe and Ito, 2008), so that they print in grey
_LOOK = {
    "good": ("o", "#009E73"),
    "doubtful": ("^", "#E69F00"),
    "bad": ("X", "#D55E00"),
    "not checked": ("_", "#7f7f7f"),
}
_WIDTH = 7.0
_LINE = 0.17
_COLUMNS = (0.0, 0.035, 0.245)
_LETTERS = 84


def diagnose(
    adata: AnnData,
    *,
    key: str | None = None,
    remedies: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw what :func:`scruot.tl.diagnose` found: a line per check, with verdict and remedy.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.diagnose`.
    key
        ``key_added`` of the fit.
    remedies
        Whether to print what would help below each finding that is not good.
    title
        Title of the axes.
    figsize
        Width and height in inches; by default two columns of a journal, as high as it takes.
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
        When there is no fit, or it was not diagnosed.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> table = scruot.tl.diagnose(adata, n_cells=200)
    >>> ax = scruot.pl.diagnose(adata, show=False)
    >>> len(ax.lines) == len(table)
    True
    """
    table = _table(adata, key)
    blocks = [_block(row, remedies=remedies) for _, row in table.iterrows()]
    heights = [len(lines) for lines in blocks]
    total = sum(heights) + 0.5 * len(blocks)
    if ax is None:
        size = figsize or (_WIDTH, _LINE * total + (0.35 if title else 0.1))
        ax_ = plt.subplots(figsize=size, layout="constrained")[1]
    else:
        ax_ = ax
    y = 0.5
    for (_, row), lines in zip(table.iterrows(), blocks, strict=True):
        marker, color = _LOOK[str(row["verdict"])]
        ax_.plot(_COLUMNS[0], y, marker, color=color, markersize=6, markeredgewidth=1.5)
        _write(ax_, _COLUMNS[1], y, str(row["check"]), "black")
        for k, (text, is_remedy) in enumerate(lines):
            _write(ax_, _COLUMNS[2], y + k, text, "#595959" if is_remedy else "black")
        y += len(lines) + 0.5
    ax_.set_xlim(-0.02, 1.0)
    ax_.set_ylim(total + 0.25, -0.25)
    ax_.set_axis_off()
    if title is not None:
        ax_.set_title(title, fontsize=font("title"))
    return finish(ax_, given=ax is not None, show=show, save=save)


def _table(adata: AnnData, key: str | None) -> pd.DataFrame:
    fitted = _read.fit(adata, key)
    name = fitted.slots.diagnosis
    if name not in adata.uns:
        msg = (
            f"Found no diagnosis in adata.uns[{name!r}]. Run "
            f"scruot.tl.diagnose(adata{fitted.key_argument}) first."
        )
        raise KeyError(msg)
    table: pd.DataFrame = adata.uns[name]
    return table


def _block(row: pd.Series, *, remedies: bool) -> list[tuple[str, bool]]:
    """Return the lines of a check, and which of them are a remedy."""
    lines = [(line, False) for line in textwrap.wrap(_finding(row), _LETTERS)]
    if remedies and row["remedy"]:
        lines += [(line, True) for line in textwrap.wrap(f"→ {row['remedy']}", _LETTERS)]
    return lines


def _finding(row: pd.Series) -> str:
    text = str(row["finding"])
    if np.isnan(row["value"]):
        return text
    word = "least" if row["good"] > row["bad"] else "most"
    limit = f"{row['good']:.2%}" if "%" in text else f"{row['good']:.2f}"
    return f"{text} [good: at {word} {limit.replace('.00', '')}]"


def _write(ax: Axes, x: float, y: float, text: str, color: str) -> None:
    ax.text(x, y, text, fontsize=font("tick"), color=color, ha="left", va="center")
