"""Carry a fitted velocity from a representation back to genes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._checks import whole
from scruot._keys import basis_name, checked_key, slots, velocity_genes
from scruot._messages import unknown
from scruot.io.store import check_writable, fitted_representation, read_record, writable
from scruot.tl._decoder import Decoder, decoded_velocity
from scruot.tl._genes import chosen_genes, expression, fitted_loadings, stored_velocity
from scruot.tl._local_regression import directional_derivative

logger = logging.getLogger(__name__)

Method = Literal["auto", "loadings", "decoder", "regression"]
_METHODS = ("auto", "loadings", "decoder", "regression")
# Columns of the regression in memory at once.
_COLUMNS = 256


@dataclass(frozen=True)
class _Asked:
    """What the user asked for; see :func:`gene_velocity`."""

    method: Method
    loadings: str | None
    decoder: Decoder | None
    layer: str | None
    n_neighbors: int | None


class _Found(NamedTuple):
    """Velocities (n, p) of the genes at ``columns`` (p,), and where they are from."""

    values: NDArray[np.float32]
    columns: NDArray[np.intp]
    method: str
    source: str


def gene_velocity(
    adata: AnnData,
    *,
    key: str | None = None,
    method: Method = "auto",
    genes: Sequence[str] | None = None,
    loadings: str | None = None,
    decoder: Decoder | None = None,
    layer: str | None = None,
    n_neighbors: int | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Write the velocity of genes: how fast each gene changes in each cell.

    A velocity `v` in a representation becomes one of genes, in one of three ways:

    * ``"loadings"``: a linear representation has weights `W`, and the genes move by :math:`W v`.
      Exact for what the representation holds; what it leaves out does not move.
    * ``"decoder"``: :math:`D(z) v`, with `D` the derivative of a decoder (autoencoder, scVI).
    * ``"regression"``: where there is neither, e.g. for UMAP, PHATE or diffusion maps: in the
      neighbourhood of each cell the expression is regressed on the coordinates, and its slope is
      taken along `v`.

    Parameters
    ----------
    adata
        Annotated data with a fit.
    key
        ``key_added`` of the fit.
    method
        ``"auto"`` takes the decoder where one is given, else loadings where some are stored, else
        regression.
    genes
        Genes to write, all by default: those with weights (for scanpy's PCA the variable genes),
        those that the decoder returns, or every one.
    loadings
        Entry of ``varm`` with the weights of genes, shape (n_vars, d) or wider: expression is
        their product with the coordinates, up to a constant. By default ``"PCs"`` for
        ``"X_pca"``, else the entry with the representation's name; a representation that is the
        expression itself needs none.
    decoder
        Function of cells times dimensions, in the fitted dimensions, to cells times genes in the
        order of `genes`. Functions of torch's tensors (modules) are differentiated exactly,
        functions of NumPy arrays by central differences.
    layer
        Expression to regress on, by default ``X``.
    n_neighbors
        Neighbours of the regression, by default three for each dimension and at least 50.
    key_added
        Name of the layer, by default ``"velocity"``, as scVelo has it, after the fit's own key.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    ``None``, or the copy. Writes

    ``adata.layers["velocity"]`` : float32, shape (n_obs, n_vars)
        Expression per unit of time; a dense array when all genes are there, else CSR with zeros
        for genes that were not chosen.
    ``adata.var["velocity_genes"]`` : bool
        Which genes have a velocity.
    ``adata.uns["dynamics"]["gene_velocity"]`` : dict
        ``layer``, ``method`` and ``source`` as used. A new fit under the same key takes layer
        and column away.

    Raises
    ------
    KeyError
        When there is no fit, no such gene, layer or loadings.
    ValueError
        When the method has nothing to work with, shapes do not fit, or the layer is not ours.

    Notes
    -----
    Memory: one float32 number per cell and gene written, and blocks. Loadings hold the programs
    that dominate the variance, and spread a movement over all genes of a program; for the few
    genes that move, see :func:`scruot.tl.sparse_displacement`.

    References
    ----------
    Sha et al. (2024), Reconstructing growth and dynamic trajectories from single-cell
    transcriptomics data, Nature Machine Intelligence 6 :cite:p:`sha2024tigon`.

    Cleveland (1979), Robust locally weighted regression and smoothing scatterplots, JASA 74
    :cite:p:`cleveland1979`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.gene_velocity(adata)
    >>> adata.layers["velocity"].shape == adata.shape
    True
    """
    if method not in _METHODS:
        raise ValueError(unknown("method", str(method), _METHODS))
    whole("n_neighbors", n_neighbors, optional=True)
    check_writable(adata, copy=copy)
    names = slots(key)
    layer_name = names.gene_velocity if key_added is None else checked_key(key_added)
    record = read_record(adata, key)
    _check_free(adata, record, layer_name)
    columns = chosen_genes(adata, genes)
    x = fitted_representation(adata, record)
    basis = basis_name(str(record["representation"]["use_rep"]))
    v = stored_velocity(adata, names, basis, x.shape)
    asked = _Asked(method, loadings, decoder, layer, n_neighbors)
    found = _velocities(adata, record, x, v, columns, asked)
    logger.info(
        "gene_velocity: %d genes by %s (%s)", len(found.columns), found.method, found.source
    )
    adata = writable(adata, copy=copy)
    chosen = np.zeros(adata.n_vars, dtype=bool)
    chosen[found.columns] = True
    adata.layers[layer_name] = _spread(found.values, found.columns, adata.n_vars)
    adata.var[velocity_genes(layer_name)] = chosen
    used = {"layer": layer_name, "method": found.method, "source": found.source}
    adata.uns[names.uns] = {**record, "gene_velocity": used}
    return adata if copy else None


def _check_free(adata: AnnData, record: Any, layer_name: str) -> None:
    own = record.get("gene_velocity", {}).get("layer")
    if layer_name in adata.layers and own != layer_name:
        msg = (
            f"Found layers[{layer_name!r}], which this fit did not write and which would be lost; "
            "expected a free name: give key_added, or delete the layer."
        )
        raise ValueError(msg)


def _velocities(
    adata: AnnData,
    record: Mapping[str, Any],
    x: NDArray[np.float32],
    v: NDArray[np.float32],
    columns: NDArray[np.intp] | None,
    asked: _Asked,
) -> _Found:
    """Choose the way and go it."""
    weights = None
    if asked.method == "loadings" or (asked.method == "auto" and asked.decoder is None):
        weights = fitted_loadings(adata, record, x, asked.loadings)
    if weights is not None:
        columns = weights.genes if columns is None else columns
        values = v @ weights.weights[columns].T.astype(np.float32)
        return _Found(values, columns, "loadings", weights.source)
    if asked.method == "loadings":
        msg = (
            f"No loadings are known for {record['representation']['use_rep']!r}; expected weights "
            "of the genes: name them with loadings, or take method='regression'."
        )
        raise ValueError(msg)
    columns = np.arange(adata.n_vars) if columns is None else columns
    if asked.method == "decoder" or asked.decoder is not None:
        if asked.decoder is None:
            msg = "Found method='decoder' and no decoder; expected a function from cells to genes."
            raise ValueError(msg)
        values = decoded_velocity(asked.decoder, x, v, len(columns))
        return _Found(values, columns, "decoder", "decoder")
    k = min(asked.n_neighbors or max(50, 3 * x.shape[1]), len(x))
    values = _regressed(expression(adata, asked.layer), columns, x, v, k)
    return _Found(values, columns, "regression", asked.layer or "X")


def _regressed(
    matrix: Any, columns: NDArray[np.intp], x: NDArray[np.float32], v: NDArray[np.float32], k: int
) -> NDArray[np.float32]:
    slope = directional_derivative(x, v, k)
    values = np.empty((len(x), len(columns)), dtype=np.float32)
    # files and CSC are read in the order of their columns
    order = np.argsort(columns)
    for start in range(0, len(columns), _COLUMNS):
        part = order[start : start + _COLUMNS]
        block = matrix[:, columns[part]]
        block = block.toarray() if sparse.issparse(block) else np.asarray(block)
        if not np.isfinite(block).all():
            msg = "The expression holds NaN or infinity; expected finite values: drop those cells."
            raise ValueError(msg)
        values[:, part] = slope @ block.astype(np.float64)
    return values


def _spread(
    values: NDArray[np.float32], columns: NDArray[np.intp], n_vars: int
) -> NDArray[np.float32] | sparse.csr_matrix:
    order = np.argsort(columns)
    ordered = values if np.array_equal(order, np.arange(len(order))) else values[:, order]
    if len(columns) == n_vars:
        return np.ascontiguousarray(ordered)
    n, p = ordered.shape
    where = np.tile(columns[order].astype(np.int64), n)
    return sparse.csr_matrix(
        (np.ascontiguousarray(ordered).ravel(), where, np.arange(0, n * p + 1, p)),
        shape=(n, n_vars),
    )
