"""Static Wasserstein-Fisher-Rao coupling of two weighted clouds."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from scruot._messages import unknown
from scruot.transport.blurred import solve_blurred
from scruot.transport.checks import check_clouds
from scruot.transport.coupling import Coupling
from scruot.transport.exact import SparsePlan, prune, solve_exact
from scruot.transport.frank_wolfe import solve_frank_wolfe
from scruot.transport.hierarchical import entropic_on_candidates, solve_hierarchical
from scruot.transport.reduction import Problem, reduce_problem, restore
from scruot.transport.sinkhorn import DenseCost, anneal, typical_cost

__all__ = ["wfr_coupling"]

_LOG = logging.getLogger(__name__)

_MOST_CHECKED = 4_000_000_000  # pairs; a pass over them takes about a minute on one core
# from this size of the smaller cloud on, steps of the network simplex are cheaper than of Newton
_MOST_NEWTON = 2000
_ENOUGH = 1e-3  # relative gap with which the former are content
_POOR = 0.01  # relative gap that a user hears of
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
    distance*, Invent. Math. 211 (2018). Chizat, Peyre, Schmitzer and Vialard, J. Funct. Anal. 274
    (2018).

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
    certify = method == "exact" or x0.shape[0] * x1.shape[0] <= _MOST_CHECKED
    x0_, x1_, a_, b_ = (t.to(device).to(torch.float64) for t in (x0, x1, a, b))
    problem = reduce_problem(x0_, x1_, a_, b_, delta=delta, max_bytes=max_bytes, look=certify)
    solution, used = None, "empty"
    if problem is not None:
        solution, used = _solve(
            problem,
            method,
            blur=blur,
            kept_mass=kept_mass,
            max_exact=max_exact,
            seed=random_state,
            certify=certify,
        )
    coupling = restore(problem, solution, x0, a, b, method=used, certified=certify)
    if certify and blur == 0 and coupling.gap > _POOR:
        _LOG.warning(
            "The coupling of %d with %d cells may cost up to %.1f %% more than the best one; "
            "method='exact' (coupling='exact' in a fit) is slower and closes the gap.",
            *coupling.shape,
            100 * coupling.gap,
        )
    return coupling


def _solve(
    problem: Problem,
    method: str,
    *,
    blur: float,
    kept_mass: float,
    max_exact: int,
    seed: int,
    certify: bool,
) -> tuple[SparsePlan, str]:
    """Choose a method and apply it."""
    costs, a, b = problem.costs, problem.a, problem.b
    small = costs.whole and min(costs.shape) <= max_exact
    if method == "hierarchical" or (method == "auto" and not small):
        solution = solve_hierarchical(
            costs,
            a,
            b,
            known=problem.known,
            seed=seed,
            certify=certify,
            blur=blur,
            kept_mass=kept_mass,
        )
        return solution, "hierarchical"
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
        start = entropic_on_candidates(costs, a, b, known=problem.known, seed=seed)
        graph = start.edges.graph
        solution = solve_exact(costs, a, b, start.psi, extra=(graph.row, graph.col))
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
