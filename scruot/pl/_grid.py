"""Smooth the arrows of single cells onto a regular grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Grid", "smooth_on_grid"]

# So many cells near a grid point give a mean that is steady enough to draw.
_MAX_NEIGHBORS = 200


@dataclass(frozen=True)
class Grid:
    """Velocities on a regular grid; masked where there are too few cells.

    Attributes
    ----------
    x, y
        Coordinates of the columns (n,) and of the rows (n,).
    u, v
        Masked velocity components, shape (n, n), a row per value of `y`.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    u: np.ma.MaskedArray
    v: np.ma.MaskedArray

    @property
    def speed(self) -> np.ma.MaskedArray:
        """Length of every arrow."""
        return np.ma.hypot(self.u, self.v)


def smooth_on_grid(
    position: NDArray[np.float64],
    velocity: NDArray[np.float64],
    *,
    n_grid: int,
    smooth: float,
    min_cells: int | None,
) -> Grid:
    """Average velocities with a Gaussian kernel around every grid point.

    Parameters
    ----------
    position, velocity
        Cells and their arrows, both of shape (n, 2).
    n_grid
        Grid points along each axis.
    smooth
        Width of the kernel, as a part of the extent of each axis.
    min_cells
        Grid points with fewer cells within one width of the kernel are masked. ``None`` takes 3,
        or one in a thousand cells where that is more, so that a few outliers make no lines.

    Returns
    -------
    The grid. Both axes are scaled to their extent first, so their units do not matter.
    """
    low, extent = position.min(0), np.ptp(position, axis=0)
    extent[extent == 0] = 1.0
    margin = 0.02
    ticks = np.linspace(-margin, 1 + margin, n_grid)
    points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    scaled = (position - low) / extent
    tree = cKDTree(scaled)
    k = min(len(scaled), _MAX_NEIGHBORS)
    distance, index = tree.query(points, k=k)
    # A single neighbour comes back without its axis.
    distance, index = distance.reshape(-1, k), index.reshape(-1, k)
    kernel = np.exp(-0.5 * (distance / smooth) ** 2)
    mass = kernel.sum(1)
    mean = np.einsum("pk,pkd->pd", kernel, velocity[index])
    mean /= np.maximum(mass, np.finfo(float).tiny)[:, None]
    enough = min(k, max(3, len(scaled) // 1000) if min_cells is None else min_cells)
    empty = ((distance <= smooth).sum(1) < enough).reshape(n_grid, n_grid)
    u, v = mean.T.reshape(2, n_grid, n_grid)
    return Grid(
        x=low[0] + ticks * extent[0],
        y=low[1] + ticks * extent[1],
        u=np.ma.array(u, mask=empty),
        v=np.ma.array(v, mask=empty),
    )
