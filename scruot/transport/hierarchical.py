"""Sparse couplings of large clouds: candidate pairs, entropic potentials, missing pairs, again."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan, sparsify
from scruot.transport.graph import EdgeGraph
from scruot.transport.newton import EdgePotentials, anneal_edges
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.screening import near_blocks, screen
from scruot.transport.search import Search, finite_edges, search_candidates
from scruot.transport.sinkhorn import EdgeCost

__all__ = ["potentials_on_candidates", "solve_hierarchical"]

_LOG = logging.getLogger(__name__)

# eps over the mean cost of nearest pairs, and over that at which clusters are coupled: where clouds
# overlap, the cheapest pairs say little of the cost at which mass is carried
_BLUNTEST, _SHARPEST, _SHARPEST_CARRIED = 0.4, 0.004, 0.001
_FACTOR = 8.0  # between the eps of one round and the next
_RESIDUAL = 1e-3  # of the potentials at the last eps, over the mass
_MOST_ROUNDS = 16
_LOST = 0.2  # relative gap beyond which eps is not yet lowered
_ENOUGH = 3e-3  # relative gap at which no further pairs are looked for
_MISSING = 5e-4  # relative loss of dual value to missing pairs at which none are looked for
_CONVERGED = 5e-3
_MOST_CHECKED = 1.2e11  # pairs in all rounds; about 1.5 ns each on one core


@dataclass(frozen=True, eq=False)
class _Bounds:
    """Values of a plan and of feasible potentials."""

    phi: Tensor
    psi: Tensor
    primal: float
    dual: float
    on_edges: float  # dual value that regards the candidate pairs only

    @property
    def gap(self) -> float:
        return (self.primal - self.dual) / max(self.primal, 1e-9)

    @property
    def missing(self) -> float:
        return (self.on_edges - self.dual) / max(self.primal, 1e-9)


def solve_hierarchical(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    seed: int,
    blur: float = 0.0,
    kept_mass: float = 0.999,
) -> SparsePlan:
    """Couple large clouds.

    Clusters of each cloud are coupled; their potentials give to each cell its candidate partners.
    On these pairs the entropic problem is solved, while eps falls from round to round. After each
    round all pairs are screened: potentials are made feasible, which bounds the optimum from below,
    and missing pairs are added. Last the plan is cut to the entries that matter.

    Parameters
    ----------
    costs
        The two clouds and their cost.
    a, b
        Positive masses of sum one.
    seed
        Seed of the clustering.
    blur
        Regularisation over the median cost of best pairs; 0 for a plan that is as sharp as is
        needed for a relative gap of some 1e-3.
    kept_mass
        Share of each row or column of the entropic plan that is kept.

    Returns
    -------
    The pruned plan. It is certified if all pairs were screened. It has converged if the potentials
    have and the relative gap is at most 0.5 per cent or, with ``blur``, missing pairs are to blame
    for no more than that.
    """
    found = search_candidates(costs, a, b, known=None, seed=seed)
    graph = found.edges.graph
    alive = graph.row_counts > 0, graph.col_counts > 0
    if bool(alive[0].all()) and bool(alive[1].all()):
        return _solve(costs, a, b, found, blur=blur, kept_mass=kept_mass)
    rows, cols = (torch.nonzero(mask)[:, 0] for mask in alive)
    lonely = float(a[~alive[0]].sum() + b[~alive[1]].sum())
    if not rows.numel():
        none = EdgeGraph(rows, cols, costs.shape)
        far = torch.full_like(a, math.inf), torch.full_like(b, math.inf)
        return SparsePlan(none, a[:0], *far, lonely, lonely)
    number = torch.cumsum(alive[0], 0) - 1, torch.cumsum(alive[1], 0) - 1
    inner_graph = EdgeGraph(number[0][graph.row], number[1][graph.col], (len(rows), len(cols)))
    inner = replace(
        found,
        edges=EdgeCost(inner_graph, found.edges.cost),
        left=found.left.subset(alive[0]),
        right=found.right.subset(alive[1]),
    )
    plan = _solve(costs.subset(rows, cols), a[rows], b[cols], inner, blur=blur, kept_mass=kept_mass)
    phi, psi = torch.full_like(a, math.inf), torch.full_like(b, math.inf)
    phi[rows], psi[cols] = plan.phi, plan.psi
    graph = EdgeGraph(rows[plan.graph.row], cols[plan.graph.col], costs.shape)
    values = {"primal": lonely + plan.primal, "dual": lonely + plan.dual}
    return replace(plan, graph=graph, phi=phi, psi=psi, **values)


def _solve(
    costs: CostBlocks, a: Tensor, b: Tensor, found: Search, *, blur: float, kept_mass: float
) -> SparsePlan:
    """Solve from candidate pairs where every cell has one."""
    first, last = _range_of_eps(found, blur)
    edges, psi, eps = found.edges, None, first
    target = max(first / _FACTOR, last)
    best: _Bounds | None = None
    budget, certified = _MOST_CHECKED, False
    for number in range(_MOST_ROUNDS):
        solved = anneal_edges(edges, a, b, first=eps, last=target, start=psi, tol=_RESIDUAL)
        psi = solved.psi
        bounds, tangent = _on_edges(edges, a, b, solved)
        near = near_blocks(costs, found.left, found.right, bounds.phi, bounds.psi)
        pairs = float(found.left.counts.double() @ near.double() @ found.right.counts.double())
        if pairs > budget:
            break
        budget -= pairs
        screened = screen(
            costs,
            found.left,
            found.right,
            bounds.phi,
            bounds.psi,
            near=near,
            tangent=tangent,
            slack=1e-4 * bounds.primal,
        )
        phi, feasible = centre_potentials(screened.phi, bounds.psi, a, b)
        bounds = replace(bounds, phi=phi, psi=feasible, dual=dual_value(phi, feasible, a, b))
        certified = True
        if best is None or bounds.dual > best.dual:
            best = bounds
        best = replace(best, primal=bounds.primal, on_edges=bounds.on_edges)
        _LOG.debug(
            "round %d: eps %.2e, %d pairs, residual %.1e, primal %.6g, gap %.2e, %.2e of it missing",
            number,
            target,
            edges.cost.numel(),
            solved.residual,
            best.primal,
            best.gap,
            best.missing,
        )
        if target <= last and (best.gap <= _ENOUGH or best.missing <= _MISSING):
            break
        edges = finite_edges(costs, edges.graph.union(screened.row, screened.col))
        if bounds.gap <= _LOST:
            target = max(target / _FACTOR, last)
        eps = target
    if best is None:
        best = bounds
    return _cut(costs, a, b, edges, solved, best, certified=certified, blur=blur, kept=kept_mass)
