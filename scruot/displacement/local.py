"""Local means along a coupling: which genes move where, beyond the noise of sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scruot.displacement.averages import (
    Averages,
    dense_columns,
    make_averages,
    reached,
    row_stochastic,
)
from scruot.displacement.heading import excess, heading_features
from scruot.displacement.metric import couple_clouds, mean_squared_distance
from scruot.displacement.neighbours import nested_neighbourhoods
from scruot.displacement.penalties import Sparsity

__all__ = [
    "Pair",
    "along_trajectory",
    "level_for",
    "measure",
    "null_measures",
    "random_halves",
    "row_mass",
    "shrink",
    "within_groups",
]

Array = NDArray[np.float64]

_TAILS = (0.5, 0.75, 0.9, 0.97)
_NEIGHBORS, _WIDER = 30, (2, 4)
_LEAST_CELLS = 4


@dataclass(frozen=True, eq=False)
class Pair:
    """Source and target cells.

    Attributes
    ----------
    x, y
        Genes, shapes ``(n, d)`` and ``(m, d)``, dense or sparse.
    z, w
        Positions in the metric, shapes ``(n, k)`` and ``(m, k)``.
    a, b
        Masses, shapes ``(n,)`` and ``(m,)``.
    end
        Where a model takes the source cells, shape ``(n, k)``, and their mass there, ``(n,)``.
    near
        Coordinates in which source cells have neighbours; ``z`` by default.
    """

    x: Any
    y: Any
    z: Array
    w: Array
    a: Array
    b: Array
    end: tuple[Array, Array] | None = None
    near: Array | None = None

    def averages(
        self, plan: csr_matrix, n_neighbors: int | None = None, factors: Sequence[int] = ()
    ) -> list[Averages]:
        """Return averages over neighbourhoods of the source cells and over their targets.

        The first has 30 cells by default, a fifth of the source cells if these are fewer; others
        have as many times that number as ``factors`` say, as far as there are so many cells.
        """
        n = plan.shape[0]
        k = neighbourhood(n, n_neighbors)
        sizes = [k, *(k * f for f in factors if k * f <= n)]
        near = nested_neighbourhoods(
            self.z if self.near is None else self.near, row_mass(plan), sizes
        )
        reach = row_stochastic(plan)
        return [make_averages(one, reach) for one in near]


def neighbourhood(n: int, n_neighbors: int | None) -> int:
    """Return the number of cells of a neighbourhood among ``n``."""
    return n_neighbors or min(_NEIGHBORS, max(_LEAST_CELLS, n // 5))


def along_trajectory(
    pair: Pair,
    plan: csr_matrix,
    halves: Sequence[tuple[Pair, csr_matrix]],
    *,
    n_neighbors: int | None,
    reg: float,
) -> Pair:
    """Return the cells with neighbours that are near and on the same way."""
    null = []
    for half, coupled in halves:
        width = reg * mean_squared_distance(half.z, half.w, half.a, half.b)
        null.append(excess(half.z, half.w, half.a, coupled, width))
    near = heading_features(
        pair.z,
        pair.w,
        pair.a,
        pair.b,
        plan,
        null,
        reg=reg,
        n_neighbors=neighbourhood(len(pair.z), n_neighbors),
    )
    return replace(pair, near=near)


def within_groups(pair: Pair, codes: NDArray[np.integer]) -> Pair:
    """Return the cells with neighbours of their own group first; ``codes`` is ``(n,)``.

    Groups lie so far apart that only one with fewer cells than a neighbourhood borrows from others.
    """
    near = pair.z if pair.near is None else pair.near
    groups = np.unique(codes)
    if len(groups) < 2:
        return pair
    apart = 2.0 * float(np.linalg.norm(np.ptp(near, axis=0)))
    return replace(pair, near=np.concatenate([near, apart * (codes[:, None] == groups)], axis=1))


def row_mass(plan: csr_matrix) -> Array:
    """Return the mass that leaves each source cell, shape ``(n,)``."""
    return np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()


def measure(pair: Pair, plan: csr_matrix, n_neighbors: int | None = None) -> Array:
    r"""Return how unusual the displacement of each gene is, several numbers a gene, ``(s, d)``.

    Upper quantiles over cells of ``|z|``, the displacement over its standard error, in
    neighbourhoods of one size and of two and four times that size, and ``|z|`` of all cells
    together: genes that few cells change a lot and genes that many change a little both stand out
    in one of them.
    """
    mass = row_mass(plan)
    used = mass > 0
    scales = pair.averages(plan, n_neighbors, _WIDER)
    share = csr_matrix(mass / mass.sum())
    whole = make_averages(share, scales[0].reach)
    found = []
    for _, (x, y) in dense_columns(pair.x, pair.y):
        genes = reached(whole.reach, x, y)
        sizes = [np.abs(_ratio(*a.difference(genes)))[used] for a in scales]
        rows = [np.quantile(z, _TAILS, axis=0) for z in sizes]
        found.append(np.concatenate([*rows, np.abs(_ratio(*whole.difference(genes)))]))
    return np.concatenate(found, axis=1)


def random_halves(
    pair: Pair, *, reg: float, tau: float, n_genes: int, rng: np.random.Generator
) -> list[tuple[Pair, csr_matrix]]:
    """Return couplings where nothing can have moved: between random halves of either cloud.

    The clouds are split until their genes come to ``n_genes``, eight times at most.

    Raises
    ------
    ValueError
        When neither cloud has eight cells.
    """
    found = []
    for _ in range(min(8, max(1, -(-n_genes // (2 * pair.x.shape[1]))))):
        for genes, z, a in ((pair.x, pair.z, pair.a), (pair.y, pair.w, pair.b)):
            n = len(z)
            if n < 2 * _LEAST_CELLS:
                continue
            order = rng.permutation(n)
            one, two = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
            half = Pair(genes[one], genes[two], z[one], z[two], a[one], a[two])
            found.append((half, couple_clouds(half.z, half.w, half.a, half.b, reg=reg, tau=tau)))
    if not found:
        msg = (
            f"Found {len(pair.a)} source and {len(pair.b)} target cells; expected at least "
            f"{2 * _LEAST_CELLS} on one side, to tell displacement from the noise of sampling."
        )
        raise ValueError(msg)
    return found


def null_measures(halves: Sequence[tuple[Pair, csr_matrix]], n_neighbors: int | None) -> Array:
    """Return :func:`measure` of all halves, shape ``(s, N)``."""
    found = [measure(half, plan, n_neighbors) for half, plan in halves]
    # small clouds have no wider neighbourhoods
    shortest = min(len(f) for f in found)
    return np.concatenate([_cut(f, shortest) for f in found], axis=1)


def _cut(measures: Array, rows: int) -> Array:
    """Keep the narrow quantiles and the whole."""
    return measures if len(measures) == rows else measures[[*range(rows - 1), -1]]


def _ratio(moved: Array, error: Array) -> Array:
    return np.divide(moved, error, out=np.zeros_like(moved), where=error > 0)


def shrink(
    averages: Averages,
    pair: Pair,
    kept: NDArray[np.intp],
    used: NDArray[np.bool_],
    *,
    penalty: str,
    n_active: float | None,
    threshold: float,
) -> tuple[csr_matrix, float]:
    """Return shrunken displacements ``(n, d)`` of kept genes, and the threshold that was used.

    Parameters
    ----------
    averages, pair
        As measured.
    kept
        Positions of the genes that may move.
    used
        Cells that have targets, shape ``(n,)``; rows of others stay empty.
    penalty
        See :class:`scruot.displacement.penalties.Sparsity`; it acts on displacements in units of
        their standard errors.
    n_active
        Wanted mean number of genes per cell, which then sets the threshold.
    threshold
        Standard errors up to which a displacement is set to zero.
    """
    n, d = pair.x.shape
    if len(kept) == 0:
        return csr_matrix((n, d)), threshold
    ratios, errors = [], []
    for _, (x, y) in dense_columns(pair.x[:, kept], pair.y[:, kept]):
        moved, error = averages.difference(reached(averages.reach, x, y))
        moved[~used] = 0.0
        ratios.append(_ratio(moved, error).astype(np.float32))
        errors.append(error.astype(np.float32))
    z = np.concatenate(ratios, axis=1)
    if n_active is not None:
        threshold = level_for(np.abs(z[used]), n_active)
    shrunk = csr_matrix(_prox(z, penalty, threshold, n_active) * np.concatenate(errors, axis=1))
    entries = shrunk.data.astype(np.float64), kept[shrunk.indices], shrunk.indptr
    return csr_matrix(entries, shape=(n, d)), threshold


def level_for(size: NDArray[np.floating], n_active: float) -> float:
    """Return the level that ``n_active`` entries per row exceed on average."""
    wanted = round(n_active * len(size))
    if wanted >= size.size:
        return 0.0
    flat = np.partition(size.ravel(), size.size - wanted - 1)
    return float(flat[size.size - wanted - 1])


def _prox(z: NDArray[np.float32], penalty: str, level: float, n_active: float | None) -> Any:
    if level == 0:
        return z
    if penalty == "smoothed_l0":
        # narrow against the level: all or nothing
        sparsity = Sparsity("smoothed_l0", 0.5 * level**2, width=0.2 * level)
    elif penalty == "k_support":
        sparsity = Sparsity("k_support", 1.0, k=max(1, round(n_active or 1)))
    else:
        sparsity = Sparsity(penalty, level)  # type: ignore[arg-type]
    return sparsity.prox(torch.from_numpy(z)).numpy()
