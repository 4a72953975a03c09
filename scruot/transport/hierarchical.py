"""Sparse couplings of large clouds: candidate pairs, entropic potentials, missing pairs, again."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan, sparsify
from scruot.transport.graph import EdgeGraph
from scruot.transport.interior_point import fit_exact
from scruot.transport.newton import NewtonPotentials, newton_potentials
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.penalties import WFR, Sides
from scruot.transport.rounding import Line, meet_both, staircase
from scruot.transport.screening import Screening, near_clusters, screen
from scruot.transport.search import Search, finite_edges, search_candidates
from scruot.transport.sinkhorn import EdgeCost

__all__ = ["potentials_on_candidates", "solve_hierarchical"]

_LOG = logging.getLogger(__name__)

# eps over the mean cost of nearest pairs, and over that at which clusters are coupled: where clouds
# overlap, the cheapest pairs say little of the cost at which mass is carried
_BLUNTEST, _SHARPEST, _SHARPEST_CARRIED = 0.4, 0.004, 0.001
_FACTOR = 8.0  # between the eps of one round and the next
# mass that is not yet where the potentials ask for it; balanced, it moves to distant cells
_RESIDUAL, _RESIDUAL_BALANCED = 1e-3, 1e-5
_MOST, _MOST_BOUND = 20, 60  # absorptions at an eps; more where potentials stick to bounds (TV)
_MOST_ROUNDS = 16
_LOST = 0.2  # relative gap beyond which eps is not yet lowered
_NOTHING = 1e-3  # times the share that is cut, of the largest entry of row and column
_SLACK = 1e-4  # of the primal value, by which a missing pair must violate
_ENOUGH = 3e-3  # relative gap at which no further pairs are looked for
_MISSING = 5e-4  # relative loss of dual value to missing pairs at which none are looked for
_CONVERGED = 5e-3  # relative gap, or loss, of a plan that counts as converged
# pairs that are screened, in all rounds and in those before the last eps; 1.5 ns each on one core
_MOST_CHECKED, _MOST_EARLY = 1.2e11, 2e10
_MOST_SAMPLED = 5e9  # pairs, where those are too many


@dataclass(frozen=True, eq=False)
class _Bounds:
    """Values of a plan and of potentials, feasible for the candidates or for all pairs."""

    phi: Tensor
    psi: Tensor
    primal: float
    dual: float
    on_edges: float  # dual value that regards the candidates only
    screened: bool = False

    @property
    def gap(self) -> float:
        """Relative duality gap."""
        return (self.primal - self.dual) / max(self.primal, 1e-9)

    @property
    def missing(self) -> float:
        """The part of it that missing pairs are to blame for."""
        return (self.on_edges - self.dual) / max(self.primal, 1e-9)


@dataclass(frozen=True, eq=False)
class _State:
    """A problem in which every cell has a candidate, and what is known of its solution."""

    costs: CostBlocks
    a: Tensor
    b: Tensor
    sides: Sides
    found: Search
    seed: int

    @property
    def balanced(self) -> bool:
        """Whether both marginals are exact."""
        return self.sides.source.exact and self.sides.target.exact

    @property
    def residual(self) -> float:
        """Residual at which potentials count as found."""
        if self.balanced:
            return _RESIDUAL_BALANCED
        if any(side.kind == "tv" for side in self.sides):  # misplaced mass costs its price
            worth = self.found.carried / self.sides.least
            return min(_RESIDUAL, max(_RESIDUAL_BALANCED, _RESIDUAL * worth))
        return _RESIDUAL

    @cached_property
    def line(self) -> Line:
        """Order of cells in which the last bit of balanced mass is coupled."""
        return Line.through(self.costs.x0, self.costs.x1)

    def with_staircase(self) -> EdgeCost:
        """Candidates on which any balanced masses can be coupled."""
        row, col, _ = staircase(self.a, self.b, self.line)
        return finite_edges(self.costs, self.found.edges.graph.union(row, col))

    def feasible(self, graph: EdgeGraph, plan: Tensor) -> tuple[EdgeGraph, Tensor, Tensor]:
        """Make a plan meet the exact marginals; returns its pairs, masses and costs."""
        if self.balanced:
            graph, plan = meet_both(graph, plan, self.a, self.b, self.line)
        else:
            plan = fit_exact(graph, plan, self.a, self.b, self.sides)
        return graph, plan, self.costs.edges(graph.row, graph.col)

    def value(self, graph: EdgeGraph, plan: Tensor, cost: Tensor) -> float:
        """Primal value of a plan."""
        rows, cols = graph.rows(plan), graph.cols(plan)
        return primal_value(cost, plan, rows, cols, self.a, self.b, self.sides)

    def solve(
        self, edges: EdgeCost, first: float, last: float, psi: Tensor | None
    ) -> NewtonPotentials:
        """Solve the entropic problem on the candidates."""
        return newton_potentials(
            edges,
            self.a,
            self.b,
            first=first,
            last=last,
            start=psi,
            tol=self.residual,
            most=_MOST_BOUND if any(side.bound < math.inf for side in self.sides) else _MOST,
            sides=self.sides,
        )

    def bounds(self, edges: EdgeCost, solved: NewtonPotentials) -> _Bounds:
        """Values on the candidates; each row has a candidate whose reduced cost is zero."""
        graph, cost, a, b = edges.graph, edges.cost, self.a, self.b
        plan = edges.plan(a, b, solved.phi, solved.psi, solved.eps)
        fixed = self.sides.source.exact or self.sides.target.exact
        whole = self.feasible(graph, plan) if fixed else (graph, plan, cost)
        primal = self.value(*whole)
        source, target = self.sides.source.bound, self.sides.target.bound
        phi = graph.rows(cost - solved.psi[graph.col], "min").clamp_max(source)
        psi = graph.cols(cost - phi[graph.row], "min").clamp_max(target)
        phi, psi = centre_potentials(phi, psi, a, b, self.sides)
        phi = graph.rows(cost - psi[graph.col], "min").clamp_max(source)
        dual = dual_value(phi, psi, a, b, self.sides)
        return _Bounds(phi, psi, primal, dual, dual)

    def screen(self, edges: EdgeCost, bounds: _Bounds, near: Tensor) -> tuple[_Bounds, EdgeGraph]:
        """Make potentials feasible for all pairs, and add the pairs that they miss."""
        found = self._screened(edges, bounds, near)
        phi, psi = centre_potentials(found.phi, bounds.psi, self.a, self.b, self.sides)
        dual = dual_value(phi, psi, self.a, self.b, self.sides)
        feasible = replace(bounds, phi=phi, psi=psi, dual=dual, screened=True)
        return feasible, edges.graph.union(found.row, found.col)

    def estimate(self, edges: EdgeCost, bounds: _Bounds, near: Tensor, share: float) -> _Bounds:
        """Estimate the dual value by what screening takes off in a sample of the row clusters."""
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.rand(len(near), generator=generator) < share
        chosen[int(torch.randint(len(near), (1,), generator=generator))] = True
        chosen = chosen.to(near.device)
        found = self._screened(edges, bounds, near & chosen[:, None])
        lowered = dual_value(found.phi, bounds.psi, self.a, self.b, self.sides)
        part = float(self.a[chosen[self.found.left.label]].sum() / self.a.sum())
        lost = (bounds.on_edges - lowered) / part if part > 0 else 0.0
        return replace(bounds, dual=bounds.on_edges - lost)

    def _screened(self, edges: EdgeCost, bounds: _Bounds, near: Tensor) -> Screening:
        graph, left, right = edges.graph, self.found.left, self.found.right
        reduced = edges.cost - bounds.psi[graph.col]
        tight = reduced <= graph.rows(reduced, "min")[graph.row]
        tangent = graph.rows(torch.where(tight, edges.cost, math.inf), "min")
        found = screen(
            self.costs,
            left,
            right,
            (bounds.phi, bounds.psi),
            near=near,
            tangent=tangent,
            slack=_SLACK * bounds.primal,
        )
        # costs are not negative: below its floor a potential of TV is feasible, too
        return replace(found, phi=found.phi.clamp_min(-self.sides.source.bound))


def solve_hierarchical(
    costs: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    seed: int,
    blur: float = 0.0,
    reg: float = 0.0,
    kept_mass: float = 0.999,
    sides: Sides = WFR,
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
        Positive masses of sums near one.
    seed
        Seed of the clustering.
    blur
        Regularisation over the median cost of best pairs; 0 for a plan that is as sharp as is
        needed for a relative gap of some 1e-3.
    reg
        Regularisation in units of the cost, in place of ``blur``.
    kept_mass
        Share of each row or column of the entropic plan that is kept.
    sides
        Penalties of rows and columns.

    Returns
    -------
    The pruned plan. It is certified if all pairs were screened. It has converged if the relative
    gap is at most 0.5 per cent; with ``blur`` or ``reg``, if the potentials have settled and
    missing pairs are to blame for no more than that. Without a certificate both must be so, and the
    dual value is an estimate from a sample of the rows.
    """
    found = search_candidates(costs, a, b, seed=seed, sides=sides)
    whole = _State(costs, a, b, sides, found, seed)
    options = {"blur": blur, "reg": reg, "kept_mass": kept_mass}
    graph = found.edges.graph
    alive = graph.row_counts > 0, graph.col_counts > 0
    if bool(alive[0].all()) and bool(alive[1].all()):
        return _solve(whole, **options)
    rows, cols = (torch.nonzero(mask)[:, 0] for mask in alive)
    lonely = [
        side.value(torch.zeros_like(m[~live]), m[~live])
        for side, m, live in zip(sides, (a, b), alive, strict=True)
        if not bool(live.all())
    ]
    offset = float(torch.stack(lonely).sum())
    phi, psi = torch.full_like(a, math.inf), torch.full_like(b, math.inf)
    if not rows.numel():
        none = EdgeGraph(rows, cols, costs.shape)
        return SparsePlan(none, a[:0], phi, psi, offset, offset)
    plan = _solve(_without(whole, rows, cols), **options)
    phi[rows], psi[cols] = plan.phi, plan.psi
    graph = EdgeGraph(rows[plan.graph.row], cols[plan.graph.col], costs.shape)
    primal, dual = offset + plan.primal, offset + plan.dual
    return replace(plan, graph=graph, phi=phi, psi=psi, primal=primal, dual=dual)


def _without(whole: _State, rows: Tensor, cols: Tensor) -> _State:
    """Keep some cells, among them all that have a candidate."""
    graph = whole.found.edges.graph
    new_row = torch.zeros_like(whole.found.left.label).index_fill_(0, rows, 1).cumsum(0) - 1
    new_col = torch.zeros_like(whole.found.right.label).index_fill_(0, cols, 1).cumsum(0) - 1
    inner = EdgeGraph(new_row[graph.row], new_col[graph.col], (len(rows), len(cols)))
    found = replace(
        whole.found,
        edges=EdgeCost(inner, whole.found.edges.cost),
        left=whole.found.left.subset(rows),
        right=whole.found.right.subset(cols),
    )
    costs = whole.costs.subset(rows, cols)
    return _State(costs, whole.a[rows], whole.b[cols], whole.sides, found, whole.seed)


def _solve(state: _State, *, blur: float, reg: float, kept_mass: float) -> SparsePlan:
    """Solve and screen in turns."""
    first, last = _range_of_eps(state.found, blur, reg)
    left, right = state.found.left, state.found.right
    edges = state.with_staircase() if state.balanced else state.found.edges
    target = max(first / _FACTOR, last)
    solved = state.solve(edges, first, target, None)
    best = latest = state.bounds(edges, solved)
    checked = 0.0
    for number in range(_MOST_ROUNDS):
        near, pairs = near_clusters(state.costs, left, right, latest.phi, latest.psi)
        look = checked + pairs <= (_MOST_CHECKED if target <= last else _MOST_EARLY)
        graph = edges.graph
        if look:
            checked += pairs
            latest, graph = state.screen(edges, latest, near)
        elif target <= last and not best.screened:
            latest = state.estimate(edges, latest, near, _MOST_SAMPLED / pairs)
        best = _better(best, latest)
        _LOG.debug(
            "round %d: eps %.1e, %d pairs, residual %.0e, value %.6g, gap %.1e, missing pairs %.1e",
            *(number, target, edges.cost.numel(), solved.residual),
            *(best.primal, best.gap, best.missing),
        )
        done = not look or best.gap <= _ENOUGH or best.missing <= _MISSING
        if (target <= last and done) or number == _MOST_ROUNDS - 1:
            break
        if look:
            edges = finite_edges(state.costs, graph)
            following = target if latest.gap > _LOST else max(target / _FACTOR, last)
        else:
            following = last
        solved = state.solve(edges, following, following, solved.psi)
        target, latest = following, state.bounds(edges, solved)
    sharp = blur == 0 and reg == 0
    return _cut(state, edges, solved, best, sharp=sharp, kept_mass=kept_mass)


def _range_of_eps(found: Search, blur: float, reg: float) -> tuple[float, float]:
    """First and last regularisation, in units of the cost."""
    last = max(_SHARPEST * found.nearest, _SHARPEST_CARRIED * found.carried)
    if reg > 0:
        last = reg
    elif blur > 0:
        graph, cost = found.edges.graph, found.edges.cost
        best = torch.cat([graph.rows(cost, "min"), graph.cols(cost, "min")])
        last = blur * float(best[torch.isfinite(best)].median()) or last
    return max(_BLUNTEST * max(found.nearest, found.carried), last), last


def _better(best: _Bounds | None, latest: _Bounds) -> _Bounds:
    """Keep the highest certified dual value with the values of the latest plan."""
    if best is None or not best.screened or (latest.screened and latest.dual > best.dual):
        return latest
    return replace(best, primal=latest.primal, on_edges=max(best.dual, latest.on_edges))


def _cut(
    state: _State,
    edges: EdgeCost,
    solved: NewtonPotentials,
    best: _Bounds,
    *,
    sharp: bool,
    kept_mass: float,
) -> SparsePlan:
    """Cut the plan to the entries that matter."""
    a, b, sides, graph = state.a, state.b, state.sides, edges.graph
    plan = edges.plan(a, b, solved.phi, solved.psi, solved.eps)
    rows = a if sides.source.exact else graph.rows(plan)
    cols = b if sides.target.exact else graph.cols(plan)
    # most candidates carry nothing to speak of; without them the cut takes less memory
    bar = torch.minimum(graph.rows(plan, "max")[graph.row], graph.cols(plan, "max")[graph.col])
    some = plan > _NOTHING * (1.0 - kept_mass) * bar
    graph, plan = sparsify(graph.subset(some), plan[some], rows, cols, share=kept_mass)
    graph, plan, cost = state.feasible(graph, plan)
    primal = state.value(graph, plan, cost)
    best = replace(best, primal=primal)
    if sharp and best.screened:  # the certificate is conclusive
        converged = best.gap <= _CONVERGED
    else:
        loss = best.gap if sharp else best.missing
        converged = solved.residual <= state.residual and loss <= _CONVERGED
    return SparsePlan(
        graph, plan, best.phi, best.psi, primal, best.dual, converged, certified=best.screened
    )


def potentials_on_candidates(
    costs: CostBlocks, a: Tensor, b: Tensor, *, known: tuple[Tensor, Tensor], seed: int
) -> tuple[EdgeGraph, Tensor]:
    """Find candidate pairs, among them the known ones, and column potentials to start from."""
    found = search_candidates(costs, a, b, seed=seed, known=known)
    first, last = _range_of_eps(found, 0.0, 0.0)
    solved = _State(costs, a, b, WFR, found, seed).solve(found.edges, first, last, None)
    return found.edges.graph, solved.psi
