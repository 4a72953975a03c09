"""Colours of cells: by time, by category, by number, or one for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import (
    BoundaryNorm,
    Colormap,
    ListedColormap,
    LogNorm,
    Normalize,
    is_color_like,
    to_rgba,
    to_rgba_array,
)
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from scruot._messages import did_you_mean
from scruot.pl._figure import figure_of, font
from scruot.pl._read import Fit, time_labels, times_of

__all__ = [
    "GROWTH_LABEL",
    "GROWTH_MAP",
    "OKABE_ITO",
    "Coloring",
    "add_key",
    "category_colors",
    "clipped",
    "color_bar",
    "color_cells",
    "colormap",
    "diverging",
    "group_colors",
]

#: Okabe and Ito (2008), told apart with every common kind of colour vision; black comes last.
OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#000000",
)
_MISSING = "lightgray"
_TIME_MAP = "viridis"
GROWTH_LABEL = "growth per unit of time"
# Ticks of a logarithmic bar around 1.
_NEAR_ONE = np.array([0.5, 0.7, 1, 1.4, 2])
_CLOSE_TO_ONE = np.array([0.8, 0.9, 1, 1.1, 1.2])
# More steps than this cannot be told apart: the bar becomes continuous.
_MAX_STEPS = 12


def _with_grey_middle(name: str, brightest: float = 0.85) -> ListedColormap:
    """Darken the nearly white part of a map, in which cells would not show on a white page."""
    table = colormaps[name](np.linspace(0, 1, 511))
    brightness = table[:, :3] @ np.array([0.299, 0.587, 0.114])
    table[:, :3] *= np.minimum(1, brightest / brightness)[:, None]
    return ListedColormap(table, name=f"{name}_grey")


#: Diverging, for what is centred at zero or, on a logarithmic scale, at one.
GROWTH_MAP = _with_grey_middle("PuOr_r")


@dataclass(frozen=True)
class Coloring:
    """A colour for each cell and what explains it to the reader."""

    rgba: NDArray[np.float64]
    label: str = ""
    categories: dict[str, Any] = field(default_factory=dict)
    mappable: ScalarMappable | None = None
    ticks: Sequence[str] = ()


def color_cells(
    adata: AnnData, fitted: Fit, color: str | None, cmap: str | Colormap | None
) -> Coloring:
    """Colour every cell by a column of ``obs`` (the time by default), or all cells alike."""
    name = fitted.time_key if color is None else color
    if name not in adata.obs:
        if color is not None and is_color_like(color):
            return Coloring(np.tile(to_rgba(color), (adata.n_obs, 1)))
        hint = did_you_mean(name, adata.obs.columns)
        msg = f"Found {name!r} neither as a column of adata.obs nor as a colour.{hint}"
        raise KeyError(msg)
    values = adata.obs[name]
    stored = adata.uns.get(f"{name}_colors")
    is_category = isinstance(values.dtype, pd.CategoricalDtype)
    if stored is not None and is_category and len(stored) >= len(values.cat.categories):
        return _by_category(values, list(stored), name)
    if name == fitted.slots.growth:
        return _by_growth(values, cmap)
    if name == fitted.time_key:
        labels = time_labels(adata, fitted)
        if len(labels) <= _MAX_STEPS:
            return _by_step(times_of(adata, fitted), labels, name, cmap)
        return _by_number(pd.Series(times_of(adata, fitted)), name, cmap)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return _by_number(values, name, cmap)
    return _by_category(values, None, name)


def category_colors(n: int) -> list[Any]:
    """Return `n` colours: Okabe and Ito's, then darker ones, then an even walk through a map."""
    light = to_rgba_array(OKABE_ITO)
    dark = light[:-1] * np.array([0.55, 0.55, 0.55, 1.0])
    listed = np.concatenate([light, dark])
    if n <= len(listed):
        return [tuple(color) for color in listed[:n]]
    return [tuple(color) for color in colormaps["turbo"](np.linspace(0.03, 0.97, n))]


def group_colors(adata: AnnData, groupby: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the colours that the data hold for groups of a column, or our own."""
    default = category_colors(len(names))
    stored = adata.uns.get(f"{groupby}_colors")
    known: dict[str, Any] = {}
    if groupby in adata.obs and stored is not None:
        categories = adata.obs[groupby].astype("category").cat.categories
        known = dict(zip(map(str, categories), stored, strict=False))
    return {name: known.get(str(name), default[i]) for i, name in enumerate(names)}


def _by_category(values: pd.Series, stored: list[Any] | None, name: str) -> Coloring:
    known = isinstance(values.dtype, pd.CategoricalDtype)
    category = values.cat if known else values.astype("category").cat
    colors = stored or category_colors(len(category.categories))
    codes = category.codes.to_numpy()
    table = np.concatenate([to_rgba_array(colors[: len(category.categories)]), _missing()])
    # Code -1, a missing value, picks the last row.
    shown = {str(category.categories[code]): colors[code] for code in np.unique(codes[codes >= 0])}
    return Coloring(table[codes], name, categories=shown)


def _by_step(
    times: NDArray[np.float64], labels: dict[float, str], name: str, cmap: str | Colormap | None
) -> Coloring:
    """Colour distinct times in even steps, so that 0, 8 and 168 hours are told apart."""
    # The palest end is left out: it would not show on white.
    steps = colormap(cmap)(np.linspace(0, 0.95, max(len(labels), 2))[: len(labels)])
    norm = BoundaryNorm(np.arange(len(labels) + 1) - 0.5, len(labels))
    mappable = ScalarMappable(norm, ListedColormap(steps))
    codes = np.searchsorted(list(labels), times)
    return Coloring(steps[codes], name, mappable=mappable, ticks=list(labels.values()))


def _by_number(values: pd.Series, name: str, cmap: str | Colormap | None) -> Coloring:
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    finite = numbers[np.isfinite(numbers)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    mappable = ScalarMappable(Normalize(low, high), colormap(cmap))
    return Coloring(_rgba(numbers, mappable), name, mappable=mappable)


def _by_growth(values: pd.Series, cmap: str | Colormap | None) -> Coloring:
    rates = values.to_numpy(dtype=float, na_value=np.nan)
    mappable = diverging(rates, None, cmap or GROWTH_MAP)
    return Coloring(_rgba(rates, mappable), GROWTH_LABEL, mappable=mappable)


def _rgba(numbers: NDArray[np.float64], mappable: ScalarMappable) -> NDArray[np.float64]:
    finite = np.isfinite(numbers)
    return np.where(finite[:, None], mappable.to_rgba(np.where(finite, numbers, 0.0)), _missing())


def _missing() -> NDArray[np.float64]:
    return np.asarray([to_rgba(_MISSING)])


def diverging(
    values: NDArray[np.float64], vmax: float | None, cmap: str | Colormap
) -> ScalarMappable:
    """Map numbers to colours with 0 in the middle; by default the last percent is clipped."""
    size = np.abs(values[np.isfinite(values)])
    limit = vmax or (float(np.percentile(size, 99)) if size.size else 0.0) or 1.0
    return ScalarMappable(Normalize(-limit, limit), colormap(cmap))


def clipped(values: NDArray[np.float64], mappable: ScalarMappable) -> str:
    """Return which ends of a colour bar there are values beyond."""
    low, high = mappable.get_clim()
    below, above = bool((values < low).any()), bool((values > high).any())
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]


def colormap(cmap: str | Colormap | None, default: str = _TIME_MAP) -> Colormap:
    """Return a colour map that is given by its name, or itself, or not at all."""
    return cmap if isinstance(cmap, Colormap) else colormaps[cmap or default]


def add_key(ax: Axes, coloring: Coloring) -> None:
    """Explain the colours: a bar for an order, a legend for categories."""
    if coloring.categories:
        handles = [
            Line2D([], [], marker="o", linestyle="", markersize=4, color=color, label=label)
            for label, color in coloring.categories.items()
        ]
        legend = ax.legend(
            handles=handles,
            title=coloring.label,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize=font("legend"),
            title_fontsize=font("legend"),
            handletextpad=0.1,
            borderaxespad=0.2,
            ncols=1 + (len(handles) - 1) // 16,
        )
        legend.set_in_layout(True)
    elif coloring.mappable is not None:
        color_bar(ax, coloring.mappable, coloring.label, ticks=coloring.ticks)


def color_bar(
    ax: Axes | list[Axes],
    mappable: ScalarMappable,
    label: str,
    *,
    ticks: Sequence[str] = (),
    extend: str = "neither",
    **placed: float,
) -> None:
    """Draw a slim colour bar beside one or all axes; `ticks` stand in the middle of its steps."""
    place: dict[str, Any] = {"fraction": 0.06, "pad": 0.02, "aspect": 22, "shrink": 0.8} | placed
    figure = figure_of(ax[0] if isinstance(ax, list) else ax)
    bar = figure.colorbar(mappable, ax=ax, extend=extend, **place)
    if ticks:
        bar.set_ticks(list(range(len(ticks))), labels=list(ticks))
        bar.ax.tick_params(length=0)
        bar.ax.minorticks_off()
    if isinstance(mappable.norm, LogNorm):
        _plain_log_ticks(bar, mappable.norm)
    bar.ax.tick_params(labelsize=font("tick"))
    bar.set_label(label, fontsize=font("label"))
    bar.outline.set_visible(False)


def _plain_log_ticks(bar: Colorbar, norm: LogNorm) -> None:
    """Write 0.5, 1 and 2 where matplotlib would write powers of ten."""
    low, high = float(norm.vmin or 1.0), float(norm.vmax or 1.0)
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    # From coarse to fine: the first that gives three ticks.
    ladders = (decades, np.outer(decades, [1, 2, 5]).ravel(), _NEAR_ONE, _CLOSE_TO_ONE)
    inside = [[t for t in ladder if low <= t <= high] for ladder in ladders]
    ticks = next((found for found in inside if len(found) >= 3), inside[-1])
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.ax.minorticks_off()
