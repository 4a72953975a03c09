"""Fates of the same cells with and without a change: differences with standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from scruot.tl._lineage_mass import standard_error

Array = NDArray[np.float64]

# below this both a change and its error are rounding
_DUST = 1e-9


def paired_rows(groups: list[str], before: Array, after: Array) -> list[dict[str, Any]]:
    r"""Compare what start cells become, a row for each group.

    With :math:`y_{ij}` the mass of the descendants of cell `i` in group `j`, of totals
    :math:`M_j = \sum_i y_{ij}`, the share of a group is :math:`F_j = M_j / \sum_k M_k`. Cell `i`
    moves it by :math:`u_{ij} = (y_{ij} - F_j \sum_k y_{ik}) / \sum_k M_k`, and :math:`\log M_j`
    by :math:`y_{ij} / M_j`. Both sides come from the same cells and the same noise, so the error
    of a difference is that of the differences of :math:`u`: the delta method for paired ratios.

    Parameters
    ----------
    groups
        Names.
    before, after
        Masses (n, groups) of the descendants of each start cell.
    """
    share, at_share = _share(before)
    share_after, at_share_after = _share(after)
    change, change_se = share_after - share, standard_error(at_share_after - at_share)
    mass, mass_after = before.sum(axis=0), after.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        fold = np.log2(mass_after / mass)
        at_fold = (after / mass_after - before / mass) / np.log(2)
    fold_se = standard_error(at_fold)
    n = len(before)
    pvals, mass_pvals = _pvalues(change, change_se, n), _pvalues(fold, fold_se, n)
    return [
        {
            "group": name,
            "share": float(share[j]),
            "share_perturbed": float(share_after[j]),
            "share_change": float(change[j]),
            "share_change_se": float(change_se[j]),
            "pval": float(pvals[j]),
            "mass": float(mass[j]),
            "mass_perturbed": float(mass_after[j]),
            "mass_log2fc": float(fold[j]),
            "mass_log2fc_se": float(fold_se[j]),
            "mass_pval": float(mass_pvals[j]),
        }
        for j, name in enumerate(groups)
    ]


def adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Add p-values adjusted over the whole table (:cite:t:`benjamini1995`)."""
    for name, new in (("pval", "qval"), ("mass_pval", "mass_qval")):
        known = table[name].notna().to_numpy()
        values = np.full(len(table), np.nan)
        if known.any():
            values[known] = stats.false_discovery_control(table.loc[known, name])
        table.insert(int(table.columns.get_loc(name)) + 1, new, values)  # type: ignore[arg-type]
    return table


def _share(mass: Array) -> tuple[Array, Array]:
    """Return the shares of the groups, and how each cell moves them (n, groups)."""
    total = mass.sum()
    share = mass.sum(axis=0) / total
    return share, (mass - mass.sum(axis=1, keepdims=True) * share) / total


def _pvalues(change: Array, error: Array, n: int) -> Array:
    """Return two-sided p-values of the t-test; 1 where no cell has changed."""
    still = (np.abs(change) <= _DUST) & (error <= _DUST)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(still, 0.0, np.abs(change) / error)
    return np.asarray(2 * stats.t.sf(statistic, max(n - 1, 1)))
