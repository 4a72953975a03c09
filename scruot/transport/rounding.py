"""Sparse plans whose marginals are both exact.

A staircase (north-west corner rule) couples any two clouds of equal mass with fewer than ``n + m``
pairs. Along a line it is optimal in one dimension; here it only keeps candidate pairs from being
infeasible, and carries the little mass by which a plan misses its marginals.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.transport.graph import EdgeGraph

__all__ = ["Line", "meet_both", "staircase"]


@dataclass(frozen=True, eq=False)
class Line:
    """Rows and columns in their order along the leading direction of all cells."""

    rows: Tensor
    cols: Tensor

    @classmethod
    def through(cls, x: Tensor, y: Tensor) -> Line:
        """Order cells along the direction of largest variance."""
        moment = x.T @ x / len(x) + y.T @ y / len(y)
        direction = torch.linalg.eigh(moment).eigenvectors[:, -1]
        return cls(*(torch.argsort(cloud @ direction, stable=True) for cloud in (x, y)))


def staircase(a: Tensor, b: Tensor, line: Line) -> tuple[Tensor, Tensor, Tensor]:
    """Couple two clouds of equal mass in order; returns rows, columns and masses."""
    ends_a, ends_b = torch.cumsum(a[line.rows], 0), torch.cumsum(b[line.cols], 0)
    ends_b = ends_b * (ends_a[-1] / ends_b[-1].clamp_min(1e-300))
    ends = torch.unique(torch.cat([ends_a, ends_b]))
    mass = torch.diff(ends, prepend=ends.new_zeros(1))
    middle = ends - 0.5 * mass
    i = torch.searchsorted(ends_a, middle).clamp_max(len(a) - 1)
    j = torch.searchsorted(ends_b, middle).clamp_max(len(b) - 1)
    some = mass > 0
    return line.rows[i[some]], line.cols[j[some]], mass[some]


def meet_both(
    graph: EdgeGraph, plan: Tensor, a: Tensor, b: Tensor, line: Line
) -> tuple[EdgeGraph, Tensor]:
    """Change a plan so that both marginals are met; what is missing is added as a staircase.

    Altschuler, Weed and Rigollet, *Near-linear time approximation algorithms for optimal transport
    via Sinkhorn iteration*, NeurIPS 2017 :cite:p:`altschuler2017`, with a sparse correction in
    place of their dense one.
    """
    plan = plan * (a / graph.rows(plan).clamp_min(1e-300)).clamp_max(1.0)[graph.row]
    plan = plan * (b / graph.cols(plan).clamp_min(1e-300)).clamp_max(1.0)[graph.col]
    left, right = (a - graph.rows(plan)).clamp_min(0.0), (b - graph.cols(plan)).clamp_min(0.0)
    row, col, mass = staircase(left, right, line)
    code = torch.cat([graph.row, row]) * graph.shape[1] + torch.cat([graph.col, col])
    code, order = torch.sort(code, stable=True)
    code, counts = torch.unique_consecutive(code, return_counts=True)
    total = torch.segment_reduce(torch.cat([plan, mass])[order], "sum", lengths=counts, unsafe=True)
    i = torch.div(code, graph.shape[1], rounding_mode="floor")
    return EdgeGraph(i, code % graph.shape[1], graph.shape), total
