"""Genes of an object: which ones, their expression, and how a representation leads to them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._keys import Slots
from scruot.io.loadings import Loadings, find_loadings, gene_columns, require_unique_genes
from scruot.pp._expression import read_expression

logger = logging.getLogger(__name__)

# Rows of expression in memory at once.
_ROWS = 4096


def chosen_genes(adata: AnnData, genes: Sequence[str] | None) -> NDArray[np.intp] | None:
    """Return the positions of named genes in ``var_names``; ``None`` stays ``None``.

    Raises
    ------
    KeyError
        For a name that is no gene of the object.
    ValueError
        For no name at all, one twice, or names that are not unique in the object.
    """
    require_unique_genes(adata)
    return None if genes is None else gene_columns(adata, genes)


def expression(adata: AnnData, layer: str | None) -> Any:
    """Return the matrix of a layer, or ``X``.

    Raises
    ------
    KeyError
        When there is no such layer.
    ValueError
        When the object has no expression.
    """
    return read_expression(adata, layer=layer, use_raw=False, gene_symbols=None).matrix


def row_blocks(matrix: Any, columns: NDArray[np.intp] | None) -> Iterator[tuple[slice, Any]]:
    """Yield blocks of rows in double precision, sparse ones as CSR, of some columns.

    Raises
    ------
    ValueError
        When a block holds missing or infinite values.
    """
    for start in range(0, matrix.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        block = matrix[rows]
        # in double precision also where sparse: squares and sums lose digits otherwise
        is_sparse = sparse.issparse(block)
        block = block.tocsr().astype(np.float64) if is_sparse else np.asarray(block, np.float64)
        block = block if columns is None else block[:, columns]
        if not np.isfinite(block.data if is_sparse else block).all():
            msg = "The expression holds NaN or infinity; expected finite values: drop those cells."
            raise ValueError(msg)
        yield rows, block


def fitted_loadings(
    adata: AnnData, record: Mapping[str, Any], x: NDArray[np.float32], asked: str | None
) -> Loadings | None:
    """Return the loadings of a fitted representation, or ``None`` where none are stored.

    Warns where the expression, seen through them, is not the representation: velocities and
    derivatives are right all the same, in units of the expression that was projected. Whoever
    turns states into numbers that stand beside those of the matrix must refuse instead, as the
    genes of ``tl.simulate`` do.

    Parameters
    ----------
    adata
        The object.
    record
        Entry of the fit.
    x
        Coordinates of the cells in the fitted representation (n, d).
    asked
        Entry of ``varm``; ``None`` as in :func:`scruot.io.loadings.find_loadings`.

    Raises
    ------
    KeyError
        When there is no such entry.
    ValueError
        When it does not fit the representation.
    """
    use_rep = str(record["representation"]["use_rep"])
    found = find_loadings(adata, use_rep, x.shape[1], asked)
    if found is not None and adata.X is not None and not found.projects(adata.X, x):
        logger.warning(
            "adata.X seen through %s is not %r: X is not what the loadings were computed on "
            "(scaled, corrected or counts?). Results are in units of that expression, not of X.",
            found.source,
            use_rep,
        )
    return found


def stored_velocity(
    adata: AnnData, names: Slots, basis: str, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the velocity that a fit has written.

    Raises
    ------
    KeyError
        When it is not there.
    ValueError
        When it has another shape than the representation, or missing values.
    """
    name = names.velocity(basis)
    if name not in adata.obsm:
        msg = f"Found no adata.obsm[{name!r}]. Run scruot.tl.fit_dynamics(adata) again."
        raise KeyError(msg)
    v = np.asarray(adata.obsm[name], dtype=np.float32)
    if v.shape != shape or not np.isfinite(v).all():
        msg = (
            f"Found adata.obsm[{name!r}] of shape {v.shape}, perhaps with missing values; "
            f"expected finite velocities of shape {shape}. Run scruot.tl.fit_dynamics(adata) again."
        )
        raise ValueError(msg)
    return v
