"""Descendants and ancestors of any set of cells."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import checked_key, transport_slots
from scruot.io.couplings import read_transport
from scruot.io.store import check_writable, writable
from scruot.io.transport import Transport
from scruot.tl._lineage import CellSet, cell_set, check_values
from scruot.tl._selection import Chosen


def descendants(
    adata: AnnData,
    source: Chosen,
    *,
    source_time: float | str | None = None,
    times: float | str | Iterable[float | str] | None = None,
    values: str = "probability",
    key: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Follow a set of cells forward: which later cells descend from it.

    The set's mass is pushed through the couplings from its time to each later one.

    Parameters
    ----------
    adata
        Cells with :func:`scruot.tl.transport`. Cells are matched by name, so a subset or another
        order will do; cells that are not there any more still hand mass on.
    source
        The set: a boolean column of ``obs``, a mask, names of cells, or a group or groups of a
        column, ``{"cell_type": "Progenitor"}``.
    source_time
        Time of the set, a number or its label, where its cells are of several times.
    times
        Later times to write; all by default.
    values
        ``"probability"``: for each later cell the probability that its ancestor at
        ``source_time`` lies in the set. ``"mass"``: the mass of each later cell that descends
        from the set; its sum over a time is the set's offspring.
    key
        ``key_added`` of the transport.
    key_added
        Column of ``obs`` to write to, ``"descendants"`` by default.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy. Written:

    ``adata.obs["descendants"]`` : float
        At ``source_time``: 1 (or its mass) inside the set and 0 outside. At the later times:
        the values. NaN elsewhere, and as a probability where a cell has no ancestor at all.

    Raises
    ------
    KeyError
        When there is no such transport, column or cell.
    ValueError
        When the set is empty, of several times, or has no later time; for a ``key_added`` that is
        a column of something else.

    See Also
    --------
    scruot.tl.ancestors : the same backward.
    scruot.tl.transition_table : all groups at once.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> scruot.tl.descendants(adata, {"lineage": "transition"}, source_time=1)
    >>> bool(adata.obs["descendants"].between(0, 1).sum() == (adata.obs["time"] >= 1).sum())
    True
    """
    check_values(values)
    found = read_transport(adata, key)
    check_writable(adata, copy=copy)
    column = _column(adata, key, key_added, transport_slots(key).descendants)
    chosen = cell_set(adata, found, source, source_time, "source")
    wanted = _wanted(found, times, range(chosen.position + 1, len(found.times)), "later")
    parts = {chosen.position: _own(found, chosen, values)}
    for k in wanted:
        pushed = found.chain.push(_beside_all(chosen), chosen.position, k)
        parts[k] = _value(pushed, values)
    return _write(adata, found, parts, column, copy=copy)


def ancestors(
    adata: AnnData,
    target: Chosen,
    *,
    target_time: float | str | None = None,
    times: float | str | Iterable[float | str] | None = None,
    values: str = "probability",
    key: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Trace a set of cells back: which earlier cells it descends from.

    The set's mass is pulled through the couplings from its time to each earlier one.

    Parameters
    ----------
    adata
        As in :func:`scruot.tl.descendants`.
    target
        The set, as in :func:`scruot.tl.descendants`.
    target_time
        Time of the set, a number or its label, where its cells are of several times.
    times
        Earlier times to write; all by default.
    values
        ``"probability"``: for each earlier cell the share of its descendants at
        ``target_time``, by mass, that lies in the set. ``"mass"``: the mass of the set that
        descends from each earlier cell; divided by its sum over a time it is the distribution of
        ancestors.
    key
        ``key_added`` of the transport.
    key_added
        Column of ``obs`` to write to, ``"ancestors"`` by default.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy. Written:

    ``adata.obs["ancestors"]`` : float
        At ``target_time``: 1 (or its mass) inside the set and 0 outside. At the earlier times:
        the values. NaN elsewhere, and as a probability where a cell has no descendants.

    Raises
    ------
    KeyError
        When there is no such transport, column or cell.
    ValueError
        When the set is empty, of several times, or has no earlier time; for a ``key_added`` that
        is a column of something else.

    See Also
    --------
    scruot.tl.ancestor_census : the groups among the ancestors.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> scruot.tl.ancestors(adata, {"lineage": "transition"}, target_time=3)
    >>> bool(adata.obs["ancestors"].between(0, 1).sum() == (adata.obs["time"] <= 3).sum())
    True
    """
    check_values(values)
    found = read_transport(adata, key)
    check_writable(adata, copy=copy)
    column = _column(adata, key, key_added, transport_slots(key).ancestors)
    chosen = cell_set(adata, found, target, target_time, "target")
    wanted = _wanted(found, times, range(chosen.position), "earlier")
    parts = {chosen.position: _own(found, chosen, values)}
    for k in wanted:
        pulled = found.chain.pull(_beside_all(chosen), k, chosen.position)
        parts[k] = _value(pulled, values)
    return _write(adata, found, parts, column, copy=copy)


def _column(adata: AnnData, key: str | None, key_added: str | None, default: str) -> str:
    """Return the column to write to.

    Raises
    ------
    ValueError
        For a name that h5ad cannot hold, and for a column that would be lost.
    """
    if key_added is None:
        return default
    column = checked_key(key_added)
    time_key = adata.uns[transport_slots(key).uns]["params"].get("time_key")
    if column in adata.obs and (
        column == time_key or not pd.api.types.is_float_dtype(adata.obs[column].dtype)
    ):
        msg = (
            f"Found key_added={column!r}, a column of dtype {adata.obs[column].dtype} that would "
            "be lost; expected a free name, or a column of values to replace."
        )
        raise ValueError(msg)
    return column


def _wanted(
    found: Transport, times: float | str | Iterable[float | str] | None, allowed: range, side: str
) -> list[int]:
    """Return the positions of the times that are asked for."""
    if not allowed:
        end = "last" if side == "later" else "first"
        msg = f"Found a set at the {end} time; expected one that has a time {side} than its own."
        raise ValueError(msg)
    if times is None:
        return list(allowed)
    asked = times if isinstance(times, Iterable) and not isinstance(times, str) else [times]
    wanted = [found.index(time) for time in asked]
    wrong = [float(found.times[k]) for k in wanted if k not in allowed]
    if wrong or not wanted:
        msg = (
            f"Found times {wrong}; expected {side} ones than that of the set: some of "
            f"{found.times[list(allowed)].tolist()}."
        )
        raise ValueError(msg)
    return wanted


def _beside_all(chosen: CellSet) -> NDArray[np.float64]:
    """Return membership of the set and, for comparison, of all cells, shape (n, 2)."""
    return np.column_stack([chosen.members, np.ones_like(chosen.members)])


def _own(found: Transport, chosen: CellSet, values: str) -> NDArray[np.float64]:
    return chosen.members * (found.mass[chosen.position] if values == "mass" else 1.0)


def _value(carried: NDArray[np.float64], values: str) -> NDArray[np.float64]:
    mass, everything = carried.T
    if values == "mass":
        return mass
    # rounding alone can exceed one
    share = np.full_like(mass, np.nan)
    np.divide(mass, everything, out=share, where=everything > 0)
    return np.clip(share, 0.0, 1.0)


def _write(
    adata: AnnData,
    found: Transport,
    parts: dict[int, NDArray[np.float64]],
    column: str,
    *,
    copy: bool,
) -> AnnData | None:
    named = pd.concat([pd.Series(v, index=found.cells[k]) for k, v in parts.items()])
    written = writable(adata, copy=copy)
    written.obs[column] = named.reindex(written.obs_names).to_numpy()
    return written if copy else None
