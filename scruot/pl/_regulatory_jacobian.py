"""Which gene drives which: as a heatmap, or as a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from numpy.typing import NDArray

from scruot._checks import whole
from scruot._messages import unknown
from scruot.io.gene_tables import read_jacobian
from scruot.pl._colors import clipped, color_bar, colormap
from scruot.pl._figure import COLUMN_WIDTH, dress_plot, finish, font, panels, shortened
from scruot.pl._network import draw_network, explain_network
from scruot.pl._read_genes import derivatives, known_genes, untold

__all__ = ["regulatory_jacobian"]

_KINDS = ("heatmap", "network")
_LABELS = {"derivative": "derivative per unit of time", "regression": "slope per unit of time"}
_NOT_KEPT = "0.9"
# Up to so many genes the numbers are written.
_MAX_NUMBERS = 4
_CELL = 0.17  # inches
_LETTERS = 14


def regulatory_jacobian(
    adata: AnnData,
    groups: Sequence[Any] | Any | None = None,
    *,
    kind: Literal["heatmap", "network"] = "heatmap",
    n_genes: int = 20,
    genes: Sequence[str] | None = None,
    n_edges: int = 30,
    key: str | None = None,
    cmap: str | Colormap = "RdBu_r",
    vmax: float | None = None,
    numbers: bool | None = None,
    n_columns: int | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | list[Axes] | None:
    """Draw the mean derivatives of the velocity of genes by genes, a panel for each group.

    Red is activation, blue repression. In a network, pointed ends activate and flat ends repress,
    widths follow the size, and loops are a gene's effect on itself. Of an ensemble, what cannot be
    told from zero is white, or no arrow; a number in a heatmap is then the estimate all the same.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.regulatory_jacobian`.
    groups
        Groups or times, a panel for each; by default all.
    kind
        ``"heatmap"``: regulators across, regulated genes down. ``"network"``: genes on a circle.
    n_genes
        Genes to draw where there are more: those with the largest derivatives by or of other
        genes, summed over the groups.
    genes
        Genes to draw instead, in this order.
    n_edges
        Strongest arrows of a network, loops not counted.
    key
        ``key_added`` of the fit.
    cmap
        Diverging colour map, white at no effect. Entries that were not among the ``n_regulators``
        that were kept are grey.
    vmax
        Derivative with the strongest colour and the widest line; by default the largest between
        two different genes. Decay, on the diagonal, is often far larger: it is clipped.
    numbers
        Whether to write the derivatives into a heatmap; by default up to four genes.
    n_columns
        Panels side by side.
    title
        Title of a single panel; by default the group.
    figsize
        Width and height in inches.
    ax
        Axes to draw into, one for each group.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes (a list of them unless `groups` is one group), or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there are no derivatives, or no such group or gene.
    ValueError
        For an unknown kind, a group without cells, or numbers out of range.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.regulatory_jacobian(adata, "lineage")
    >>> axes = scruot.pl.regulatory_jacobian(adata, kind="network", show=False)
    >>> [ax.get_title() for ax in axes]
    ['transition', 'quiescent']
    """
    if kind not in _KINDS:
        raise ValueError(unknown("kind", str(kind), _KINDS))
    whole("n_genes", n_genes)
    whole("n_edges", n_edges)
    if vmax is not None and not 0 < vmax < np.inf:
        msg = f"Found vmax={vmax!r}; expected a positive number, or None."
        raise ValueError(msg)
    known, found = derivatives(adata, key, groups)
    entry = read_jacobian(adata, key)
    column = str(entry.get("groupby", ""))
    if genes is None:
        picked = _strongest(list(found.values()), n_genes)
    else:
        picked = [known.index(gene) for gene in known_genes(genes, known)]
    shown = {group: values[np.ix_(picked, picked)] for group, values in found.items()}
    names = [shortened(known[i], _LETTERS) for i in picked]
    top = vmax or _largest(list(shown.values()))
    n, across = len(shown), n_columns or (len(shown) if len(shown) <= 3 else 4)
    size = figsize or _size(n, min(n, across), names, kind)
    axes = panels(n, ax, size, min(n, across), share=False)
    mappable = ScalarMappable(Normalize(-top, top), colormap(cmap).with_extremes(bad=_NOT_KEPT))
    written = numbers if numbers is not None else len(names) <= _MAX_NUMBERS
    for one, (group, values) in zip(axes, shown.items(), strict=True):
        named = title if title is not None and n == 1 else _title(group, column)
        vague = untold(adata, key, group)
        sure = values if vague is None else np.where(vague[np.ix_(picked, picked)], 0.0, values)
        if kind == "network":
            draw_network(one, sure, names, top, mappable.get_cmap(), n_edges)
            one.set_title(named, fontsize=font("title"))
        else:
            _heatmap(one, sure, mappable, written=values if written else None)
            dress_plot(one, "regulator", "regulated gene" if one is axes[0] else "", named)
            _label(one, names, first=one is axes[0] or ax is not None)
    if kind == "network":
        explain_network(axes[-1], mappable.get_cmap())
    else:
        values = np.concatenate([m.ravel() for m in shown.values()])
        label = _LABELS[str(entry.get("estimate", "derivative"))]
        color_bar(axes, mappable, label, extend=clipped(values, mappable))
    single = groups is not None and n == 1 and (isinstance(groups, str) or np.isscalar(groups))
    if single:
        return finish(axes[0], given=ax is not None, show=show, save=save)
    return finish(axes, given=ax is not None, show=show, save=save)


def _title(group: str, column: str) -> str:
    """Say what a number is."""
    number = group.replace(".", "", 1).removeprefix("-").isdigit()
    return shortened(f"{column} {group}" if number else group, 20)


def _off_diagonal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    size = np.abs(np.nan_to_num(values))
    np.fill_diagonal(size, 0.0)
    return size


def _strongest(matrices: list[NDArray[np.float64]], n: int) -> list[int]:
    """Return the genes with the largest derivatives, in the order of the object."""
    size = np.sum([_off_diagonal(values) for values in matrices], axis=0)
    both = size.sum(axis=0) + size.sum(axis=1)
    return sorted(np.argsort(-both, kind="stable")[:n].tolist())


def _largest(matrices: list[NDArray[np.float64]]) -> float:
    between = max(float(_off_diagonal(values).max()) for values in matrices)
    own = max(float(np.abs(np.nan_to_num(values)).max()) for values in matrices)
    return between or own or 1.0


def _size(n: int, across: int, names: list[str], kind: str) -> tuple[float, float]:
    rows, letter = -(-n // across), 0.55 * font("tick") / 72
    longest = max(len(name) for name in names) * letter
    if kind == "network":
        each = max(1.9, 0.09 * len(names) + 2 * longest + 1.0)
        return max(COLUMN_WIDTH, each * across), (each - longest + 0.4) * rows
    each = max(1.2, _CELL * len(names))
    width = each * across + longest + 1.3
    return max(COLUMN_WIDTH, width), (each + longest + 0.6) * rows


def _heatmap(
    ax: Axes,
    values: NDArray[np.float64],
    mappable: ScalarMappable,
    *,
    written: NDArray[np.float64] | None,
) -> None:
    rgba = mappable.to_rgba(np.ma.masked_invalid(values))
    ax.imshow(rgba, aspect="equal")
    for (i, j), value in np.ndenumerate(np.empty((0, 0)) if written is None else written):
        if not np.isfinite(value):
            continue
        red, green, blue, _ = rgba[i, j]
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        text = f"{value:.2f}" if abs(value) < 9.995 else f"{value:.0f}"
        ax.text(
            j,
            i,
            text.replace("-", "−"),
            ha="center",
            va="center",
            color="white" if dark else "0.15",
            fontsize=font("tick"),
        )


def _label(ax: Axes, names: list[str], *, first: bool) -> None:
    place = range(len(names))
    ax.set_xticks(place, names, rotation=90 if len(names) > _MAX_NUMBERS else 0)
    ax.set_yticks(place, names if first else [""] * len(names))
    ax.tick_params(length=0, labelsize=font("tick"))
    ax.spines[:].set_visible(False)
    # lines of paper between the cells
    ax.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1 if len(names) <= _MAX_NUMBERS else 0.4)
    ax.tick_params(which="minor", length=0)
