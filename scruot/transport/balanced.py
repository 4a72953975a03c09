"""Balanced couplings of large clouds, as the limit of unbalanced ones.

Candidate pairs rarely allow a plan that meets both marginals. With a price of mass every set of
pairs does; while the price rises, the potentials say which pairs are missing.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan, sparsify
from scruot.transport.graph import EdgeGraph
from scruot.transport.hierarchical import State, range_of_eps, solve_in_turns
from scruot.transport.objective import dual_value, primal_value
from scruot.transport.penalties import Penalty, Sides
from scruot.transport.search import search_candidates

__all__ = ["solve_balanced"]

_PRICES = (10.0, 100.0, 1000.0)  # over the mean cost at which clusters are coupled
_RESIDUAL = 1e-3  # mass that the last potentials leave in the wrong place
_CONVERGED = 5e-3  # relative gap of a sharp plan


def solve_balanced(
    costs: CostBlocks, a: Tensor, b: Tensor, *, seed: int, reg: float, kept_mass: float
) -> SparsePlan:
    """Couple large clouds of the same mass with exact marginals.

    Parameters
    ----------
    costs
        The two clouds and their cost, finite for all pairs.
    a, b
        Positive masses of the same sum.
    seed
        Seed of the clustering.
    reg
        Entropic regularisation; 0 for a plan as sharp as the rounds go.
    kept_mass
        Share of each row or column of the plan that is kept.

    Returns
    -------
    The plan, whose marginals are exact, and potentials.
    """
    exact = Sides(Penalty("exact"), Penalty("exact"))
    found = search_candidates(costs, a, b, seed=seed, sides=exact)
    unit = max(found.carried, found.nearest)
    first, last = range_of_eps(found, 0.0, reg)
    psi, bottom = None, -torch.inf
    for price in _PRICES:
        side = Penalty("kl", price * unit)
        state = State(costs, a, b, Sides(side, side), found)
        edges, solved, values = solve_in_turns(state, first, last, psi)
        dual = dual_value(values.phi, values.psi, a, b, exact)
        if dual > bottom:
            bottom, best = dual, values
        found, psi, first = replace(found, edges=edges), solved.psi, last
    graph = edges.graph
    plan = edges.plan(a, b, solved.phi, solved.psi, solved.eps)
    graph, plan = sparsify(graph, plan, a, b, share=kept_mass)
    graph, plan = _complete(costs, graph, plan, a, b)
    cost = costs.edges(graph.row, graph.col)
    primal = primal_value(cost, plan, graph.rows(plan), graph.cols(plan), a, b, exact)
    gap = (primal - bottom) / max(primal, 1e-9)
    settled = solved.residual <= _RESIDUAL and (reg > 0 or gap <= _CONVERGED)
    return SparsePlan(
        graph, plan, best.phi, best.psi, primal, bottom, settled, certified=best.screened
    )


def _complete(
    costs: CostBlocks, graph: EdgeGraph, plan: Tensor, a: Tensor, b: Tensor
) -> tuple[EdgeGraph, Tensor]:
    """Make marginals exact: cut what is too much, and add pairs for the mass that is left over.

    Both sides of the rest are sorted along the direction of largest spread, and matched in order.
    """
    plan = plan * (a / graph.rows(plan).clamp_min(1e-300)).clamp_max(1.0)[graph.row]
    plan = plan * (b / graph.cols(plan).clamp_min(1e-300)).clamp_max(1.0)[graph.col]
    axis = torch.linalg.eigh(costs.x1.T @ costs.x1)[1][:, -1]
    rows, cols = torch.argsort(costs.x0 @ axis), torch.argsort(costs.x1 @ axis)
    left = (a - graph.rows(plan)).clamp_min(0.0)[rows].cumsum(0)
    right = (b - graph.cols(plan)).clamp_min(0.0)[cols].cumsum(0)
    if float(left[-1]) <= 0 or float(right[-1]) <= 0:
        return graph, plan
    right = right * (left[-1] / right[-1])
    ends = torch.unique(torch.cat([left, right]))
    mass = torch.diff(ends, prepend=ends.new_zeros(1))
    middle = ends - 0.5 * mass
    row = rows[torch.searchsorted(left, middle).clamp_max(len(rows) - 1)]
    col = cols[torch.searchsorted(right, middle).clamp_max(len(cols) - 1)]
    keep = mass > 0
    width = graph.shape[1]
    code = torch.cat([graph.row * width + graph.col, (row * width + col)[keep]])
    unique, place = torch.unique(code, return_inverse=True)
    total = torch.zeros(len(unique), dtype=plan.dtype, device=plan.device)
    total.index_add_(0, place, torch.cat([plan, mass[keep]]))
    found = EdgeGraph(torch.div(unique, width, rounding_mode="floor"), unique % width, graph.shape)
    return found, total
