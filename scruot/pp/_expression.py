"""The expression matrix that a score is read from, and the names of its columns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scruot._messages import did_you_mean, unknown
from scruot.pp._gene_score import dense_blocks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expression:
    """A matrix with named columns.

    Attributes
    ----------
    matrix
        Cells times genes, dense, sparse, or in a file.
    symbols
        Gene symbols.
    label
        Where the matrix stands, for messages.
    """

    matrix: Any
    symbols: pd.Index
    label: str

    def take(self, columns: Sequence[int]) -> Any:
        """Return some columns, in the order asked for, in memory; sparse ones by column."""
        # a file is read in the order of its columns
        order, back = np.unique(np.asarray(columns, dtype=np.intp), return_inverse=True)
        part = self.matrix[:, order]
        return part.tocsc()[:, back] if sparse.issparse(part) else np.asarray(part)[:, back]


def read_expression(
    adata: AnnData, *, layer: str | None, use_raw: bool | None, gene_symbols: str | None
) -> Expression:
    """Choose the matrix; ``use_raw=None`` takes ``raw`` where there is one and no `layer`.

    Raises
    ------
    KeyError
        When the layer or the column of symbols is not there.
    ValueError
        When there is no matrix, or two are asked for.
    """
    if layer is not None and use_raw:
        msg = f"Found layer={layer!r} and use_raw=True; expected one of the two."
        raise ValueError(msg)
    if layer is not None and layer not in adata.layers:
        named = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X as None
        raise KeyError(unknown("layer", layer, named))
    if use_raw and adata.raw is None:
        msg = "Found use_raw=True, but adata.raw is None; set it, or pass use_raw=False."
        raise ValueError(msg)
    raw = layer is None and use_raw is not False and adata.raw is not None
    var = adata.raw.var if raw else adata.var
    matrix = adata.raw.X if raw else adata.X if layer is None else adata.layers[layer]
    label = "adata.raw" if raw else "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    if matrix is None or matrix.shape[1] == 0:
        msg = (
            f"Found no expression in {label}; expected the genes of the cells, log-normalised: "
            "name the matrix with layer, or set adata.X."
        )
        raise ValueError(msg)
    return Expression(matrix, _symbols(var, gene_symbols, label), label)


def _symbols(var: pd.DataFrame, gene_symbols: str | None, label: str) -> pd.Index:
    if gene_symbols is None:
        return var.index.astype(str)
    if gene_symbols not in var:
        msg = (
            f"No column {gene_symbols!r} of gene symbols in the genes of {label} (found "
            f"{sorted(map(str, var.columns))}).{did_you_mean(gene_symbols, map(str, var.columns))}"
        )
        raise KeyError(msg)
    return pd.Index(var[gene_symbols].astype(object).where(var[gene_symbols].notna(), ""))


def check_values(values: Any, names: Sequence[str], label: str) -> None:
    """Refuse missing values, and warn of raw counts.

    Parameters
    ----------
    values
        Expression of some genes, cells times genes.
    names
        Names of the genes.
    label
        Where they are from.

    Raises
    ------
    ValueError
        Naming the first gene with missing values.
    """
    whole, largest = True, 0.0
    for columns, block in dense_blocks(values):
        bad = ~np.isfinite(block)
        if bad.any():
            gene = names[columns][int(np.flatnonzero(bad.any(axis=0))[0])]
            msg = (
                f"{label} holds NaN or infinity in {int(bad.any(axis=1).sum())} cells "
                f"(gene {gene!r}); expected finite expression: drop those cells or that gene."
            )
            raise ValueError(msg)
        whole = whole and bool((block == np.round(block)).all()) and bool((block >= 0).all())
        largest = max(largest, float(block.max(initial=0.0)))
    if whole and largest > 1:
        logger.warning(
            "%s holds whole numbers, as raw counts do: cells with many counts would score as "
            "proliferating. Normalise first, e.g. scanpy.pp.normalize_total and scanpy.pp.log1p.",
            label,
        )
