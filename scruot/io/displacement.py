"""Sparse displacements in AnnData: scanpy's layout of ranked genes, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import displacement_slots
from scruot._messages import did_you_mean, unknown
from scruot.io.store import plain

__all__ = ["Ranked", "genes_record", "genes_table", "read_genes"]

_PACKAGES = ("scruot", "numpy", "scipy", "anndata")
_COLUMNS = {
    "names": "O",
    "scores": "f4",
    "logfoldchanges": "f4",
    "pvals": "f8",
    "pvals_adj": "f8",
    "displacements": "f4",
    "shares": "f4",
}


@dataclass(frozen=True, eq=False)
class Ranked:
    """Genes of one comparison and group, in the order of ``var``, each of shape ``(d,)``.

    ``score`` has the sign of the change; genes are ranked by its magnitude.
    """

    source: str
    target: str
    group: str
    score: NDArray[np.float64]
    mean: NDArray[np.float64]
    p_value: NDArray[np.float64]
    rate: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def name(self) -> str:
        """Name in scanpy's layout."""
        when = f"{self.source} to {self.target}"
        return f"{self.group}, {when}" if self.group else when


def genes_record(
    ranked: Sequence[Ranked], genes: pd.Index, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ranked genes as ``scanpy.tl.rank_genes_groups`` stores them, and a little more."""
    names = [r.name for r in ranked]
    orders = [np.argsort(-np.abs(r.score), kind="stable") for r in ranked]

    def column(values: Sequence[NDArray[Any]], kind: str) -> np.recarray[Any, Any]:
        ordered = [v[o] for v, o in zip(values, orders, strict=True)]
        return np.rec.fromarrays(ordered, dtype=[(name, kind) for name in names])

    symbols = genes.to_numpy(dtype=object)
    parts: dict[str, list[NDArray[Any]]] = {
        "names": [symbols for _ in ranked],
        "scores": [r.score for r in ranked],
        # of logarithms of counts, ln(1 + x)
        "logfoldchanges": [r.mean / np.log(2.0) for r in ranked],
        "pvals": [r.p_value for r in ranked],
        "pvals_adj": [r.rate for r in ranked],
        "displacements": [r.mean for r in ranked],
        "shares": [r.share for r in ranked],
    }
    return {
        "params": {k: plain(v) for k, v in params.items()},
        "versions": {package: version(package) for package in _PACKAGES},
        "comparisons": pd.DataFrame(
            {
                "group": [r.group for r in ranked],
                "source": [r.source for r in ranked],
                "target": [r.target for r in ranked],
            },
            index=pd.Index(names, dtype=object),
        ),
        **{name: column(parts[name], kind) for name, kind in _COLUMNS.items()},
    }


def read_genes(adata: AnnData, key: str | None = None) -> Mapping[str, Any]:
    """Return the ranked genes that ``adata`` holds, checked.

    Raises
    ------
    KeyError
        When there is no such entry.
    ValueError
        When the entry is damaged.
    """
    name = displacement_slots(key).genes
    if name not in adata.uns:
        held = [k for k, v in adata.uns.items() if isinstance(v, Mapping) and "comparisons" in v]
        msg = (
            f"No displacement genes in uns[{name!r}] (found {held}).{did_you_mean(name, held)} "
            "Call scruot.tl.sparse_displacement(adata) first, or give its key_added as key."
        )
        raise KeyError(msg)
    record = adata.uns[name]
    wanted = ("params", "comparisons", *_COLUMNS)
    missing = [k for k in wanted if not isinstance(record, Mapping) or k not in record]
    if missing:
        msg = (
            f"uns[{name!r}] is no complete displacement of scruot (missing: {missing}); run "
            "scruot.tl.sparse_displacement again."
        )
        raise ValueError(msg)
    return record


def genes_table(adata: AnnData, key: str | None, group: str | None) -> pd.DataFrame:
    """Return one row per comparison, group and gene, in the order of the ranks.

    Raises
    ------
    KeyError
        When there is no such entry.
    ValueError
        When there is no such group.
    """
    record = read_genes(adata, key)
    comparisons = record["comparisons"]
    tables = []
    for name, row in comparisons.iterrows():
        if group is not None and str(row["group"]) != group and str(name) != group:
            continue
        columns = {column: np.asarray(record[column][str(name)]) for column in _COLUMNS}
        tables.append(
            pd.DataFrame(
                {
                    "group": str(row["group"]),
                    "source": str(row["source"]),
                    "target": str(row["target"]),
                    **columns,
                }
            )
        )
    if not tables:
        known = [str(g) for g in dict.fromkeys([*comparisons["group"], *comparisons.index]) if g]
        raise ValueError(unknown("group", str(group), known))
    return pd.concat(tables, ignore_index=True).rename(
        columns={"names": "gene", "displacements": "displacement", "shares": "share"}
    )
