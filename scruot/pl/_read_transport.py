"""What pictures of static transports need from AnnData, and clear errors where it is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import TransportSlots, transport_slots
from scruot.io.couplings import read_transport
from scruot.pl._read import time_text

__all__ = ["Transported", "table_entry", "transported"]


@dataclass(frozen=True, eq=False)
class Transported:
    """Names and times of one transport.

    Attributes
    ----------
    slots
        Where its results are.
    use_rep
        The representation that it was computed in; ``None`` where that is not known.
    time_key
        The column of times, or the word "time".
    labels
        Label of each time, early to late.
    position
        Position of each cell's time, shape (n,); -1 for cells that take no part.
    """

    slots: TransportSlots
    use_rep: str | None
    time_key: str
    labels: dict[float, str]
    position: NDArray[np.int64]

    @property
    def key_argument(self) -> str:
        """What a remedy has to pass besides ``adata``."""
        return "" if self.slots == TransportSlots() else f", key={self.slots.key!r}"


def transported(adata: AnnData, key: str | None) -> Transported:
    """Read when each cell was observed and what the times are called."""
    names = transport_slots(key)
    found = read_transport(adata, key)
    params: Mapping[str, Any] = adata.uns[names.uns]["params"]
    time_key = str(params.get("time_key", "time"))
    column = adata.obs.get(time_key)
    position = np.full(adata.n_obs, -1)
    labels = {}
    for k, (time, cells) in enumerate(zip(found.times, found.cells, strict=True)):
        rows = adata.obs_names.get_indexer(cells)
        rows = rows[rows >= 0]
        position[rows] = k
        label = column.iloc[rows[0]] if column is not None and len(rows) else time
        labels[float(time)] = label if isinstance(label, str) else time_text(time)
    use_rep = params.get("use_rep")
    return Transported(names, None if use_rep is None else str(use_rep), time_key, labels, position)


def table_entry(adata: AnnData, key: str | None) -> Mapping[str, Any]:
    """Return what ``tl.transition_table`` stored, or say how to store it."""
    names = transport_slots(key)
    entry = adata.uns.get(names.transition_table)
    wanted = ("forward", "source_groups", "target_groups", "groupby", "flow", "population")
    if not isinstance(entry, Mapping) or not set(wanted) <= set(entry):
        # without a transport there is another thing to do first
        argument = transported(adata, key).key_argument
        msg = (
            f"Found no table of groups in adata.uns[{names.transition_table!r}]. Run "
            f"scruot.tl.transition_table(adata, groupby=...{argument}) first."
        )
        raise KeyError(msg)
    return entry
