"""Bootstrap samples: of cells, or of whole replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scruot.dynamics.snapshots import Snapshots


@dataclass(frozen=True, eq=False)
class Replicates:
    """Which replicate every cell is of.

    Parameters
    ----------
    labels
        One (n_k,) array per time: the number of each cell's replicate. At least two different
        ones at every time.
    sizes_given
        Whether the populations are known, so that they stay what they are whichever replicates
        are drawn. Otherwise a replicate brings its own.
    """

    labels: tuple[NDArray[np.int64], ...]
    sizes_given: bool


def bootstrap_cells(snapshots: Snapshots, seed: int) -> Snapshots:
    """Draw cells with replacement; populations stay as observed."""
    rng = np.random.default_rng(seed)
    sizes = [len(x) for x in snapshots.x]
    counts = [torch.from_numpy(rng.multinomial(n, np.full(n, 1 / n))) for n in sizes]
    # the sample decides which cells, not how many
    return _weighted(snapshots, counts, sizes_given=True)


def bootstrap_replicates(snapshots: Snapshots, replicates: Replicates, seed: int) -> Snapshots:
    r"""Draw replicates with replacement, at every time by itself.

    Of the :math:`R` replicates of a time :math:`R - 1` are drawn, each counting
    :math:`R / (R - 1)`: the standard deviation over such samples is then an unbiased estimate of
    the standard error of a mean over replicates, also for two or three of them, where drawing
    :math:`R` gives :math:`\sqrt{(R - 1) / R}` of it.

    Parameters
    ----------
    snapshots
        The clouds.
    replicates
        Their replicates.
    seed
        Seed of the sample.

    References
    ----------
    Rao and Wu (1988), Resampling inference with complex survey data, JASA 83, 231-241
    :cite:p:`rao1988`.
    """
    rng = np.random.default_rng(seed)
    counts = [torch.from_numpy(replicate_counts(labels, rng)) for labels in replicates.labels]
    return _weighted(snapshots, counts, sizes_given=replicates.sizes_given)


def replicate_counts(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each cell counts when replicates of one time are drawn.

    Parameters
    ----------
    labels
        Replicate of each cell, shape (n,); at least two different ones.
    rng
        Source of randomness.
    """
    names, position = np.unique(labels, return_inverse=True)
    n = len(names)
    drawn = np.bincount(rng.integers(n, size=n - 1), minlength=n)
    factors: NDArray[np.float64] = drawn.astype(np.float64) * (n / (n - 1))
    return factors[position]


def _weighted(snapshots: Snapshots, counts: Sequence[Tensor], *, sizes_given: bool) -> Snapshots:
    """Multiply masses, and drop cells that were not drawn."""
    weights = [w * c.to(w.dtype) for w, c in zip(snapshots.weights, counts, strict=True)]
    if sizes_given:
        totals = [float(w.sum()) for w in snapshots.weights]
    else:
        # the first population stays the unit of mass
        unit = float(snapshots.weights[0].sum()) / float(weights[0].sum())
        totals = [unit * float(w.sum()) for w in weights]
    kept = replace(snapshots, weights=tuple(weights)).select([c > 0 for c in counts])
    return replace(
        kept,
        weights=tuple(w * (t / float(w.sum())) for w, t in zip(kept.weights, totals, strict=True)),
    )
