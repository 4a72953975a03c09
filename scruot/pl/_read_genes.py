"""What pictures of gene tables need from AnnData."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import fate_slots
from scruot._messages import unknown
from scruot.io.fates import NONE
from scruot.io.gene_tables import (
    jacobian_errors,
    jacobian_groups,
    jacobian_matrix,
    one_fate,
    read_driver_genes,
    read_jacobian,
    told_signs,
)

__all__ = ["all_fates", "correlated", "derivatives", "known_genes", "untold"]


def known_genes(wanted: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return names of genes.

    Raises
    ------
    KeyError
        For one that is not known.
    ValueError
        When there is none.
    """
    names, known = [str(gene) for gene in wanted], list(map(str, known))
    lost = sorted(set(names) - set(known), key=names.index)
    if lost:
        raise KeyError(unknown("gene", lost[0], known))
    if not names:
        msg = "Found genes=[]; expected at least one gene, or None for the best."
        raise ValueError(msg)
    return names


def correlated(
    adata: AnnData, key: str | None, fates: Sequence[str] | str | None
) -> dict[str, pd.DataFrame]:
    """Return, for each fate, the table of the genes whose correlation is defined.

    By default these are the fates that any gene is correlated with.

    Raises
    ------
    KeyError
        When there is no table, or no such fate.
    ValueError
        When no correlation is defined.
    """
    tables = read_driver_genes(adata, key)
    wanted = list(tables) if fates is None else [fates] if isinstance(fates, str) else list(fates)
    chosen = {str(fate): one_fate(tables, fate).dropna(subset=["corr"]) for fate in wanted}
    silent = [fate for fate, table in chosen.items() if table.empty]
    if len(silent) == len(chosen) or (silent and fates is not None):
        msg = (
            f"Found no correlation of any gene with {' and '.join(silent) or 'fates=[]'}; expected "
            f"fates that vary among the cells of scruot.tl.driver_genes: some of "
            f"{[fate for fate, table in tables.items() if table['corr'].notna().any()]}."
        )
        raise ValueError(msg)
    return {fate: table for fate, table in chosen.items() if fate not in silent}


def all_fates(adata: AnnData, key: str | None) -> list[str]:
    """Return all fates there are, in order, so that each has the same colour in every picture."""
    stored = adata.obsm.get(fate_slots(key).probabilities)
    columns = list(map(str, stored.columns)) if isinstance(stored, pd.DataFrame) else []
    names = [name for name in columns if name != NONE]
    return list(dict.fromkeys([*names, *read_driver_genes(adata, key)]))


def derivatives(
    adata: AnnData, key: str | None, groups: Sequence[Any] | Any | None
) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Return the genes, and for each group the derivatives (targets, regulators).

    Entries that are not stored are NaN. Groups are given by their names, times also as numbers;
    by default they are all that have cells.

    Raises
    ------
    KeyError
        When there are no derivatives, or no such group.
    ValueError
        When there is no group with cells.
    """
    entry = read_jacobian(adata, key)
    genes, known = [str(gene) for gene in entry["genes"]], jacobian_groups(entry)
    if groups is None:
        wanted = known
    else:
        single = isinstance(groups, str) or not isinstance(groups, Iterable)
        wanted = [_name(group) for group in ([groups] if single else groups)]
    found = {group: _dense(jacobian_matrix(entry, group)) for group in wanted}
    full = {group: values for group, values in found.items() if np.isfinite(values).any()}
    if not full or (groups is not None and len(full) < len(found)):
        msg = (
            f"Found no cells in the groups {sorted(set(found) - set(full))}; expected some of "
            f"{known} that have cells."
        )
        raise ValueError(msg)
    return genes, full


def untold(adata: AnnData, key: str | None, group: str) -> NDArray[np.bool_] | None:
    """Mark derivatives (targets, regulators) whose sign is not told; ``None`` for a single fit."""
    entry = read_jacobian(adata, key)
    errors = jacobian_errors(entry, group)
    if errors is None:
        return None
    matrix = jacobian_matrix(entry, group).tocoo()
    told = told_signs(matrix.data, errors, int(entry["n_models"]))
    found = np.zeros(matrix.shape, dtype=bool)
    found[matrix.row, matrix.col] = told["sign"].to_numpy() == 0
    return found


def _name(group: Any) -> str:
    return f"{group:g}" if isinstance(group, numbers.Real) else str(group)


def _dense(matrix: Any) -> NDArray[np.float64]:
    """Tell what is zero from what was not kept."""
    values = np.full(matrix.shape, np.nan)
    stored = matrix.tocoo()
    values[stored.row, stored.col] = stored.data
    return values
