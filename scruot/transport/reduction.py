"""Reduction of a coupling problem to the cells that matter, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.transport.candidates import nearest_partners
from scruot.transport.cost import CostBlocks
from scruot.transport.coupling import Coupling
from scruot.transport.exact import SparsePlan

__all__ = ["Problem", "reduce_problem", "restore"]


@dataclass(frozen=True, eq=False)
class Problem:
    """Cells with mass and partner, and masses scaled to sum one.

    Attributes
    ----------
    costs
        Costs between these cells.
    a, b
        Their masses, each of sum one.
    rows, cols
        Their indices in the original clouds.
    mass_a, mass_b
        Their masses before scaling, in total.
    known
        Rows and columns of the cheapest pair of every cell; empty where this was not looked for.
    nearest
        Costs of those pairs.
    """

    costs: CostBlocks
    a: Tensor
    b: Tensor
    rows: Tensor
    cols: Tensor
    mass_a: float
    mass_b: float
    known: tuple[Tensor, Tensor]
    nearest: Tensor


def reduce_problem(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    delta: float,
    max_bytes: int,
    look: bool,
) -> Problem | None:
    """Drop cells without mass and, if ``look``, without a partner; None if none is left."""
    rows, cols = torch.nonzero(a > 0)[:, 0], torch.nonzero(b > 0)[:, 0]
    while rows.numel() and cols.numel():
        costs = CostBlocks(x0[rows], x1[cols], delta=delta, max_bytes=max_bytes)
        known, nearest = (rows[:0], cols[:0]), x0.new_zeros(0)
        lonely = False
        if look:
            to_col, col, to_row, row = nearest_partners(costs)
            reached = torch.isfinite(to_col), torch.isfinite(to_row)
            lonely = not (bool(reached[0].all()) and bool(reached[1].all()))
            known = (
                torch.cat([torch.arange(len(col), device=col.device), row]),
                torch.cat([col, torch.arange(len(row), device=row.device)]),
            )
            nearest = torch.cat([to_col, to_row])
        if lonely:
            rows, cols = rows[reached[0]], cols[reached[1]]
            continue
        mass_a, mass_b = float(a[rows].sum()), float(b[cols].sum())
        scaled = a[rows] / mass_a, b[cols] / mass_b
        return Problem(costs, *scaled, rows, cols, mass_a, mass_b, known, nearest)
    return None


def restore(
    problem: Problem | None,
    solution: SparsePlan | None,
    x0: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    method: str,
    certified: bool,
) -> Coupling:
    """Undo the reduction: original indices, masses and values.

    With masses scaled to one, the plan shrinks by ``s = sqrt(mass_a mass_b)`` and the value of the
    original problem is ``(sqrt(mass_a) - sqrt(mass_b))^2 + s * value``: potentials shift by half
    the log ratio of the masses.
    """
    device, real = x0.device, torch.float32 if x0.device.type == "mps" else torch.float64
    total = float(a.sum(dtype=real)) + float(b.sum(dtype=real))
    primal = dual = total
    row = col = torch.zeros(0, dtype=torch.int64, device=device)
    mass = torch.zeros(0, dtype=real, device=device)
    if problem is not None and solution is not None:
        scale = math.sqrt(problem.mass_a * problem.mass_b)
        apart = (math.sqrt(problem.mass_a) - math.sqrt(problem.mass_b)) ** 2
        outside = max(0.0, total - problem.mass_a - problem.mass_b)
        primal = outside + apart + scale * solution.primal
        dual = outside + apart + scale * solution.dual
        row = problem.rows[solution.graph.row].to(device)
        col = problem.cols[solution.graph.col].to(device)
        mass = (scale * solution.plan).to(real).to(device)
    shape = (x0.shape[0], b.shape[0])
    return Coupling(
        row,
        col,
        mass,
        shape,
        a.to(device).to(real),
        b.to(device).to(real),
        primal,
        dual,
        method,
        certified,
    )
