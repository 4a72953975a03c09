"""What pictures of displacements need from AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import displacement_slots
from scruot._messages import unknown
from scruot.io.displacement import genes_table, read_genes

__all__ = ["displacement_of", "panel_name", "ranked_groups", "used_rep"]


def ranked_groups(
    adata: AnnData, key: str | None, groups: Sequence[str] | str | None
) -> dict[str, pd.DataFrame]:
    """Return the ranked genes of each group and comparison by name, best first.

    Raises
    ------
    KeyError
        When there is no displacement.
    ValueError
        For groups that are none of its.
    """
    table = genes_table(adata, key, None)
    names = [
        panel_name(*row) for row in table[["group", "source", "target"]].itertuples(index=False)
    ]
    found = {str(name): part for name, part in table.groupby(np.array(names), sort=False)}
    if groups is None:
        return found
    wanted = [groups] if isinstance(groups, str) else list(groups)
    if not wanted:
        msg = f"Found groups=[]; expected some of {list(found)}, or None for all."
        raise ValueError(msg)
    chosen: dict[str, pd.DataFrame] = {}
    for group in wanted:
        own = {n: t for n, t in found.items() if group in (n, str(t["group"].iloc[0]))}
        if not own:
            known = list(dict.fromkeys([*map(str, table["group"]), *found]))
            raise ValueError(unknown("group", group, [k for k in known if k]))
        chosen.update(own)
    return chosen


def panel_name(group: str, source: str, target: str) -> str:
    """Return the name of a group and comparison, as in ``uns``."""
    when = f"{source} to {target}"
    return f"{group}, {when}" if group else when


def displacement_of(adata: AnnData, gene: str, key: str | None) -> NDArray[np.float64]:
    """Return the displacement of one gene in every cell, NaN for cells without a target.

    Raises
    ------
    KeyError
        When there is no displacement, or no such gene.
    """
    record = read_genes(adata, key)
    if gene not in adata.var_names:
        raise KeyError(unknown("gene", gene, list(map(str, adata.var_names))))
    matrix: Any = adata.obsm[displacement_slots(key).displacement]
    column = matrix[:, adata.var_names.get_loc(gene)]
    values = np.asarray(column.toarray(), dtype=np.float64).ravel()
    params = record["params"]
    sources = set(record["comparisons"]["source"])
    labels = adata.obs[str(params["time_key"])]
    words = [f"{v:g}" if isinstance(v, float | np.floating) else str(v) for v in labels]
    values[~np.isin(words, list(sources))] = np.nan
    return values


def used_rep(adata: AnnData, key: str | None) -> str:
    """Return the representation that was used."""
    return str(read_genes(adata, key)["params"]["use_rep"])
