"""Which gene drives which: mean derivatives of the velocity of genes by genes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scruot._checks import whole
from scruot._keys import slots
from scruot._messages import unknown
from scruot.io.store import check_writable, writable
from scruot.tl._cells import labels, numbered
from scruot.tl._fitted import FittedCells, jacobian_at, read_fitted
from scruot.tl._genes import chosen_genes, fitted_loadings

logger = logging.getLogger(__name__)

Quantity = Literal["velocity", "drift"]
# Numbers of derivatives in memory at once.
_NUMBERS = 4_000_000
# Target genes whose row is dense at once.
_TARGETS = 512


def regulatory_jacobian(
    adata: AnnData,
    groupby: str | None = None,
    *,
    key: str | None = None,
    genes: Sequence[str] | None = None,
    n_regulators: int | None = 50,
    quantity: Quantity | None = None,
    loadings: str | None = None,
    device: str = "auto",
    copy: bool = False,
) -> AnnData | None:
    r"""Write mean derivatives of the velocity of each gene by each gene, per time or group.

    The derivative :math:`J_{ij} = \partial v_i / \partial x_j` is positive where more of gene `j`
    makes gene `i` rise faster: activation, and negative for repression (and for decay, on the
    diagonal). It is taken at every cell, exactly, at the cell's own time, and averaged over the
    cells of a group. In a linear representation with weights `W` the chain rule gives
    :math:`W J_z W^+` from the derivatives :math:`J_z` in the representation.

    Parameters
    ----------
    adata
        Annotated data with a fit in a linear representation.
    groupby
        Column of ``obs`` with groups of cells; by default the times of the fit.
    key
        ``key_added`` of the fit.
    genes
        Genes to look at, by default all that have weights (for scanpy's PCA the variable genes).
    n_regulators
        How many regulators of each gene to keep, those of largest absolute derivative; ``None``
        keeps all.
    quantity
        ``"velocity"``, or ``"drift"`` of a stochastic model, the default there. The velocity of
        cells that sit in a steady state is zero although each of them is pulled back when it is
        pushed; the pull is in the drift.
    loadings
        Entry of ``varm`` with the weights of genes, as in :func:`scruot.tl.gene_velocity`.
    device
        Where the model computes.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    ``None``, or the copy. Writes

    ``adata.uns["regulatory_jacobian"]`` : dict
        ``genes`` and ``groups`` (names), ``n_cells`` of each group, ``matrices`` (by ``"0"``,
        ``"1"``, ... in the order of the groups, CSR, one row per target and one column per
        regulator, per unit of time), ``latent`` (derivatives in the representation, (d, d)),
        ``groupby``, ``quantity``, ``source``. :func:`scruot.get.regulatory_jacobian_df` returns it
        as a table of targets and regulators.

    Raises
    ------
    KeyError
        When there is no fit, or no such gene, loadings or column.
    ValueError
        When no weights of genes are known, the representation has changed since the fit, or the
        quantity is not known.

    Notes
    -----
    A snapshot says nothing about directions in which its cells do not differ: a derivative along
    them is what the model makes of it. In a representation of `d` dimensions the matrix has rank
    `d` at most, so genes of one program share their regulators; it is a hypothesis about
    programs, not evidence of a binding site. Compare models (``n_models``, other methods) before
    believing a sign.

    References
    ----------
    Sha et al. (2024), Reconstructing growth and dynamic trajectories from single-cell
    transcriptomics data, Nature Machine Intelligence 6 :cite:p:`sha2024tigon`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.regulatory_jacobian(adata)
    >>> adata.uns["regulatory_jacobian"]["matrices"]["0"].shape
    (2, 2)
    """
    whole("n_regulators", n_regulators, optional=True)
    check_writable(adata, copy=copy)
    names = slots(key)
    columns = chosen_genes(adata, genes)
    cells = read_fitted(adata, key, device)
    wanted = quantity or ("drift" if cells.model.stochastic else "velocity")
    if wanted not in ("velocity", "drift"):
        raise ValueError(unknown("quantity", str(wanted), ("velocity", "drift")))
    weights = fitted_loadings(adata, cells.record, cells.x, loadings)
    if weights is None:
        msg = (
            f"No weights of genes in {cells.record['representation']['use_rep']!r} are known, so "
            "its derivatives cannot be carried to genes; expected a linear representation: fit on "
            "'X_pca' with varm['PCs'], or name the entry of varm with loadings."
        )
        raise ValueError(msg)
    groupby = groupby or str(cells.record["params"]["time_key"])
    by_time = groupby == str(cells.record["params"]["time_key"])
    groups = numbered(cells.time) if by_time else labels(adata, groupby)
    columns = weights.genes if columns is None else columns
    forward, back = weights.weights[columns], weights.encoder[:, columns]
    latent, matrices, n_cells = {}, {}, []
    for i in range(len(groups.categories)):
        rows = np.flatnonzero((np.asarray(groups.codes) == i) & (cells.mass > 0))
        mean = _mean_jacobian(cells, rows, wanted)
        latent[str(i)] = mean
        matrices[str(i)] = _largest(forward, mean, back, n_regulators)
        n_cells.append(len(rows))
    entry = {
        "genes": np.asarray(adata.var_names[columns], dtype=object),
        "groups": np.asarray([str(c) for c in groups.categories], dtype=object),
        "n_cells": np.asarray(n_cells),
        "matrices": matrices,
        "latent": latent,
        "groupby": groupby,
        "quantity": wanted,
        "source": weights.source,
    }
    adata = writable(adata, copy=copy)
    adata.uns[names.regulatory_jacobian] = entry
    return adata if copy else None


def _mean_jacobian(
    cells: FittedCells, rows: NDArray[np.intp], quantity: str
) -> NDArray[np.float64]:
    """Return the mean over cells, weighed by their mass, of the derivatives (d, d)."""
    d = cells.x.shape[1]
    total, mass = np.zeros((d, d)), cells.mass[rows]
    step = max(1, _NUMBERS // d**2)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        found = jacobian_at(cells, part, quantity)
        total += np.tensordot(mass[start : start + step], found, axes=1)
    return total / mass.sum() if len(rows) else np.full((d, d), np.nan)


def _largest(
    forward: NDArray[np.float64],
    mean: NDArray[np.float64],
    back: NDArray[np.float64],
    k: int | None,
) -> sparse.csr_matrix:
    """Return ``forward @ mean @ back``, with the ``k`` largest entries of every row."""
    p = back.shape[1]
    kept = p if k is None else min(k, p)
    blocks = []
    for start in range(0, len(forward), _TARGETS):
        dense = (forward[start : start + _TARGETS] @ mean) @ back
        order = np.argpartition(-np.abs(dense), kept - 1, axis=1)[:, :kept]
        order.sort(axis=1)
        values = np.take_along_axis(dense, order, axis=1)
        n = len(dense)
        blocks.append(
            sparse.csr_matrix(
                (values.ravel(), order.ravel(), np.arange(0, n * kept + 1, kept)), shape=(n, p)
            )
        )
    return sparse.vstack(blocks, format="csr")
