"""Which cells are compared with which, and how they are coupled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scruot._keys import Slots, TransportSlots
from scruot._messages import unknown
from scruot.io.couplings import read_transport
from scruot.io.read import read_obs
from scruot.io.time import read_times
from scruot.tl._fitted import read_fitted

COUPLINGS = ("auto", "dynamics", "transport", "compute")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of cells.

    Attributes
    ----------
    source, target
        Rows of their cells.
    labels
        What the user calls them.
    times
        Their times; ``None`` where they are conditions.
    """

    source: NDArray[np.intp]
    target: NDArray[np.intp]
    labels: tuple[str, str]
    times: tuple[float, float] | None

    @property
    def name(self) -> str:
        """Both labels."""
        return f"{self.labels[0]} to {self.labels[1]}"


def comparisons(
    adata: AnnData, time_key: str, source: Any, target: Any, mass: NDArray[np.float64]
) -> list[Comparison]:
    """Return what is compared: two values of a column, or all consecutive times.

    Raises
    ------
    KeyError
        When there is no such column.
    ValueError
        For one value alone, values that no cell has, and unreadable times.
    """
    column = read_obs(adata, time_key, "time column")
    if (source is None) != (target is None):
        msg = (
            f"Found source={source!r} and target={target!r}; expected two values of "
            f"obs[{time_key!r}], or neither for all consecutive times."
        )
        raise ValueError(msg)
    if source is not None:
        rows = [_rows(column, value, time_key, mass) for value in (source, target)]
        if np.array_equal(rows[0], rows[1]):
            msg = f"Found source and target both {source!r}; expected two values."
            raise ValueError(msg)
        return [
            Comparison(rows[0], rows[1], (_word(source), _word(target)), _as_times(column, rows))
        ]
    times = read_times(column, time_key)
    moments = np.unique(times[mass > 0])
    if len(moments) < 2:
        msg = f"Found {len(moments)} time in obs[{time_key!r}]; expected at least two."
        raise ValueError(msg)
    cells = [np.flatnonzero((times == t) & (mass > 0)) for t in moments]
    words = [_word(column.iloc[rows[0]]) for rows in cells]
    return [
        Comparison(
            cells[k],
            cells[k + 1],
            (words[k], words[k + 1]),
            (float(moments[k]), float(moments[k + 1])),
        )
        for k in range(len(moments) - 1)
    ]


def _rows(
    column: pd.Series, value: Any, time_key: str, mass: NDArray[np.float64]
) -> NDArray[np.intp]:
    rows = np.flatnonzero((column == value).to_numpy(dtype=bool, na_value=False) & (mass > 0))
    if len(rows) == 0:
        found = [_word(v) for v in pd.unique(column.dropna())]
        raise ValueError(unknown(f"value of obs[{time_key!r}]", _word(value), found))
    return rows


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)


def _as_times(column: pd.Series, rows: list[NDArray[np.intp]]) -> tuple[float, float] | None:
    """Return two values as times where they are."""
    try:
        values = read_times(column.iloc[np.concatenate(rows)], str(column.name))
    except ValueError:
        return None
    first, last = float(values[0]), float(values[-1])
    return (first, last) if first < last else None


def chosen_coupling(
    adata: AnnData, asked: str, key: str | None, time_key: str, pairs: list[Comparison]
) -> str:
    """Return where couplings come from; ``"auto"`` takes a fit, a transport, or computes them.

    Raises
    ------
    ValueError
        For an unknown word, and for conditions with what only knows times.
    """
    if asked not in COUPLINGS:
        raise ValueError(unknown("coupling", asked, COUPLINGS))
    timed = all(pair.times is not None for pair in pairs)
    if asked == "auto":
        fit = adata.uns.get(Slots().uns if key is None else key)
        fits = isinstance(fit, Mapping) and "spec" in fit
        if timed and fits and str(fit["params"].get("time_key")) == time_key:
            return "dynamics"
        held = adata.uns.get(TransportSlots().uns if key is None else key)
        if timed and isinstance(held, Mapping) and "couplings" in held:
            params = held.get("params", {})
            times = set(np.asarray(held["times"], dtype=float))
            if str(params.get("time_key", time_key)) == time_key and all(
                set(pair.times or ()) <= times for pair in pairs
            ):
                return "transport"
        return "compute"
    if asked != "compute" and not timed:
        msg = (
            f"Found coupling={asked!r} between {pairs[0].name}, which are no times, the earlier "
            "first; expected coupling='compute' or 'auto' for conditions."
        )
        raise ValueError(msg)
    return asked


def stored_plans(adata: AnnData, key: str | None, pairs: list[Comparison]) -> list[csr_matrix]:
    """Return the couplings of ``tl.transport`` between the cells of each comparison."""
    transport = read_transport(adata, key)
    plans = []
    for pair in pairs:
        first, last = transport.span(*(pair.times or (np.nan, np.nan)))
        plan = csr_matrix(transport.chain.between(first, last))
        names = adata.obs_names
        rows = transport.cells[first].get_indexer(names[pair.source])
        columns = transport.cells[last].get_indexer(names[pair.target])
        plans.append(_taken(plan, rows, columns))
        if plans[-1].nnz == 0:
            msg = (
                f"The transport couples none of the cells from {pair.name}: they were renamed or "
                "left out. Run scruot.tl.transport again, or use coupling='compute'."
            )
            raise ValueError(msg)
    return plans


def _taken(plan: csr_matrix, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> csr_matrix:
    """Take rows and columns; those at -1, of cells the plan does not know, are empty."""
    known = [csr_matrix(plan[np.maximum(rows, 0)])]
    taken = known[0][:, np.maximum(columns, 0)].tocoo()
    here = (rows[taken.row] >= 0) & (columns[taken.col] >= 0)
    entries = taken.data[here], (taken.row[here], taken.col[here])
    return csr_matrix(entries, shape=(len(rows), len(columns)))


def simulated_ends(
    adata: AnnData, key: str | None, pairs: list[Comparison], device: str
) -> tuple[NDArray[np.float32], list[tuple[NDArray[np.float64], NDArray[np.float64]]], str]:
    """Return the fitted cells, where those of each comparison go with what mass, and in which."""
    fitted = read_fitted(adata, key, device)
    ends = []
    for pair in pairs:
        first, last = pair.times or (np.nan, np.nan)
        start = fitted.x[pair.source]
        weights = fitted.mass[pair.source]
        path = fitted.model.simulate(
            start, [first, last], weights=weights / weights.sum(), stochastic=False
        )
        ends.append((path.x[-1].double().numpy(), path.weights[-1].double().numpy()))
    return fitted.x, ends, str(fitted.record["representation"]["use_rep"])
