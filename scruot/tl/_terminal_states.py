"""Terminal states: named by the user, or found among groups."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._checks import check_seed
from scruot._keys import FateSlots, fate_slots
from scruot.fates.propose import GroupFlow, group_flow
from scruot.io.fates import group_colors
from scruot.io.mass import Mass
from scruot.io.store import check_writable, writable
from scruot.tl._fate_sources import Coupled, coupled_cells
from scruot.tl._fate_states import NamedStates, States, read_states
from scruot.tl._groups import read_groups
from scruot.tl._last_regions import last_regions

logger = logging.getLogger(__name__)

_KEPT = 0.5  # a sink keeps most of its descendants from one time to the next
_SLOW = 1.0  # speed over that of all cells


def terminal_states(
    adata: AnnData,
    groupby: str | None = None,
    *,
    states: NamedStates = None,
    key: str | None = None,
    time_key: str | None = None,
    use_rep: str | None = None,
    n_dims: int | None = None,
    mass: Mass | None = None,
    min_kept: float = _KEPT,
    max_speed: float = _SLOW,
    key_added: str | None = None,
    random_state: int = 0,
    copy: bool = False,
) -> pd.DataFrame | AnnData | None:
    """Name the states in which lineages end, or find them among groups of cells.

    With ``states`` they are what it says. Without, groups are proposed that are late (present at
    the last time), sink-like (most descendants of their cells stay in the group) and slow (their
    cells move less than others), by the couplings of consecutive times: stored ones of
    :func:`scruot.tl.transport`, or those of the automatic rule. The table gives a reason for every
    group, proposed or not.

    With neither, the dense regions of the last snapshot are proposed, by HDBSCAN
    (Campello et al. 2013 :cite:p:`campello2013`) in the representation; cells between them are in
    none. It is meant for a first look at well separated ends in few dimensions: ends that touch
    become one, and in tens of dimensions noise hides them all (an error then). Nothing is coupled
    for it.

    Parameters
    ----------
    adata
        Cells of all times.
    groupby
        Column of ``obs`` with groups, e.g. cell types or clusters; cells may lack a label. Without
        it, and without ``states``, states are the dense regions of the last snapshot.
    states
        As ``terminal_states`` of :func:`scruot.tl.fate_probabilities`: names of groups of
        ``groupby`` (each where it is last observed), sets of cells by name, or a column.
    key
        ``key_added`` of the transport.
    time_key, use_rep, n_dims, mass
        As in :func:`scruot.tl.transport`; only where no transport is stored. Where they are left
        out and ``uns["dynamics"]`` holds a fit, its time column and representation are read.
    min_kept
        Least share of the descendants that a sink keeps until the next time.
    max_speed
        Largest speed of a slow group, over the mean speed of all cells.
    key_added
        Prefix of the slots, that of the fates to come.
    random_state
        Seed of the couplings of large data.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    Where states were found, a table with a row for each group: ``group``, ``proposed``,
    ``last_time``, ``kept``, ``received`` (share of its members that came from other groups),
    ``speed``, ``reason``; otherwise ``None``; with ``copy=True`` the copy. Written:

    ``adata.obs["terminal_states"]`` : categorical
        State of each cell, missing for cells in none.
    ``adata.uns["terminal_states"]`` : DataFrame
        The table, where states were found; ``uns["terminal_states_colors"]`` where the data hold
        colours of ``groupby``.

    Raises
    ------
    KeyError
        For a missing column, representation or cell.
    TypeError, ValueError
        When no group looks like an end, no two regions are found, or states have no cell; nothing
        is written then.

    See Also
    --------
    scruot.tl.fate_probabilities : which of them each cell's descendants reach.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(400, 5, n_continue=0, random_state=0)
    >>> table = scruot.tl.terminal_states(adata, "cell_type", use_rep="X_sim")
    >>> table.loc[table["proposed"], "group"].tolist()
    ['A', 'B', 'C']

    Without labels:

    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> table = scruot.tl.terminal_states(adata, use_rep="X_genes")
    >>> table["reason"].tolist()
    ['dense region of the last time: 689 cells', 'dense region of the last time: 203 cells']
    """
    random_state = check_seed(random_state)
    slots = fate_slots(key_added)
    check_writable(adata, copy=copy)
    reading: dict[str, Any] = {
        "time_key": time_key,
        "use_rep": use_rep,
        "n_dims": n_dims,
        "mass": mass,
    }
    found = coupled_cells(adata, key, reading)
    if states is None and groupby is None:
        regions, table = last_regions(found)
        named = read_states(adata, None, regions, found.time, found.used, slots)
        result = _write(adata, named, table, slots, copy=copy)
        return result if copy else table
    if states is not None:
        named = read_states(adata, groupby, states, found.time, found.used, slots)
        return _write(adata, named, None, slots, copy=copy)
    assert groupby is not None
    groups = read_groups(adata, groupby)
    flow = _flow(found, groups, random_state)
    table = _table(groups, flow, found.times, min_kept, max_speed)
    proposed = table.loc[table["proposed"], "group"].tolist()
    if not proposed:
        reasons = "; ".join(f"{row.group}: {row.reason}" for row in table.itertuples())
        msg = (
            f"No group of obs[{groupby!r}] looks like an end ({reasons}). Name them, "
            "states=['name', ...], or change min_kept and max_speed."
        )
        raise ValueError(msg)
    for row in table.itertuples():
        logger.info("%s %s: %s", "proposed" if row.proposed else "left out", row.group, row.reason)
    result = _write(
        adata,
        read_states(adata, groupby, proposed, found.time, found.used, slots, least=1),
        table,
        slots,
        copy=copy,
    )
    return result if copy else table


def _flow(found: Coupled, groups: pd.Categorical, random_state: int) -> GroupFlow:
    codes = np.asarray(groups.codes)
    rows = found.rows()
    # groups of the last time: what varies within them is noise
    last = np.where(found.time == found.times[-1], codes, -1)
    chain, _ = found.couple(last, random_state)
    xs = [found.x[r].astype(np.float64) for r in rows]
    return group_flow(
        chain, xs, [codes[r] for r in rows], found.times.tolist(), len(groups.categories)
    )


def _table(
    groups: pd.Categorical,
    flow: GroupFlow,
    times: NDArray[np.float64],
    min_kept: float,
    max_speed: float,
) -> pd.DataFrame:
    rows = []
    for k, name in enumerate(groups.categories):
        kept, speed = float(flow.kept[k]), float(flow.speed[k])
        late = flow.last[k] == len(times) - 1
        # a group of the last time alone has nothing to keep, and nothing to lose
        new = late and np.isnan(kept)
        proposed = late and (new or (kept >= min_kept and speed <= max_speed))
        last = float(times[flow.last[k]]) if flow.last[k] >= 0 else np.nan
        reason = _reason(last, kept, speed, late, new, min_kept, max_speed)
        received = float(flow.received[k])
        rows.append((str(name), bool(proposed), last, kept, received, speed, reason))
    columns = ["group", "proposed", "last_time", "kept", "received", "speed", "reason"]
    return pd.DataFrame(rows, columns=columns)


def _reason(
    last: float,
    kept: float,
    speed: float,
    late: bool,  # noqa: FBT001
    new: bool,  # noqa: FBT001
    min_kept: float,
    max_speed: float,
) -> str:
    if np.isnan(last):
        return "no cell that takes part"
    if not late:
        return f"last seen at time {last:g}; if lineages end there, name it"
    if new:
        return f"late: seen at time {last:g} alone, the last"
    sink = "sink-like" if kept >= min_kept else "no sink"
    slow = "slow" if speed <= max_speed else "fast"
    return (
        f"late; {sink}: keeps {kept:.0%} of its descendants; {slow}: moves at {speed:.2f} of the "
        "mean speed"
    )


def _write(
    adata: AnnData, states: States, table: pd.DataFrame | None, slots: FateSlots, *, copy: bool
) -> AnnData | None:
    written = writable(adata, copy=copy)
    written.obs[slots.terminal_states] = states.categorical()
    colors = group_colors(written, states.names, states.groupby)
    if colors is not None:
        written.uns[slots.terminal_states_colors] = colors
    else:
        written.uns.pop(slots.terminal_states_colors, None)
    if table is not None:
        written.uns[slots.terminal_states] = table
    else:
        written.uns.pop(slots.terminal_states, None)
    return written if copy else None
