"""What displacement maps are computed from: columns, masses and genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._keys import DYNAMICS, TRANSPORT
from scruot.io.mass import read_mass
from scruot.io.read import read_obs
from scruot.pp._expression import check_values, read_expression
from scruot.tl._reading import how_to_read


def read_from(
    adata: AnnData,
    key: str | None,
    time_key: str | None,
    use_rep: str | None,
    n_dims: int | None,
) -> tuple[str, str, int | None]:
    """Return column, representation and number of its columns, where left out as stored."""
    entries = (DYNAMICS, TRANSPORT) if key is None else (key,)
    found = how_to_read(adata, entries=entries, time_key=time_key, use_rep=use_rep, n_dims=n_dims)
    return found["time_key"], found["use_rep"], found["n_dims"]


def read_masses(adata: AnnData, time_key: str, mass: str) -> NDArray[np.float64]:
    """Return the mass of every cell; populations do not matter."""
    column = read_obs(adata, time_key, "time column")
    if not isinstance(mass, str):
        msg = (
            f"Found mass of type {type(mass).__name__}; expected 'counts' or the name of an obs "
            "column of cell weights: populations of whole times do not matter here."
        )
        raise TypeError(msg)
    codes = pd.factorize(column)[0].astype(np.float64)
    return read_mass(adata.obs, codes, "counts" if mass == "equal" else mass)


def read_genes_matrix(adata: AnnData, layer: str | None) -> Any:
    """Return the genes, checked, dense or in compressed rows."""
    found = read_expression(adata, layer=layer, use_raw=False, gene_symbols=None)
    matrix = found.matrix
    if not isinstance(matrix, np.ndarray) and not sparse.issparse(matrix):
        matrix = matrix[:]  # in a file
    check_values(matrix, list(found.symbols), found.label)
    return matrix.tocsr() if sparse.issparse(matrix) else matrix
