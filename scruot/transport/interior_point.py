"""Primal-dual interior point for penalised transport on a sparse set of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.transport.graph import EdgeGraph
from scruot.transport.objective import centre_potentials, dual_value, primal_value
from scruot.transport.penalties import WFR, Sides

__all__ = ["EdgeSolution", "solve_on_edges"]

_LARGEST_PRODUCT = 10.0  # of second order, over the mean product of plan and slack
_FLOOR = 1e-9  # smallest value, per unit of mass, that still has relative precision


@dataclass(frozen=True)
class EdgeSolution:
    """Plan on the edges and potentials feasible on the edges, with both values."""

    plan: Tensor
    phi: Tensor
    psi: Tensor
    primal: float
    dual: float
    iterations: int


class NewtonSystem:
    """Solves ``[[P + R, W], [W', Q + C]] (dphi, dpsi) = (f, g)``.

    W >= 0 is sparse, R and C are its row and column sums, P and Q positive diagonals.

    The larger side is eliminated; the Schur complement of the smaller one is dense and factorised
    by Cholesky. The pairs of edges that meet in an eliminated node are listed once per graph.
    """

    def __init__(self, graph: EdgeGraph) -> None:
        n, m = graph.shape
        self.graph, self.by_rows = graph, n <= m
        kept, gone = (graph.row, graph.col) if self.by_rows else (graph.col, graph.row)
        self.size = min(n, m)
        order = graph.by_column if self.by_rows else torch.arange(kept.numel(), device=kept.device)
        counts = graph.col_counts if self.by_rows else graph.row_counts
        rank = torch.arange(order.numel(), device=order.device)
        ends = torch.cumsum(counts, 0).repeat_interleave(counts)
        partners = ends - rank  # each edge meets itself and the later edges of its node
        first = rank.repeat_interleave(partners)
        start = torch.cumsum(partners, 0) - partners
        second = (
            first
            + torch.arange(first.numel(), device=first.device)
            - start.repeat_interleave(partners)
        )
        self.first, self.second = order[first], order[second]
        self.cell = kept[self.second] * self.size + kept[self.first]
        self.gone = gone[self.first]

    def factorise(self, weight: Tensor, rows: Tensor, cols: Tensor) -> None:
        """Factorise for edge weights W and the diagonals ``rows`` = P, ``cols`` = Q."""
        self.weight = weight
        self.rows = rows + self.graph.rows(weight)
        self.cols = cols + self.graph.cols(weight)
        kept, gone = (self.rows, self.cols) if self.by_rows else (self.cols, self.rows)
        scaled = weight / (gone[self.graph.col] if self.by_rows else gone[self.graph.row]).sqrt()
        schur = weight.new_zeros(self.size * self.size)
        schur.index_add_(0, self.cell, scaled[self.first] * scaled[self.second], alpha=-1.0)
        schur = schur.view(self.size, self.size)
        schur.diagonal().add_(kept)
        ridge = 1e-13
        while True:
            factor, info = torch.linalg.cholesky_ex(schur)
            if int(info) == 0 or ridge > 1e-2:
                break
            schur.diagonal().add_(ridge * kept)
            ridge *= 100.0
        self.factor = factor

    def solve(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for one right-hand side."""
        row, col = self.graph.row, self.graph.col
        if self.by_rows:
            rhs = f - self.graph.rows(self.weight * (g / self.cols)[col])
            x = torch.cholesky_solve(rhs[:, None], self.factor)[:, 0]
            return x, (g - self.graph.cols(self.weight * x[row])) / self.cols
        rhs = g - self.graph.cols(self.weight * (f / self.rows)[row])
        y = torch.cholesky_solve(rhs[:, None], self.factor)[:, 0]
        return (f - self.graph.rows(self.weight * y[col])) / self.rows, y


class _Inequalities:
    """The inequalities of the dual problem, their slacks, and the masses that belong to them.

    ``phi_i + psi_j <= c_ij`` on every edge, whose multiplier is the plan, and ``|phi_i| <= tau`` or
    ``|psi_j| <= tau`` where total variation is the penalty; the multipliers of these are the masses
    that are destroyed and created.
    """

    def __init__(self, graph: EdgeGraph, cost: Tensor, sides: Sides) -> None:
        self.graph, n_edges = graph, cost.numel()
        self.signs: list[tuple[int, float, slice]] = []
        right = [cost]
        for axis, side in enumerate(sides):
            if side.bound == math.inf:
                continue
            for sign in (1.0, -1.0):
                self.signs.append((axis, sign, slice(n_edges, n_edges + graph.shape[axis])))
                right.append(cost.new_full((graph.shape[axis],), side.bound))
                n_edges += graph.shape[axis]
        self.n_edges, self.right = cost.numel(), torch.cat(right)

    def left(self, phi: Tensor, psi: Tensor) -> Tensor:
        """Left sides for given potentials."""
        both = (phi, psi)
        bounds = [sign * both[axis] for axis, sign, _ in self.signs]
        return torch.cat([phi[self.graph.row] + psi[self.graph.col], *bounds])

    def sums(self, mass: Tensor) -> tuple[Tensor, Tensor]:
        """Sum the masses of every row and column with their signs."""
        edges = mass[: self.n_edges]
        both = [self.graph.rows(edges), self.graph.cols(edges)]
        for axis, sign, part in self.signs:
            both[axis] = both[axis] + sign * mass[part]
        return both[0], both[1]

    def diagonals(self, weight: Tensor, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
        """Add the weights of the bounds to the diagonals."""
        both = [rows, cols]
        for axis, _, part in self.signs:
            both[axis] = both[axis] + weight[part]
        return both[0], both[1]


def fit_exact(graph: EdgeGraph, plan: Tensor, a: Tensor, b: Tensor, sides: Sides) -> Tensor:
    """Scale a plan so that a marginal which is fixed is met (the rows, if both are)."""
    if sides.target.exact:
        plan = plan * (b / graph.cols(plan).clamp_min(1e-300))[graph.col]
    if sides.source.exact:
        plan = plan * (a / graph.rows(plan).clamp_min(1e-300))[graph.row]
    return plan


def solve_on_edges(
    graph: EdgeGraph,
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    phi: Tensor,
    psi: Tensor,
    *,
    tol: float,
    max_iterations: int = 300,
    sides: Sides = WFR,
) -> EdgeSolution:
    """Minimise <G, c> and the penalties of G1 and G'1 over plans supported on the edges.

    With slacks ``s = c - phi - psi`` the optimality conditions are ``p(phi) = G1``, ``p(psi) =
    G'1`` with the marginals that belong to the potentials (KL: ``a exp(-phi / tau)``), and ``G s =
    0``. Any ``G >= 0`` is primal feasible (an exact side, at most one, after scaling) and any ``s
    >= 0`` dual feasible, so both values are bounds at every iterate. Predictor-corrector steps
    (Mehrotra, SIAM J. Optim. 2, 1992 :cite:p:`mehrotra1992`), with the corrections bounded as in
    Gondzio, Comput. Optim. Appl. 6 (1996) :cite:p:`gondzio1996`.

    Parameters
    ----------
    graph
        The edges; every row and column has at least one.
    cost
        Cost of each edge.
    a, b
        Positive masses of rows and columns, of sums near one.
    phi, psi
        Starting potentials, feasible on the edges.
    tol
        Stop when primal and dual differ by less than ``tol`` times the primal value.
    max_iterations
        Most Newton steps: some 15 do as a rule, 200 were needed for a nearly balanced plan.
    sides
        Penalties of rows and columns.

    Returns
    -------
    The best plan and potentials.
    """
    system, limits = NewtonSystem(graph), _Inequalities(graph, cost, sides)
    source, target = sides
    if limits.signs:
        phi, psi = 0.9 * phi, 0.9 * psi  # strictly within the bounds, as costs are positive
    else:
        phi, psi = centre_potentials(phi, psi, a, b, sides)
    slack = limits.right - limits.left(phi, psi)
    shift = 0.1 * float(slack[: cost.numel()].median()) + 1e-9 * (1.0 + float(cost.max()))
    shift = min(shift, 0.1 * source.bound, 0.1 * target.bound)
    phi, psi = phi - 0.5 * shift, psi - 0.5 * shift
    slack = (limits.right - limits.left(phi, psi)).clamp_min(0.5 * shift)
    masses = source.smooth(phi, a)[0].sum() + target.smooth(psi, b)[0].sum()
    plan = (0.5 * float(masses) / float(slack.reciprocal().sum())) / slack
    for iteration in range(max_iterations + 1):
        if not limits.signs:  # the slacks of bounds would change
            phi, psi = centre_potentials(phi, psi, a, b, sides)
        found = fit_exact(graph, plan[: cost.numel()], a, b, sides)
        primal = primal_value(cost, found, graph.rows(found), graph.cols(found), a, b, sides)
        dual = dual_value(phi, psi, a, b, sides)
        if primal - dual <= tol * max(primal, _FLOOR) or iteration == max_iterations:
            break
        (mass_a, curve_a), (mass_b, curve_b) = source.smooth(phi, a), target.smooth(psi, b)
        weight = plan / slack
        system.factorise(weight[: cost.numel()], *limits.diagonals(weight, curve_a, curve_b))
        gap = float((plan * slack).mean())
        d_phi, d_psi = system.solve(mass_a, mass_b)
        d_sum = limits.left(d_phi, d_psi)
        d_plan = plan * (d_sum / slack - 1.0)
        step = _longest_step(plan, d_plan), _longest_step(slack, -d_sum)
        after = float(((plan + step[0] * d_plan) * (slack - step[1] * d_sum)).mean())
        centring = max((after / gap) ** 3, 1e-6) * gap
        # where the predicted step is much too long its products would swamp the correction
        product = (d_plan * d_sum).clamp(-_LARGEST_PRODUCT * gap, _LARGEST_PRODUCT * gap)
        correction = (centring + product) / slack
        rows, cols = limits.sums(correction)
        d_phi, d_psi = system.solve(
            mass_a + source.bend(mass_a, d_phi) - rows, mass_b + target.bend(mass_b, d_psi) - cols
        )
        d_sum = limits.left(d_phi, d_psi)
        d_plan = correction - plan + plan * d_sum / slack
        largest = float(torch.maximum(d_phi.abs().max(), d_psi.abs().max())) / sides.least
        plan = plan + min(1.0, 0.995 * _longest_step(plan, d_plan)) * d_plan
        move = min(1.0, 0.995 * _longest_step(slack, -d_sum), 2.0 / max(largest, 1e-300))
        phi, psi = phi + move * d_phi, psi + move * d_psi
        slack = (slack - move * d_sum).clamp_min(1e-300)
    return EdgeSolution(found, phi, psi, primal, dual, iteration)


def _longest_step(value: Tensor, change: Tensor) -> float:
    """Longest step, at most one, that keeps ``value + step * change`` non-negative."""
    ratio = torch.where(change < 0, -value / change, torch.ones_like(value))
    return min(1.0, float(ratio.min()))
