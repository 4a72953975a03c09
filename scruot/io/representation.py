"""Representations of cells, and whether one is still what a model was fitted on."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._messages import did_you_mean

# What makes a representation, where its name says it.
_MAKERS = {
    "X_umap": "scanpy.pp.neighbors and scanpy.tl.umap",
    "X_tsne": "scanpy.tl.tsne",
    "X_diffmap": "scanpy.pp.neighbors and scanpy.tl.diffmap",
}


def read_representation(
    adata: AnnData, use_rep: str, n_dims: int | None = None
) -> NDArray[np.float32]:
    """Return coordinates of all cells, shape (n, d), float32; ``"X"`` reads the matrix.

    Raises
    ------
    KeyError
        When there is no such representation.
    ValueError
        When it is not a finite matrix, does not vary, or has fewer than ``n_dims`` columns.
    """
    if use_rep != "X" and use_rep not in adata.obsm:
        maker = _MAKERS.get(use_rep, "scanpy.pp.pca")
        remedy = f"compute it first, e.g. with {maker}, or name another with use_rep"
        or_x = "" if adata.X is None or adata.n_vars == 0 else ", and 'X'"
        msg = (
            f"No representation {use_rep!r} in obsm (found {sorted(adata.obsm)}{or_x})."
            f"{did_you_mean(use_rep, adata.obsm)} Expected cell coordinates: {remedy}."
        )
        raise KeyError(msg)
    matrix = _dense(adata.X if use_rep == "X" else adata.obsm[use_rep])
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        msg = f"{use_rep!r} has shape {matrix.shape}; expected (cells, coordinates)."
        raise ValueError(msg)
    if n_dims is not None:
        if not isinstance(n_dims, numbers.Integral) or not 1 <= n_dims <= matrix.shape[1]:
            msg = (
                f"Found n_dims={n_dims!r}; expected a whole number from 1 to {matrix.shape[1]}, "
                f"the columns of {use_rep!r}."
            )
            raise ValueError(msg)
        matrix = matrix[:, :n_dims]
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        msg = (
            f"{use_rep!r} holds NaN or infinity in {int((~finite).sum())} cells (first: "
            f"{adata.obs_names[~finite][0]!r}); expected finite coordinates: drop those cells "
            "or recompute the representation."
        )
        raise ValueError(msg)
    return matrix


def require_variation(matrix: NDArray[np.float32], use_rep: str) -> None:
    """Refuse a representation in which all cells are the same point."""
    if len(matrix) and (np.ptp(matrix, axis=0) == 0).all():
        msg = f"All cells have the same coordinates in {use_rep!r}; expected cells that differ."
        raise ValueError(msg)


def fingerprint(matrix: NDArray[np.float32], names: pd.Index) -> dict[str, NDArray[Any]]:
    """Return two numbers per cell that tell whether its coordinates have changed."""
    return {
        "cells": pd.util.hash_array(names.to_numpy(dtype=object)),
        "checksum": _checksum(matrix),
    }


def check_unchanged(
    matrix: NDArray[np.float32], names: pd.Index, stored: dict[str, NDArray[Any]], use_rep: str
) -> None:
    """Refuse coordinates that differ from those a model was fitted on, at the same cells."""
    now = pd.Series(_checksum(matrix), index=pd.util.hash_array(names.to_numpy(dtype=object)))
    then = pd.Series(np.asarray(stored["checksum"]), index=np.asarray(stored["cells"]))
    shared = then.index.intersection(now.index)
    if len(shared) == 0:
        return
    before, after = then.loc[shared].to_numpy(), now.loc[shared].to_numpy()
    # float32 coordinates, summed with weights of order one; relative to the spread of the
    # cells, since they may lie far from zero
    known = then.to_numpy()
    tolerance = 1e-4 * np.ptp(known) + 1e-6 * np.abs(known).max() + 1e-30
    changed = np.abs(before - after) > tolerance
    if changed.any():
        msg = (
            f"{use_rep!r} has changed since the fit: {int(changed.sum())} of {len(shared)} fitted "
            "cells have other coordinates. Restore the representation or fit again."
        )
        raise ValueError(msg)


def _checksum(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    # incommensurable weights: a permutation or a sign flip of coordinates shows
    return matrix.astype(np.float64) @ np.cos(1.0 + np.arange(matrix.shape[1]))


def _dense(values: Any) -> NDArray[np.float32]:
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    elif not isinstance(values, np.ndarray) and not sparse.issparse(values):
        values = values[:]  # a backed matrix
    if sparse.issparse(values):
        values = values.toarray()
    try:
        with np.errstate(over="ignore"):  # infinity is refused later, by name
            return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        msg = f"The representation has dtype {getattr(values, 'dtype', '?')}; expected numbers."
        raise ValueError(msg) from error
