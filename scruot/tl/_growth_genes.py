"""Genes that go with growth: through the model's gradient, and by correlation."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import slots
from scruot.io.store import check_writable, writable
from scruot.tl._cells import chosen_cells, strata
from scruot.tl._correlate import correlate
from scruot.tl._fitted import FittedCells, jacobian_at, read_fitted
from scruot.tl._genes import chosen_genes, expression, fitted_loadings

logger = logging.getLogger(__name__)

# Cells whose derivatives are in memory at once.
_ROWS = 4096


def growth_genes(
    adata: AnnData,
    *,
    key: str | None = None,
    groupby: str | None = None,
    groups: Iterable[Any] | None = None,
    within: str | None = None,
    genes: Sequence[str] | None = None,
    loadings: str | None = None,
    layer: str | None = None,
    confidence: float = 0.95,
    device: str = "auto",
    copy: bool = False,
) -> AnnData | None:
    r"""Rank genes by what the model says they do to growth, and by correlation with it.

    * ``gradient``: the mean over cells of the derivative of the model's growth by the expression
      of the gene, at the cell's own time and state. In a linear representation with weights `W`
      and coordinates :math:`z = W^+ (x - \bar x)`, it is :math:`(W^+)^\top \nabla_z g`.
    * ``corr`` and its test: Pearson's `r` of expression and growth over the cells, as in
      :func:`scruot.tl.driver_genes`.

    The gradient asks what happens when a gene changes and the state with it along the
    representation; the correlation, which genes are high where cells grow. They differ where
    genes go together.

    Parameters
    ----------
    adata
        Annotated data with a fit by a method that learns growth.
    key
        ``key_added`` of the fit.
    groupby, groups
        Only use cells of these groups of a column of ``obs``.
    within
        Column of ``obs``, e.g. the time: correlate within its groups.
    genes
        Genes to test, all by default.
    loadings
        Entry of ``varm`` with the weights of genes, as in :func:`scruot.tl.gene_velocity`.
        Without any, there is no gradient.
    layer
        Expression to correlate, by default ``X``.
    confidence
        Level of the confidence intervals.
    device
        Where the model computes.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    ``None``, or the copy. Writes

    ``adata.varm["growth_genes"]`` : DataFrame, one row per gene
        ``gradient`` and ``gradient_std`` (growth per unit of time and of expression; mean over
        the cells, weighed by their mass, and standard deviation), ``corr``, ``pval``, ``qval``,
        ``ci_low``, ``ci_high``. NaN for genes that were not tested or do not vary.
        :func:`scruot.get.growth_genes_df` returns it ranked.

    Raises
    ------
    KeyError
        When there is no fit, or no such gene, layer, loadings, column or group.
    ValueError
        When the method learns no growth, the representation has changed since the fit, or fewer
        cells are left than a test needs.

    References
    ----------
    Sha et al. (2024), Reconstructing growth and dynamic trajectories from single-cell
    transcriptomics data, Nature Machine Intelligence 6 :cite:p:`sha2024tigon`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.growth_genes(adata)
    >>> list(adata.varm["growth_genes"].columns)[:2]
    ['gradient', 'gradient_std']
    """
    if not isinstance(confidence, numbers.Real) or not 0 < confidence < 1:
        msg = f"Found confidence={confidence!r}; expected a number between 0 and 1."
        raise ValueError(msg)
    check_writable(adata, copy=copy)
    names = slots(key)
    matrix, columns = expression(adata, layer), chosen_genes(adata, genes)
    chosen = chosen_cells(adata, groupby, groups)
    cells = read_fitted(adata, key, device)
    if "growth" not in cells.model.learns:
        msg = (
            f"{cells.model.method!r} learns no growth, so no gene has a part in it; fit another "
            "method: scruot.solvers.describe(name)['learns'] tells."
        )
        raise ValueError(msg)
    growth = np.asarray(cells.model.growth(cells.time, cells.x), dtype=np.float64)
    growth[~chosen] = np.nan
    parted, target = strata(adata, within), growth[:, None]
    found = correlate(matrix, target, columns=columns, strata=parted, confidence=confidence)
    rows = adata.var_names if columns is None else adata.var_names[columns]
    table = pd.DataFrame(found.table(0, ""), index=rows).reindex(adata.var_names)
    weights = fitted_loadings(adata, cells.record, cells.x, loadings)
    if weights is None:
        logger.warning(
            "growth_genes: no weights of genes in %r are known, so there is no gradient, only "
            "correlation; name an entry of varm with loadings.",
            cells.record["representation"]["use_rep"],
        )
        gradient = spread = np.full(adata.n_vars, np.nan)
    else:
        mean, covariance = _gradients(cells, chosen)
        back = weights.encoder.T
        gradient = back @ mean
        # rounding may leave a covariance a little short of nonnegative
        spread = np.sqrt(np.maximum(np.einsum("gi,ij,gj->g", back, covariance, back), 0.0))
        tested = np.isin(adata.var_names, rows)
        gradient, spread = (np.where(tested, value, np.nan) for value in (gradient, spread))
    table.insert(0, "gradient", gradient)
    table.insert(1, "gradient_std", spread)
    adata = writable(adata, copy=copy)
    adata.varm[names.growth_genes] = table
    return adata if copy else None


def _gradients(
    cells: FittedCells, chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and covariance over the cells of the gradient in the representation."""
    index = np.flatnonzero(chosen & (cells.mass > 0))
    share = cells.mass[index] / cells.mass[index].sum()
    d = cells.x.shape[1]
    mean, square = np.zeros(d), np.zeros((d, d))
    for start in range(0, len(index), _ROWS):
        rows, part = index[start : start + _ROWS], share[start : start + _ROWS]
        gradient = jacobian_at(cells, rows, "growth")
        mean += part @ gradient
        square += (part[:, None] * gradient).T @ gradient
    return mean, square - np.outer(mean, mean)
