"""The quality table of static transport, one row per interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import xlogy
from torch import Tensor

from scruot.transport import Coupling


def figures(
    plan: Coupling,
    matrix: csr_matrix,
    *,
    spans: tuple[float, float],
    masses: tuple[Tensor, Tensor],
) -> dict[str, Any]:
    """Return the row of one interval.

    Parameters
    ----------
    plan
        The coupling as it was solved.
    matrix
        The masses that are stored.
    spans
        Start and end.
    masses
        Masses of the cells at both, before any prior.
    """
    start, end = (m.double().cpu().numpy() for m in masses)
    return {
        **plan_figures(matrix, spans=spans, masses=(start, end)),
        "residual": _residual(plan),
        "primal": plan.primal,
        "dual": plan.dual,
        "gap": plan.gap,
        "certified": bool(plan.certified),
        "converged": bool(plan.converged),
        "solver": plan.method,
    }


def plan_figures(
    matrix: csr_matrix,
    *,
    spans: tuple[float, float],
    masses: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> dict[str, Any]:
    """Return what can be said of any matrix of masses, whoever has made it."""
    start, end = masses
    leaving = np.asarray(matrix.sum(axis=1)).ravel()
    arriving = np.asarray(matrix.sum(axis=0)).ravel()
    return {
        "start": spans[0],
        "end": spans[1],
        "n_source": len(start),
        "n_target": len(end),
        "mass_source": float(start.sum()),
        "mass_target": float(end.sum()),
        "moved": float(matrix.sum()),
        "childless": float(start[leaving == 0].sum() / start.sum()),
        "unexplained": max(0.0, float(1 - np.minimum(arriving, end).sum() / end.sum())),
        "effective_targets": _effective_targets(matrix, leaving),
        "entries": int(matrix.nnz),
    }


def _effective_targets(matrix: csr_matrix, leaving: NDArray[np.float64]) -> float:
    """Return the exponential of the entropy of a row, mean over the moved mass."""
    share = matrix.data / np.repeat(leaving, np.diff(matrix.indptr))
    terms = csr_matrix((-xlogy(share, share), matrix.indices, matrix.indptr), shape=matrix.shape)
    entropy = np.asarray(terms.sum(axis=1)).ravel()
    return float(np.average(np.exp(entropy), weights=leaving))


def _residual(plan: Coupling) -> float:
    """Return how far row masses are from prescribed ones: root mean square of the log ratio."""
    prescribed, leaving = (t.double().cpu().numpy() for t in (plan.a, plan.row_mass))
    alive = (prescribed > 0) & (leaving > 0)
    if not alive.any():
        return float("nan")
    ratio = np.log(leaving[alive] / prescribed[alive])
    return float(np.sqrt(np.average(ratio**2, weights=prescribed[alive])))
