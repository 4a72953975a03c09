"""The two layers that streams and arrows share: coloured cells and their velocities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from scruot.pl import _read
from scruot.pl._colors import Coloring, add_key, color_cells
from scruot.pl._scatter import scatter_cells

__all__ = ["ArrowsAndCells", "arrows_and_cells"]


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
