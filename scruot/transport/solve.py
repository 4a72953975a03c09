"""Static Wasserstein-Fisher-Rao coupling of two weighted clouds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scruot._messages import unknown
from scruot.transport.blurred import solve_blurred
from scruot.transport.checks import check_clouds
from scruot.transport.coupling import Coupling
from scruot.transport.exact import SparsePlan, prune, solve_exact
from scruot.transport.frank_wolfe import solve_frank_wolfe
from scruot.transport.hierarchical import potentials_on_candidates, solve_hierarchical
from scruot.transport.reduction import Problem, is_large, reduce_problem, restore
from scruot.transport.sinkhorn import DenseCost, anneal, typical_cost
from scruot.transport.unsettled import warn_unsettled

__all__ = ["wfr_coupling"]

# from this size of the smaller cloud on, steps of the network simplex are cheaper than of Newton
_MOST_NEWTON = 2000
_ENOUGH = 1e-3  # relative gap with which the former are content
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
        they are then rescaled to the marginals of the whole plan as far as their pattern allows.
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

    Returns
    -------
    The sparse plan with primal and dual value, on the device of ``x0``. A device without float64
    (mps) computes on the CPU and gets the masses as float32.

    Raises
    ------
    ValueError
        On wrong shapes, non-finite coordinates, negative or non-finite masses, or parameters out of
        range.

    References
    ----------
    Liero, Mielke and Savare, *Optimal entropy-transport problems and a new Hellinger-Kantorovich
    distance*, Invent. Math. 211 (2018) :cite:p:`liero2018`. Chizat, Peyre, Schmitzer and Vialard,
    J. Funct. Anal. 274 (2018) :cite:p:`chizat2018dynamic`.

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
    x0_, x1_, a_, b_ = (t.to(device).to(torch.float64) for t in (x0, x1, a, b))
    large = is_large(a, b, method, max_exact=max_exact, max_bytes=max_bytes)
    problem = reduce_problem(x0_, x1_, a_, b_, delta=delta, max_bytes=max_bytes, look=not large)
    solution, used = None, "empty"
    if problem is not None:
        solve = _solve_large if large else _solve
        solution, used = solve(problem, blur=blur, kept_mass=kept_mass, seed=random_state)
    coupling = restore(problem, solution, x0, a, b, method=used)
    warn_unsettled(coupling, spread=blur, name="blur")
    return coupling


def _solve_large(
    problem: Problem, *, blur: float, kept_mass: float, seed: int
) -> tuple[SparsePlan, str]:
    """Couple through candidate pairs."""
    costs, a, b = problem.costs, problem.a, problem.b
    found = solve_hierarchical(costs, a, b, seed=seed, blur=blur, kept_mass=kept_mass)
    return found, "hierarchical"


def _solve(problem: Problem, *, blur: float, kept_mass: float, seed: int) -> tuple[SparsePlan, str]:
    """Choose a method that regards all pairs, and apply it."""
    costs, a, b = problem.costs, problem.a, problem.b
    eps = blur * float(problem.nearest.median())
    if eps > 0:
        return solve_blurred(costs, a, b, eps=eps, kept_mass=kept_mass), "blurred"
    if costs.whole:
        if min(costs.shape) > _MOST_NEWTON:
            found = solve_frank_wolfe(costs, a, b)
            if found.primal - found.dual <= _ENOUGH * max(found.primal, 1e-9):
                return prune(found, costs, a, b), "exact"
        cost = costs.matrix()
        first = typical_cost(cost)
        _, psi = anneal(DenseCost(cost), a, b, first=first, last=0.003 * first)
        solution = solve_exact(costs, a, b, psi)
    else:
        graph, psi = potentials_on_candidates(costs, a, b, known=problem.known, seed=seed)
        solution = solve_exact(costs, a, b, psi, extra=(graph.row, graph.col))
    return prune(solution, costs, a, b), "exact"


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
    check_clouds(x0, x1, a, b)
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
