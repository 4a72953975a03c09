"""Blurred couplings: entropic plans, made sparse again."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from scruot.transport.candidates import price
from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan, sparsify
from scruot.transport.graph import EdgeGraph
from scruot.transport.interior_point import fit_exact
from scruot.transport.newton import newton_potentials
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.penalties import WFR, Sides
from scruot.transport.rounding import Line, meet_both
from scruot.transport.sinkhorn import BlockedCost, DenseCost, Potentials, annealed, typical_cost

__all__ = ["cut", "cut_to_share", "entropic_potentials", "plan_blocks", "solve_blurred"]

# sweeps before Newton steps: cheap ones are not hurried, dear ones are
_MOST_SWEEPS, _LEAST_SWEEPS = 5000, 100
_DEAR = 1_000_000  # pairs from which a sweep is dear
_RESIDUAL = 1e-9  # mass that Newton steps leave where it should not be, over all
_MOST_STEPS = 60  # absorptions of Newton's method
_MOST_PRODUCTS = 1000  # of one of its steps
_MOST_CUTS = 6
_MET = 1e-6  # relative error of a column of exact mass


def solve_blurred(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    eps: float,
    kept_mass: float,
    sides: Sides = WFR,
    start: tuple[Tensor, Tensor] | None = None,
) -> SparsePlan:
    """Entropic plan on all pairs, cut to the entries that hold ``kept_mass`` of each row or column.

    The values are those of the problem without entropy, so that their gap shows what the blur
    costs. Where the cost matrix exceeds the memory limit, every sweep computes it again in blocks.
    """
    sweeps = _MOST_SWEEPS if a.numel() * b.numel() <= _DEAR else _LEAST_SWEEPS
    found = entropic_potentials(costs, a, b, eps=eps, sides=sides, sweeps=sweeps, start=start)
    return cut(costs, a, b, found, eps=eps, kept_mass=kept_mass, sides=sides)


def entropic_potentials(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    eps: float,
    sides: Sides,
    sweeps: int,
    start: tuple[Tensor, Tensor] | None = None,
) -> Potentials:
    """Solve the entropic problem on all pairs, by sweeps and where these are slow by Newton steps.

    Sweeps settle in some ``1 / g`` rounds for a spectral gap ``g``, which is tiny where clusters
    exchange little mass; Newton steps do not mind.
    """
    dense = DenseCost(costs.matrix()) if costs.whole else BlockedCost(costs)
    first = eps if start is not None else typical_cost(next(iter(costs))[1])
    found = annealed(dense, a, b, first=first, last=eps, most_last=sweeps, start=start, sides=sides)
    if found.converged:
        return found
    solved = newton_potentials(
        dense,
        a,
        b,
        first=eps,
        last=eps,
        start=found.psi,
        tol=_RESIDUAL,
        most=_MOST_STEPS,
        products=_MOST_PRODUCTS,
        sides=sides,
    )
    return Potentials(solved.phi, solved.psi, solved.residual <= _RESIDUAL)


def cut(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    found: Potentials,
    *,
    eps: float,
    kept_mass: float,
    sides: Sides,
) -> SparsePlan:
    """Cut an entropic plan to its largest entries; values are those without entropy."""
    graph, plan = cut_to_share(costs, a, b, (found.phi, found.psi), eps, kept_mass, sides)
    bounds = sides.bounds(a, b)
    priced = price(costs, bounds.columns(found.psi), k=0, bounds=bounds)
    phi, psi = centre_potentials(priced.phi, priced.psi, a, b, sides)
    rows, cols = graph.rows(plan), graph.cols(plan)
    cost = costs.edges(graph.row, graph.col)
    primal = primal_value(cost, plan, rows, cols, a, b, sides)
    dual = dual_value(phi, psi, a, b, sides)
    return SparsePlan(graph, plan, phi, psi, primal, dual, found.converged)


def cut_to_share(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    potentials: tuple[Tensor, Tensor],
    eps: float,
    kept_mass: float,
    sides: Sides,
) -> tuple[EdgeGraph, Tensor]:
    """Sparse plan with the marginals of the whole one; keeps more where its pattern cannot."""
    rows, cols, top = torch.zeros_like(a), torch.zeros_like(b), torch.zeros_like(b)
    for part, block in plan_blocks(costs, a, b, potentials, eps):
        rows[part] = block.sum(1)
        cols += block.sum(0)
        torch.maximum(top, block.amax(0), out=top)
    wanted = (a if sides.source.exact else rows), (b if sides.target.exact else cols)
    lost = 1.0 - kept_mass
    for _ in range(_MOST_CUTS):
        listed = []
        for part, block in plan_blocks(costs, a, b, potentials, eps):
            least = 1e-3 * lost * torch.minimum(block.amax(1, keepdim=True), top)
            i, j = torch.nonzero(block > least, as_tuple=True)
            listed.append((i + part.start, j, block[i, j]))
        row, col, mass = (torch.cat(part) for part in zip(*listed, strict=True))
        del listed  # as large as the lists made of it
        graph, plan = sparsify(EdgeGraph(row, col, costs.shape), mass, *wanted, share=1.0 - lost)
        if not sides.source.exact:
            plan = fit_exact(graph, plan, a, b, sides)
        off = (graph.cols(plan) - wanted[1]).abs() / wanted[1].clamp_min(1e-300)
        # WFR plans follow their marginals as far as the first pattern allows
        if costs.delta < math.inf or float(off.max()) < _MET:
            break
        lost *= 0.1
    if sides.source.exact and sides.target.exact and float(off.max()) >= _MET:
        # sweeps that have not settled: the stored plan is feasible all the same
        graph, plan = meet_both(graph, plan, a, b, Line.through(costs.x0, costs.x1))
    return graph, plan


def plan_blocks(
    costs: CostBlocks, a: Tensor, b: Tensor, potentials: tuple[Tensor, Tensor], eps: float
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the plan in row blocks."""
    phi, psi = potentials
    for part, block in costs:
        fit = (psi - block).add_(phi[part, None]).div_(eps).exp_()
        yield part, fit.mul_(a[part, None]).mul_(b)
