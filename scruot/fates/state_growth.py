"""Growth as a smooth function of the state, along the ways that cells take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["StateGrowth"]

Array = NDArray[np.float64]

_WIDTH = 2.0  # of the average over states, in units of the spread within states


class StateGrowth:
    r"""Growth :math:`g` of every cell of all times, a function of the state that is being learned.

    Over an interval a cell grows at the mean of what its state and the states of its descendants
    say, :math:`\tfrac12 (g_i + \sum_j P_{ij} g_j)` with the shares :math:`P` of its plan. What the
    plan says beyond that is told half to the cell and half to its descendants, and averaged over
    cells of like states at all times.

    Parameters
    ----------
    clouds
        Cells of each time, the last included, in the metric of fates.
    rates
        Growth at first of the cells of each time but the last, per unit of time.
    """

    def __init__(self, clouds: Sequence[Tensor], rates: Sequence[Array]) -> None:
        points = torch.cat(list(clouds)).float()
        centred = points - points.mean(0)
        distance = torch.cdist(centred, centred)
        self.kernel = distance.square_().mul_(-0.5 / _WIDTH**2).exp_().numpy()
        self.edges = np.cumsum([0, *(len(x) for x in clouds)])
        before = int(self.edges[-2])
        self.value = np.zeros(len(points))
        self.value[:before] = np.concatenate(list(rates))
        # nobody has seen what the last cells do: they begin as their like
        like = self.kernel[before:, :before].astype(np.float64)
        self.value[before:] = (like @ self.value[:before]) / like.sum(1).clip(1e-30)

    def along(self, shares: Sequence[Array]) -> list[Array]:
        """Return growth over each interval, per unit of time, from shares of descendants."""
        found = []
        for k, share in enumerate(shares):
            here, there = self._of(k), self._of(k + 1)
            left = 1.0 - share.sum(1)  # rows without any stay where they are
            found.append(0.5 * (here + share @ there + left * here))
        return found

    def tell(
        self, residuals: Sequence[Array], shares: Sequence[Array], masses: Sequence[Array]
    ) -> None:
        """Learn from what was found beyond the growth that was expected, per unit of time."""
        told, weight = np.zeros_like(self.value), np.zeros_like(self.value)
        for k, (residual, share, mass) in enumerate(zip(residuals, shares, masses, strict=False)):
            part = mass * (len(mass) / mass.sum())
            here = slice(self.edges[k], self.edges[k + 1])
            there = slice(self.edges[k + 1], self.edges[k + 2])
            told[here] += part * residual
            weight[here] += part
            told[there] += (part * residual) @ share
            weight[there] += part @ share
        sums = self.kernel @ np.column_stack([told, weight]).astype(np.float32)
        self.value += sums[:, 0].astype(np.float64) / sums[:, 1].clip(1e-30)

    def _of(self, k: int) -> Array:
        return np.asarray(self.value[self.edges[k] : self.edges[k + 1]])
