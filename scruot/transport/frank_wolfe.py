"""Couplings of medium clouds by fully corrective Frank-Wolfe steps on the dual problem.

The dual of optimal entropy transport is smooth and concave over the potentials that are feasible
for all pairs. Its linear oracle is balanced optimal transport between the current marginals
``a exp(-phi)`` and ``b exp(-psi)``, which the network simplex of POT solves. Every oracle gives a
plan (an upper bound) and feasible potentials (an atom); the best convex combination of all atoms
so far is feasible, too, and a lower bound. Where clouds overlap a handful of steps is enough;
where many cells are out of reach the interior point method is the better one.

References
----------
Sejourne, Vialard and Peyre, *Faster unbalanced optimal transport: translation invariant Sinkhorn
and 1-D Frank-Wolfe*, AISTATS 2022 :cite:p:`sejourne2022`.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from scruot.transport.cost import CostBlocks
from scruot.transport.exact import SparsePlan
from scruot.transport.graph import EdgeGraph
from scruot.transport.linear import network_simplex
from scruot.transport.objective import centre_potentials, dual_value, primal_value

__all__ = ["solve_frank_wolfe"]

_LOG = logging.getLogger(__name__)

# beyond this cost a pair is never worth while: dying and being born costs two at most
_CUT = 20.0


def solve_frank_wolfe(
    costs: CostBlocks, a: Tensor, b: Tensor, *, tol: float = 1e-4, most: int = 10
) -> SparsePlan:
    """Couple two clouds whose whole cost matrix fits into memory.

    Parameters
    ----------
    costs
        Cost matrix.
    a, b
        Positive masses of sum one.
    tol
        Relative duality gap to reach.
    most
        Most calls of the network simplex.

    Returns
    -------
    The best plan found, and the best potentials, feasible for all pairs.
    """
    # the network simplex runs on the CPU; potentials feasible for cut costs are feasible
    cut = costs.matrix().clamp_max(_CUT).cpu().numpy()
    masses = a.cpu(), b.cpu()
    phi, psi = (torch.zeros_like(m) for m in masses)
    atoms: list[tuple[Tensor, Tensor]] = []
    share = np.zeros(0)
    best: tuple[float, EdgeGraph, Tensor] | None = None
    for number in range(most):
        plan, atom = _oracle(cut, masses, phi, psi)
        atoms.append(atom)
        graph, values = _sparse(plan, costs, a.device)
        rows, cols = graph.rows(values), graph.cols(values)
        primal = primal_value(costs.edges(graph.row, graph.col), values, rows, cols, a, b)
        if best is None or primal < best[0]:
            best = primal, graph, values
        share, phi, psi = _best_combination(atoms, share, masses)
        dual = dual_value(phi, psi, *masses)
        _LOG.debug("step %d: relative gap %.2e", number, (best[0] - dual) / max(best[0], 1e-9))
        if best[0] - dual <= tol * max(best[0], 1e-9):
            break
    if best is None:
        msg = f"Found most={most}; expected at least one step."
        raise ValueError(msg)
    primal, graph, values = best
    return SparsePlan(graph, values, phi.to(a.device), psi.to(a.device), primal, dual)


def _oracle(
    cost: NDArray[np.float64], masses: tuple[Tensor, Tensor], phi: Tensor, psi: Tensor
) -> tuple[NDArray[np.float64], tuple[Tensor, Tensor]]:
    """Balanced transport between the marginals that belong to the potentials."""
    source = (masses[0] * torch.exp(-phi)).numpy()
    target = (masses[1] * torch.exp(-psi)).numpy()
    plan, _, v = network_simplex(cost, source, target)
    # c-transforms: what rounding left infeasible becomes feasible, and no bound is given away
    u = (cost - v).min(axis=1)
    v = (cost - u[:, None]).min(axis=0)
    return plan, (torch.from_numpy(u - u.mean()), torch.from_numpy(v + u.mean()))


def _sparse(
    plan: NDArray[np.float64], costs: CostBlocks, device: torch.device
) -> tuple[EdgeGraph, Tensor]:
    """Return the entries of a plan whose true cost is finite."""
    row, col = (torch.from_numpy(index).to(device) for index in np.nonzero(plan))
    values = torch.from_numpy(plan[np.nonzero(plan)]).to(device)
    reachable = torch.isfinite(costs.edges(row, col))
    return EdgeGraph(row[reachable], col[reachable], costs.shape), values[reachable]


def _best_combination(
    atoms: list[tuple[Tensor, Tensor]],
    share: NDArray[np.float64],
    masses: tuple[Tensor, Tensor],
) -> tuple[NDArray[np.float64], Tensor, Tensor]:
    """Maximise the dual value over the convex combinations of all atoms."""
    first = torch.stack([u for u, _ in atoms])
    second = torch.stack([v for _, v in atoms])

    def combined(weights: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        w = torch.from_numpy(weights)
        return centre_potentials(w @ first, w @ second, *masses)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[Any]]:
        phi, psi = combined(weights)
        slope = first @ (masses[0] * torch.exp(-phi)) + second @ (masses[1] * torch.exp(-psi))
        return -dual_value(phi, psi, *masses) / unit, -slope.numpy() / unit

    count = len(atoms)
    step = 2 / (count + 1)
    start = np.append(share * (1 - step), step) if count > 1 else np.ones(1)
    unit = 1.0
    if count > 1:
        unit = max(abs(loss(start)[0]), 1e-300)
        solved = minimize(
            loss,
            start,
            jac=True,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * count,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
            options={"maxiter": 200, "ftol": 1e-12},
        )
        found = np.clip(solved.x, 0.0, None)
        start = min((start, found / found.sum()), key=lambda w: loss(w)[0])
    return start, *combined(start)
