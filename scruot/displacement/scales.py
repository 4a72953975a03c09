"""How wide the neighbourhood of a cell may be: as wide as its displacements stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from scruot.displacement.averages import Averages, dense_columns, make_averages, reached

__all__ = ["adapted", "risks"]

Array = NDArray[np.float64]


def adapted(scales: Sequence[Averages], x: Any, y: Any) -> Averages:
    """Return averages in which every cell has the neighbourhood of least estimated risk.

    Parameters
    ----------
    scales
        Averages over neighbourhoods that grow, the narrowest first, over the same coupling.
    x, y
        Genes to judge by, shapes ``(n, g)`` and ``(m, g)``.
    """
    if len(scales) == 1:
        return scales[0]
    # a single cell's risk is noisy; its neighbours are in the same place
    best = (scales[0].near @ risks(scales, x, y)).argmin(axis=1)
    n = len(best)
    taken = csr_matrix((np.ones(n), (np.arange(n), best * n + np.arange(n))), (n, n * len(scales)))
    return make_averages(csr_matrix(taken @ vstack([s.near for s in scales])), scales[0].reach)


def risks(scales: Sequence[Averages], x: Any, y: Any) -> Array:
    r"""Return the risk of each cell's displacement at each scale, shape ``(n, s)``.

    The narrowest displacement :math:`D_0` is taken to be right but for noise. Then

    .. math:: |D_k - D_0|^2 - E|\epsilon_k - \epsilon_0|^2 + E|\epsilon_k|^2

    with the noise :math:`\epsilon` of either estimates the mean squared error of the wider one
    without bias (Stein 1981): what mixes cells that move differently is charged, what averages
    noise away is credited. Genes are in units of the mean variance of :math:`D_0`, and summed.

    Parameters
    ----------
    scales, x, y
        See :func:`adapted`.

    References
    ----------
    Stein (1981), Annals of Statistics 9 :cite:p:`stein1981`.
    """
    first = scales[0]
    apart = [make_averages(csr_matrix(s.near - first.near), s.reach).norms for s in scales]
    total = np.zeros((first.near.shape[0], len(scales)))
    for _, (before, after) in dense_columns(x, y):
        genes = reached(first.reach, before, after)
        narrow, *variances = first.moments(genes)
        errors = sum(v * n[:, None] for v, n in zip(variances, first.norms, strict=True))
        # one unit for all cells: in its own noisy one every cell's risk would be too large
        unit = np.maximum(np.mean(errors, axis=0), 1e-300)
        for k, scale in enumerate(scales):
            moved = scale.displacement(genes) - narrow if k else 0.0
            noise = sum(
                v * (n - a)[:, None]
                for v, n, a in zip(variances, scale.norms, apart[k], strict=True)
            )
            total[:, k] += ((moved**2 + noise) / unit).sum(axis=1)
    return total
