"""Displacement of groups of cells: their mean against that of the cells they are coupled with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import norm

from scruot.displacement.averages import dense_columns, make_averages, reached, row_stochastic

__all__ = ["GroupTest", "compare_groups"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroupTest:
    """Mean displacement of genes in groups, each of shape ``(groups, d)``.

    Attributes
    ----------
    mean
        Mass-weighted mean displacement.
    score
        The mean over its standard error.
    p_value
        Two-sided, from the normal distribution.
    """

    mean: Array
    score: Array
    p_value: Array


def compare_groups(x: Any, y: Any, plan: csr_matrix, members: csr_matrix) -> GroupTest:
    r"""Compare the transported cells of each group with where they go.

    Cell ``i`` counts with the mass :math:`m_i` that leaves it, target ``j`` with what it gets from
    the group. Both means have a standard error :math:`s^2 \sum_i p_i^2` with their weights ``p``,
    so that a group whose mass sits in few cells is not more certain than these allow.

    Parameters
    ----------
    x, y
        Genes, shapes ``(n, d)`` and ``(m, d)``.
    plan
        Transported mass, ``(n, m)``.
    members
        Indicator of the groups' cells, ``(groups, n)``.
    """
    mass = np.asarray(plan.sum(axis=1)).ravel()
    weights = row_stochastic(csr_matrix(members.multiply(mass[None])))
    averages = make_averages(weights, row_stochastic(plan))
    means, scores = [], []
    for _, (before, after) in dense_columns(x, y):
        mean, error = averages.difference(reached(averages.reach, before, after))
        means.append(mean)
        scores.append(np.divide(mean, error, out=np.zeros_like(mean), where=error > 0))
    score = np.concatenate(scores, axis=1)
    return GroupTest(np.concatenate(means, axis=1), score, 2.0 * norm.sf(np.abs(score)))
