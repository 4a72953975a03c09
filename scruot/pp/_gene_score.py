"""One number per cell for a set of genes, without units and with its noise taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

# Columns worked on at once: bounds the dense memory of a sparse matrix.
_COLUMNS = 16
# A gene seen in one of ten thousand cells has z = 100 there and would be the whole score.
_MAX_Z = 5.0


@dataclass(frozen=True)
class GeneScore:
    """Score of a set of genes.

    Attributes
    ----------
    values
        One per cell, mean 0, shape (n,).
    varies
        Which genes differ between cells, shape (g,); the others are left out.
    reliability
        Part of the variance of the mean z-score that the genes share, 0 to 1.
    """

    values: NDArray[np.float64]
    varies: NDArray[np.bool_]
    reliability: float


def gene_score(matrix: Any) -> GeneScore:
    r"""Return the shrunken mean z-score of the columns of a matrix.

    Each gene is standardised over the cells and clipped at 5 standard deviations. The mean `m`
    over genes holds what the genes share and the noise of each; Cronbach's (1951)
    :cite:p:`cronbach1951`

    .. math::

        \alpha = \frac{g}{g - 1}
            \left(1 - \frac{\sum_i \mathrm{var}(z_i)}{\mathrm{var}(\sum_i z_i)}\right)

    is the shared part of its variance (0 where it comes out negative, 1 for a single gene, of
    which nothing can be said), and :math:`\alpha m` the best linear estimate of what is shared
    (Kelley's). Genes that have nothing to do with each other so give scores near 0 for any number
    of them, where their plain mean would spread by :math:`1/\sqrt g`.

    Parameters
    ----------
    matrix
        Expression of the genes of a set, cells times genes, dense or sparse (best by column).
    """
    sums = np.zeros(matrix.shape[0])
    varies = np.zeros(matrix.shape[1], dtype=bool)
    single = 0.0
    for columns, block in dense_blocks(matrix):
        z, differ = _standardised(block)
        varies[columns] = differ
        sums += z.sum(axis=1)
        single += float(z.var(axis=0).sum())
    g = int(varies.sum())
    if g == 0:
        return GeneScore(sums, varies, 0.0)
    total = float(sums.var())
    # the variance of g independent genes is the sum of theirs
    reliability = 1.0 if g == 1 else g / (g - 1) * (1 - single / max(total, 1e-300))
    reliability = float(np.clip(reliability, 0.0, 1.0))
    return GeneScore(reliability * (sums - sums.mean()) / g, varies, reliability)


def dense_blocks(matrix: Any) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield a few columns at a time as a dense array, which bounds the memory."""
    for start in range(0, matrix.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        block = matrix[:, columns]
        block = block.toarray() if sparse.issparse(block) else block
        yield columns, np.asarray(block, dtype=np.float64)


def _standardised(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    mean, sd = x.mean(axis=0), x.std(axis=0)
    # single precision stores a constant with this much rounding
    differ = sd > 1e-6 * np.abs(x).max(axis=0, initial=0.0)
    z = (x[:, differ] - mean[differ]) / sd[differ]
    return np.clip(z, -_MAX_Z, _MAX_Z), differ
