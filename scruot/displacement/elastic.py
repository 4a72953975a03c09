r"""Entropic maps of elastic costs: a quadratic cost plus a penalty that makes displacements sparse.

With :math:`h(z) = \tfrac12 |z|^2 + \gamma\tau(z)` and the entropic plan of the cost
:math:`h(x_i - y_j)`, whose rows give shares :math:`p_{ij}`, the map is :math:`T(x_i) = x_i -
\mathrm{prox}_{\gamma\tau}\bigl(\sum_j p_{ij} \nabla h(x_i - y_j)\bigr)`.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import replace

import numpy as np
import ot
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scruot.displacement.averages import row_stochastic
from scruot.displacement.penalties import Sparsity

__all__ = ["elastic_displacement", "elastic_for_dimension", "elastic_plan", "gene_scale"]

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

_SLICE = 8_000_000  # displacements of pairs held at once
_LARGEST = 30_000_000  # pairs
_STEPS = 12
_MOST_STRENGTH = 1e3


def gene_scale(x: Array) -> float:
    """Return the median standard deviation of the genes that vary, 1 where none does."""
    std = x.std(axis=0)
    return float(np.median(std[std > 0])) if (std > 0).any() else 1.0


def elastic_plan(
    x: Array, y: Array, a: Array, b: Array, sparsity: Sparsity, *, reg: float, tau: float
) -> csr_matrix:
    """Return the entropic plan of the elastic cost, shape ``(n, m)``.

    Parameters
    ----------
    x, y
        Genes, shapes ``(n, d)`` and ``(m, d)``.
    a, b
        Masses.
    sparsity
        The penalty.
    reg, tau
        Regularisation, and price of mass that is left out on either side, in units of the mean
        cost; an infinite ``tau`` leaves none out.

    Raises
    ------
    ValueError
        For more than 30 million pairs.
    RuntimeError
        When the plan has no finite mass.
    """
    if len(x) * len(y) > _LARGEST:
        msg = (
            f"Found {len(x)} x {len(y)} cells; expected at most {_LARGEST:.0e} pairs with "
            "method='elastic': use method='local', or fewer cells."
        )
        raise ValueError(msg)
    cost = _cost(x, y, sparsity)
    p, q = a / a.sum(), b / b.sum()
    scale = float(p @ cost @ q) or 1.0
    cost /= scale
    if math.isinf(tau):
        plan = ot.sinkhorn(p, q, cost, reg, method="sinkhorn_log", numItermax=5000, warn=False)
    else:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            plan = ot.unbalanced.sinkhorn_stabilized_unbalanced(
                p, q, cost, reg, tau, reg_type="kl", numItermax=1000
            )
        if any("converge" in str(w.message) for w in said):
            logger.warning(
                "The elastic plan has not converged in 1000 sweeps; raise reg, or lower tau."
            )
    if not np.isfinite(plan).all() or not plan.sum() > 0:
        msg = "The plan of the elastic cost has no finite mass; raise reg."
        raise RuntimeError(msg)
    plan[plan < 1e-4 * plan.max(axis=1, keepdims=True)] = 0.0
    return csr_matrix(plan)


def elastic_displacement(x: Array, y: Array, plan: csr_matrix, sparsity: Sparsity) -> Array:
    """Return the displacement of each source cell, shape ``(n, d)``; 0 without a target.

    References
    ----------
    Cuturi, Klein and Ablin (2023), *Monge, Bregman and Occam: interpretable optimal transport in
    high dimensions with feature-sparse maps*, ICML :cite:p:`cuturi2023`.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> x, y = np.zeros((1, 2)), np.array([[3.0, 0.4]])
    >>> elastic_displacement(x, y, csr_matrix([[1.0]]), Sparsity("l1", 0.5)).tolist()
    [[3.0, 0.4]]
    """
    shares = row_stochastic(plan)
    found = np.zeros_like(x)
    for i in range(len(x)):
        row = slice(shares.indptr[i], shares.indptr[i + 1])
        if row.start == row.stop:
            continue
        apart = torch.from_numpy(x[i] - y[shares.indices[row]])
        slope = apart + sparsity.gradient(apart)
        mean = torch.from_numpy(shares.data[row]) @ slope
        found[i] = -sparsity.prox(mean[None])[0].numpy()
    return found


def elastic_for_dimension(
    x: Array,
    y: Array,
    a: Array,
    b: Array,
    sparsity: Sparsity,
    n_active: float,
    *,
    reg: float,
    tau: float,
) -> tuple[Array, csr_matrix, float]:
    """Return displacement, plan and strength of the weakest penalty found with few genes a cell.

    The strength is bisected, in logarithms, from the one given.

    Parameters
    ----------
    x, y, a, b, sparsity, reg, tau
        As in :func:`elastic_plan`.
    n_active
        Most genes that a cell may move on average.
    """
    low, high = math.log(sparsity.strength) - 4.0, math.log(sparsity.strength)
    best = None
    for step in range(_STEPS):
        tried = high if best is None else 0.5 * (low + high)
        moved, plan = _solve(x, y, a, b, replace(sparsity, strength=math.exp(tried)), reg, tau)
        if dimension(moved, np.asarray(plan.sum(axis=1)).ravel()) <= n_active:
            best = moved, plan, math.exp(tried)
            high = tried
        elif best is None:
            low, high = tried, tried + 1.0
        else:
            low = tried
        if best is not None and high - low < 0.05:
            break
        if best is None and (step + 1 == _STEPS or high > math.log(_MOST_STRENGTH)):
            break
    if best is None:
        msg = f"No strength up to {math.exp(high):.3g} moves {n_active:g} genes or fewer per cell."
        raise RuntimeError(msg)
    return best


def dimension(moved: Array, mass: Array) -> float:
    """Return the mean number of displaced genes, weighted by mass."""
    return float((mass / mass.sum()) @ np.count_nonzero(moved, axis=1))


def _solve(
    x: Array, y: Array, a: Array, b: Array, sparsity: Sparsity, reg: float, tau: float
) -> tuple[Array, csr_matrix]:
    plan = elastic_plan(x, y, a, b, sparsity, reg=reg, tau=tau)
    return elastic_displacement(x, y, plan, sparsity), plan


def _cost(x: Array, y: Array, sparsity: Sparsity) -> Array:
    d = x.shape[1]
    cost = np.empty((len(x), len(y)))
    rows = max(1, _SLICE // max(len(y) * d, 1))
    target = torch.from_numpy(y)
    for begin in range(0, len(x), rows):
        apart = torch.from_numpy(x[begin : begin + rows, None]) - target
        value = 0.5 * apart.square().sum(-1) + sparsity.value(apart)
        cost[begin : begin + rows] = value.numpy()
    return cost
