"""Couplings of all intervals from snapshots: the numbers behind ``tl.transport``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import xlogy
from torch import Tensor
from tqdm.auto import tqdm

from scruot.dynamics.snapshots import Snapshots
from scruot.tl._transport_params import TransportParams
from scruot.transport import Coupling, auto_delta, wfr_coupling


@dataclass(frozen=True, eq=False)
class Couplings:
    """Couplings of consecutive snapshots.

    Parameters
    ----------
    matrices
        One sparse matrix per interval: mass at its end by ancestor and descendant.
    quality
        One row of figures per interval.
    resolved
        What became of parameters that were ``"auto"``.
    """

    matrices: list[csr_matrix]
    quality: list[dict[str, Any]]
    resolved: Mapping[str, Any]


def couple_snapshots(
    snapshots: Snapshots,
    params: TransportParams,
    *,
    random_state: int = 0,
    progress: bool = False,
) -> Couplings:
    """Couple every snapshot with the next, on the device of the snapshots."""
    delta = auto_delta(snapshots.x) if isinstance(params.delta, str) else float(params.delta)
    matrices, quality = [], []
    n = len(snapshots.times) - 1
    for k in tqdm(range(n), disable=not progress, desc="transport"):
        ends = snapshots.x[k], snapshots.x[k + 1]
        masses = snapshots.weights[k], snapshots.weights[k + 1]
        plan = wfr_coupling(*ends, *masses, delta, random_state=random_state)
        moved = descendant_mass(plan)
        matrices.append(sparse(plan, moved))
        spans = snapshots.times[k], snapshots.times[k + 1]
        quality.append(figures(plan, matrices[-1], spans=spans, masses=masses))
    return Couplings(matrices, quality, {"delta": delta})


def descendant_mass(plan: Coupling) -> Tensor:
    """Return what each pair of a WFR plan weighs at its end, ``b_j G_ij / sum_i G_ij``."""
    return plan.b[plan.col] * plan.mass / plan.col_mass[plan.col]


def sparse(plan: Coupling, mass: Tensor) -> csr_matrix:
    """Return masses of the pairs of a plan as a matrix."""
    entries = mass.double().cpu().numpy(), (plan.row.cpu().numpy(), plan.col.cpu().numpy())
    return csr_matrix(entries, shape=plan.shape)


def figures(
    plan: Coupling,
    matrix: csr_matrix,
    *,
    spans: tuple[float, float],
    masses: tuple[Tensor, Tensor],
) -> dict[str, Any]:
    """Return the row of the quality table of one interval."""
    start, end = (m.double().cpu().numpy() for m in masses)
    return {
        **plan_figures(matrix, spans=spans, masses=(start, end)),
        "primal": plan.primal,
        "dual": plan.dual,
        "gap": plan.gap,
        "certified": bool(plan.certified),
        "converged": True,
        "solver": plan.method,
    }


def plan_figures(
    matrix: csr_matrix,
    *,
    spans: tuple[float, float],
    masses: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> dict[str, Any]:
    """Return what the quality table says of any matrix of masses."""
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
