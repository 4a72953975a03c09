"""Flow between groups of cells over the times, as an alluvial plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline

from scruot._messages import unknown
from scruot.pl._alluvial import Alluvium, Ribbon, layout
from scruot.pl._alluvial_names import NODE_WIDTH, beside, extent, write_names
from scruot.pl._colors import group_colors
from scruot.pl._figure import COLUMN_WIDTH, finish, font, new_axes
from scruot.pl._read import wanted_times
from scruot.pl._read_transport import table_entry, transported

__all__ = ["transport"]

_POINTS = 72.0
# Inches from one time to the next.
_COLUMN = 0.75


def transport(
    adata: AnnData,
    *,
    key: str | None = None,
    groups: Sequence[str] | None = None,
    times: Iterable[Any] | None = None,
    min_flow: float = 0.005,
    gap: float = 0.03,
    alpha: float = 0.5,
    population: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw how groups of cells flow into each other, from each time to the next.

    A bar is a group at a time, as high as its population. A ribbon has the colour of the group
    that it comes from; it starts as thick as the cells whose descendants it holds and ends as
    thick as these descendants are, so it widens where they grow and narrows where they die. What
    no ribbon reaches of a bar has no ancestors; what none leaves, no descendants. Times are drawn
    at even distances.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.transport` and :func:`scruot.tl.transition_table`;
        the groups and the span of times are those of the table.
    key
        ``key_added`` of the transport.
    groups
        Groups to draw, from top to bottom; by default all, in the order of their categories.
    times
        Consecutive times to draw; by default all.
    min_flow
        Leave out ribbons that are thinner at both ends than this part of their columns.
    gap
        Space between groups, as a part of the highest column.
    alpha
        Opacity of the ribbons.
    population
        Whether to write above each time the population relative to the first that is drawn.
    title
        Title of the axes.
    figsize
        Width and height in inches; by default at least a single column of a journal, more for
        many times, groups, or long names.
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
        When there is no transport, or no table of groups.
    ValueError
        For unknown groups or times, or fewer than two times.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> table = scruot.tl.transition_table(adata, "lineage")
    >>> ax = scruot.pl.transport(adata, show=False)
    >>> ax.get_xlabel()
    'time'
    """
    entry = table_entry(adata, key)
    stored = transported(adata, key)
    masses, flow = entry["population"], entry["flow"]
    known = _known(adata, str(entry["groupby"]), masses)
    order = known if groups is None else _chosen(groups, known)
    labels = {t: name for t, name in stored.labels.items() if t in set(masses["time"])}
    shown = sorted(set(wanted_times(labels, times, "flow")))
    _check_consecutive(shown, list(labels), labels)
    masses = masses[masses["time"].isin(shown)]
    if not masses["group"].astype(str).isin(order).any():
        msg = (
            f"Found groups={order}, none of which has cells at the times "
            f"{[labels[t] for t in shown]}; expected some of "
            f"{list(dict.fromkeys(masses['group'].astype(str)))}."
        )
        raise ValueError(msg)
    flow = flow[flow["start"].isin(shown[:-1]) & flow["end"].isin(shown)]
    drawn = layout(masses, _thick(flow, masses, min_flow), order, gap=gap)
    # of all groups, so that a group keeps its colour whatever else is drawn
    colors = group_colors(adata, str(entry["groupby"]), known)
    axes = new_axes(ax, figsize or _size(drawn))
    place = {time: float(i) for i, time in enumerate(shown)}
    _draw(axes, drawn, place, colors, alpha)
    write_names(axes, drawn, place, outside=ax is not None)
    _dress(axes, drawn, place, labels, stored.time_key, population=population, title=title)
    return finish(axes, given=ax is not None, show=show, save=save)


def _known(adata: AnnData, groupby: str, masses: pd.DataFrame) -> list[str]:
    """Return all groups in the order of their categories."""
    present = list(dict.fromkeys(masses["group"].astype(str)))
    if groupby in adata.obs:
        categories = list(adata.obs[groupby].astype("category").cat.categories.astype(str))
        present.sort(key=lambda group: _rank(categories, group))
    return present


def _chosen(groups: Sequence[str], known: list[str]) -> list[str]:
    wanted = [groups] if isinstance(groups, str) else [str(group) for group in groups]
    for group in wanted:
        if group not in known:
            raise ValueError(unknown("group", group, known))
    if not wanted:
        msg = f"Found no group in groups; expected some of {known}."
        raise ValueError(msg)
    return list(dict.fromkeys(wanted))


def _rank(names: list[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _check_consecutive(shown: list[float], known: list[float], labels: dict[float, str]) -> None:
    first = known.index(shown[0])
    if len(shown) < 2 or known[first : first + len(shown)] != shown:
        msg = (
            f"Found times={[labels[t] for t in shown]}; expected two or more consecutive ones of "
            f"{list(labels.values())}."
        )
        raise ValueError(msg)


def _thick(flow: pd.DataFrame, masses: pd.DataFrame, least: float) -> pd.DataFrame:
    total = masses.groupby("time")["mass"].sum()
    at_start = flow["mass_start"].to_numpy() / flow["start"].map(total).to_numpy()
    at_end = flow["mass"].to_numpy() / flow["end"].map(total).to_numpy()
    return flow[np.maximum(at_start, at_end) >= least].reset_index(drop=True)


def _size(drawn: Alluvium) -> tuple[float, float]:
    """Make room for names beside the first and the last time, one above the other."""
    lines = max(sum(node.time == time for node in drawn.nodes) for time in drawn.total)
    width = max(COLUMN_WIDTH, _COLUMN * (len(drawn.total) - 1) + beside(drawn))
    height = max(0.82 * COLUMN_WIDTH, 1.45 * font("legend") * lines / _POINTS + 0.8)
    return width, height


def _draw(
    ax: Axes, drawn: Alluvium, place: dict[float, float], colors: dict[str, Any], alpha: float
) -> None:
    for ribbon in drawn.ribbons:
        left, right = place[ribbon.start] + NODE_WIDTH / 2, place[ribbon.end] - NODE_WIDTH / 2
        ax.add_patch(
            PathPatch(
                _outline(ribbon, left, right),
                facecolor=colors[ribbon.source],
                edgecolor="none",
                alpha=alpha,
                zorder=1,
            )
        )
    for node in drawn.nodes:
        corner = (place[node.time] - NODE_WIDTH / 2, node.low)
        ax.add_patch(
            Rectangle(
                corner,
                NODE_WIDTH,
                node.high - node.low,
                facecolor=colors[node.group],
                edgecolor="none",
                zorder=2,
            )
        )


def _outline(ribbon: Ribbon, left: float, right: float) -> Outline:
    """Return a band between two vertical edges that leaves and arrives level."""
    middle = (left + right) / 2
    (low0, high0), (low1, high1) = ribbon.left, ribbon.right
    points = [
        (left, high0),
        *((middle, high0), (middle, high1), (right, high1)),
        (right, low1),
        *((middle, low1), (middle, low0), (left, low0)),
        (left, high0),
    ]
    curve = [Outline.CURVE4] * 3
    return Outline(points, [Outline.MOVETO, *curve, Outline.LINETO, *curve, Outline.CLOSEPOLY])


def _dress(
    ax: Axes,
    drawn: Alluvium,
    place: dict[float, float],
    labels: dict[float, str],
    time_key: str,
    *,
    population: bool,
    title: str | None,
) -> None:
    low, height = min(node.low for node in drawn.nodes), extent(drawn)
    ax.set(
        xlim=(-NODE_WIDTH, len(place) - 1 + NODE_WIDTH), ylim=(low - 0.02 * height, low + height)
    )
    for time, total in drawn.total.items() if population else ():
        top = max(node.high for node in drawn.nodes if node.time == time)
        ax.text(
            place[time],
            top + 0.015 * height,
            f"{total:.2g}" if total < 10 else f"{total:.0f}",
            ha="center",
            va="bottom",
            fontsize=font("tick"),
            color="0.35",
        )
    ax.set_xticks(list(place.values()), [labels[time] for time in place])
    ax.tick_params(axis="x", length=0, labelsize=font("tick"))
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_xlabel(time_key, fontsize=font("label"))
    ax.set_ylabel("", fontsize=font("label"))
    if title is not None:
        ax.set_title(title, fontsize=font("title"))
