"""Predictions without a model, and the score of any prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import ot
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from scruot.metrics import energy_distance, mass_error, mmd, w1, w2
from scruot.transport import auto_delta, wfr_interpolation


@dataclass(frozen=True)
class Cloud:
    """Weighted cells, and the population they stand for.

    Parameters
    ----------
    x
        Coordinates (n, d).
    weights
        Relative weights (n,).
    population
        Relative to the first fitted time; NaN when a prediction makes no claim.
    """

    x: NDArray[np.floating]
    weights: NDArray[np.float64]
    population: float = np.nan

    def take(self, rows: NDArray[np.integer]) -> Cloud:
        """Keep some cells; they stand for the same population."""
        return replace(self, x=self.x[rows], weights=self.weights[rows])

    def thinned(self, n_cells: int, rng: np.random.Generator) -> Cloud:
        """Keep a random subset of at most ``n_cells``."""
        return self.take(subset(len(self.x), n_cells, rng))


def subset(n: int, n_cells: int, rng: np.random.Generator) -> NDArray[np.integer]:
    """Return the rows of a random subset of at most ``n_cells``, in order."""
    if n <= n_cells:
        return np.arange(n)
    return np.sort(rng.choice(n, n_cells, replace=False))


def score(prediction: Cloud, target: Cloud) -> dict[str, float]:
    """Return all distances, and the populations with their relative error."""
    pair = (prediction.x, target.x, prediction.weights, target.weights)
    return {
        "w1": w1(*pair),
        "w2": w2(*pair),
        "mmd": mmd(*pair),
        "energy": energy_distance(*pair),
        "mass": prediction.population,
        "mass_observed": target.population,
        "mass_error": mass_error(prediction.population, target.population),
    }


def nulls(
    time: float,
    snapshots: Mapping[float, Cloud],
    *,
    held_out: bool,
    n_cells: int,
    rng: np.random.Generator,
) -> dict[str, Cloud]:
    """Return what may be said of a time from the fitted snapshots of other times alone.

    ``previous``, ``next``
        The neighbouring snapshot as it is, with its population.
    ``pooled``
        All cells of the other times.
    ``linear``
        For held-out times between two fitted ones: cells on the straight lines of balanced
        optimal transport between these, the population on the straight line, too.
    ``wfr``
        As ``linear``, along WFR geodesics with the automatic ``delta``: pairs may grow, die
        and be born.
    """
    earlier = max((t for t in snapshots if t < time), default=None)
    later = min((t for t in snapshots if t > time), default=None)
    found: dict[str, Cloud] = {}
    if held_out and earlier is not None and later is not None:
        ends = [snapshots[t].thinned(n_cells, rng) for t in (earlier, later)]
        share = (time - earlier) / (later - earlier)
        found["linear"] = displaced(ends[0], ends[1], share)
        found["wfr"] = geodesic(ends[0], ends[1], share)
    if earlier is not None:
        found["previous"] = snapshots[earlier]
    if later is not None:
        found["next"] = snapshots[later]
    found["pooled"] = pool(cloud for t, cloud in snapshots.items() if t != time)
    return {name: cloud.thinned(n_cells, rng) for name, cloud in found.items()}


def at_random(
    first: Cloud, last: Cloud, share: float, n_cells: int, rng: np.random.Generator
) -> Cloud:
    """Return points between cells that are paired at random: what any coupling should beat."""
    ends = [
        c.x[rng.choice(len(c.x), n_cells, p=c.weights / c.weights.sum())] for c in (first, last)
    ]
    population = (1 - share) * first.population + share * last.population
    return Cloud((1 - share) * ends[0] + share * ends[1], np.full(n_cells, 1 / n_cells), population)


def pool(clouds: Iterable[Cloud]) -> Cloud:
    """Return all cells of several clouds as one."""
    together = list(clouds)
    return Cloud(
        np.concatenate([cloud.x for cloud in together]),
        np.concatenate([cloud.weights for cloud in together]),
    )


def halves(cloud: Cloud, rng: np.random.Generator) -> tuple[Cloud, Cloud] | None:
    """Return two disjoint random halves, or ``None`` for a single cell."""
    n = len(cloud.x)
    if n < 2:
        return None
    order = rng.permutation(n)
    return cloud.take(order[: n // 2]), cloud.take(order[n // 2 :])


def displaced(first: Cloud, last: Cloud, share: float) -> Cloud:
    """Return the displacement interpolation of two clouds at ``share`` of the way.

    References
    ----------
    McCann (1997), A convexity principle for interacting gases, Adv. Math. 128 :cite:p:`mccann1997`.
    """
    a, b = first.weights / first.weights.sum(), last.weights / last.weights.sum()
    plan = ot.emd(a, b, cdist(first.x, last.x, "sqeuclidean"), numItermax=10_000_000)
    i, j = np.nonzero(plan)
    population = (1 - share) * first.population + share * last.population
    return Cloud((1 - share) * first.x[i] + share * last.x[j], plan[i, j], population)


def geodesic(first: Cloud, last: Cloud, share: float) -> Cloud:
    """Return the WFR interpolation of two clouds at ``share`` of the way."""
    ends = [torch.from_numpy(np.asarray(c.x, dtype=np.float64)) for c in (first, last)]
    a, b = (torch.from_numpy(c.weights * (c.population / c.weights.sum())) for c in (first, last))
    position, mass = wfr_interpolation(ends[0], ends[1], a, b, auto_delta(ends), share=share)
    return Cloud(position.numpy(), mass.numpy(), float(mass.sum()))
