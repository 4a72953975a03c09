"""Fates per condition, and whether they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._checks import check_seed, whole
from scruot._keys import fate_slots
from scruot.io.fates import NONE, read_fates
from scruot.io.read import read_obs
from scruot.io.store import check_writable, writable
from scruot.io.time import read_times
from scruot.tl._conditions import (
    read_conditions,
    read_reference,
    read_units,
    shift_rows,
    shift_table,
    unit_means,
)
from scruot.tl._groups import read_groups
from scruot.tl._permutation import permutation_shift


def fate_shift(
    adata: AnnData,
    condition_key: str,
    *,
    reference: str | None = None,
    replicate_key: str | None = None,
    groupby: str | None = None,
    time_key: str | None = None,
    key: str | None = None,
    n_permutations: int = 9999,
    random_state: int = 0,
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Compare the fates of cells between conditions, time by time, with shared terminal states.

    Parameters
    ----------
    adata
        Cells with :func:`scruot.tl.fate_probabilities`: one set of terminal states for all.
    condition_key
        Column of ``obs`` with the conditions.
    reference
        The condition that the others are compared with; by default the first.
    replicate_key
        Column of ``obs`` with replicates, each of one condition. The unit of the test is then the
        replicate: its mean over its cells. **Without it the units are cells**, which are no
        independent samples of a condition: p-values then say whether these cells differ, and not
        whether the conditions would in another experiment.
    groupby
        Column of ``obs`` with groups, each of which is compared by itself, e.g. cell types.
    time_key
        Column of ``obs`` with the times; by default that of the fates, if they tell, or else
        ``"time"``.
    key
        ``key_added`` of the fates.
    n_permutations
        Most permutations of the conditions among the units. Where there are no more ways than
        that, all are gone through.
    random_state
        Seed of the permutations.
    copy
        Whether to return a copy of ``adata`` with the table instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy. It is written to ``adata.uns["fate_shift"]``, one row
    per time, group, condition and fate:

    ``time``, ``group``, ``condition``, ``reference``, ``fate``
        ``group`` only with ``groupby``.
    ``mean``, ``mean_reference``, ``shift`` : float
        Mean probabilities of the fate over the units of both, and their difference.
    ``error`` : float
        Standard error of the difference over the units; NaN where a side has one.
    ``p``, ``p_least``, ``q`` : float
        Two-sided p-value of the permutation test; the least that so few units can give; and the
        p-value adjusted over the whole table after Benjamini and Hochberg.
    ``n``, ``n_reference`` : int
        Units.
    ``unit`` : str
        ``"replicates"`` or ``"cells"``.

    Raises
    ------
    KeyError
        When there are no fates, or no such column.
    ValueError
        When there are not two conditions, a replicate is of several, no time has both, or the
        fates are those within conditions.

    Notes
    -----
    Where one model carries the cells of all conditions, cells in the same state have the same
    fates: a shift then says that conditions differ in where their cells are. Conditions that change
    the dynamics themselves need fates of their own:
    ``scruot.tl.fate_probabilities(condition_key=)``, which has a test of its own. This one takes
    units for independent once fates are known, and refuses such fates.

    References
    ----------
    Phipson and Smyth (2010), Permutation p-values should never be zero, SAGMB 9, 39
    :cite:p:`phipson2010`. Squair et al. (2021), Confronting false discoveries in single-cell
    differential expression, Nature Communications 12 :cite:p:`squair2021` (replicates, not cells).

    Examples
    --------
    >>> import numpy as np
    >>> import scruot
    >>> adata = scruot.datasets.branching(400, 5, n_continue=0, random_state=0)
    >>> adata.obs["drug"] = np.where(np.arange(400) % 2, "treated", "control")
    >>> scruot.tl.fate_probabilities(adata, "cell_type", source="transport", use_rep="X_sim")
    >>> table = scruot.tl.fate_shift(adata, "drug", n_permutations=99)
    >>> table["fate"].unique().tolist(), table["unit"].unique().tolist()
    (['A', 'B', 'C'], ['cells'])
    """
    random_state = check_seed(random_state)
    whole("n_permutations", n_permutations)
    check_writable(adata, copy=copy)
    found = read_fates(adata, key)
    values, names = found.probabilities, list(found.names)
    if found.none is not None:
        values, names = np.column_stack([values, found.none]), [*names, NONE]
    _check_together(found.record, condition_key, fate_slots(key).shift)
    conditions = read_conditions(adata, condition_key)
    base = read_reference(conditions, condition_key, reference)
    replicates = None if replicate_key is None else read_units(adata, replicate_key, conditions)
    groups = None if groupby is None else read_groups(adata, groupby)
    column = time_key or str(found.record.get("time_key", "time"))
    time = read_times(read_obs(adata, column, "time column"), column)
    rng = np.random.default_rng(random_state)
    known = np.asarray(np.isfinite(values).all(1))
    rows: list[dict[str, Any]] = []
    for where, here in _strata(time, groups, known):
        for condition in conditions.categories:
            if condition == base:
                continue
            pair = here & np.isin(np.asarray(conditions), [condition, base])
            side = np.asarray(conditions) == condition
            units, chosen = unit_means(values, side, replicates, pair)
            if not (chosen.any() and (~chosen).any()):
                continue
            shift = permutation_shift(units, chosen, n_permutations=n_permutations, rng=rng)
            compared = {**where, "condition": str(condition), "reference": str(base)}
            unit = "cells" if replicates is None else "replicates"
            rows += shift_rows(compared, names, units, chosen, shift, unit=unit)
    if not rows:
        msg = (
            f"No time has cells with a fate of {base!r} and of another condition of "
            f"obs[{condition_key!r}]; expected at least one to compare at."
        )
        raise ValueError(msg)
    table = shift_table(rows)
    written = writable(adata, copy=copy)
    written.uns[fate_slots(key).shift] = table
    return written if copy else table.copy()


def _check_together(record: Mapping[str, Any], condition_key: str, slot: str) -> None:
    """Refuse fates of conditions that were followed apart: their replicates are not independent."""
    if str(record["params"].get("condition_key", "null")) == condition_key:
        msg = (
            f"Found fates within conditions (condition_key={condition_key!r}), whose replicates "
            f"share what is observed later and are no independent units; the test that repeats the "
            f"couplings is in uns[{slot!r}]. To compare otherwise, run "
            "scruot.tl.fate_probabilities without condition_key first."
        )
        raise ValueError(msg)


def _strata(
    time: NDArray[np.float64], groups: pd.Categorical | None, known: NDArray[np.bool_]
) -> Iterator[tuple[dict[str, Any], NDArray[np.bool_]]]:
    """Yield every time, with every group, and its cells."""
    for t in np.unique(time[known]):
        here = known & (time == t)
        if groups is None:
            yield {"time": float(t)}, here
            continue
        for group in groups.categories:
            yield {"time": float(t), "group": str(group)}, here & np.asarray(groups == group)
