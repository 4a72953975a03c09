"""Couplings that are linear programmes: exact or total-variation marginals, and partial transport.

A dummy source and a dummy target turn all of them into balanced transport, which the network
simplex of POT solves: mass that goes from a cell to the dummy target is destroyed, mass from the
dummy source is created.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import ot
import torch
from numpy.typing import NDArray
from torch import Tensor

from scruot.transport.candidates import price
from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan
from scruot.transport.graph import EdgeGraph
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.penalties import Sides

__all__ = ["network_simplex", "partial_plan", "solve_linear", "solve_partial"]

Array = NDArray[np.float64]


class Flow(NamedTuple):
    """Optimal flow and the potentials of both sides."""

    plan: Array
    u: Array
    v: Array


def network_simplex(cost: Array, a: Array, b: Array) -> Flow:
    """Balanced transport between masses of nearly the same sum; POT's solver.

    Raises
    ------
    RuntimeError
        If the solver finds no optimum.
    """
    b = b * (a.sum() / b.sum())
    plan, log = ot.emd(a, b, cost, numItermax=100_000_000, log=True, check_marginals=False)
    if log["warning"] is not None:
        msg = f"The network simplex found no optimum: {log['warning']}"
        raise RuntimeError(msg)
    return Flow(plan, log["u"], log["v"])


def solve_linear(costs: CostBlocks, a: Tensor, b: Tensor, sides: Sides) -> SparsePlan:
    """Couple with exact or total-variation marginals, each side with its own price.

    A unit of target mass that no cell sends costs its price. Where prices differ it may be cheaper
    to create it at the nearest source, at the price of that side, and to move it; the same holds
    for destruction.

    Parameters
    ----------
    costs
        Cost matrix, finite, as a whole.
    a, b
        Positive masses; of the same sum if both sides are exact.
    sides
        Penalties, exact or TV.

    Returns
    -------
    Plan and potentials, optimal up to rounding.
    """
    cost = costs.matrix()
    source, target = sides
    if source.exact and target.exact:
        flow = _flow(cost, a, b)
        row, col, mass = _entries(flow.plan, a)
        psi = torch.from_numpy(flow.v).to(a.device)
    else:
        kill, last = cost.min(dim=1)
        birth, first = cost.min(dim=0)
        kill = (kill + target.tau).clamp_max(source.tau)
        birth = (birth + source.tau).clamp_max(target.tau)
        corner = cost.new_zeros(1, 1)
        wide = torch.cat([torch.cat([cost, kill[:, None]], 1), torch.cat([birth[None], corner], 1)])
        flow = _flow(wide, torch.cat([a, b.sum()[None]]), torch.cat([b, a.sum()[None]]))
        row, col, mass = _entries(flow.plan[:-1, :-1], a)
        # destroyed at the target, or created at the source: these travel along an edge, too
        killed, born = (
            torch.from_numpy(part).to(a.device)
            for part in (flow.plan[:-1, -1].copy(), flow.plan[-1, :-1].copy())
        )
        sent = torch.nonzero((killed > 0) & (kill < source.tau))[:, 0]
        got = torch.nonzero((born > 0) & (birth < target.tau))[:, 0]
        row, col = torch.cat([row, sent, first[got]]), torch.cat([col, last[sent], got])
        mass = torch.cat([mass, killed[sent], born[got]])
        psi = torch.from_numpy(flow.v[:-1] + flow.u[-1]).to(a.device)
    graph = EdgeGraph.from_pairs(row, col, costs.shape)
    plan = _on_graph(graph, row, col, mass)
    bounds = sides.bounds(a, b)
    priced = price(costs, bounds.columns(psi), k=0, bounds=bounds)
    phi, psi = centre_potentials(priced.phi, priced.psi, a, b, sides)
    primal = primal_value(
        costs.edges(graph.row, graph.col), plan, graph.rows(plan), graph.cols(plan), a, b, sides
    )
    return SparsePlan(graph, plan, phi, psi, primal, dual_value(phi, psi, a, b, sides))


def solve_partial(costs: CostBlocks, a: Tensor, b: Tensor, moved: float) -> SparsePlan:
    """Move exactly the mass ``moved`` as cheaply as possible, at most ``a`` and ``b``.

    The dual value is ``sum a phi + sum b psi + price * moved`` over ``phi, psi <= 0`` and ``phi +
    psi + price <= c``.
    """
    cost = costs.matrix()
    left, right = max(float(b.sum()) - moved, 0.0), max(float(a.sum()) - moved, 0.0)
    wide = torch.nn.functional.pad(cost, (0, 1, 0, 1))
    wide[-1, -1] = 2.0 * float(cost.max()) + 1.0  # dear enough that the dummies never meet
    flow = _flow(wide, torch.cat([a, a.new_tensor([left])]), torch.cat([b, b.new_tensor([right])]))
    row, col, mass = _entries(flow.plan[:-1, :-1], a)
    graph = EdgeGraph.from_pairs(row, col, costs.shape)
    plan = _on_graph(graph, row, col, mass)
    psi = torch.from_numpy(flow.v[:-1] + flow.u[-1]).to(a.device)
    return partial_plan(costs, (a, b), (graph, plan), psi, -float(flow.u[-1] + flow.v[-1]), moved)


def partial_plan(
    costs: CostBlocks,
    masses: tuple[Tensor, Tensor],
    found: tuple[EdgeGraph, Tensor],
    psi: Tensor,
    level: float,
    moved: float,
) -> SparsePlan:
    """Values of a partial plan and of column potentials (at most zero) at a price of moving."""
    (a, b), (graph, plan) = masses, found
    psi = psi.clamp_max(0.0)
    priced = price(costs, psi + level, k=0)
    phi, psi = priced.phi.clamp_max(0.0), (priced.psi - level).clamp_max(0.0)
    primal = float((costs.edges(graph.row, graph.col) * plan).sum())
    dual = float((a * phi).sum() + (b * psi).sum()) + level * moved
    return SparsePlan(graph, plan, phi, psi, primal, dual)


def _flow(cost: Tensor, a: Tensor, b: Tensor) -> Flow:
    return network_simplex(cost.cpu().numpy(), a.cpu().numpy(), b.cpu().numpy())


def _entries(plan: Array, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and masses of the positive entries."""
    row, col = np.nonzero(plan)
    made = (torch.from_numpy(part) for part in (row, col, plan[row, col]))
    row_, col_, mass = (part.to(like.device) for part in made)
    return row_, col_, mass


def _on_graph(graph: EdgeGraph, row: Tensor, col: Tensor, mass: Tensor) -> Tensor:
    """Masses of listed pairs, in the order of the graph; repeats are added."""
    width = graph.shape[1]
    place = torch.searchsorted(graph.row * width + graph.col, row * width + col)
    return torch.zeros_like(graph.row, dtype=mass.dtype).index_add_(0, place, mass)
