"""Perturbed states: genes shifted through loadings, or coordinates shifted as they are."""

from __future__ import annotations

import json
import logging
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from scruot.io.loadings import gene_columns, require_loadings
from scruot.tl._fitted import FittedCells
from scruot.tl._selection import as_array

Perturb = Mapping[str, float] | NDArray[Any]

# which neighbour's distance tells how far from all cells a state is
_NEIGHBOR = 5
# of the cells themselves, one in a hundred counts as outside
_OUTSIDE = 99
# share of perturbed cells outside the data from which on it is said
_MOSTLY = 0.5

logger = logging.getLogger(__name__)


def read_shift(
    adata: AnnData, cells: FittedCells, perturb: Perturb, *, loadings: str | None, n: int
) -> NDArray[np.float64]:
    """Return the shift of the coordinates, shape (d,), or (n, d) with one for each cell.

    Parameters
    ----------
    adata
        Cells with the loadings.
    cells
        The fit.
    perturb
        ``{gene: change}``, or the shift itself.
    loadings
        Name of the loadings in ``varm``; ``None`` takes those of the representation.
    n
        Number of cells that will be shifted.

    Raises
    ------
    KeyError
        For unknown genes, or without loadings.
    ValueError
        For changes that are no finite numbers, genes without loadings, or a wrong shape.
    """
    dim = cells.model.dim
    if isinstance(perturb, Mapping):
        return _of_genes(adata, cells, perturb, loadings)
    shift = as_array(perturb)
    if not np.issubdtype(shift.dtype, np.number) or shift.shape not in {(dim,), (n, dim)}:
        msg = (
            f"Found perturb of shape {shift.shape} and dtype {shift.dtype}; expected "
            f"{{gene: change}}, or a shift of the coordinates of shape ({dim},), or ({n}, {dim}) "
            "with one for each start cell."
        )
        raise ValueError(msg)
    if not np.isfinite(shift).all():
        msg = "perturb holds NaN or infinity; expected a finite shift."
        raise ValueError(msg)
    return shift.astype(np.float64)


def _of_genes(
    adata: AnnData, cells: FittedCells, perturb: Mapping[str, float], loadings: str | None
) -> NDArray[np.float64]:
    for gene, change in perturb.items():
        number = isinstance(change, (numbers.Real, np.number)) and not isinstance(change, bool)
        if not number or not np.isfinite(float(change)):
            msg = f"Found perturb={{{gene!r}: {change!r}}}; expected a finite number."
            raise ValueError(msg)
    columns = gene_columns(adata, list(perturb), "perturb")
    use_rep = str(cells.record["representation"]["use_rep"])
    found = require_loadings(adata, use_rep, cells.model.dim, loadings)
    empty = ~found.weights[columns].any(axis=1)
    if empty.any():
        gene = adata.var_names[columns[empty][0]]
        msg = (
            f"{gene!r} has no loading in {found.source}: it was not among the genes that the "
            "representation was computed from, so changing it moves no cell. Choose another "
            "gene, or give a shift of the coordinates."
        )
        raise ValueError(msg)
    return np.asarray(found.encoder[:, columns] @ np.array([float(v) for v in perturb.values()]))


def outside(cells: FittedCells, x: NDArray[np.floating], time: float | None) -> float:
    """Return the share of states that lie farther out than 99 % of the observed cells do.

    The distance is that to the fifth nearest cell of the fit at ``time`` (of all times for
    ``None``).
    """
    rows = cells.reference if time is None else cells.reference & (cells.time == time)
    known = cells.x[rows if rows.any() else cells.reference]
    k = min(_NEIGHBOR, len(known) - 1)
    if k < 1:
        return float("nan")
    neighbors = NearestNeighbors(n_neighbors=k).fit(known)
    limit = np.percentile(neighbors.kneighbors()[0][:, -1], _OUTSIDE)
    return float((neighbors.kneighbors(x)[0][:, -1] > limit).mean())


def warn_outside(share: float, name: str | None = None) -> None:
    """Say so where most perturbed cells lie where there are no data."""
    if share > _MOSTLY:
        logger.warning(
            "%s%.0f %% of the perturbed cells lie farther from the observed ones than these from "
            "each other: what the model says there rests on no data. Perturb less.",
            "" if name is None else f"{name}: ",
            100 * share,
        )


def describe(perturb: Perturb) -> str:
    """Return a perturbation as text that h5ad holds and a table can show."""
    if isinstance(perturb, Mapping):
        return json.dumps({str(gene): float(change) for gene, change in perturb.items()})
    return "shift"
