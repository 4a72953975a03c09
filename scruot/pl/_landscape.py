"""The landscape of a fit, as a map or as a surface, a panel for each time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from scruot._messages import unknown
from scruot.pl import _read
from scruot.pl._colors import color_bar, colormap
from scruot.pl._figure import (
    COLUMN_WIDTH,
    dress_embedding,
    finish,
    font,
    name_outer,
    panels,
    title_panels,
)

__all__ = ["landscape"]

_KINDS = ("map", "surface")
_MAP = "viridis"
# share of the population at each time that lies below the default ceiling
_INSIDE = 0.99
_N_CONTOURS = 7
# shades between two contours of a map
_N_SHADES = 8
_LINES: dict[str, Any] = {"colors": "0.15", "linewidths": 0.3, "linestyles": "solid"}
# points of a surface along each axis, and the height of its lowest well above the ground, as a
# share of its own
_FINE, _ABOVE_GROUND = 200, 0.3


@dataclass(frozen=True)
class _Heights:
    """Heights (T, rows, columns) at times, and where they are."""

    height: NDArray[np.float64]
    labels: list[str]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    basis: str
    components: tuple[int, int]


def landscape(
    adata: AnnData,
    *,
    kind: Literal["map", "surface"] = "map",
    key: str | None = None,
    times: Iterable[Any] | None = None,
    vmax: float | None = None,
    cmap: str | Colormap | None = None,
    n_columns: int | None = None,
    elevation: float = 45.0,
    azimuth: float = -60.0,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> list[Axes] | None:
    r"""Draw the landscape :math:`-\log p` at each time: cells are many in its valleys.

    All panels share the colours and heights, which can be compared between times: the density
    integrates to the population.

    Parameters
    ----------
    adata
        Annotated data after :func:`scruot.tl.landscape`.
    kind
        ``"map"``, colours and contours seen from above, or ``"surface"``: the wells in three
        dimensions, above their contours.
    key
        ``key_added`` of the fit.
    times
        Only draw these of the times of :func:`scruot.tl.landscape`.
    vmax
        Height above which nothing is drawn: wells end there. By default 99 % of the population at
        each time lie below it.
    cmap
        Sequential colour map.
    n_columns
        Panels in a row.
    elevation, azimuth
        From where a surface is seen, in degrees.
    colorbar
        Whether to explain the colours.
    title
        Title of the figure.
    figsize
        Width and height in inches.
    ax
        As many axes as there are times; for surfaces in three dimensions
        (``subplot_kw={"projection": "3d"}``).
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes, one per time, or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no fit or no landscape.
    ValueError
        When `kind` is unknown, for times without a landscape, or when `ax` does not fit.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.landscape(adata)
    >>> axes = scruot.pl.landscape(adata, times=[0, 4], show=False)
    >>> [ax.get_title() for ax in axes]
    ['time 0', 'time 4']
    """
    if kind not in _KINDS:
        raise ValueError(unknown("kind", kind, _KINDS))
    found = _stored(adata, key, times)
    ceiling = vmax if vmax is not None else max(map(_ceiling, found.height))
    floor = float(found.height.min())
    mappable = ScalarMappable(
        Normalize(floor, max(ceiling, floor + 1e-9)), colormap(cmap, default=_MAP)
    )
    n = len(found.labels)
    if kind == "map":
        axes = panels(n, ax, figsize, n_columns)
        for one, height in zip(axes, found.height, strict=True):
            _draw_map(one, found, height, mappable)
    else:
        axes = _surface_panels(n, ax, figsize, n_columns)
        for one, height in zip(axes, found.height, strict=True):
            _draw_surface(one, found, height, mappable)
            one.view_init(elevation, azimuth)  # type: ignore[attr-defined]
    for one, label in zip(axes, found.labels, strict=True):
        dress_embedding(one, found.basis, found.components, label)
        if ax is None and kind == "map":
            name_outer(one)
    title_panels(axes, title, own=ax is None)
    if colorbar:
        pad = 0.02 if kind == "map" else 0.06
        color_bar(axes, mappable, "height  −log p", fraction=0.03, pad=pad)
    return finish(axes, given=ax is not None, show=show, save=save)


def _stored(adata: AnnData, key: str | None, times: Iterable[Any] | None) -> _Heights:
    fitted = _read.fit(adata, key)
    name = fitted.slots.landscape
    if name not in adata.uns:
        msg = (
            f"Found no landscape (adata.uns[{name!r}] is missing). "
            f"Run scruot.tl.landscape(adata{fitted.key_argument}) first."
        )
        raise KeyError(msg)
    stored = adata.uns[name]
    held = [float(t) for t in stored["times"]]
    labels = _read.time_labels(adata, fitted)
    known = {t: labels.get(t, _read.time_text(t)) for t in held}
    shown = _read.wanted_times(known, times, "landscape")
    first, second = (int(c) for c in stored["components"])
    return _Heights(
        np.asarray(stored["height"], dtype=float)[[held.index(t) for t in shown]],
        [_label(known[t], fitted.time_key) for t in shown],
        np.asarray(stored["x"], dtype=float),
        np.asarray(stored["y"], dtype=float),
        str(stored["basis"]),
        (first, second),
    )


def _label(label: str, time_key: str) -> str:
    # "day 3" says what it is, "3" does not
    return label if any(c.isalpha() for c in label) else f"{time_key} {label}"


def _ceiling(height: NDArray[np.float64]) -> float:
    """Return the height below which nearly all of the population of a time lies."""
    ordered = np.sort(height.ravel())
    mass = np.exp(ordered[0] - ordered).cumsum()
    return float(ordered[np.searchsorted(mass, _INSIDE * mass[-1])])


def _draw_map(
    ax: Axes, found: _Heights, height: NDArray[np.float64], mappable: ScalarMappable
) -> None:
    low, high = mappable.get_clim()
    levels = np.linspace(low, high, _N_SHADES * (_N_CONTOURS - 1) + 1)
    filled = ax.contourf(found.x, found.y, height, levels, cmap=mappable.cmap, vmin=low, vmax=high)
    filled.set(rasterized=True, edgecolor="face")
    ax.contour(found.x, found.y, height, levels[::_N_SHADES], **_LINES)


def _surface_panels(
    n: int,
    ax: Sequence[Axes] | Axes | None,
    figsize: tuple[float, float] | None,
    n_columns: int | None,
) -> list[Axes]:
    if ax is not None:
        given = panels(n, ax, figsize, n_columns)
        if not all(one.name == "3d" for one in given):
            msg = (
                "Found axes in two dimensions; expected axes in three for kind='surface', as of "
                "plt.subplots(subplot_kw={'projection': '3d'})."
            )
            raise ValueError(msg)
        return given
    columns = min(n, n_columns or 3)
    rows = ceil(n / columns)
    size = figsize or (max(COLUMN_WIDTH, 2.5 * columns), 2.4 * rows + 0.2)
    grid = plt.subplots(
        rows,
        columns,
        figsize=size,
        layout="constrained",
        squeeze=False,
        subplot_kw={"projection": "3d"},
    )[1]
    axes = list(grid.ravel())
    for unused in axes[n:]:
        unused.set_axis_off()
    return axes[:n]


def _draw_surface(
    ax: Any, found: _Heights, height: NDArray[np.float64], mappable: ScalarMappable
) -> None:
    """Draw the wells alone, as bowls under the ceiling, and their contours on the ground.

    A plateau between the wells would hide them from nearly everywhere.
    """
    low, high = mappable.get_clim()
    x, y, height = _finer(found, height)
    ground = low - _ABOVE_GROUND * (high - low)
    corners = np.stack([*np.meshgrid(x, y), np.minimum(height, high)], axis=-1)
    quads = np.stack(
        [corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]], axis=2
    ).reshape(-1, 4, 3)
    inside = quads[..., 2].min(axis=1) < high
    ax.add_collection3d(
        Poly3DCollection(
            quads[inside],
            facecolors=mappable.to_rgba(quads[inside, :, 2].mean(axis=1)),
            linewidths=0,
            antialiased=False,
            rasterized=True,
        )
    )
    levels = np.linspace(low, high, _N_CONTOURS)
    ax.contour(x, y, height, levels, zdir="z", offset=ground, cmap=mappable.cmap, linewidths=0.7)
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]], zlim=(ground, high))
    ax.set_zticks([t for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high])
    ax.tick_params(axis="z", labelsize=font("tick"), pad=0)
    # without ticks the names belong close to the axes
    ax.xaxis.labelpad = ax.yaxis.labelpad = -12
    ax.set_box_aspect((1, 1, 0.7))


def _finer(
    found: _Heights, height: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Interpolate to a grid on which the rim of a small well is round."""
    x, y = (np.linspace(axis[0], axis[-1], max(len(axis), _FINE)) for axis in (found.x, found.y))
    kx, ky = min(3, len(found.y) - 1), min(3, len(found.x) - 1)
    spline = RectBivariateSpline(found.y, found.x, height, kx=kx, ky=ky)
    return x, y, spline(y, x)
