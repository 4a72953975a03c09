"""Between genes and a linear representation, through stored loadings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._keys import PCA_LOADINGS, PCA_REPRESENTATION
from scruot._messages import did_you_mean

# cells on which it is checked that a matrix is the one that was projected
_SAMPLE = 200
# relative error beyond which it is another one: rounding is far below, other units far above
_MISMATCH = 0.05


@dataclass(frozen=True, eq=False)
class Loadings:
    """A linear map from genes to coordinates, ``x = (expression - centre) @ matrix``.

    Parameters
    ----------
    matrix
        Change of the coordinates per unit of each gene, shape (n_vars, d).
    key
        Name in ``varm``, or ``"X"`` where the genes are the coordinates.
    """

    matrix: NDArray[np.float64]
    key: str

    def inverse(self, columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the change of some genes per unit of each coordinate, shape (d, genes)."""
        # the transpose where loadings are orthonormal, as those of a PCA are
        gram = self.matrix.T @ self.matrix
        return np.asarray(np.linalg.pinv(gram, hermitian=True) @ self.matrix[columns].T)

    def projects(self, expression: Any, x: NDArray[np.floating]) -> bool:
        """Tell whether ``expression`` (n, n_vars) is what gave ``x`` (n, d), up to the centre."""
        rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _SAMPLE)).astype(int))
        part = expression[rows]
        part = part.toarray() if sparse.issparse(part) else np.asarray(part)
        part = part.astype(np.float64)
        there = np.asarray(x, dtype=np.float64)[rows]
        there -= there.mean(axis=0)
        here = (part - part.mean(axis=0)) @ self.matrix
        return bool(np.linalg.norm(here - there) <= _MISMATCH * np.linalg.norm(there))


def find_loadings(
    adata: AnnData, use_rep: str, n_dims: int, key: str | None = None
) -> Loadings | None:
    """Return the loadings of a representation, or ``None`` where none are stored.

    By default those that scanpy stores: ``varm["PCs"]`` for ``"X_pca"``, and for any other
    representation the entry of ``varm`` with its name, as ``scanpy.pp.pca(key_added=...)``
    writes it. Where the representation is the matrix, or a copy of it, genes are coordinates.

    Raises
    ------
    KeyError
        When ``key`` is given and not there.
    ValueError
        When there are fewer loadings than coordinates, or some are not finite.
    """
    if use_rep == "X" and key is None:
        return Loadings(np.eye(adata.n_vars)[:, :n_dims], "X")
    name = key or (PCA_LOADINGS if use_rep == PCA_REPRESENTATION else use_rep)
    if name not in adata.varm:
        if key is None:
            return _genes_themselves(adata, use_rep, n_dims)
        found = sorted(adata.varm.keys())
        msg = f"Found no loadings {key!r} in varm (found {found}).{did_you_mean(key, found)}"
        raise KeyError(msg)
    values = adata.varm[name]
    matrix = np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < n_dims:
        msg = (
            f"varm[{name!r}] has shape {matrix.shape}, the fit has {n_dims} coordinates; expected "
            f"one column for each: these are not the loadings of {use_rep!r}."
        )
        raise ValueError(msg)
    matrix = matrix[:, :n_dims]
    if not np.isfinite(matrix).all():
        msg = f"varm[{name!r}] holds NaN or infinity; expected finite loadings: compute them again."
        raise ValueError(msg)
    return Loadings(matrix, name)


def _genes_themselves(adata: AnnData, use_rep: str, n_dims: int) -> Loadings | None:
    """Return trivial loadings where the representation is a copy of the matrix."""
    if adata.X is None or use_rep not in adata.obsm:
        return None
    if n_dims != adata.n_vars or adata.obsm[use_rep].shape != adata.shape:
        return None
    found = Loadings(np.eye(n_dims), "X")
    return found if found.projects(adata.X, np.asarray(adata.obsm[use_rep])) else None


def require_loadings(adata: AnnData, use_rep: str, n_dims: int, key: str | None = None) -> Loadings:
    """Return the loadings of a representation.

    Raises
    ------
    KeyError
        When there are none.
    """
    found = find_loadings(adata, use_rep, n_dims, key)
    if found is None:
        name = PCA_LOADINGS if use_rep == PCA_REPRESENTATION else use_rep
        msg = (
            f"Found no loadings of {use_rep!r} (varm[{name!r}] is missing; varm holds "
            f"{sorted(adata.varm.keys())}); expected the map from genes to coordinates, as "
            "scanpy.pp.pca stores it: name it with loadings, or give a shift of the coordinates "
            "in place of genes."
        )
        raise KeyError(msg)
    return found


def gene_columns(adata: AnnData, genes: Sequence[str], what: str) -> NDArray[np.integer]:
    """Return the positions of genes by name.

    Raises
    ------
    KeyError
        For unknown genes.
    ValueError
        For duplicate names, or no gene at all.
    """
    wanted = pd.Index([genes] if isinstance(genes, str) else list(genes), dtype=object)
    if len(wanted) == 0 or not wanted.is_unique:
        msg = f"Found {what}={list(wanted)}; expected different genes, at least one."
        raise ValueError(msg)
    if not adata.var_names.is_unique:
        msg = "Gene names are not unique; call adata.var_names_make_unique()."
        raise ValueError(msg)
    columns = adata.var_names.get_indexer(wanted)
    if (columns < 0).any():
        strange = str(wanted[columns < 0][0])
        hint = did_you_mean(strange, map(str, adata.var_names))
        msg = (
            f"Found {int((columns < 0).sum())} names in {what} that are none of the "
            f"{adata.n_vars} genes in var_names (first: {strange!r}).{hint}"
        )
        raise KeyError(msg)
    return np.asarray(columns)
