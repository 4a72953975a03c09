"""Which gene drives which: mean derivatives of the velocity of genes by genes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
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
Estimate = Literal["derivative", "regression"]
# Numbers of derivatives in memory at once.
_NUMBERS = 4_000_000
# Spreads of cells below this share of the largest are none.
_FLAT = 1e-6
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
    estimate: Estimate = "derivative",
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
    estimate
        ``"derivative"``: the mean of the derivatives at the cells, which asks what a small change
        of a gene would do to each of them. ``"regression"``: the slopes of the linear regression
        of the quantity at the cells on all coordinates together, which asks how cells of the group
        that differ in a gene differ in the quantity, others being equal. A gene that is either off
        or saturated has small derivatives everywhere, however much the two kinds of cell differ.
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
        ``groupby``, ``quantity``, ``estimate``, ``source``, ``n_models``; of an ensemble also
        ``errors``, like ``matrices``. :func:`scruot.get.regulatory_jacobian_df` returns it as a
        table of targets and regulators.

    Raises
    ------
    KeyError
        When there is no fit, or no such gene, loadings or column.
    ValueError
        When no weights of genes are known, the representation has changed since the fit, the
        quantity or estimate is not known, or a group has too few cells for a regression.

    Notes
    -----
    *Signs.* With an ensemble (``n_models=10`` in :func:`scruot.tl.fit_dynamics`: every member is
    fitted on cells, or replicates, drawn with replacement) the errors are the standard deviations
    over members, and the table has p-values of the sign, from Student's distribution with one
    degree of freedom less than members, and their false discovery rates within the group. A sign
    that is not told from zero is said to be 0. What all members have in common, as the shrinkage
    of a smooth field, a wrong ``sigma`` or a wrong method, is not in the errors.

    *Regression.* Slopes are those of a plane through all cells of a group, each counted by its
    mass: with groups of several kinds of cell they tell what makes the kinds differ. Directions in
    which the cells do not differ have slope zero.

    *Noise.* Regulation is in the drift, and the drift in proportion to the noise that the fit is
    given, ``sigma``: let it be that of each gene (``varruot`` takes one per coordinate; other
    methods take one number, for genes in units of their noise). Genes with less noise than the
    model is given get derivatives that are not theirs.

    A snapshot says nothing about directions in which its cells do not differ: a derivative along
    them is what the model makes of it. In a representation of `d` dimensions the matrix has rank
    `d` at most, so genes of one program share their regulators; it is a hypothesis about
    programs, not evidence of a binding site.

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
    if estimate not in ("derivative", "regression"):
        raise ValueError(unknown("estimate", str(estimate), ("derivative", "regression")))
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
    if estimate == "regression":
        _check_sizes(groups, cells)
    read = partial(_mean_jacobian if estimate == "derivative" else _slopes, quantity=wanted)
    forward, back = weights.weights[columns], weights.encoder[:, columns]
    found = _by_group(cells, groups, read, (forward, back), n_regulators)
    entry = {
        "genes": np.asarray(adata.var_names[columns], dtype=object),
        "groups": np.asarray([str(c) for c in groups.categories], dtype=object),
        **found,
        "groupby": groupby,
        "quantity": wanted,
        "estimate": estimate,
        "source": weights.source,
        "n_models": cells.model.n_models,
    }
    adata = writable(adata, copy=copy)
    adata.uns[names.regulatory_jacobian] = entry
    return adata if copy else None


def _by_group(
    cells: FittedCells,
    groups: pd.Categorical,
    read: Callable[[FittedCells, NDArray[np.intp]], NDArray[np.float64]],
    chain: tuple[NDArray[np.float64], NDArray[np.float64]],
    n_regulators: int | None,
) -> dict[str, Any]:
    """Return the derivatives of every group, in the representation and of genes."""
    members = [replace(cells, model=model) for model in cells.model.members()]
    found: dict[str, Any] = {"n_cells": [], "matrices": {}, "latent": {}}
    if len(members) > 1:
        found["errors"] = {}
    for i in range(len(groups.categories)):
        rows = np.flatnonzero((np.asarray(groups.codes) == i) & (cells.mass > 0))
        each = np.stack([read(member, rows) for member in members])
        mean, error = _largest(chain[0], each, chain[1], n_regulators)
        found["n_cells"].append(len(rows))
        found["matrices"][str(i)], found["latent"][str(i)] = mean, each.mean(axis=0)
        if error is not None:
            found["errors"][str(i)] = error
    found["n_cells"] = np.asarray(found["n_cells"])
    return found


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


def _slopes(cells: FittedCells, rows: NDArray[np.intp], quantity: str) -> NDArray[np.float64]:
    """Return the slopes (d, d) of the quantity in the coordinates, over cells by their mass."""
    x = cells.x[rows].astype(np.float64)
    if len(rows) == 0:
        return np.full((x.shape[1], x.shape[1]), np.nan)
    value = np.asarray(getattr(cells.model, quantity)(cells.time[rows], x), dtype=np.float64)
    root = np.sqrt(cells.mass[rows] / cells.mass[rows].sum())[:, None]
    apart, varies = (root * (y - (root**2 * y).sum(axis=0)) for y in (x, value))
    found: NDArray[np.float64] = np.linalg.lstsq(apart, varies, rcond=_FLAT)[0].T
    return found


def _check_sizes(groups: pd.Categorical, cells: FittedCells) -> None:
    """Refuse groups with too few cells for a regression on all coordinates."""
    d = cells.x.shape[1]
    sizes = pd.Series(groups[cells.mass > 0]).value_counts(sort=False)
    small = sizes[(sizes > 0) & (sizes < d + 2)]
    if len(small):
        msg = (
            f"Group {small.index[0]!r} has {small.iloc[0]} cells with mass; expected at least "
            f"{d + 2} for a regression on {d} coordinates. Join groups, or take "
            "estimate='derivative'."
        )
        raise ValueError(msg)


def _largest(
    forward: NDArray[np.float64],
    each: NDArray[np.float64],
    back: NDArray[np.float64],
    k: int | None,
) -> tuple[sparse.csr_matrix, sparse.csr_matrix | None]:
    """Return ``forward @ mean @ back`` and its errors, of the ``k`` largest entries of every row.

    The mean is that over members ``each`` (members, d, d); a single one has no errors.
    """
    p = back.shape[1]
    kept = p if k is None else min(k, p)
    means, errors = [], []
    for start in range(0, len(forward), _TARGETS):
        part = forward[start : start + _TARGETS]
        dense = (part @ each.mean(axis=0)) @ back
        order = np.argpartition(-np.abs(dense), kept - 1, axis=1)[:, :kept]
        order.sort(axis=1)
        means.append(_rows(np.take_along_axis(dense, order, axis=1), order, p))
        if len(each) > 1:
            square = np.zeros(order.shape)
            for one in each:
                apart = (part @ one) @ back - dense
                square += np.take_along_axis(apart, order, axis=1) ** 2
            errors.append(_rows(np.sqrt(square / (len(each) - 1)), order, p))
    stacked = sparse.vstack(means, format="csr")
    return stacked, sparse.vstack(errors, format="csr") if errors else None


def _rows(values: NDArray[np.float64], columns: NDArray[np.intp], width: int) -> sparse.csr_matrix:
    n, k = values.shape
    starts = np.arange(0, n * k + 1, k)
    return sparse.csr_matrix((values.ravel(), columns.ravel(), starts), shape=(n, width))
