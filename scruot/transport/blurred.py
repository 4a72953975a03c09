"""Blurred couplings: entropic plans, made sparse again."""

from __future__ import annotations

import torch
from torch import Tensor

from scruot.transport.candidates import price
from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan, sparsify
from scruot.transport.graph import EdgeGraph
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.sinkhorn import DenseCost, anneal, typical_cost

__all__ = ["solve_blurred"]


def solve_blurred(
    costs: CostBlocks, a: Tensor, b: Tensor, *, eps: float, kept_mass: float
) -> SparsePlan:
    """Entropic plan on all pairs, cut to the entries that hold ``kept_mass`` of each row or column.

    The values are those of the problem without entropy, so that their gap shows what the blur
    costs.
    """
    cost = costs.matrix()
    first = typical_cost(cost)
    phi, psi = anneal(DenseCost(cost), a, b, first=first, last=eps, most_last=2000)
    dense = (psi - cost).add_(phi[:, None]).div_(eps).exp_().mul_(a[:, None]).mul_(b)
    least = 1e-3 * (1.0 - kept_mass) * torch.minimum(dense.amax(1, keepdim=True), dense.amax(0))
    row, col = torch.nonzero(dense > least, as_tuple=True)
    graph, plan = sparsify(
        EdgeGraph(row, col, costs.shape),
        dense[row, col],
        dense.sum(1),
        dense.sum(0),
        share=kept_mass,
    )
    priced = price(costs, psi, k=0)
    phi, psi = centre_potentials(priced.phi, priced.psi, a, b)
    rows, cols = graph.rows(plan), graph.cols(plan)
    primal = primal_value(costs.edges(graph.row, graph.col), plan, rows, cols, a, b)
    return SparsePlan(graph, plan, phi, psi, primal, dual_value(phi, psi, a, b))
