"""Genes by name, and between genes and a linear representation through stored loadings."""

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
_SAMPLE = 500
# relative error beyond which it is another one: rounding is far below, other units far above
_MISMATCH = 0.05


@dataclass(frozen=True, eq=False)
class Loadings:
    """Weights of genes in a representation: ``expression = mean + weights @ coordinates``.

    The one convention of PCA, factor models and linear decoders. Coordinates of cells follow by
    least squares, which for the orthonormal loadings of a PCA is the projection itself.

    Parameters
    ----------
    weights
        Change of each gene per unit of the coordinates, shape (n_vars, d); zero rows for genes
        without a part in the representation.
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
        """Change of the coordinates per unit of each gene, shape (d, n_vars): pseudo-inverse."""
        scatter = self.weights.T @ self.weights
        if np.allclose(scatter, np.eye(len(scatter)), atol=1e-6):
            return self.weights.T
        return np.asarray(np.linalg.pinv(self.weights), dtype=np.float64)

    def projects(self, expression: Any, x: NDArray[np.floating]) -> bool:
        """Tell whether ``expression`` (n, n_vars) is what gave ``x`` (n, d), up to the centre."""
        rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _SAMPLE)).astype(int))
        part = expression[rows]
        part = part.toarray() if sparse.issparse(part) else np.asarray(part)
        part = part.astype(np.float64)
        there = np.asarray(x, dtype=np.float64)[rows]
        there -= there.mean(axis=0)
        here = (part - part.mean(axis=0)) @ self.encoder.T
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
        return Loadings(np.eye(adata.n_vars)[:, :n_dims], use_rep)
    name = key or (PCA_LOADINGS if use_rep == PCA_REPRESENTATION else use_rep)
    if name not in adata.varm:
        if key is None:
            return _genes_themselves(adata, use_rep, n_dims)
        found = sorted(adata.varm.keys())
        msg = (
            f"No loadings {key!r} in varm (found {found}).{did_you_mean(key, found)} Expected the "
            f"weights of genes in {use_rep!r}."
        )
        raise KeyError(msg)
    values = adata.varm[name]
    weights = np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] < n_dims:
        msg = (
            f"varm[{name!r}] has shape {weights.shape}, the fit has {n_dims} coordinates; expected "
            f"one column for each: these are not the loadings of {use_rep!r}."
        )
        raise ValueError(msg)
    weights = weights[:, :n_dims]
    if not np.isfinite(weights).all():
        msg = f"varm[{name!r}] holds NaN or infinity; expected finite loadings: compute them again."
        raise ValueError(msg)
    return Loadings(weights, f"varm[{name!r}]")


def _genes_themselves(adata: AnnData, use_rep: str, n_dims: int) -> Loadings | None:
    """Return trivial loadings where the representation is a copy of the matrix."""
    if adata.X is None or use_rep not in adata.obsm:
        return None
    if n_dims != adata.n_vars or adata.obsm[use_rep].shape != adata.shape:
        return None
    found = Loadings(np.eye(n_dims), use_rep)
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


def require_unique_genes(adata: AnnData) -> None:
    """Refuse duplicate gene names."""
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()][0]
        msg = (
            f"Gene names are not unique (e.g. {twice!r}); expected one name per gene: call "
            "adata.var_names_make_unique()."
        )
        raise ValueError(msg)


def gene_columns(adata: AnnData, genes: Sequence[str], what: str = "genes") -> NDArray[np.intp]:
    """Return the positions of genes by name; ``what`` names the argument in messages.

    Raises
    ------
    KeyError
        For unknown genes.
    ValueError
        For no gene at all, one twice, or names that are not unique in the object.
    """
    require_unique_genes(adata)
    wanted = pd.Index([genes] if isinstance(genes, str) else list(genes), dtype=object)
    if len(wanted) == 0 or not wanted.is_unique:
        msg = f"Found {what}={list(wanted[:5])}; expected at least one gene, and each once."
        raise ValueError(msg)
    columns = adata.var_names.get_indexer(wanted)
    if (columns < 0).any():
        strange = str(wanted[columns < 0][0])
        hint = did_you_mean(strange, map(str, adata.var_names))
        msg = (
            f"Unknown gene {strange!r} in {what}: {int((columns < 0).sum())} of {len(wanted)} "
            f"names are none of the {adata.n_vars} genes in var_names.{hint}"
        )
        raise KeyError(msg)
    return np.asarray(columns, dtype=np.intp)
