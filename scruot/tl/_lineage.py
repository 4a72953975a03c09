"""Sets of cells in a static transport, and what of the object a transport knows."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._messages import unknown
from scruot.io.couplings import require_all_cells
from scruot.io.transport import Transport
from scruot.tl._groups import read_groups
from scruot.tl._selection import Chosen, chosen_rows

logger = logging.getLogger(__name__)

VALUES = ("probability", "mass")


@dataclass(frozen=True, eq=False)
class CellSet:
    """Cells of one time.

    Parameters
    ----------
    position
        Position of the time.
    members
        1 for the cells of that time that are in the set, 0 for others, in the transport's order.
    """

    position: int
    members: NDArray[np.float64]


def cell_set(
    adata: AnnData, transport: Transport, chosen: Chosen, time: float | str | None, what: str
) -> CellSet:
    """Return the cells that a user means, all of one time.

    Raises
    ------
    KeyError, ValueError
        For unknown cells, cells of several times or of no time of the transport.
    """
    names = adata.obs_names[chosen_rows(adata, chosen, what)]
    inside = [cells.isin(names) for cells in transport.cells]
    if time is None:
        found = [k for k, mask in enumerate(inside) if mask.any()]
        if len(found) > 1:
            counts = {float(transport.times[k]): int(inside[k].sum()) for k in found}
            msg = (
                f"The cells of {what} are at several times (cells by time: {counts}); expected "
                f"cells of one time: choose it with {what}_time."
            )
            raise ValueError(msg)
        if not found:
            msg = f"None of the {len(names)} cells of {what} takes part in the transport."
            raise ValueError(msg)
        k = found[0]
    else:
        k = transport.index(time)
        if not inside[k].any():
            msg = f"None of the {len(names)} cells of {what} is at time {transport.times[k]:g}."
            raise ValueError(msg)
    return CellSet(k, inside[k].astype(np.float64))


def check_values(values: str) -> None:
    """Refuse any word but those of ``VALUES``."""
    if values not in VALUES:
        raise ValueError(unknown("values", str(values), VALUES))


@dataclass(frozen=True, eq=False)
class Labels:
    """Groups of the cells of a transport.

    Parameters
    ----------
    names
        All groups, in the order of their categories.
    codes
        Group of every cell at each time; -1 without a label.
    """

    names: list[str]
    codes: list[NDArray[np.integer]]

    def one_hot(self, position: int) -> NDArray[np.float64]:
        """Return membership of the cells of a time, shape (n_k, groups)."""
        return (self.codes[position][:, None] == np.arange(len(self.names))).astype(np.float64)

    def present(self, position: int) -> NDArray[np.bool_]:
        """Return which groups have cells at a time."""
        return np.isin(np.arange(len(self.names)), self.codes[position])


def read_labels(
    adata: AnnData, transport: Transport, groupby: str, times: range | list[int]
) -> Labels:
    """Return the groups of all cells of some times, by cell name.

    Raises
    ------
    KeyError, ValueError
        When there is no such column, or ``adata`` lacks cells of the transport.
    """
    groups = read_groups(adata, groupby)
    require_all_cells(adata, transport, times, f"without them their {groupby!r} is unknown")
    by_name = pd.Series(groups.codes, index=adata.obs_names)
    codes = [
        by_name.reindex(cells).to_numpy(dtype=int) if k in times else np.empty(0, dtype=int)
        for k, cells in enumerate(transport.cells)
    ]
    for k in times:
        unlabelled = codes[k] < 0
        if unlabelled.all():
            msg = (
                f"No cell at time {transport.times[k]:g} has a label in obs[{groupby!r}]; expected "
                "labels at both ends."
            )
            raise ValueError(msg)
        if unlabelled.any():
            logger.info(
                "%d of %d cells at time %g have no label in obs[%r] and are left out",
                unlabelled.sum(),
                len(unlabelled),
                transport.times[k],
                groupby,
            )
    return Labels([str(c) for c in groups.categories], codes)
