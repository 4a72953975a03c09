"""Static Wasserstein-Fisher-Rao coupling of two weighted clouds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot._messages import unknown
from scruot.transport.blurred import solve_blurred
from scruot.transport.candidates import nearest_costs
from scruot.transport.cost import CostBlocks
from scruot.transport.coupling import Coupling
from scruot.transport.exact import SparsePlan, prune, solve_exact
from scruot.transport.sinkhorn import annealed_potentials

__all__ = ["wfr_coupling"]

_METHODS = ("auto", "exact", "hierarchical")


def wfr_coupling(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    delta: float,
    *,
    blur: float = 0.0,
    kept_mass: float = 0.999,
    method: str = "auto",
    max_exact: int = 4000,
    max_bytes: int = 2**29,
    random_state: int = 0,
) -> Coupling:
    r"""Optimal static coupling for the Wasserstein-Fisher-Rao distance.

    Minimises :math:`\langle G, c\rangle + KL(G 1 | a) + KL(G^T 1 | b)` over :math:`G \ge 0` with
    :math:`c = -2\log\cos_+(|x - y| / (2\delta))` (:func:`wfr_cost`). Masses are absolute and may
    differ; cells without a partner within :math:`\pi\delta` die or are born, cells of mass zero
    take no part.

    Parameters
    ----------
    x0
        Source cells, shape ``(n, d)``.
    x1
        Target cells, shape ``(m, d)``.
    a
        Mass of each source cell, shape ``(n,)``, non-negative.
    b
        Mass of each target cell, shape ``(m,)``, non-negative.
    delta
        Length scale of growth against transport, in the units of the coordinates.
    blur
        0 for the exact plan. Otherwise the entropic problem with regularisation ``blur * (median
        over all cells of the cost of their cheapest pair)`` towards the product of the two
        normalised clouds is solved, and the plan cut to few entries; ``primal`` and ``dual`` are
        values without entropy, so the gap shows what the blur costs. Where cheapest pairs cost
        nothing the plan is exact.
    kept_mass
        With ``blur``: entries are kept that hold this share of the mass of their row or column;
        they are then rescaled to the marginals of the whole plan.
    method
        ``"exact"``, ``"hierarchical"`` or ``"auto"``, by size.
    max_exact
        ``"auto"`` is exact while the smaller cloud has at most this many cells and the cost matrix
        fits.
    max_bytes
        Most bytes of the cost matrix that are held at once; beyond that it is computed in row
        blocks.
    random_state
        Seed of the clustering of ``"hierarchical"``; the other methods are deterministic.

    Returns ------- The sparse plan with primal and dual value, on the device of ``x0``. A device
    without float64 (mps) computes on the CPU and gets the masses as float32.

    Raises
    ------
    ValueError
        On wrong shapes, non-finite coordinates, negative or non-finite masses, or parameters out of
        range.

    References ---------- Liero, Mielke and Savare, *Optimal entropy-transport problems and a new
    Hellinger-Kantorovich distance*, Invent. Math. 211 (2018). Chizat, Peyre, Schmitzer and Vialard,
    J. Funct. Anal. 274 (2018).

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 2)
    >>> plan = wfr_coupling(x, x, torch.ones(1), 4 * torch.ones(1), 1.0)
    >>> round(plan.primal, 6), round(float(plan.mass), 6)
    (1.0, 2.0)
    """
    _check(x0, x1, a, b, delta, blur, kept_mass, method)
    device = torch.device("cpu") if x0.device.type == "mps" else x0.device
    problem = _reduce(
        *(t.to(device=device).to(torch.float64) for t in (x0, x1, a, b)),
        delta=delta,
        max_bytes=max_bytes,
    )
    if problem is None:
        solution, used = None, "empty"
    elif blur > 0 and (eps := blur * _best_edge(problem)) > 0:
        solution, used = (
            solve_blurred(problem.costs, problem.a, problem.b, eps=eps, kept_mass=kept_mass),
            "blurred",
        )
    else:
        solution, used = _exact(problem), "exact"
    return _restore(problem, solution, x0, a, b, used)


@dataclass(frozen=True)
class _Problem:
    """The part of a problem where every cell has mass and a partner, masses scaled to sum one."""

    costs: CostBlocks
    a: Tensor
    b: Tensor
    rows: Tensor
    cols: Tensor
    mass_a: float
    mass_b: float
    nearest: Tensor


def _reduce(
    x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, *, delta: float, max_bytes: int
) -> _Problem | None:
    """Drop cells without mass or partner; None where nothing is left."""
    rows, cols = torch.nonzero(a > 0)[:, 0], torch.nonzero(b > 0)[:, 0]
    while rows.numel() and cols.numel():
        costs = CostBlocks(x0[rows], x1[cols], delta=delta, max_bytes=max_bytes)
        near_rows, near_cols = nearest_costs(costs)
        reached = torch.isfinite(near_rows), torch.isfinite(near_cols)
        if bool(reached[0].all()) and bool(reached[1].all()):
            mass_a, mass_b = float(a[rows].sum()), float(b[cols].sum())
            return _Problem(
                costs,
                a[rows] / mass_a,
                b[cols] / mass_b,
                rows,
                cols,
                mass_a,
                mass_b,
                torch.cat([near_rows, near_cols]),
            )
        rows, cols = rows[reached[0]], cols[reached[1]]
    return None


def _best_edge(problem: _Problem) -> float:
    return float(problem.nearest.median())


def _exact(problem: _Problem) -> SparsePlan:
    costs, a, b = problem.costs, problem.a, problem.b
    _, psi = annealed_potentials(costs.matrix(), a, b)
    return prune(solve_exact(costs, a, b, psi), costs, a, b)


def _restore(
    problem: _Problem | None,
    solution: SparsePlan | None,
    x0: Tensor,
    a: Tensor,
    b: Tensor,
    method: str,
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
        certified=True,
    )


def _check(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    delta: float,
    blur: float,
    kept_mass: float,
    method: str,
) -> None:
    for name, x, mass_name, mass in (("x0", x0, "a", a), ("x1", x1, "b", b)):
        if x.ndim != 2 or x.shape[1] != x0.shape[1]:
            msg = (
                f"Found {name} of shape {tuple(x.shape)}, expected (cells, {x0.shape[-1]}) like x0."
            )
            raise ValueError(msg)
        if mass.shape != x.shape[:1]:
            msg = f"Found {mass_name} of shape {tuple(mass.shape)}, expected ({x.shape[0]},)."
            raise ValueError(msg)
        if not bool(torch.isfinite(x).all()):
            msg = f"Found NaN or infinite coordinates in {name}; remove or impute these cells."
            raise ValueError(msg)
        if not bool((torch.isfinite(mass) & (mass >= 0)).all()):
            msg = f"Found negative or non-finite masses in {mass_name}; masses must be at least 0."
            raise ValueError(msg)
    if not (math.isfinite(delta) and delta > 0):
        msg = f"Found delta = {delta}, expected a positive length."
        raise ValueError(msg)
    if not (math.isfinite(blur) and blur >= 0):
        msg = f"Found blur = {blur}, expected 0 (exact) or a positive number."
        raise ValueError(msg)
    if not 0 < kept_mass <= 1:
        msg = f"Found kept_mass = {kept_mass}, expected a share in (0, 1]."
        raise ValueError(msg)
    if method not in _METHODS:
        raise ValueError(unknown("method", method, _METHODS))
