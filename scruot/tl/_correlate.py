"""Correlations of genes with numbers per cell, tested, without densifying the expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import false_discovery_control, norm

from scruot.tl._genes import row_blocks

# Single precision stores a constant with about this much rounding.
_CONSTANT = 1e-10


@dataclass(frozen=True)
class Correlations:
    """Correlations of genes with targets, and their tests.

    Attributes
    ----------
    corr, pval, qval, ci_low, ci_high
        Shape (n_genes, n_targets); NaN for genes and targets that do not vary.
    """

    corr: NDArray[np.float64]
    pval: NDArray[np.float64]
    qval: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]

    def table(self, target: int, prefix: str) -> dict[str, NDArray[np.float64]]:
        """Return the columns of one target, named as CellRank names them."""
        kinds = ("corr", "pval", "qval", "ci_low", "ci_high")
        return {f"{prefix}{kind}": getattr(self, kind)[:, target] for kind in kinds}


def correlate(
    matrix: Any,
    targets: NDArray[np.float64],
    *,
    columns: NDArray[np.intp] | None = None,
    strata: NDArray[np.intp] | None = None,
    confidence: float = 0.95,
) -> Correlations:
    r"""Correlate columns of a matrix with targets over the cells where the targets are known.

    Fisher's transform :math:`z = \operatorname{artanh} r` of a correlation over `n` cells in `s`
    strata is normal with variance :math:`1 / (n - s - 2)` where the truth is no correlation; from
    it follow two-sided p-values and confidence intervals. Within each target, p-values become
    q-values by Benjamini and Hochberg's rule.

    Parameters
    ----------
    matrix
        Cells times genes, dense, sparse or in a file; read in blocks of rows.
    targets
        Shape (n, f); rows with NaN are left out.
    columns
        Genes to correlate; all by default.
    strata
        Number of the stratum of every cell (negative: left out). Means of the strata are taken
        out of both sides: partial correlations given the stratum.
    confidence
        Level of the intervals.

    Raises
    ------
    ValueError
        When fewer than four cells (beyond the strata) are left, or the expression is not finite.
    """
    group = np.zeros(len(targets), dtype=np.intp) if strata is None else strata
    used = np.isfinite(targets).all(axis=1) & (group >= 0)
    present, group_of_used = np.unique(group[used], return_inverse=True)
    n, n_strata = int(used.sum()), len(present)
    freedom = n - n_strata - 2
    if freedom < 1:
        msg = (
            f"Found {n} cells with a value, in {n_strata} group(s) to correlate within; expected "
            f"at least {n_strata + 3}."
        )
        raise ValueError(msg)
    member = sparse.csr_matrix(
        (np.ones(n), (np.flatnonzero(used), group_of_used)), shape=(len(targets), n_strata)
    )
    size = np.bincount(group_of_used, minlength=n_strata)
    known = np.where(used[:, None], targets, 0.0)
    centred = known - member @ ((member.T @ known) / size[:, None])
    covariance, spread = _moments(matrix, columns, centred, member, size)
    own = np.sqrt(np.square(centred).sum(axis=0))
    own[own <= _CONSTANT * np.sqrt(np.square(known).sum(axis=0))] = np.nan
    corr = np.clip(covariance / (spread[:, None] * own), -1.0, 1.0)
    return _tested(corr, freedom, confidence)


def _moments(
    matrix: Any,
    columns: NDArray[np.intp] | None,
    centred: NDArray[np.float64],
    member: sparse.csr_matrix,
    size: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return products with the targets (p, f), and roots of the sums of squares within strata."""
    p = matrix.shape[1] if columns is None else len(columns)
    product, sums = np.zeros((p, centred.shape[1])), np.zeros((p, len(size)))
    squares = np.zeros(p)
    for rows, whole_block in row_blocks(matrix, columns):
        here = member[rows]
        taken = np.flatnonzero(np.diff(here.indptr))
        block, here = whole_block[taken], here[taken]
        product += block.T @ centred[rows][taken]
        sums += (
            np.asarray(here.T @ block).T
            if not sparse.issparse(block)
            else ((block.T @ here).toarray())
        )
        squares += np.asarray(
            block.multiply(block).sum(axis=0) if sparse.issparse(block) else (block**2).sum(axis=0)
        ).ravel()
    within = squares - (np.square(sums) / size).sum(axis=1)
    within[within <= _CONSTANT * squares] = np.nan
    return product, np.sqrt(within)


def _tested(corr: NDArray[np.float64], freedom: int, confidence: float) -> Correlations:
    # a perfect correlation has no end of its transform
    z = np.arctanh(np.clip(corr, -1 + 1e-15, 1 - 1e-15))
    half = norm.ppf(0.5 + confidence / 2) / np.sqrt(freedom)
    pval = 2 * norm.sf(np.abs(z) * np.sqrt(freedom))
    pval[np.isnan(corr)] = np.nan
    return Correlations(corr, pval, adjusted(pval), np.tanh(z - half), np.tanh(z + half))


def adjusted(pval: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return q-values of every column by Benjamini and Hochberg's rule; NaN stays NaN."""
    qval = np.full_like(pval, np.nan)
    for j in range(pval.shape[1]):
        tested = np.isfinite(pval[:, j])
        if tested.any():
            qval[tested, j] = false_discovery_control(pval[tested, j])
    return qval
