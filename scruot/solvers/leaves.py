"""Points in leaves of equal size, so that near points are found without looking at all."""

from __future__ import annotations

import torch
from torch import Tensor


def leaf_starts(n: int, n_leaves: int) -> list[int]:
    """Return where every leaf of ``n`` points starts, and ``n`` at the end."""
    return [leaf * n // n_leaves for leaf in range(n_leaves + 1)]


def leaf_order(x: Tensor, n_leaves: int) -> Tensor:
    """Return an order of the points in which every leaf is a run of near points.

    The cloud is halved again and again at the median of its widest direction.

    Parameters
    ----------
    x
        Points, shape (n, d).
    n_leaves
        Number of leaves, a power of two.

    Returns
    -------
    A permutation, int64, shape (n,); leaves start at :func:`leaf_starts`.
    """
    order = torch.arange(len(x), device=x.device)
    starts = leaf_starts(len(x), n_leaves)
    width = n_leaves
    while width > 1:
        for leaf in range(0, n_leaves, width):
            rows = slice(starts[leaf], starts[leaf + width])
            along = _widest(x[order[rows]])
            order[rows] = order[rows][torch.argsort(along, stable=True)]
        width //= 2
    return order


def _widest(x: Tensor, n_rows: int = 2000) -> Tensor:
    """Return coordinates along the direction of the largest variance."""
    centred = x - x.mean(0)
    sample = centred[:: max(1, len(x) // n_rows)]
    direction = (sample**2).mean(0)
    # a few steps of the power method need not converge to separate well
    for _ in range(8):
        direction = sample.T @ (sample @ direction)
        direction = direction / torch.linalg.vector_norm(direction).clamp_min(1e-30)
    return centred @ direction
