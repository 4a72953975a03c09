"""Exact sparse couplings: dual start, candidate pairs, interior point, pricing of all pairs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scruot.transport.candidates import price
from scruot.transport.cost import CostBlocks
from scruot.transport.graph import EdgeGraph
from scruot.transport.interior_point import fit_exact, solve_on_edges
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.penalties import WFR, Sides

__all__ = ["SparsePlan", "prune", "solve_exact", "sparsify"]

_LOG = logging.getLogger(__name__)

_SORTED = 2**22  # entries of a plan that are sorted at once
_MOST_FITS = 300  # rescalings of a cut plan
_CERTIFIED = 1e-4  # relative gap from which a plan counts as converged


@dataclass(frozen=True)
class SparsePlan:
    """A plan on the edges of a graph, potentials feasible for all pairs, and both values.

    ``converged`` says whether the solver settled before its steps were used up, ``certified``
    whether the potentials were checked against all pairs.
    """

    graph: EdgeGraph
    plan: Tensor
    phi: Tensor
    psi: Tensor
    primal: float
    dual: float
    converged: bool = True
    certified: bool = True


def solve_exact(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    psi: Tensor,
    *,
    sides: Sides = WFR,
    extra: tuple[Tensor, Tensor] | None = None,
    tol: float = 1e-6,
    neighbours: int = 12,
    max_rounds: int = 12,
) -> SparsePlan:
    """Solve to a relative duality gap of ``tol`` against all pairs.

    Parameters
    ----------
    costs
        Cost matrix; every row and column has a finite entry.
    a, b
        Positive masses, of sums near one.
    psi
        Column potentials to start from, within the bounds of the penalty.
    sides
        Penalties; at most one side is exact.
    extra
        Rows and columns of further candidate pairs.
    tol
        Relative duality gap to reach.
    neighbours
        Candidate pairs per row and per column; half as many are added in each pricing round.
    max_rounds
        Most rounds of pricing.

    Returns
    -------
    The plan, not yet pruned.
    """
    bounds = sides.bounds(a, b)
    priced = price(costs, psi, k=neighbours, bounds=bounds)
    phi, psi = centre_potentials(priced.phi, priced.psi, a, b, sides)
    best = (dual_value(phi, psi, a, b, sides), phi, psi)
    graph = EdgeGraph.from_pairs(priced.row, priced.col, costs.shape)
    if extra is not None:
        graph = graph.union(*extra)
    kept: tuple[float, EdgeGraph, Tensor] | None = None
    for number in range(max_rounds):
        cost = costs.edges(graph.row, graph.col)
        on_edges = solve_on_edges(graph, cost, a, b, phi, psi, tol=0.3 * tol, sides=sides)
        priced = price(
            costs, bounds.columns(on_edges.psi), k=max(1, neighbours // 2), bounds=bounds
        )
        phi, psi = centre_potentials(priced.phi, priced.psi, a, b, sides)
        best = max(best, (dual_value(phi, psi, a, b, sides), phi, psi), key=lambda item: item[0])
        # any plan on some of the pairs is a plan: a round that went wrong costs nothing
        if kept is None or on_edges.primal <= kept[0]:
            kept = on_edges.primal, graph, on_edges.plan
        gap = (kept[0] - best[0]) / max(kept[0], 1e-9)
        _LOG.debug("round %d: %d edges, relative gap %.2e", number, graph.row.numel(), gap)
        # the last round adds no edges
        if gap <= tol or number == max_rounds - 1:
            break
        new = priced.reduced < (on_edges.phi - priced.phi)[priced.row]
        grown = graph.union(priced.row[new], priced.col[new])
        if grown.row.numel() == graph.row.numel():
            break
        graph = grown
    if kept is None:
        msg = f"Found max_rounds={max_rounds}; expected at least one."
        raise ValueError(msg)
    done = gap <= max(tol, _CERTIFIED)
    return SparsePlan(kept[1], kept[2], best[1], best[2], kept[0], best[0], done)


def sparsify(
    graph: EdgeGraph, plan: Tensor, rows: Tensor, cols: Tensor, *, share: float
) -> tuple[EdgeGraph, Tensor]:
    """Keep the fewest entries that make up ``share`` of each row or of each column.

    The kept entries are rescaled, alternately by rows and columns, towards the marginals ``rows``
    and ``cols``; the last step restores the rows.
    """
    turn = graph.by_column
    by_col = torch.zeros_like(plan, dtype=torch.bool)
    by_col[turn] = _largest_share(plan[turn], graph.col[turn], cols, graph.col_counts, share)
    keep = by_col | _largest_share(plan, graph.row, rows, graph.row_counts, share)
    graph, plan = EdgeGraph(graph.row[keep], graph.col[keep], graph.shape), plan[keep]
    # scaling factors of rows and columns instead of the plan itself: two products per round
    times, times_turned = graph.products(plan)
    left, right, used = torch.ones_like(rows), torch.ones_like(cols), graph.row_counts > 0
    for _ in range(_MOST_FITS):
        right = cols / times_turned(left).clamp_min(1e-300)
        fitted = rows / times(right).clamp_min(1e-300)
        change = torch.where(used, fitted / left - 1.0, 0.0).abs().max()
        left = fitted
        if float(change) < 1e-9:
            break
    return graph, plan * left[graph.row] * right[graph.col]


def _largest_share(
    value: Tensor, group: Tensor, total: Tensor, counts: Tensor, share: float
) -> Tensor:
    """Mask of the fewest values of each (contiguous) group that hold ``share`` of its sum.

    Some groups at a time: sorting all of a large plan would take several times its memory.
    """
    keep = torch.empty_like(value, dtype=torch.bool)
    ends = torch.cumsum(counts, 0)
    first, begin = 0, 0
    while first < counts.numel():
        last = max(first + 1, int(torch.searchsorted(ends, begin + _SORTED, right=True)))
        end = int(ends[last - 1])
        some, groups = slice(begin, end), slice(first, last)
        keep[some] = _largest_of_groups(
            value[some], group[some] - first, total[groups], counts[groups], share
        )
        first, begin = last, end
    return keep


def _largest_of_groups(
    value: Tensor, group: Tensor, total: Tensor, counts: Tensor, share: float
) -> Tensor:
    part = value / total[group].clamp_min(1e-300)
    # one sort: by group, and in a group from the largest part to the smallest
    order = torch.argsort(group - 0.5 * part.clamp_max(1.0), stable=True)
    running = torch.cumsum(part[order], 0)
    ends = torch.cumsum(counts, 0)
    before = torch.cat([running.new_zeros(1), running])[(ends - counts)[group]]
    keep = torch.empty_like(part, dtype=torch.bool)
    keep[order] = (running - part[order] - before < share) & (part[order] > 0)
    return keep


def prune(
    solution: SparsePlan,
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    share: float = 1e-3,
    sides: Sides = WFR,
) -> SparsePlan:
    """Drop edges below ``share`` of the largest mass of both their row and their column.

    And edges at the cap of the costs, which are not worth while.
    """
    graph, plan = solution.graph, solution.plan
    bar = torch.minimum(graph.rows(plan, "max")[graph.row], graph.cols(plan, "max")[graph.col])
    keep = (plan >= share * bar) & (costs.edges(graph.row, graph.col) < costs.cap)
    graph, plan = EdgeGraph(graph.row[keep], graph.col[keep], graph.shape), plan[keep]
    plan = fit_exact(graph, plan, a, b, sides)
    cost = costs.edges(graph.row, graph.col)
    primal = primal_value(cost, plan, graph.rows(plan), graph.cols(plan), a, b, sides)
    return replace(solution, graph=graph, plan=plan, primal=primal)
