"""Costs between cells (WFR, squared distances), whole or in row blocks of bounded size."""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CostBlocks", "wfr_cost"]

_SLICE = 1_000_000  # coordinates of listed pairs that are held at once
_CACHED_BYTES = 2**23  # blocks that stay in a processor's cache are twice as fast as larger ones


def wfr_cost(x0: Tensor, x1: Tensor, delta: float) -> Tensor:
    r"""Compute the static Wasserstein-Fisher-Rao cost of every pair of points.

    .. math:: c(x, y) = -2 \log\cos_+\bigl(|x - y| / (2\delta)\bigr)
                      = \log\bigl(1 + \tan^2(|x - y| / (2\delta))\bigr),

    and infinity from ``pi * delta`` on, where killing a cell and creating another is cheaper than
    moving. The second form keeps its relative precision for near points (the cost tends to ``(d /
    (2 delta))^2``).

    Parameters
    ----------
    x0
        Points of the first cloud, shape ``(n, d)``, in the units of the representation.
    x1
        Points of the second cloud, shape ``(m, d)``.
    delta
        Length scale of growth against transport, in the units of ``x0``.

    Returns
    -------
    Costs, shape ``(n, m)``, float64, dimensionless, on the device of ``x0``.

    References
    ----------
    Chizat, Peyre, Schmitzer and Vialard, *Unbalanced optimal transport: dynamic and Kantorovich
    formulations*, J. Funct. Anal. 274 (2018) :cite:p:`chizat2018dynamic`. Liero, Mielke and Savare,
    Invent. Math. 211 (2018) :cite:p:`liero2018`.

    Examples
    --------
    >>> import torch
    >>> wfr_cost(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [9.0, 0.0]]), 1.0)
    tensor([[0., inf]], dtype=torch.float64)
    """
    centre = x0.to(torch.float64).mean(dim=0)
    return cost_of_squares(squared_distances(x0 - centre, x1 - centre), delta)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances by one matrix product; centre the clouds first, for precision."""
    square = torch.addmm((x * x).sum(1, keepdim=True), x, y.T, alpha=-2.0)
    return square.add_((y * y).sum(1)).clamp_(min=0.0)


def cost_of_squares(square: Tensor, delta: float) -> Tensor:
    """WFR cost of squared distances; overwrites its input to spare memory.

    An infinite ``delta`` stands for the squared distance itself, to which ``(2 delta)^2`` times the
    cost tends.
    """
    if delta == math.inf:
        return square
    beyond = square >= (math.pi * delta) ** 2
    tangent = square.sqrt_().mul_(0.5 / delta).tan_()
    return tangent.square_().log1p_().masked_fill_(beyond, math.inf)


def tangent_at(cost: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """Tangent of the cost as a function of the squared distance, where it takes these values.

    Returns the value at squared distance zero and the slope. The function is convex, so that the
    tangent is a lower bound everywhere.
    """
    if delta == math.inf:
        return torch.zeros_like(cost), torch.ones_like(cost)
    half = torch.acos(torch.exp(-0.5 * cost)).clamp(1e-6, 0.9999 * math.pi / 2)
    square = (2.0 * delta * half).square()
    slope = half.tan() / (4.0 * delta**2 * half)
    return torch.tan(half).square().log1p() - slope * square, slope


def edge_cost(x: Tensor, y: Tensor, row: Tensor, col: Tensor, delta: float) -> Tensor:
    """Cost of listed pairs, from coordinate differences (no cancellation), in slices."""
    # allocated beforehand: small tensors that outlive a block fragment the heap
    square = x.new_empty(row.numel())
    step = max(1, _SLICE // max(1, x.shape[1]))
    for start in range(0, row.numel(), step):
        part = slice(start, start + step)
        difference = x[row[part]].sub_(y[col[part]])
        torch.sum(difference.square_(), 1, out=square[part])
    return cost_of_squares(square, delta)


class CostBlocks:
    """The cost matrix of two clouds, as row blocks of bounded size.

    Iterating yields ``(slice of rows, costs of these rows)``. A matrix that fits into ``max_bytes``
    is computed once, when it is first asked for, and kept as a single block; a larger one is
    computed again, block by block, at every pass.

    Parameters
    ----------
    x0, x1
        Clouds, shapes ``(n, d)`` and ``(m, d)``, float64, on one device.
    delta
        WFR length scale; infinite for squared distances.
    max_bytes
        Most bytes of the cost matrix that are held at once.
    """

    def __init__(self, x0: Tensor, x1: Tensor, delta: float, max_bytes: int) -> None:
        centre = x0.mean(dim=0)
        self.x0, self.x1, self.delta, self.cap = x0 - centre, x1 - centre, delta, math.inf
        self.shape = (x0.shape[0], x1.shape[0])
        row_bytes = max(1, 8 * self.shape[1])
        self.whole = self.shape[0] * row_bytes <= max_bytes
        if x0.device.type == "cpu":
            max_bytes = min(max_bytes, _CACHED_BYTES)
        self.rows_per_block = max(1, max_bytes // row_bytes)
        self._kept: Tensor | None = None

    def _block(self, start: int, stop: int) -> Tensor:
        square = squared_distances(self.x0[start:stop], self.x1)
        return self._cut(cost_of_squares(square, self.delta))

    def _cut(self, cost: Tensor) -> Tensor:
        return cost if self.cap == math.inf else cost.clamp_max_(self.cap)

    def capped(self, cap: float) -> CostBlocks:
        """Return costs that are at most ``cap``; a matrix that is held is shared and cut, too."""
        other = copy(self)
        other.cap = cap
        if other._kept is not None:
            other._cut(other._kept)
        return other

    def subset(self, rows: Tensor, cols: Tensor) -> CostBlocks:
        """Costs between some of the cells; held in blocks."""
        return CostBlocks(self.x0[rows], self.x1[cols], delta=self.delta, max_bytes=0)

    def matrix(self) -> Tensor:
        """Return the whole matrix, where it fits the memory limit."""
        if not self.whole:
            msg = f"A cost matrix of shape {self.shape} exceeds max_bytes and is held in blocks."
            raise MemoryError(msg)
        if self._kept is None:
            self._kept = self._block(0, self.shape[0])
        return self._kept

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        if self.whole:
            yield slice(0, self.shape[0]), self.matrix()
            return
        for start in range(0, self.shape[0], self.rows_per_block):
            stop = min(start + self.rows_per_block, self.shape[0])
            yield slice(start, stop), self._block(start, stop)

    def edges(self, row: Tensor, col: Tensor) -> Tensor:
        """Costs of listed pairs."""
        return self._cut(edge_cost(self.x0, self.x1, row, col, self.delta))
