"""Where a simulation begins: cells or coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray

from scruot.io.read import read_obs
from scruot.tl._fitted import FittedCells
from scruot.tl._selection import as_array, positions

Start = str | Sequence[str] | NDArray[Any] | pd.Series | pd.DataFrame | torch.Tensor | None


@dataclass(frozen=True)
class Beginning:
    """Particles at the beginning of a simulation.

    Parameters
    ----------
    x
        Coordinates (n, d).
    weights
        Masses (n,), one in total.
    names
        Names of the cells (n,).
    time
        Time of the cells; ``None`` for coordinates, which have none.
    """

    x: NDArray[np.floating]
    weights: NDArray[np.float64]
    names: NDArray[np.object_]
    time: float | None

    def drawn(self, n_cells: int | None, rng: np.random.Generator) -> Beginning:
        """Return a random sample, with replacement if it is larger than the whole."""
        if n_cells is None:
            return self
        n = len(self.x)
        rows = rng.choice(n, n_cells, replace=n_cells > n)
        rows = np.sort(rows)
        weights = self.weights[rows]
        if not weights.sum() > 0:
            msg = f"The {n_cells} cells drawn have no mass; draw more with n_cells."
            raise ValueError(msg)
        return Beginning(self.x[rows], weights / weights.sum(), self.names[rows], self.time)


def begin(adata: AnnData, cells: FittedCells, start: Start, *, backward: bool) -> Beginning:
    """Return the particles that ``start`` names.

    Raises
    ------
    KeyError
        For an unknown column or cell.
    TypeError, ValueError
        For anything that is neither cells of one time nor coordinates of the right size.
    """
    if start is None:
        time = cells.model.times[-1 if backward else 0]
        rows = np.flatnonzero(cells.reference & (cells.time == time))
        if len(rows) == 0:
            msg = f"Found no fitted cells at time {time:g} to start from; give start."
            raise ValueError(msg)
        return _cells(adata, cells, rows)
    if isinstance(start, str):
        column = read_obs(adata, start, "boolean column of start cells")
        if not pd.api.types.is_bool_dtype(column.dtype):
            msg = f"obs[{start!r}] has dtype {column.dtype}; expected booleans, True: start here."
            raise ValueError(msg)
        return _cells(adata, cells, np.flatnonzero(column.to_numpy(dtype=bool)))
    values = as_array(start)
    if values.ndim == 1 and values.dtype == bool:
        if len(values) != adata.n_obs:
            msg = f"Found a mask of {len(values)} cells; expected one of all {adata.n_obs} cells."
            raise ValueError(msg)
        return _cells(adata, cells, np.flatnonzero(values))
    if values.ndim == 1 and all(isinstance(name, str) for name in values):
        return _cells(adata, cells, positions(adata, values, "start"))
    return _coordinates(values, cells.model.dim)


def _cells(adata: AnnData, cells: FittedCells, rows: NDArray[np.integer]) -> Beginning:
    if len(rows) == 0:
        msg = "start names no cell; expected at least one."
        raise ValueError(msg)
    times = np.unique(cells.time[rows])
    if len(times) > 1:
        msg = (
            f"The start cells are at times {times.tolist()}; expected cells of one time, as a "
            "simulation has one beginning. Simulate once per time, or give coordinates."
        )
        raise ValueError(msg)
    mass = cells.mass[rows]
    if not mass.sum() > 0:
        msg = "The start cells have no mass; expected a positive weight of at least one."
        raise ValueError(msg)
    names = adata.obs_names.to_numpy(dtype=object)[rows]
    return Beginning(cells.x[rows], mass / mass.sum(), names, float(times[0]))


def _coordinates(values: NDArray[Any], dim: int) -> Beginning:
    is_number = np.issubdtype(values.dtype, np.number)
    if values.ndim != 2 or not is_number or values.shape[1] != dim or len(values) == 0:
        msg = (
            f"Found start of shape {values.shape} and dtype {values.dtype}; expected a boolean "
            f"column or mask, a list of cell names, or coordinates of shape (n, {dim})."
        )
        raise ValueError(msg)
    if not np.isfinite(values).all():
        msg = "start holds NaN or infinity; expected finite coordinates."
        raise ValueError(msg)
    n = len(values)
    names = np.array([f"start{i}" for i in range(n)], dtype=object)
    return Beginning(values.astype(np.float64), np.full(n, 1 / n), names, None)
