"""The laws behind :func:`scruot.datasets.sparse_displacement`: who expresses and displaces what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rng = np.random.Generator

N_TYPES, N_OWN, N_BUMPS, N_LINEAGE = 8, 10, 40, 30
_FACTORS = 10
_MARKER_SHARE, _MARKER_STD = 0.15, 1.3
_BUMP_SHARE, _BUMP_FACTOR, _LEAST = 0.3, 1.3, 0.3
_NUISANCE_SHARE = 0.3
_FEWEST = {"jumping": 60, "continuum": 60, "gradual": 200, "uniform": 20}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Cells of one time, before noise.

    Attributes
    ----------
    time
        Their time.
    mean
        Mean expression of every cell, ``(n, d)``, on the scale of logarithms.
    displacement
        What the genes of each cell change until the next time, ``(n, d)``.
    state
        Type or lineage as an index, or the position on the continuum.
    """

    time: float
    mean: Array
    displacement: Array
    state: npt.NDArray[np.generic]


def fewest_genes(kind: str) -> int:
    """Return the number of genes that a kind of data needs."""
    return _FEWEST[kind]


def factors(rng: Rng, n_genes: int, std: float, share: float = 1.0) -> Array:
    """Return loadings of idle factors, ``(10, d)``, on a share of the genes."""
    loadings = rng.standard_normal((_FACTORS, n_genes)) * std / np.sqrt(_FACTORS)
    return np.asarray(loadings * (rng.random(n_genes) < share))


def idle(rng: Rng, n: int, loadings: Array) -> Array:
    """Return what the idle factors add to ``n`` cells."""
    return np.asarray(rng.standard_normal((n, len(loadings))) @ loadings)


def jumping(
    rng: Rng, n: int, d: int, *, effect: float, composition: bool, idle_std: float
) -> list[Snapshot]:
    """Cell types that jump along ten own genes each, half of them shared with opposite sign."""
    markers = rng.standard_normal((N_TYPES, d)) * _MARKER_STD
    markers *= rng.random((N_TYPES, d)) < _MARKER_SHARE
    genes = iter(rng.permutation(d))
    moves = np.zeros((N_TYPES, d))
    half = N_OWN // 2
    for pair in range(0, N_TYPES, 2):
        shared = [next(genes) for _ in range(half)]
        moves[pair, shared] = rng.choice([-1.0, 1.0], half)
        moves[pair + 1, shared] = -moves[pair, shared]
        for one in (pair, pair + 1):
            moves[one, [next(genes) for _ in range(half)]] = rng.choice([-1.0, 1.0], half)
    moves *= effect
    shares = [np.full(N_TYPES, 1 / N_TYPES)] * 2
    if composition:
        later = shares[0] * np.exp(rng.permutation(np.repeat([-1.0, 1.0], N_TYPES // 2)))
        shares[1] = later / later.sum()
    base = 0.5 * rng.standard_normal(d)
    loadings = factors(rng, d, idle_std)
    found = []
    for k, share in enumerate(shares):
        state = rng.choice(N_TYPES, n, p=share)
        mean = base + markers[state] + k * moves[state] + idle(rng, n, loadings)
        found.append(Snapshot(float(k), mean, (1 - k) * moves[state], state))
    return found


def continuum(
    rng: Rng, n: int, d: int, *, effect: float, composition: bool, idle_std: float
) -> list[Snapshot]:
    """One continuum of cells; forty genes are displaced in local bumps along it."""
    waves = rng.standard_normal((6, d)) * _MARKER_STD
    waves *= rng.random((6, d)) < _BUMP_SHARE
    genes = rng.permutation(d)[:N_BUMPS]
    centre, width = rng.random(N_BUMPS), rng.uniform(0.1, 0.25, N_BUMPS)
    size = rng.choice([-1.0, 1.0], N_BUMPS) * _BUMP_FACTOR * effect
    base = 0.5 * rng.standard_normal(d)
    loadings = factors(rng, d, idle_std)
    found = []
    for k in (0, 1):
        place = rng.random(n) ** (1.5 if composition and k else 1.0)
        moves = np.zeros((n, d))
        bumps = size * np.exp(-0.5 * ((place[:, None] - centre) / width) ** 2)
        moves[:, genes] = np.where(np.abs(bumps) < _LEAST * effect, 0.0, bumps)
        curve = np.cos(np.pi * place[:, None] * np.arange(1, 7)) @ waves
        mean = base + curve + k * moves + idle(rng, n, loadings)
        found.append(Snapshot(float(k), mean, (1 - k) * moves, place))
    return found


def gradual(
    rng: Rng,
    n: int,
    d: int,
    *,
    n_times: int,
    effect: float,
    growth: float,
    idle_std: float,
) -> tuple[list[Snapshot], list[npt.NDArray[np.intp]]]:
    """Two lineages that separate along thirty own genes each, under idle factors of other genes.

    Returns the snapshots, and the genes of each lineage.
    """
    order = rng.permutation(d)
    own = [order[:N_LINEAGE], order[N_LINEAGE : 2 * N_LINEAGE]]
    amplitude = np.zeros((2, d))
    for lineage, genes in enumerate(own):
        sign = rng.choice([-1.0, 1.0], N_LINEAGE)
        amplitude[lineage, genes] = 1.5 * effect * sign * rng.uniform(0.6, 1.4, N_LINEAGE)
    others = order[2 * N_LINEAGE :][: round(_NUISANCE_SHARE * d)]
    loadings = np.zeros((_FACTORS, d))
    loadings[:, others] = factors(rng, len(others), idle_std)
    base = 0.5 * rng.standard_normal(d)
    found = []
    for k, time in enumerate(np.linspace(0.0, 1.0, n_times)):
        share = np.exp(growth * time) / (np.exp(growth * time) + 1.0)
        state = (rng.random(n) > share).astype(np.intp)
        progress = np.maximum(time + 0.1 * rng.standard_normal(n), 0.0)
        mean = base + progress[:, None] * amplitude[state] + idle(rng, n, loadings)
        rest = amplitude[state] / (n_times - 1) * (k < n_times - 1)
        found.append(Snapshot(float(k), mean, rest, state))
    return found, own
