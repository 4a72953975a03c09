"""Static coupling of two weighted clouds under squared distances and penalised marginals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scruot._messages import unknown
from scruot.transport.blurred import solve_blurred
from scruot.transport.checks import check_clouds
from scruot.transport.coupling import Coupling
from scruot.transport.exact import SparsePlan, prune, solve_exact
from scruot.transport.hierarchical import solve_hierarchical
from scruot.transport.linear import solve_linear, solve_partial
from scruot.transport.partial import solve_blurred_partial
from scruot.transport.penalties import Penalty, Sides
from scruot.transport.reduction import Problem, homogeneous_problem, is_large, restore
from scruot.transport.sinkhorn import BlockedCost, DenseCost, anneal, typical_cost
from scruot.transport.unsettled import warn_unsettled

__all__ = ["couple"]

_METHODS = ("auto", "exact", "hierarchical")
_SAME_MASS = 1e-6  # relative difference of total masses that counts as rounding
_PRUNED = (1e-4, 1e-6, 1e-9)  # entries that are dropped, over the largest of row and column
_SMALL = 1_000_000  # pairs, up to which the gap is closed further than anyone needs


def couple(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    source: Penalty,
    target: Penalty,
    reg: float = 0.0,
    moved: float | None = None,
    cost_scale: float = 1.0,
    method: str = "auto",
    kept_mass: float = 0.999,
    max_exact: int = 4000,
    max_bytes: int = 2**29,
    random_state: int = 0,
) -> Coupling:
    r"""Optimal coupling under squared distances: balanced, unbalanced, semi-relaxed or partial.

    Minimises :math:`\langle P, C\rangle + \tau_0 D_0(P 1 | a) + \tau_1 D_1(P^T 1 | b)` over
    :math:`P \ge 0` with :math:`C = |x - y|^2 /` ``cost_scale``, and with ``reg`` the sum of this
    and :math:`\mathrm{reg}\, KL(P | a b^T / \sqrt{m_a m_b})`, where :math:`m_a, m_b` are the total
    masses. Doubling both measures doubles the plan.

    Parameters
    ----------
    x0
        Source cells, shape ``(n, d)``.
    x1
        Target cells, shape ``(m, d)``.
    a
        Mass of each source cell, shape ``(n,)``, non-negative; cells of mass zero take no part.
    b
        Mass of each target cell, shape ``(m,)``, non-negative.
    source, target
        Penalties of the row and of the column masses (:class:`Penalty`). Both exact is balanced
        transport, which needs equal total masses; one exact is semi-relaxed transport.
    reg
        Entropic regularisation in units of the scaled cost; 0 for the optimal plan itself.
    moved
        Mass of partial transport: exactly this mass moves, no row sends more than ``a`` and no
        column gets more than ``b``; both penalties must be exact.
    cost_scale
        Squared length that costs one, in squared units of ``x0``.
    method
        ``"exact"`` regards all pairs, ``"hierarchical"`` only candidates found through clusters;
        ``"auto"`` chooses by size.
    kept_mass
        With ``reg``: entries are kept that hold this share of the mass of their row or column; they
        are then rescaled to the marginals of the whole plan.
    max_exact
        ``"auto"`` regards all pairs while the smaller cloud has at most this many cells and the
        cost matrix fits.
    max_bytes
        Most bytes of the cost matrix that are held at once; beyond that it is computed in row
        blocks.
    random_state
        Seed of the clustering of ``"hierarchical"``; the other methods are deterministic.

    Returns
    -------
    The sparse plan, on the device of ``x0``. ``primal`` and ``dual`` are values without entropy, in
    units of the scaled cost times mass. A device without float64 (mps) computes on the CPU and gets
    the masses as float32. A solve that has not converged has ``converged=False``, and a warning is
    logged that says what to change.

    Raises
    ------
    ValueError
        On wrong shapes, non-finite coordinates, negative or non-finite masses, parameters out of
        range, and problems that no plan solves (an exact marginal without the mass to meet it).

    References
    ----------
    Chizat, Peyre, Schmitzer and Vialard, Math. Comp. 87 (2018) :cite:p:`chizat2018scaling`.
    Sejourne, Vialard and Peyre, *Faster unbalanced optimal transport*, AISTATS 2022
    :cite:p:`sejourne2022`. Figalli, *The optimal partial transport problem*, Arch. Ration. Mech.
    Anal. 195 (2010) :cite:p:`figalli2010`.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.zeros(1, 2), torch.ones(1, 2)
    >>> kl = Penalty("kl", 2.0)
    >>> plan = couple(x, y, torch.ones(1), torch.ones(1), source=kl, target=kl)
    >>> round(plan.moved, 4), round(float(torch.tensor(-2.0 / 4.0).exp()), 4)
    (0.6065, 0.6065)
    """
    sides = Sides(source, target)
    _check(sides, reg, moved, cost_scale, kept_mass, method)
    check_clouds(x0, x1, a, b)
    device = torch.device("cpu") if x0.device.type == "mps" else x0.device
    x0_, x1_, a_, b_ = (t.to(device).to(torch.float64) for t in (x0, x1, a, b))
    b_ = _feasible(a_, b_, sides, moved)
    unit = math.sqrt(cost_scale)
    problem = homogeneous_problem(x0_ / unit, x1_ / unit, a_, b_, max_bytes=max_bytes)
    solution, used = None, "empty"
    large = is_large(a_, b_, method, max_exact=max_exact, max_bytes=max_bytes)
    if problem is not None and large and moved is None:
        solution = _solve_large(problem, sides, seed=random_state, reg=reg, kept_mass=kept_mass)
        used = "hierarchical"
    elif problem is not None:
        share = None if moved is None else moved / problem.scale
        solution, used = _solve(problem, sides, reg=reg, moved=share, kept_mass=kept_mass)
    coupling = restore(problem, solution, x0, a, b, method=used, sides=sides, reg=reg)
    warn_unsettled(coupling, spread=reg, name="reg")
    return coupling


def _solve_large(
    problem: Problem, sides: Sides, *, seed: int, reg: float, kept_mass: float
) -> SparsePlan:
    """Couple through candidate pairs."""
    costs, a, b = problem.costs, problem.a, problem.b
    return solve_hierarchical(costs, a, b, seed=seed, reg=reg, kept_mass=kept_mass, sides=sides)


def _solve(
    problem: Problem,
    sides: Sides,
    *,
    reg: float,
    moved: float | None,
    kept_mass: float,
) -> tuple[SparsePlan, str]:
    """Choose a solver that regards all pairs, and apply it."""
    costs, a, b = problem.costs, problem.a, problem.b
    linear = moved is not None or all(side.exact or side.kind == "tv" for side in sides)
    if linear and reg == 0 and not costs.whole:
        other = "reg > 0" if moved is not None else "method='hierarchical'"
        msg = (
            f"Found {costs.shape[0]} and {costs.shape[1]} cells, whose cost matrix exceeds "
            f"max_bytes; this linear programme needs all of it. Raise max_bytes, or use {other}."
        )
        raise ValueError(msg)
    if moved is not None and reg > 0:
        found = solve_blurred_partial(costs, a, b, moved=moved, eps=reg, kept_mass=kept_mass)
        return found, "entropic"
    if moved is not None:
        return solve_partial(costs, a, b, moved), "exact"
    if reg > 0:
        found = solve_blurred(costs, a, b, eps=reg, kept_mass=kept_mass, sides=sides)
        return found, "entropic"
    if linear:
        return solve_linear(costs, a, b, sides), "exact"
    bounds = sides.bounds(a, b)
    costs = costs.capped(1.01 * bounds.cost)
    first = typical_cost(next(iter(costs))[1])
    last = 0.003 * min(first, 10.0 * sides.least)
    dense = DenseCost(costs.matrix()) if costs.whole else BlockedCost(costs)
    _, psi = anneal(dense, a, b, first=first, last=last, sides=sides)
    tol = 1e-8 if a.numel() * b.numel() <= _SMALL else 1e-6
    solution = solve_exact(costs, a, b, bounds.columns(psi), sides=sides, tol=tol)
    for share in _PRUNED:  # at a kink of TV even little mass counts
        plan = prune(solution, costs, a, b, sides=sides, share=share)
        if plan.primal - solution.primal <= 10.0 * tol * solution.primal:
            break
    return plan, "exact"


def _feasible(a: Tensor, b: Tensor, sides: Sides, moved: float | None) -> Tensor:
    """Refuse what no plan can meet; return ``b`` with rounding taken out of its sum."""
    total_a, total_b = float(a.sum()), float(b.sum())
    if moved is not None:
        if not (sides.source.exact and sides.target.exact):
            msg = (
                f"Found moved = {moved} together with {sides.source} and {sides.target}; partial "
                "transport of a fixed mass takes Penalty('exact') on both sides."
            )
            raise ValueError(msg)
        if not 0 < moved <= min(total_a, total_b) * (1 + _SAME_MASS):
            msg = (
                f"Found moved = {moved}, expected a positive mass of at most the smaller total, "
                f"{min(total_a, total_b):g}."
            )
            raise ValueError(msg)
        return b
    if sides.source.exact and sides.target.exact:
        if abs(total_a - total_b) > _SAME_MASS * max(total_a, total_b):
            msg = (
                f"Found total masses {total_a:g} and {total_b:g}; balanced transport needs equal "
                "ones. Normalise a and b, or give one side a penalty, e.g. Penalty('kl', tau)."
            )
            raise ValueError(msg)
        return b * (total_a / total_b) if total_b > 0 else b
    for name, side, mine, other in (
        ("a", sides.source, total_a, total_b),
        ("b", sides.target, total_b, total_a),
    ):
        if side.exact and mine > 0 and other == 0:
            msg = f"Found no mass to couple with the exact marginal {name} of total {mine:g}."
            raise ValueError(msg)
    return b


def _check(
    sides: Sides,
    reg: float,
    moved: float | None,
    cost_scale: float,
    kept_mass: float,
    method: str,
) -> None:
    for name, side in zip(("source", "target"), sides, strict=True):
        if not isinstance(side, Penalty):
            msg = f"Found {name} = {side!r}, expected a Penalty, e.g. Penalty('kl', 1.0)."
            raise TypeError(msg)
    if not (math.isfinite(reg) and reg >= 0):
        msg = f"Found reg = {reg}, expected 0 (no entropy) or a positive number."
        raise ValueError(msg)
    if moved is not None and not math.isfinite(moved):
        msg = f"Found moved = {moved}, expected a positive mass."
        raise ValueError(msg)
    if not (math.isfinite(cost_scale) and cost_scale > 0):
        msg = f"Found cost_scale = {cost_scale}, expected a positive squared length."
        raise ValueError(msg)
    if not 0 < kept_mass <= 1:
        msg = f"Found kept_mass = {kept_mass}, expected a share in (0, 1]."
        raise ValueError(msg)
    if method not in _METHODS:
        raise ValueError(unknown("method", method, _METHODS))
