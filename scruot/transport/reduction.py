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
from scruot.transport.penalties import WFR, Sides

__all__ = ["Problem", "homogeneous_problem", "is_large", "reduce_problem", "restore"]


@dataclass(frozen=True, eq=False)
class Problem:
    """Cells with mass and partner, and scaled masses.

    Attributes
    ----------
    costs
        Costs between these cells.
    a, b
        Their masses, scaled to sums of one or, beyond the WFR problem, of product one.
    rows, cols
        Their indices in the original clouds.
    scale
        Mass of the original plan for each unit of the plan between scaled masses.
    offset
        Value that the original problem has beside ``scale`` times the value of this one.
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
    scale: float
    offset: float
    known: tuple[Tensor, Tensor]
    nearest: Tensor


def is_large(a: Tensor, b: Tensor, method: str, *, max_exact: int, max_bytes: int) -> bool:
    """Whether to couple through candidate pairs instead of regarding all."""
    n, m = int((a > 0).sum()), int((b > 0).sum())
    fits = min(n, m) <= max_exact and 8 * n * m <= max_bytes
    return method == "hierarchical" or (method == "auto" and not fits)


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
    """Drop cells without mass and, if ``look``, without a partner; None if none is left.

    With masses scaled to one, the plan shrinks by ``s = sqrt(mass_a mass_b)`` and the value of the
    original problem is ``(sqrt(mass_a) - sqrt(mass_b))^2 + s * value``: potentials shift by half
    the log ratio of the masses. The masses of dropped cells add to the value.
    """
    total = float(a.sum()) + float(b.sum())
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
        offset = (math.sqrt(mass_a) - math.sqrt(mass_b)) ** 2
        offset += max(0.0, total - mass_a - mass_b)
        scale = math.sqrt(mass_a * mass_b)
        return Problem(costs, *scaled, rows, cols, scale, offset, known, nearest)
    return None


def homogeneous_problem(
    x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, *, max_bytes: int
) -> Problem | None:
    """Squared distances between the cells with mass; None if a cloud has none.

    Both masses are divided by ``s = sqrt(mass_a mass_b)``, and so are plan and value, whatever the
    penalties.
    """
    rows, cols = torch.nonzero(a > 0)[:, 0], torch.nonzero(b > 0)[:, 0]
    if not (rows.numel() and cols.numel()):
        return None
    costs = CostBlocks(x0[rows], x1[cols], delta=math.inf, max_bytes=max_bytes)
    scale = math.sqrt(float(a.sum()) * float(b.sum()))
    none = x0.new_zeros(0)
    return Problem(
        costs, a[rows] / scale, b[cols] / scale, rows, cols, scale, 0.0, (rows[:0], cols[:0]), none
    )


def restore(
    problem: Problem | None,
    solution: SparsePlan | None,
    x0: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    method: str,
    sides: Sides = WFR,
    reg: float = 0.0,
) -> Coupling:
    """Undo the reduction: original indices, masses and values."""
    device, real = x0.device, torch.float32 if x0.device.type == "mps" else torch.float64
    row = col = torch.zeros(0, dtype=torch.int64, device=device)
    mass = torch.zeros(0, dtype=real, device=device)
    a, b = a.to(device).to(real), b.to(device).to(real)
    if problem is not None and solution is not None:
        primal = problem.offset + problem.scale * solution.primal
        dual = problem.offset + problem.scale * solution.dual
        row = problem.rows[solution.graph.row].to(device)
        col = problem.cols[solution.graph.col].to(device)
        mass = (problem.scale * solution.plan).to(real).to(device)
    else:
        primal = dual = sum(
            float(side.value(torch.zeros_like(m[m > 0]), m[m > 0]))
            for side, m in zip(sides, (a, b), strict=True)
            if bool((m > 0).any())
        )
    return Coupling(
        row,
        col,
        mass,
        (x0.shape[0], b.shape[0]),
        a,
        b,
        primal,
        dual,
        method,
        solution is None or solution.certified,
        converged=solution is None or solution.converged,
        reg=reg,
        source=sides.source,
        target=sides.target,
    )
