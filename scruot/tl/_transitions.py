"""Groups of cells through a static transport: transition tables and the census of ancestors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import transport_slots
from scruot._messages import unknown
from scruot.io.couplings import read_transport
from scruot.io.store import check_writable, writable
from scruot.io.transport import Transport
from scruot.tl._lineage import Labels, cell_set, read_labels
from scruot.tl._selection import Chosen

_VALUES = ("forward", "backward", "mass")


def transition_table(
    adata: AnnData,
    groupby: str,
    *,
    source_time: float | str | None = None,
    target_time: float | str | None = None,
    values: str = "forward",
    key: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Tabulate transitions between groups of cells: what becomes of whom.

    Parameters
    ----------
    adata
        Cells with :func:`scruot.tl.transport`, all that it was computed on, in any order.
    groupby
        Column of ``obs`` with groups, e.g. cell types. Cells without a label are left out.
    source_time, target_time
        Two times of the transport, as numbers or labels; the first and the last by default.
        Given by name: ``transition_table(adata, "cell_type", source_time=2, target_time=4)``.
        Couplings are composed over the times between.
    values
        What is returned. ``"forward"``: where the descendants of a group are, by mass; rows sum
        to 1. ``"backward"``: where the ancestors of a group were; columns sum to 1. ``"mass"``:
        the mass at ``target_time`` itself.
    key
        ``key_added`` of the transport.
    copy
        Whether to return a copy of ``adata`` with the table instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy: groups present at ``source_time`` as rows, those
    present at ``target_time`` as columns; a group without descendants (ancestors) has NaN in its
    row (column). Written to ``adata.uns["transition_table"]``, with arrays and names apart since
    h5ad does not hold every name as a column:

    ``"forward"``, ``"backward"``, ``"mass"`` : array (rows, columns)
    ``"source_groups"``, ``"target_groups"`` : array of str
    ``"source_time"``, ``"target_time"``, ``"groupby"``
    ``"flow"`` : DataFrame
        Masses between the groups over every single interval from ``source_time`` to
        ``target_time``: ``start``, ``end``, ``source``, ``target``, ``mass`` (at ``end``) and
        ``mass_start`` (at ``start``, of the cells whose descendants these are).
    ``"population"`` : DataFrame
        Mass of each group at each of these times: ``time``, ``group``, ``mass``.

    Raises
    ------
    KeyError
        When there is no such transport or column.
    ValueError
        When ``adata`` lacks cells of the transport, or for times that it does not have.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> table = scruot.tl.transition_table(adata, "lineage", source_time=2, target_time=4)
    >>> table.sum(axis=1).round(6).unique().tolist()
    [1.0]
    """
    if values not in _VALUES:
        raise ValueError(unknown("values", str(values), _VALUES))
    found = read_transport(adata, key)
    check_writable(adata, copy=copy)
    first, last = found.span(
        found.times[0] if source_time is None else source_time,
        found.times[-1] if target_time is None else target_time,
    )
    labels = read_labels(adata, found, groupby, range(first, last + 1))
    rows, cols = labels.present(first), labels.present(last)
    tables = _normalised(_mass(found, labels, first, last)[np.ix_(rows, cols)])
    names = np.asarray(labels.names, dtype=object)
    entry = {
        **tables,
        "source_groups": names[rows],
        "target_groups": names[cols],
        "source_time": float(found.times[first]),
        "target_time": float(found.times[last]),
        "groupby": groupby,
        "flow": _flow(found, labels, first, last),
        "population": _population(found, labels, first, last),
    }
    written = writable(adata, copy=copy)
    written.uns[transport_slots(key).transition_table] = entry
    if copy:
        return written
    return pd.DataFrame(
        tables[values],
        index=pd.Index(names[rows], name="source"),
        columns=pd.Index(names[cols], name="target"),
    )


def ancestor_census(
    adata: AnnData,
    target: Chosen,
    *,
    groupby: str,
    target_time: float | str | None = None,
    key: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Count the groups among the ancestors of a set of cells, at every earlier time.

    Parameters
    ----------
    adata
        Cells with :func:`scruot.tl.transport`, all that it was computed on, in any order.
    target
        The set, as in :func:`scruot.tl.descendants`.
    groupby
        Column of ``obs`` with groups, e.g. cell types. Cells without a label are left out.
    target_time
        Time of the set, a number or its label, where its cells are of several times.
    key
        ``key_added`` of the transport.
    copy
        Whether to return a copy of ``adata`` with the table instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy: one row per time up to that of the set, one column
    per group, the share of the set's mass that descends from the group; rows sum to 1. A row is
    NaN where the set has no ancestors. Written to ``adata.uns["ancestor_census"]``: ``"times"``,
    ``"groups"``, ``"shares"`` (times, groups), ``"mass"`` (the same undivided), ``"groupby"``.

    Raises
    ------
    KeyError
        When there is no such transport, column or cell.
    ValueError
        When the set is empty, of several times or has no earlier time, or ``adata`` lacks cells
        of the transport.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> census = scruot.tl.ancestor_census(
    ...     adata, {"lineage": "transition"}, groupby="lineage", target_time=3
    ... )
    >>> census.index.tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    found = read_transport(adata, key)
    check_writable(adata, copy=copy)
    chosen = cell_set(adata, found, target, target_time, "target")
    if chosen.position == 0:
        msg = f"Found a set at the first time {found.times[0]:g}; it has no ancestors."
        raise ValueError(msg)
    labels = read_labels(adata, found, groupby, range(chosen.position + 1))
    last = chosen.position
    ancestors = [found.chain.pull(chosen.members, k, last) for k in range(last)]
    ancestors.append(chosen.members * found.mass[last])
    counted = np.array([mass @ labels.one_hot(k) for k, mass in enumerate(ancestors)])
    times, names = found.times[: chosen.position + 1], np.asarray(labels.names, dtype=object)
    shares = _normalised(counted)["forward"]
    written = writable(adata, copy=copy)
    written.uns[transport_slots(key).ancestor_census] = {
        "times": times,
        "groups": names,
        "shares": shares,
        "mass": counted,
        "groupby": groupby,
    }
    if copy:
        return written
    return pd.DataFrame(
        shares, index=pd.Index(times, name="time"), columns=pd.Index(names, name=groupby)
    )


def _mass(found: Transport, labels: Labels, first: int, last: int) -> NDArray[np.float64]:
    """Return the mass at the later time by group of ancestor and group of descendant."""
    carried = found.chain.push(labels.one_hot(first), first, last)
    mass: NDArray[np.float64] = carried.T @ labels.one_hot(last)
    return mass


def _normalised(mass: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    with np.errstate(invalid="ignore"):
        forward = mass / mass.sum(axis=1, keepdims=True)
        backward = mass / mass.sum(axis=0, keepdims=True)
    return {"forward": forward, "backward": backward, "mass": mass}


def _flow(found: Transport, labels: Labels, first: int, last: int) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for k in range(first, last):
        mass, before = _mass(found, labels, k, k + 1), _mass_before(found, labels, k)
        for i, j in np.argwhere(mass > 0):
            ends = {"start": found.times[k], "end": found.times[k + 1]}
            pair = {"source": labels.names[i], "target": labels.names[j]}
            rows.append({**ends, **pair, "mass": mass[i, j], "mass_start": before[i, j]})
    return pd.DataFrame(rows, columns=["start", "end", "source", "target", "mass", "mass_start"])


def _mass_before(found: Transport, labels: Labels, k: int) -> NDArray[np.float64]:
    """Divide the mass of each cell among the groups of its descendants at the next time."""
    reached = found.couplings[k] @ labels.one_hot(k + 1)
    leaving = np.asarray(found.couplings[k].sum(axis=1)).ravel()
    own = np.divide(found.mass[k], leaving, out=np.zeros_like(leaving), where=leaving > 0)
    before: NDArray[np.float64] = labels.one_hot(k).T @ (own[:, None] * reached)
    return before


def _population(found: Transport, labels: Labels, first: int, last: int) -> pd.DataFrame:
    rows = [
        {"time": found.times[k], "group": labels.names[j], "mass": mass}
        for k in range(first, last + 1)
        for j, mass in enumerate(found.mass[k] @ labels.one_hot(k))
        if mass > 0
    ]
    return pd.DataFrame(rows, columns=["time", "group", "mass"])
