"""What pictures of cells share: cells coloured by a number, and coloured cells with velocities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from scruot.pl import _read
from scruot.pl._colors import Coloring, add_key, clipped, color_bar, color_cells
from scruot.pl._scatter import scatter_cells

__all__ = ["ArrowsAndCells", "NumberedCells", "arrows_and_cells", "numbered_cells"]


@dataclass(frozen=True)
class NumberedCells:
    """Cells of the chosen times: positions (n, 2) and a number of each (n,)."""

    basis: str
    position: NDArray[np.float64]
    values: NDArray[np.float64]

    def draw(
        self,
        ax: Axes,
        mappable: ScalarMappable,
        label: str | None,
        *,
        size: float | None,
        alpha: float,
    ) -> None:
        """Draw the cells, and with a label explain their colours."""
        scatter_cells(ax, self.position, mappable.to_rgba(self.values), size=size, alpha=alpha)
        if label is not None:
            color_bar(ax, mappable, label, extend=clipped(self.values, mappable))


def numbered_cells(
    adata: AnnData,
    fitted: _read.Fit,
    values: NDArray[np.float64],
    what: str,
    basis: str | None,
    times: Iterable[Any] | None,
    components: Sequence[int],
) -> NumberedCells:
    """Return the cells of some times that have a finite value and position, at least one."""
    name, coordinates = _read.embedding(adata, fitted, basis)
    position = _read.pick(coordinates, components, name)
    keep = _read.cell_mask(adata, fitted, times)
    keep &= np.isfinite(values) & np.isfinite(position).all(1)
    if not keep.any():
        msg = f"Found no cell with {what} and coordinates in the basis {name!r}."
        raise ValueError(msg)
    return NumberedCells(name, position[keep], values[keep])


@dataclass(frozen=True)
class ArrowsAndCells:
    """Cells of the chosen times: positions (n, 2), velocities (n, 2) and colours."""

    basis: str
    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    coloring: Coloring

    def draw_cells(self, ax: Axes, *, size: float | None, alpha: float, colorbar: bool) -> None:
        """Draw the cells and explain their colours."""
        scatter_cells(ax, self.position, self.coloring.rgba, size=size, alpha=alpha)
        if colorbar:
            add_key(ax, self.coloring)


def arrows_and_cells(
    adata: AnnData,
    basis: str | None,
    key: str | None,
    color: str | None,
    cmap: str | Colormap | None,
    times: Iterable[Any] | None,
    components: Sequence[int],
    field: str = "velocity",
) -> ArrowsAndCells:
    """Read everything first, so that errors come before anything is drawn."""
    fitted = _read.fit(adata, key)
    name, coordinates = _read.embedding(adata, fitted, basis)
    vectors = _read.vectors(adata, fitted, name, field)
    arrows = _read.pick(vectors, components, f"the {field} in {name}")
    position = _read.pick(coordinates, components, name)
    coloring = color_cells(adata, fitted, color, cmap)
    keep = _read.cell_mask(adata, fitted, times)
    keep &= np.isfinite(arrows).all(1) & np.isfinite(position).all(1)
    if not keep.any():
        msg = f"Found no cell with finite coordinates and {field} in the basis {name!r}."
        raise ValueError(msg)
    coloring = replace(coloring, rgba=coloring.rgba[keep])
    return ArrowsAndCells(name, position[keep], arrows[keep], coloring)
