"""Tables of genes that tools have left in AnnData, read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import t as student

from scruot._keys import fate_slots, slots
from scruot._messages import did_you_mean, unknown
from scruot.displacement.calibrate import adjusted

_KINDS = ("corr", "pval", "qval", "ci_low", "ci_high")
_WANTED = ("genes", "groups", "matrices")
# False discovery rate at which a sign is told from zero.
SIGN_RATE = 0.05


def read_driver_genes(adata: AnnData, key: str | None) -> dict[str, pd.DataFrame]:
    """Return the table of every fate, genes in the order of the object.

    Raises
    ------
    KeyError
        When there is none.
    """
    table = _table(adata, fate_slots(key).driver_genes, "scruot.tl.driver_genes")
    fates = [c.removesuffix("_corr") for c in map(str, table.columns) if c.endswith("_corr")]
    return {
        fate: table[[f"{fate}_{kind}" for kind in _KINDS]].set_axis(list(_KINDS), axis=1)
        for fate in fates
    }


def one_fate(tables: Mapping[str, pd.DataFrame], fate: str) -> pd.DataFrame:
    """Return the table of one fate.

    Raises
    ------
    KeyError
        When there is no such fate.
    """
    if str(fate) not in tables:
        raise KeyError(unknown("fate", str(fate), list(tables)))
    return tables[str(fate)]


def ranked_drivers(tables: Mapping[str, pd.DataFrame], fate: str | None) -> pd.DataFrame:
    """Return the tested genes of one fate, or of each, the most positive correlation first.

    Raises
    ------
    KeyError
        When there is no such fate.
    """
    if fate is None:
        ranked = {name: ranked_drivers(tables, name) for name in tables}
        for name, table in ranked.items():
            table.insert(0, "fate", name)
        return pd.concat(list(ranked.values()))
    table = one_fate(tables, fate).dropna(subset=["corr"])
    return table.sort_values("corr", ascending=False, kind="stable")


def read_growth_genes(adata: AnnData, key: str | None) -> pd.DataFrame:
    """Return the table of :func:`scruot.tl.growth_genes`.

    Raises
    ------
    KeyError
        When there is none.
    """
    return _table(adata, slots(key).growth_genes, "scruot.tl.growth_genes")


def _table(adata: AnnData, name: str, tool: str) -> pd.DataFrame:
    if name not in adata.varm:
        msg = (
            f"No table of genes in varm[{name!r}] (found {sorted(adata.varm)})."
            f"{did_you_mean(name, adata.varm)} Call {tool}(adata) first."
        )
        raise KeyError(msg)
    return adata.varm[name]


def read_jacobian(adata: AnnData, key: str | None) -> Mapping[str, Any]:
    """Return the entry of :func:`scruot.tl.regulatory_jacobian`.

    Raises
    ------
    KeyError
        When there is none.
    ValueError
        When it is damaged.
    """
    name = slots(key).regulatory_jacobian
    if name not in adata.uns:
        msg = (
            f"No derivatives in uns[{name!r}].{did_you_mean(name, map(str, adata.uns))} Call "
            "scruot.tl.regulatory_jacobian(adata) first."
        )
        raise KeyError(msg)
    entry = adata.uns[name]
    if not isinstance(entry, Mapping) or any(part not in entry for part in _WANTED):
        msg = f"uns[{name!r}] is damaged; call scruot.tl.regulatory_jacobian(adata) again."
        raise ValueError(msg)
    return entry


def jacobian_groups(entry: Mapping[str, Any]) -> list[str]:
    """Return the names of the groups."""
    return [str(group) for group in entry["groups"]]


def jacobian_matrix(entry: Mapping[str, Any], group: str) -> sparse.csr_matrix:
    """Return the derivatives of one group, targets times regulators.

    Raises
    ------
    KeyError
        When there is no such group.
    """
    groups = jacobian_groups(entry)
    if str(group) not in groups:
        raise KeyError(unknown("group", str(group), groups))
    return sparse.csr_matrix(entry["matrices"][str(groups.index(str(group)))])


def jacobian_errors(entry: Mapping[str, Any], group: str) -> NDArray[np.float64] | None:
    """Return the standard errors of :func:`jacobian_matrix`, entry by entry, if there are any."""
    if "errors" not in entry:
        return None
    index = jacobian_groups(entry).index(str(group))
    return np.asarray(sparse.csr_matrix(entry["errors"][str(index)]).tocoo().data)


def told_signs(
    values: NDArray[np.float64], errors: NDArray[np.float64], n_models: int
) -> pd.DataFrame:
    """Return p-values of signs, their false discovery rates, and the signs at a rate of 5 %.

    Parameters
    ----------
    values, errors
        Estimates and standard deviations over members, shape ``(n,)``.
    n_models
        Number of members: Student's distribution has one degree of freedom less.
    """
    ratio = np.divide(values, errors, out=np.full_like(values, np.nan), where=errors > 0)
    # members that agree to the last bit leave no doubt, but that all are zero
    p_value = np.where(errors > 0, 2 * student.sf(np.abs(ratio), n_models - 1), values == 0)
    rate = np.full(len(p_value), np.nan)
    known = np.isfinite(p_value)
    rate[known] = adjusted(p_value[known])
    sign = np.where(rate <= SIGN_RATE, np.sign(np.nan_to_num(values)), 0).astype(np.int8)
    return pd.DataFrame({"pval": p_value, "qval": rate, "sign": sign})


def jacobian_table(entry: Mapping[str, Any], groups: list[str]) -> pd.DataFrame:
    """Return targets, regulators and derivatives of some groups, largest first in each."""
    genes = np.asarray(entry["genes"]).astype(str)
    parts = []
    for group in groups:
        matrix = jacobian_matrix(entry, group).tocoo()
        part = pd.DataFrame(
            {
                "group": group,
                "target": genes[matrix.row],
                "regulator": genes[matrix.col],
                "derivative": matrix.data,
            }
        )
        errors = jacobian_errors(entry, group)
        if errors is not None:
            told = told_signs(matrix.data, errors, int(entry["n_models"]))
            part = pd.concat([part.assign(std_error=errors), told], axis=1)
        parts.append(part.iloc[np.argsort(-np.abs(matrix.data), kind="stable")])
    return pd.concat(parts, ignore_index=True)
