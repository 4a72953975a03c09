"""Genes of an object: which ones, their expression, and how a representation leads to them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._keys import PCA_LOADINGS, PCA_REPRESENTATION, Slots
from scruot._messages import did_you_mean, unknown

logger = logging.getLogger(__name__)

# Rows of expression in memory at once.
_ROWS = 4096
# Cells on which loadings are compared with the representation.
_CHECKED = 500
# Below this share of the representation's variance, loadings and expression do not belong together.
_AGREES = 0.9


@dataclass(frozen=True)
class Loadings:
    """Weights of genes in a representation: expression = mean + ``weights`` @ coordinates.

    Attributes
    ----------
    weights
        Shape (n_vars, d); zero rows for genes without a part in the representation.
    source
        Where they stand, for messages and records.
    """

    weights: NDArray[np.float64]
    source: str

    @property
    def genes(self) -> NDArray[np.intp]:
        """Positions of the genes that have weights."""
        return np.flatnonzero(np.any(self.weights != 0, axis=1))

    @property
    def encoder(self) -> NDArray[np.float64]:
        """Derivative of the coordinates by the expression (d, n_vars): the pseudo-inverse."""
        scatter = self.weights.T @ self.weights
        if np.allclose(scatter, np.eye(len(scatter)), atol=1e-6):
            return self.weights.T
        return np.asarray(np.linalg.pinv(self.weights), dtype=np.float64)


def chosen_genes(adata: AnnData, genes: Sequence[str] | None) -> NDArray[np.intp] | None:
    """Return the positions of named genes in ``var_names``; ``None`` stays ``None``.

    Raises
    ------
    KeyError
        For a name that is no gene of the object.
    ValueError
        For no name at all, one twice, or names that are not unique in the object.
    """
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()][0]
        msg = (
            f"Gene names are not unique (e.g. {twice!r}); expected one name per gene: call "
            "adata.var_names_make_unique()."
        )
        raise ValueError(msg)
    if genes is None:
        return None
    names = [genes] if isinstance(genes, str) else list(genes)
    if not names or len(set(names)) < len(names):
        msg = f"Found genes={names[:5]}; expected at least one gene, and each once."
        raise ValueError(msg)
    index = adata.var_names.get_indexer(names)
    if (index < 0).any():
        raise KeyError(unknown("gene", str(names[int(np.argmin(index))]), list(adata.var_names)))
    return index


def expression(adata: AnnData, layer: str | None) -> Any:
    """Return the matrix of a layer, or ``X``.

    Raises
    ------
    KeyError
        When there is no such layer.
    ValueError
        When the object has no expression.
    """
    if layer is not None and layer not in adata.layers:
        raise KeyError(unknown("layer", layer, list(adata.layers)))
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        msg = (
            "Found no expression in adata.X; expected the genes of the cells, log-normalised: "
            "name the matrix with layer, or set adata.X."
        )
        raise ValueError(msg)
    return matrix


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


def find_loadings(
    adata: AnnData, record: Mapping[str, Any], x: NDArray[np.float32], asked: str | None
) -> Loadings | None:
    """Return the weights of genes in a fitted representation, or ``None`` where none are stored.

    Parameters
    ----------
    adata
        The object.
    record
        Entry of the fit.
    x
        Coordinates of the cells in the fitted representation (n, d).
    asked
        Entry of ``varm``; ``None`` takes those of scanpy's PCA for ``"X_pca"``, and the genes
        themselves where the representation is the expression.

    Raises
    ------
    KeyError
        When there is no such entry.
    ValueError
        When it does not fit the representation.
    """
    use_rep, d = str(record["representation"]["use_rep"]), x.shape[1]
    if asked is None and _is_expression(adata, use_rep, x):
        return Loadings(np.eye(adata.n_vars), use_rep)
    name = asked
    if asked is None and use_rep == PCA_REPRESENTATION and PCA_LOADINGS in adata.varm:
        name = PCA_LOADINGS
    if name is None:
        return None
    if name not in adata.varm:
        msg = (
            f"No loadings {name!r} in varm (found {sorted(adata.varm)})."
            f"{did_you_mean(name, adata.varm)} Expected the weights of genes in {use_rep!r}."
        )
        raise KeyError(msg)
    weights = np.asarray(adata.varm[name], dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] < d or not np.isfinite(weights).all():
        msg = (
            f"varm[{name!r}] has shape {weights.shape}, perhaps with missing values; expected a "
            f"finite weight of every gene in each of the {d} fitted dimensions of {use_rep!r}."
        )
        raise ValueError(msg)
    found = Loadings(weights[:, :d], f"varm[{name!r}]")
    _compare(adata, found, x, use_rep)
    return found


def _is_expression(adata: AnnData, use_rep: str, x: NDArray[np.float32]) -> bool:
    if use_rep == "X":
        return True
    if adata.X is None or x.shape[1] != adata.n_vars:
        return False
    rows = _sample(len(x))
    return bool(np.allclose(_dense_rows(adata.X, rows), x[rows], rtol=1e-5, atol=1e-6))


def _sample(n: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, n - 1, min(n, _CHECKED)).astype(np.intp))


def _dense_rows(matrix: Any, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    block = matrix[rows]
    block = block.toarray() if sparse.issparse(block) else block
    return np.asarray(block, dtype=np.float64)


def _compare(adata: AnnData, found: Loadings, x: NDArray[np.float32], use_rep: str) -> None:
    """Warn where the expression, seen through the loadings, is another representation."""
    if adata.X is None or len(x) < 3:
        return
    rows = _sample(len(x))
    seen = _dense_rows(adata.X, rows) @ found.weights
    wanted = x[rows].astype(np.float64)
    difference = (seen - seen.mean(0)) - (wanted - wanted.mean(0))
    share = 1 - np.square(difference).sum() / np.square(wanted - wanted.mean(0)).sum()
    if not share >= _AGREES:
        logger.warning(
            "adata.X seen through %s gives %.0f %% of the variance of %r: X is not what the "
            "loadings were computed on (scaled, corrected or counts?). Results are in units of "
            "that expression, not of X.",
            found.source,
            100 * max(share, 0.0),
            use_rep,
        )


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
