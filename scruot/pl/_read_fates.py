"""What pictures of fates need from AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import FateSlots, fate_slots
from scruot._messages import unknown
from scruot.io.fates import NONE, read_fates
from scruot.pl._colors import group_colors

__all__ = ["NONE_COLOR", "Drawn", "drawn_fates"]

NONE_COLOR = "#BBBBBB"


@dataclass(frozen=True, eq=False)
class Drawn:
    """Fates with their colours.

    Attributes
    ----------
    slots
        Where they are.
    table
        Probabilities (n, F), a column for each fate (and for none).
    colors
        A colour of each column.
    use_rep, time_key
        Representation and column of times.
    """

    slots: FateSlots
    table: pd.DataFrame
    colors: dict[str, Any]
    use_rep: str | None
    time_key: str

    @property
    def known(self) -> NDArray[np.bool_]:
        """Cells that have a fate (n,)."""
        return self.table.notna().all(axis=1).to_numpy()


def drawn_fates(adata: AnnData, key: str | None, fates: str | Sequence[str] | None = None) -> Drawn:
    """Read fates, all or some of them, with the colours that the data hold for them."""
    found, slots = read_fates(adata, key), fate_slots(key)
    table = pd.DataFrame(found.probabilities, index=adata.obs_names, columns=found.names)
    colors = group_colors(adata, slots.fate, found.names)
    if found.none is not None:
        table[NONE] = found.none
        colors[NONE] = NONE_COLOR
    wanted = [fates] if isinstance(fates, str) else list(table.columns if fates is None else fates)
    for name in wanted:
        if name not in table.columns:
            raise ValueError(unknown("fate", str(name), list(table.columns)))
    shown = table[wanted]
    use_rep = found.record.get("use_rep")
    return Drawn(
        slots,
        shown,
        {name: colors[name] for name in shown.columns},
        None if use_rep is None else str(use_rep),
        str(found.record.get("time_key", "time")),
    )
