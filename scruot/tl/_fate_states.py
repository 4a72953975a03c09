"""Terminal states that a user names: groups of a column, sets of cells, or a stored column."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import FateSlots
from scruot._messages import did_you_mean
from scruot.tl._groups import read_groups
from scruot.tl._selection import chosen_rows

__all__ = ["NamedStates", "States", "read_states"]

NamedStates = str | Sequence[str] | Mapping[str, Any] | None

logger = logging.getLogger(__name__)

_FEW = 5  # cells of a state that make no reliable one


@dataclass(frozen=True, eq=False)
class States:
    """Terminal states of cells.

    Attributes
    ----------
    names
        Names of the states, in the order of the columns of all results.
    codes
        State of each cell, shape (n,); -1 for cells in none.
    known
        Whether a cell's state is known, shape (n,): not so for cells of the last of the times at
        which states end that have no label.
    groupby
        Column whose groups the states are; ``None`` for sets of cells.
    """

    names: list[str]
    codes: NDArray[np.int64]
    known: NDArray[np.bool_]
    groupby: str | None

    def one_hot(self) -> NDArray[np.float64]:
        """Return membership, shape (n, F)."""
        return (self.codes[:, None] == np.arange(len(self.names))).astype(np.float64)

    def exit_times(self, time: NDArray[np.float64]) -> list[float]:
        """Return the times at which cells are in a state, in order."""
        return [float(t) for t in np.unique(time[self.codes >= 0])]

    def categorical(self) -> pd.Categorical:
        """Return the states as a column."""
        return pd.Categorical.from_codes(self.codes, categories=pd.Index(self.names, dtype=object))


def read_states(
    adata: AnnData,
    groupby: str | None,
    named: NamedStates,
    time: NDArray[np.float64],
    usable: NDArray[np.bool_],
    slots: FateSlots,
    *,
    least: int = 2,
) -> States:
    """Return the states that are asked for.

    Parameters
    ----------
    adata
        All cells.
    groupby
        Column of groups.
    named
        ``None`` (the groups of the last time, or without ``groupby`` the stored states), names of
        groups, a column of states, or sets of cells by name.
    time
        Time of each cell.
    usable
        Cells that take part; the last time is theirs.
    slots
        Where states are stored.
    least
        Least number of states.

    Raises
    ------
    KeyError, TypeError, ValueError
        When these are no states that cells could reach; the message says what to do.
    """
    if isinstance(named, Mapping):
        states = _from_sets(adata, named, usable)
    elif named is not None and not isinstance(named, str):
        states = _from_names(adata, groupby, list(named), time, usable)
    elif named is None and groupby is not None:
        states = _last_groups(adata, groupby, time, usable)
    else:
        states = _from_column(adata, named or slots.terminal_states, usable, stored=named is None)
    _check(states, time, usable, least)
    return states


def _last_groups(
    adata: AnnData, groupby: str, time: NDArray[np.float64], usable: NDArray[np.bool_]
) -> States:
    """Take the groups that are present at the last time, there."""
    groups = read_groups(adata, groupby)
    codes = np.asarray(groups.codes, dtype=np.int64)
    last = time[usable].max()
    here = usable & (time == last) & (codes >= 0)
    if not here.any():
        with_labels = np.unique(time[usable & (codes >= 0)]).tolist()
        msg = (
            f"Found no cell with a label in obs[{groupby!r}] at the last time, {last:g} (labels at "
            f"times {with_labels}); expected groups in which lineages end. Label cells of the last "
            "time, or name groups that end before it: terminal_states=['name', ...]."
        )
        raise ValueError(msg)
    present = np.unique(codes[here])
    return _as_states(groups, present, here, time, groupby)


def _from_names(
    adata: AnnData,
    groupby: str | None,
    names: list[Any],
    time: NDArray[np.float64],
    usable: NDArray[np.bool_],
) -> States:
    """Take groups by name, each at the last time at which it is observed."""
    if groupby is None:
        msg = (
            f"Found terminal_states={names!r} without groupby; expected the column of these "
            "groups: give groupby, or sets of cells by name, {'name': mask or cell names}."
        )
        raise ValueError(msg)
    groups = read_groups(adata, groupby)
    codes = np.asarray(groups.codes, dtype=np.int64)
    wanted, here = [], np.zeros(adata.n_obs, dtype=bool)
    for name in names:
        if str(name) not in groups.categories:
            known = list(groups.categories)
            msg = (
                f"Found terminal_states with {name!r}, which is no group of obs[{groupby!r}]; "
                f"expected some of {known}.{did_you_mean(str(name), known)}"
            )
            raise ValueError(msg)
        code = groups.categories.get_loc(str(name))
        members = usable & (codes == code)
        if not members.any():
            msg = (
                f"The terminal state {name!r} has no cell that takes part; expected at least one: "
                "leave it out, or give its cells mass and do not hold them out."
            )
            raise ValueError(msg)
        wanted.append(code)
        here |= members & (time == time[members].max())
    return _as_states(groups, np.asarray(wanted), here, time, groupby)


def _as_states(
    groups: pd.Categorical,
    present: NDArray[np.integer],
    here: NDArray[np.bool_],
    time: NDArray[np.float64],
    groupby: str,
) -> States:
    """Give numbers to the groups that are states, and mark their cells."""
    old = np.asarray(groups.codes, dtype=np.int64)
    new = np.full(len(groups.categories) + 1, -1)
    new[present] = np.arange(len(present))
    codes = np.where(here, new[old], -1)
    # before the last state ends, a cell without a label may well be on its way
    known = (old >= 0) | (time < time[codes >= 0].max())
    return States([str(groups.categories[k]) for k in present], codes, known, groupby)


def _from_sets(adata: AnnData, sets: Mapping[str, Any], usable: NDArray[np.bool_]) -> States:
    codes = np.full(adata.n_obs, -1)
    for k, (name, chosen) in enumerate(sets.items()):
        rows = chosen_rows(adata, chosen, f"terminal_states[{name!r}]")
        rows = rows[usable[rows]]
        if not len(rows):
            msg = (
                f"No cell of terminal_states[{name!r}] takes part; expected at least one: leave "
                "the set out, or give its cells mass and do not hold them out."
            )
            raise ValueError(msg)
        taken = rows[codes[rows] >= 0]
        if len(taken):
            other = list(sets)[codes[taken[0]]]
            msg = (
                f"Found {len(taken)} cells in both terminal_states[{other!r}] and [{name!r}] "
                f"(first: {adata.obs_names[taken[0]]!r}); expected sets without common cells: take "
                "them out of one."
            )
            raise ValueError(msg)
        codes[rows] = k
    return States([str(name) for name in sets], codes, np.ones(adata.n_obs, dtype=bool), None)


def _from_column(adata: AnnData, column: str, usable: NDArray[np.bool_], *, stored: bool) -> States:
    if stored and column not in adata.obs:
        msg = (
            f"Found neither groupby nor obs[{column!r}]; expected terminal states: give groupby, a "
            "column of cell types whose groups of the last time are the fates, or run "
            "scruot.tl.terminal_states(adata, groupby) first."
        )
        raise ValueError(msg)
    groups = read_groups(adata, column)
    codes = np.where(usable, np.asarray(groups.codes, dtype=np.int64), -1)
    present = np.unique(codes[codes >= 0])
    if not len(present):
        msg = (
            f"No cell of the states in obs[{column!r}] takes part; expected at least one: label "
            "cells that have mass and are not held out, or give groupby."
        )
        raise ValueError(msg)
    new = np.full(len(groups.categories) + 1, -1)
    new[present] = np.arange(len(present))
    names = [str(groups.categories[k]) for k in present]
    return States(names, new[codes], np.ones(adata.n_obs, dtype=bool), column)


def _check(
    states: States, time: NDArray[np.float64], usable: NDArray[np.bool_], least: int
) -> None:
    if len(states.names) < least:
        msg = (
            f"Found one terminal state, {states.names[0]!r}; expected at least two fates to choose "
            "between. Use a finer column, or name more states (terminal_states=[...])."
        )
        raise ValueError(msg)
    if not (usable & (time < max(states.exit_times(time)))).any():
        msg = (
            "No cell is earlier than the terminal states; expected cells that can have a fate: "
            "name states that end later (terminal_states=[...]), or add an earlier snapshot."
        )
        raise ValueError(msg)
    counts = np.bincount(states.codes[states.codes >= 0], minlength=len(states.names))
    few = [f"{n} ({c})" for n, c in zip(states.names, counts, strict=True) if c < _FEW]
    if few:
        logger.warning(
            "Terminal states with fewer than %d cells: %s; their probabilities rest on little. "
            "Merge them with others, or leave them out (terminal_states=[...]).",
            _FEW,
            ", ".join(few),
        )
