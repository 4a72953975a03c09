"""Which state a point is in: a calibrated vote of its nearest cells, or none of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["StateClassifier"]

Array = NDArray[np.float64]

_SIZES = (5, 10, 15, 25, 40)  # numbers of neighbours that are tried
_PRIORS = (0.25, 1.0, 4.0)  # weights, in neighbours, of the shares of all cells
_ODD = 0.05  # share of cells that are as far from their own kind as to be doubted


@dataclass(frozen=True, eq=False)
class StateClassifier:
    r"""Votes of nearest cells with shrinkage and with doubt, both calibrated by leaving cells out.

    The probability of state :math:`f` at a point is

    .. math:: q\, \frac{\sum_{j \in N_k} m_j [f_j = f] / \bar m + \alpha \pi_f}{k' + \alpha},

    over its :math:`k` nearest cells, with masses :math:`m`, shares :math:`\pi` of all cells, and
    :math:`k'` the mass of the neighbours. The number of neighbours and the weight :math:`\alpha`
    are those of the largest likelihood of cells that are left out of their own vote, so that votes
    of 100 % come only where they are right. The factor :math:`q` is one for points as near to the
    cells as cells are to each other, and falls to zero for points farther than any: where no cell
    is near the answer is "none of these". Cells of the time that are in no state vote for none as
    well.

    Not for populations of groups, where cells must keep their own label and every state has one:
    ``tl.lineage_mass`` and ``tl.simulate`` take the plain vote of nearest cells.

    Attributes
    ----------
    x
        Cells of one time, shape ``(n, d)``.
    votes
        One-hot states, shape ``(n, F + 1)``; the last column is "none of these".
    mass
        Masses over their mean, shape ``(n,)``.
    n_neighbors, prior
        What was found best.
    near
        Sorted distances of cells to their own nearest ones, shape ``(n,)``.
    """

    x: Array
    votes: Array
    mass: Array
    n_neighbors: int
    prior: float
    near: Array

    @classmethod
    def fit(
        cls, x: NDArray[np.floating], members: NDArray[np.floating], mass: NDArray[np.floating]
    ) -> StateClassifier:
        """Calibrate on cells of one time.

        Parameters
        ----------
        x
            Cells, shape ``(n, d)``.
        members
            Share of each cell in each state, shape ``(n, F)``.
        mass
            Masses, shape ``(n,)``.
        """
        points = np.ascontiguousarray(x, dtype=np.float64)
        share = np.asarray(members, dtype=np.float64)
        votes = np.column_stack([share, np.clip(1.0 - share.sum(1), 0.0, None)])
        weight = np.asarray(mass, dtype=np.float64) / np.mean(mass)
        n = len(points)
        most = min(max(_SIZES), n - 1)
        if most < 1:
            return cls(points, votes, weight, 1, min(_PRIORS), np.zeros(n))
        distance, index = cKDTree(points).query(points, k=most + 1)
        # the cell itself may stand behind others at the same place
        own = index == np.arange(n)[:, None]
        own[~own.any(1), -1] = True
        index = index[~own].reshape(n, most)
        near = np.sort(distance[~own].reshape(n, most)[:, min(4, most - 1)])
        best = min(
            (
                (_loss(votes, weight, index[:, :k], prior), k, prior)
                for k in {min(size, most) for size in _SIZES}
                for prior in _PRIORS
            ),
        )
        return cls(points, votes, weight, best[1], best[2], near)

    def predict(self, x: NDArray[np.floating]) -> Array:
        """Return probabilities of the states and of none, shape ``(n, F + 1)``, rows sum to one."""
        points = np.ascontiguousarray(x, dtype=np.float64)
        k = min(max(self.n_neighbors, 5), len(self.x))
        distance, index = cKDTree(self.x).query(points, k=k)
        distance, index = distance.reshape(-1, k), index.reshape(-1, k)
        voted = _vote(self.votes, self.mass, index[:, : self.n_neighbors], self.prior)
        far = np.searchsorted(self.near, distance[:, min(4, k - 1)], side="left")
        # the share of cells that are at least as far from their own kind
        typical = (len(self.near) - far) / len(self.near)
        sure = np.clip(typical / _ODD, 0.0, 1.0)[:, None]
        voted[:, :-1] *= sure
        voted[:, -1] = np.clip(1.0 - voted[:, :-1].sum(1), 0.0, 1.0)
        return voted


def _vote(votes: Array, mass: Array, index: NDArray[np.integer], prior: float) -> Array:
    common = (mass @ votes) / mass.sum()
    weight = mass[index]
    counted = np.einsum("nk,nkf->nf", weight, votes[index]) + prior * common
    return np.asarray(counted / (weight.sum(1, keepdims=True) + prior), dtype=np.float64)


def _loss(votes: Array, mass: Array, index: NDArray[np.integer], prior: float) -> float:
    """Mean logarithmic loss of cells by the votes of others."""
    guessed = _vote(votes, mass, index, prior)
    hit = (guessed * votes).sum(1)
    return float(-np.average(np.log(hit.clip(1e-12)), weights=mass))
