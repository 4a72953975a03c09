"""Fates per condition, and whether they differ."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from scruot._checks import check_seed, whole
from scruot._keys import fate_slots
from scruot._messages import did_you_mean
from scruot.io.fates import NONE, read_fates
from scruot.io.read import read_obs
from scruot.io.samples import sample_labels
from scruot.io.store import check_writable, writable
from scruot.io.time import read_times
from scruot.tl._groups import read_groups
from scruot.tl._permutation import permutation_shift

logger = logging.getLogger(__name__)


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
        When there are not two conditions, a replicate is of several, or no time has both.

    Notes
    -----
    Where one model carries the cells of all conditions, cells in the same state have the same
    fates: a shift then says that conditions differ in where their cells are. Conditions that change
    the dynamics themselves need fates of their own: fit each condition by itself, with
    ``terminal_states`` that are the same.

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
    conditions = _conditions(adata, condition_key)
    base = _reference(conditions, condition_key, reference)
    replicates = None if replicate_key is None else _replicates(adata, replicate_key, conditions)
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
            units, chosen = _units(values, np.asarray(conditions) == condition, replicates, pair)
            if not (chosen.any() and (~chosen).any()):
                continue
            shift = permutation_shift(units, chosen, n_permutations=n_permutations, rng=rng)
            for k, name in enumerate(names):
                rows.append(
                    {
                        **where,
                        "condition": str(condition),
                        "reference": str(base),
                        "fate": name,
                        "mean": float(units[chosen, k].mean()),
                        "mean_reference": float(units[~chosen, k].mean()),
                        "shift": float(shift.difference[k]),
                        "error": float(shift.error[k]),
                        "p": float(shift.p[k]),
                        "p_least": shift.least,
                        "n": int(chosen.sum()),
                        "n_reference": int((~chosen).sum()),
                        "unit": "cells" if replicates is None else "replicates",
                    }
                )
    if not rows:
        msg = (
            f"No time has cells with a fate of {base!r} and of another condition of "
            f"obs[{condition_key!r}]; expected at least one to compare at."
        )
        raise ValueError(msg)
    table = pd.DataFrame(rows)
    place = list(table.columns).index("p_least") + 1
    table.insert(place, "q", false_discovery_control(table["p"]))
    _report(table)
    written = writable(adata, copy=copy)
    written.uns[fate_slots(key).shift] = table
    return written if copy else table.copy()


def _conditions(adata: AnnData, name: str) -> pd.Categorical:
    labels = sample_labels(read_obs(adata, name, "condition column"), name, "condition_key")
    if len(labels.categories) < 2:
        msg = (
            f"Found one condition in obs[{name!r}] ({labels.categories[0]!r}); expected at least "
            "two to compare."
        )
        raise ValueError(msg)
    return labels.rename_categories(str)


def _reference(conditions: pd.Categorical, name: str, reference: str | None) -> str:
    known = [str(c) for c in conditions.categories]
    if reference is None:
        return known[0]
    if str(reference) not in known:
        msg = (
            f"Found reference={reference!r}, which is no condition of obs[{name!r}]; expected one "
            f"of {known}.{did_you_mean(str(reference), known)}"
        )
        raise ValueError(msg)
    return str(reference)


def _replicates(adata: AnnData, name: str, conditions: pd.Categorical) -> NDArray[np.int64]:
    labels = sample_labels(read_obs(adata, name, "replicate column"), name, "replicate_key")
    codes = np.asarray(labels.codes, dtype=np.int64)
    pairs = pd.DataFrame({"replicate": codes, "condition": np.asarray(conditions)})
    several = pairs.drop_duplicates().groupby("replicate").size()
    if (several > 1).any():
        shared = str(labels.categories[several.index[int(several.argmax())]])
        msg = (
            f"Replicate {shared!r} of obs[{name!r}] has cells of several conditions; expected "
            "replicates of one condition each: name samples, e.g. donor and condition together."
        )
        raise ValueError(msg)
    return codes


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


def _units(
    values: NDArray[np.float64],
    chosen: NDArray[np.bool_],
    replicates: NDArray[np.int64] | None,
    here: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return one row of probabilities per unit, and which units are compared."""
    if replicates is None:
        return values[here], chosen[here]
    codes, unit = np.unique(replicates[here], return_inverse=True)
    counts = np.bincount(unit, minlength=len(codes))
    sums = np.stack([np.bincount(unit, v, minlength=len(codes)) for v in values[here].T], axis=1)
    return sums / counts[:, None], np.bincount(unit, chosen[here], minlength=len(codes)) > 0


def _report(table: pd.DataFrame) -> None:
    if (table["unit"] == "cells").all():
        logger.warning(
            "The units of the test are cells, which are no independent samples of a condition: "
            "p-values are too small for a claim about conditions. Give replicate_key."
        )
    elif table["p_least"].min() > 0.05:
        logger.warning(
            "With so few replicates no p-value can be below %.2g; the shifts and their errors are "
            "what there is.",
            table["p_least"].min(),
        )
