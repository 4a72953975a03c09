"""The two coordinates in which a landscape is drawn, and its heights on a grid of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import basis_name, embedding_key
from scruot._messages import unknown
from scruot.io.representation import read_representation
from scruot.tl._fitted import FittedCells
from scruot.tl._law_density import Cloud, law_at, log_densities, relative_mass

__all__ = ["View", "grid_axes", "learned_heights", "mixture_heights", "read_view"]

# beyond the outermost cells, in parts of the extent
_MARGIN = 0.1


@dataclass(frozen=True)
class View:
    """Two coordinates of all cells in a basis.

    Parameters
    ----------
    name
        Name of the basis.
    position
        Coordinates (n, 2).
    columns
        Which columns of the fitted representation they are; ``None`` in another basis.
    n_dims
        Dimensions of the basis.
    """

    name: str
    position: NDArray[np.float64]
    columns: list[int] | None
    n_dims: int

    @property
    def whole(self) -> bool:
        """Whether the two are all coordinates of a state."""
        return self.columns is not None and self.n_dims == 2


def read_view(
    adata: AnnData, cells: FittedCells, basis: str | None, components: tuple[int, int]
) -> View:
    """Return two components of a basis, by default of the fitted representation.

    Raises
    ------
    KeyError
        When there is no such basis.
    ValueError
        For components that it does not have.
    """
    fitted = str(cells.record["representation"]["use_rep"])
    use_rep = fitted if basis is None else embedding_key(basis, list(adata.obsm.keys()))
    own = use_rep == fitted
    if not own and use_rep not in adata.obsm:
        options = [basis_name(k) for k in adata.obsm if k.startswith("X_")]
        raise KeyError(unknown("basis", basis_name(use_rep), options))
    x = cells.x if own else read_representation(adata, use_rep)
    name, chosen, n_dims = basis_name(use_rep), tuple(components), x.shape[1]
    valid = len(chosen) == 2 and chosen[0] != chosen[1] and all(1 <= c <= n_dims for c in chosen)
    if not valid:
        msg = (
            f"Found components={chosen} for {name}, which has {n_dims} dimension(s). Expected "
            f"two different numbers from 1 to {n_dims}."
        )
        raise ValueError(msg)
    columns = [int(c) - 1 for c in chosen]
    position = np.asarray(x[:, columns], dtype=float)
    return View(name, position, columns if own else None, n_dims)


def grid_axes(
    position: NDArray[np.float64], n_grid: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of the columns and of the rows of a grid around the cells."""
    low, high = position.min(0), position.max(0)
    margin = _MARGIN * np.where(high > low, high - low, 1.0)
    x, y = (np.linspace(a, b, n_grid) for a, b in zip(low - margin, high + margin, strict=True))
    return x, y


def learned_heights(
    cells: FittedCells,
    view: View,
    moments: list[float],
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return minus the learned log density on the grid, shape (n_times, rows, columns)."""
    assert view.columns is not None
    points, shape = _points(axes)
    # two columns in either order: sorting them undoes either
    states = points[:, np.argsort(view.columns)].astype(np.float32)
    return np.stack([-cells.model.log_density(t, states).reshape(shape) for t in moments])


def mixture_heights(
    cells: FittedCells,
    view: View,
    moments: list[float],
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
    random_state: int,
) -> NDArray[np.float64]:
    """Return the same from mixtures fitted to the two coordinates of the law."""
    clouds = []
    for t in moments:
        if view.columns is None:
            here = cells.reference & (cells.time == t)
            clouds.append(Cloud(view.position[here], relative_mass(cells)[here]))
        else:
            law = law_at(cells, t)
            clouds.append(Cloud(law.x[:, view.columns], law.mass))
    points, shape = _points(axes)
    found = log_densities(clouds, random_state)
    return np.stack([-log_density(points).reshape(shape) for log_density in found])


def _points(
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2), (len(axes[1]), len(axes[0]))
