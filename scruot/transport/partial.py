"""Entropic partial transport: the price at which the wished mass moves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scruot.transport.blurred import cut_to_share
from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan
from scruot.transport.linear import partial_plan
from scruot.transport.penalties import Penalty, Sides
from scruot.transport.sinkhorn import BlockedCost, DenseCost, Potentials, annealed, typical_cost

__all__ = ["solve_blurred_partial"]

_TOL = 1e-6  # relative, of the moved mass; the plan is then scaled down by so little
_MOST_STEPS = 80
_MOST_SWEEPS = 2000


@dataclass(frozen=True)
class _Capped(Penalty):
    """Price ``cap``, of either sign, of mass that stays behind; none can be created.

    ``tau`` only tells the scale of the costs.
    """

    cap: float = 0.0

    @property
    def bound(self) -> float:
        """None, as nothing can be created."""
        return math.inf

    def ceiling(self, prescribed: Tensor) -> Tensor:
        """Potentials beyond which all mass stays behind."""
        return torch.full_like(prescribed, self.cap)

    def dual(self, phi: Tensor, prescribed: Tensor) -> Tensor:
        """Least price of a marginal plus ``phi`` per unit of mass."""
        return (phi.clamp_max(self.cap) * prescribed).sum()

    def marginal(self, phi: Tensor, prescribed: Tensor) -> Tensor:
        """Marginal of a potential."""
        return torch.where(phi < self.cap, prescribed, 0.0)

    def step(self, soft: Tensor, eps: float, prescribed: Tensor) -> Tensor:
        """Potential whose row mass fits."""
        return (-eps * soft).clamp_max(self.cap)


def solve_blurred_partial(
    costs: CostBlocks, a: Tensor, b: Tensor, *, moved: float, eps: float, kept_mass: float
) -> SparsePlan:
    """Minimise <P, c> + eps KL(P | ab') over P1 <= a, P'1 <= b with the total mass ``moved``.

    Its Lagrangian prices mass that stays behind; the price is found by bisection, where each solve
    starts from the last one.
    """
    dense = DenseCost(costs.matrix()) if costs.whole else BlockedCost(costs)
    scale = typical_cost(next(iter(costs))[1])

    def at(cap: float, start: Potentials | None) -> tuple[Potentials, float]:
        side = _Capped("tv", scale, cap)
        found = annealed(
            dense,
            a,
            b,
            first=scale if start is None else eps,
            last=eps,
            most_last=_MOST_SWEEPS,
            start=None if start is None else (start.phi.clamp_max(cap), start.psi.clamp_max(cap)),
            sides=Sides(side, side),
        )
        soft = dense.soft_rows(found.psi / eps + b.log(), eps)
        return found, float((a * (found.phi / eps + soft).exp()).sum())

    # all of the smaller mass moves only in the limit of an infinite price
    wanted = min(moved, float(torch.minimum(a.sum(), b.sum())) * (1.0 - _TOL))
    cap, low = scale, -math.inf
    found, mass = at(cap, None)
    for _ in range(_MOST_STEPS):
        if 0.0 <= mass - wanted <= _TOL * wanted:
            break
        if mass < wanted:  # the plan that is kept never moves too little
            low, step = cap, max(scale, abs(cap))
            while mass < wanted:
                low, cap = cap, cap + step
                found, mass = at(cap, found)
                step *= 2.0
            continue
        middle = 0.5 * (low + cap) if low > -math.inf else cap - max(scale, abs(cap))
        trial, value = at(middle, found)
        if value >= wanted:
            found, mass, cap = trial, value, middle
        else:
            low = middle
    side = _Capped("tv", scale, cap)
    potentials = found.phi, found.psi
    graph, plan = cut_to_share(costs, a, b, potentials, eps, kept_mass, Sides(side, side))
    plan = plan * (moved / float(plan.sum()))
    solution = partial_plan(costs, (a, b), (graph, plan), found.psi - cap, 2.0 * cap, moved)
    return replace(solution, converged=found.converged)
