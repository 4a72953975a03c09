"""Blurred couplings: entropic plans, made sparse again."""

from __future__ import annotations

import torch
from torch import Tensor

from scruot.transport.candidates import c_transform
from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan
from scruot.transport.graph import EdgeGraph
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.sinkhorn import entropic_potentials

__all__ = ["solve_blurred", "sparsify"]


def solve_blurred(
    costs: CostBlocks, a: Tensor, b: Tensor, *, eps: float, kept_mass: float
) -> SparsePlan:
    """Entropic plan on all pairs, cut to the entries that hold ``kept_mass`` of each row or column.

    The values are those of the problem without entropy, so that their gap shows what the blur
    costs.
    """
    cost = costs.matrix()
    phi, psi = entropic_potentials(cost, a, b, eps)
    dense = (psi - cost).add_(phi[:, None]).div_(eps).exp_().mul_(a[:, None]).mul_(b)
    graph, plan = sparsify(dense, kept_mass)
    phi, psi = centre_potentials(*c_transform(costs, psi), a, b)
    rows, cols = graph.rows(plan), graph.cols(plan)
    primal = primal_value(costs.edges(graph.row, graph.col), plan, rows, cols, a, b)
    return SparsePlan(graph, plan, phi, psi, primal, dual_value(phi, psi, a, b))


def sparsify(dense: Tensor, kept_mass: float) -> tuple[EdgeGraph, Tensor]:
    """Keep entries that make up ``kept_mass`` of a row or column; restore the marginals of all."""
    keep = largest_share(dense, kept_mass) | largest_share(dense.T, kept_mass).T
    row, col = torch.nonzero(keep, as_tuple=True)
    n, m = dense.shape
    graph, plan = EdgeGraph(row, col, (n, m)), dense[row, col]
    rows, cols = dense.sum(1), dense.sum(0)
    for _ in range(10):
        plan = plan * (cols / graph.cols(plan).clamp_min(1e-300))[col]
        plan = plan * (rows / graph.rows(plan).clamp_min(1e-300))[row]
    return graph, plan


def largest_share(dense: Tensor, share: float) -> Tensor:
    """Mask of the fewest entries of each row that hold ``share`` of its sum."""
    value, order = dense.sort(dim=1, descending=True)
    before = torch.cumsum(value, dim=1) - value
    keep = (before < share * value.sum(1, keepdim=True)) & (value > 0)
    return torch.zeros_like(keep).scatter_(1, order, keep)
