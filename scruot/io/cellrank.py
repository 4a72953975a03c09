"""Static couplings in the form that CellRank reads, without CellRank."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix, diags

from scruot._keys import transport_slots
from scruot.io.couplings import read_transport, require_all_cells
from scruot.io.read import read_obs
from scruot.io.time import read_times
from scruot.io.transport import Transport

logger = logging.getLogger(__name__)


def couplings_by_category(
    adata: AnnData, key: str | None, time_key: str | None
) -> dict[tuple[Any, Any], AnnData]:
    """Return copies of the couplings by the categories of the times; see ``get``."""
    found = read_transport(adata, key)
    labels = _categories(adata, found, key, time_key)
    _require_same_cells(adata, found)
    result: dict[tuple[Any, Any], AnnData] = {}
    for k, pair in enumerate(pairwise(labels)):
        order = [_order(adata, found, position) for position in (k, k + 1)]
        matrix = csr_matrix(found.couplings[k][order[0]][:, order[1]])
        empty = int((np.asarray(matrix.sum(axis=1)).ravel() == 0).sum())
        if empty:
            logger.warning(
                "%d cells at time %g have no descendants; CellRank spreads their rows evenly over "
                "all cells of the next time.",
                empty,
                found.times[k],
            )
        names = [found.cells[p][o].astype(str) for p, o in zip((k, k + 1), order, strict=True)]
        result[pair] = AnnData(
            matrix, obs=pd.DataFrame(index=names[0]), var=pd.DataFrame(index=names[1])
        )
    return result


def row_stochastic(adata: AnnData, key: str | None) -> csr_matrix:
    """Return one matrix of transition probabilities for all cells; see ``get``."""
    found = read_transport(adata, key)
    require_all_cells(adata, found, range(len(found.times)), "a matrix needs both ends of a pair")
    place = [adata.obs_names.get_indexer(cells) for cells in found.cells]
    rows, cols, data = [], [], []
    for k, coupling in enumerate(found.couplings):
        leaving = np.asarray(coupling.sum(axis=1)).ravel()
        share = (diags(1 / np.where(leaving > 0, leaving, 1.0)) @ coupling).tocoo()
        rows.append(place[k][share.row])
        cols.append(place[k + 1][share.col])
        data.append(share.data)
    everything = np.arange(adata.n_obs)
    alone = np.setdiff1d(everything, np.concatenate(rows))
    rows, cols = [*rows, alone], [*cols, alone]
    data.append(np.ones(len(alone)))
    entries = np.concatenate(data), (np.concatenate(rows), np.concatenate(cols))
    return csr_matrix(entries, shape=(adata.n_obs, adata.n_obs))


def _categories(
    adata: AnnData, found: Transport, key: str | None, time_key: str | None
) -> list[Any]:
    """Return the category of each time."""
    record = adata.uns[transport_slots(key).uns]
    name = str(record["params"]["time_key"]) if time_key is None else time_key
    column = read_obs(adata, name, "time column").astype("category")
    column = column.cat.remove_unused_categories()
    categories = column.cat.categories
    if not pd.api.types.is_numeric_dtype(categories.dtype):
        msg = (
            f"obs[{name!r}] has the categories {[str(c) for c in categories[:3]]}; CellRank reads "
            "numbers alone. Store the times as numbers in another column and name it with time_key."
        )
        raise ValueError(msg)
    if not categories.is_monotonic_increasing:
        msg = (
            f"obs[{name!r}] has categories in the order {categories.tolist()}; expected an "
            "increasing one: set it with .cat.reorder_categories."
        )
        raise ValueError(msg)
    times = read_times(pd.Series(categories), name)
    if not np.array_equal(times, found.times):
        msg = (
            f"obs[{name!r}] has times {times.tolist()}, the transport {found.times.tolist()}; "
            "expected the same: CellRank needs a coupling for every pair of consecutive times. "
            "Drop the other cells first."
        )
        raise ValueError(msg)
    return list(categories)


def _require_same_cells(adata: AnnData, found: Transport) -> None:
    require_all_cells(adata, found, range(len(found.times)), "CellRank needs all of them")
    known = np.concatenate([cells.to_numpy() for cells in found.cells])
    strange = ~adata.obs_names.isin(known)
    if strange.any():
        msg = (
            f"{int(strange.sum())} cells of adata take no part in the transport (first: "
            f"{adata.obs_names[strange][0]!r}); CellRank needs a row for each: drop them first."
        )
        raise ValueError(msg)


def _order(adata: AnnData, found: Transport, position: int) -> np.ndarray[Any, Any]:
    """Return the cells of a time in the order of ``adata``."""
    return np.argsort(adata.obs_names.get_indexer(found.cells[position]), kind="stable")
