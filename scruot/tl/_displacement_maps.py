"""Displacement maps of all comparisons: the numbers behind ``tl.sparse_displacement``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scruot.displacement.calibrate import adjusted, calibrated, pooled
from scruot.displacement.groups import GroupTest, compare_groups
from scruot.displacement.local import (
    Pair,
    along_trajectory,
    measure,
    null_measures,
    random_halves,
    row_mass,
    shrink,
    within_groups,
)
from scruot.displacement.metric import couple_clouds, quiet_metric
from scruot.displacement.scales import adapted

Array = NDArray[np.float64]

_NULL_GENES = 2000
_WIDER = (2, 4, 8)


@dataclass(frozen=True)
class MapParams:
    """Parameters of the maps, as in ``tl.sparse_displacement``."""

    method: str
    penalty: str
    n_active: float | None
    fdr: float
    threshold: float
    n_neighbors: int | None
    strength: float | None
    reg: float
    tau: float
    random_state: int


@dataclass(frozen=True, eq=False)
class Maps:
    """Displacement maps of several comparisons.

    Attributes
    ----------
    displacement
        Per comparison, sparse ``(n, d)``.
    score, p_value
        Per comparison, of each gene ``(d,)``.
    rate
        False discovery rate of each gene over all comparisons, ``(d,)``.
    groups
        Per comparison, tests of the groups, and which groups.
    threshold
        Per comparison, what was used.
    """

    displacement: list[csr_matrix]
    score: list[Array]
    p_value: list[Array]
    rate: Array
    groups: list[tuple[GroupTest, NDArray[np.intp]]]
    threshold: list[float]


def make_pairs(
    genes: Any,
    cells: Array,
    ends: Sequence[tuple[Array, Array]] | None,
    rows: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    mass: Array,
) -> list[Pair]:
    """Return the cells of each comparison, in the metric of the clouds that are compared.

    With ``ends``, source cells sit where they go to, with the mass that they have there.
    """
    # consecutive comparisons share a cloud
    clouds = [rows[0][0], *(target for _, target in rows)]
    metric = quiet_metric([cells[c] for c in clouds], [mass[c] for c in clouds])
    flat = cells @ metric
    pairs = []
    for k, (source, target) in enumerate(rows):
        start = None if ends is None else (ends[k][0] @ metric, ends[k][1])
        pairs.append(
            Pair(
                genes[source],
                genes[target],
                flat[source],
                flat[target],
                mass[source],
                mass[target],
                end=start,
            )
        )
    return pairs


def find_plans(pairs: Sequence[Pair], params: MapParams) -> list[csr_matrix]:
    """Couple the clouds of each comparison."""
    return [
        couple_clouds(
            *((p.z, p.w, p.a, p.b) if p.end is None else (p.end[0], p.w, p.end[1], p.b)),
            reg=params.reg,
            tau=params.tau,
            random_state=params.random_state,
        )
        for p in pairs
    ]


def local_maps(
    pairs: Sequence[Pair],
    plans: Sequence[csr_matrix],
    codes: Sequence[NDArray[np.integer]],
    params: MapParams,
) -> Maps:
    """Return the maps of the method ``"local"``; ``codes`` are groups of source cells, -1 none."""
    rng = np.random.default_rng(params.random_state)
    scores, p_values, headed = [], [], []
    for pair, plan, code in zip(pairs, plans, codes, strict=True):
        halves = random_halves(pair, reg=params.reg, tau=params.tau, n_genes=_NULL_GENES, rng=rng)
        headed.append(
            within_groups(
                along_trajectory(
                    pair, plan, halves, n_neighbors=params.n_neighbors, reg=params.reg
                ),
                code,
            )
        )
        null = null_measures(halves, params.n_neighbors)
        score, p_value = calibrated(measure(headed[-1], plan, params.n_neighbors), null)
        scores.append(score)
        p_values.append(p_value)
    rate = adjusted(pooled(np.stack(p_values)))
    kept = np.flatnonzero(rate <= params.fdr)
    maps, used = [], []
    for pair, plan in zip(headed, plans, strict=True):
        moved, level = shrink(
            adapted(
                pair.averages(plan, params.n_neighbors, _WIDER),
                pair.x[:, kept],
                pair.y[:, kept],
            ),
            pair,
            kept,
            row_mass(plan) > 0,
            penalty=params.penalty,
            n_active=params.n_active,
            threshold=params.threshold,
        )
        maps.append(moved)
        used.append(level)
    return Maps(maps, scores, p_values, rate, tested(pairs, plans, codes), used)


def tested(
    pairs: Sequence[Pair], plans: Sequence[csr_matrix], codes: Sequence[NDArray[np.integer]]
) -> list[tuple[GroupTest, NDArray[np.intp]]]:
    """Return the tests of each comparison's groups that have transported cells."""
    found = []
    for pair, plan, code in zip(pairs, plans, codes, strict=True):
        moving = np.flatnonzero((code >= 0) & (row_mass(plan) > 0))
        groups = np.unique(code[moving]).astype(np.intp)
        entries = np.ones(len(moving)), (np.searchsorted(groups, code[moving]), moving)
        members = csr_matrix(entries, shape=(len(groups), len(code)))
        found.append((compare_groups(pair.x, pair.y, plan, members), groups))
    return found
