"""Draw cells as dots: the layer under arrows, streams and trajectories."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from numpy.typing import ArrayLike, NDArray

from scruot.pl._figure import point_size

__all__ = ["scatter_cells"]

# Vector files with more dots than this are slow to open: the dots become an image in them.
_RASTERIZE_ABOVE = 2000


def scatter_cells(
    ax: Axes,
    position: NDArray[np.float64],
    color: ArrayLike | str,
    *,
    size: float | None,
    alpha: float = 1.0,
    zorder: float = 1.0,
    label: str | None = None,
) -> PathCollection:
    """Draw cells in a random order that never changes, so that no group hides another.

    Parameters
    ----------
    ax
        Where to draw.
    position
        Coordinates, shape (n, 2).
    color
        One colour, or RGBA of shape (n, 4).
    size
        Area of a dot in points squared; ``None`` suits it to the number of cells.
    alpha, zorder, label
        As in :meth:`matplotlib.axes.Axes.scatter`.
    """
    order = np.random.default_rng(0).permutation(len(position))
    single = isinstance(color, str)
    return ax.scatter(
        position[order, 0],
        position[order, 1],
        s=point_size(len(position), size, ax),
        c=color if single else np.asarray(color)[order],
        alpha=alpha,
        linewidths=0,
        rasterized=len(position) > _RASTERIZE_ABOVE,
        zorder=zorder,
        label=label,
    )
