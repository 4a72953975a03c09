"""Permutation test of a difference between the means of two sets of units."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

# numbers of one block of permutations
_NUMBERS = 5_000_000
# differences this close count as equal: sums in another order differ by rounding
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Shift:
    """Difference of means in every column.

    Attributes
    ----------
    difference, error, p
        Difference, its standard error and the two-sided p-value, shape (k,).
    least
        Least p-value that there can be with so few units.
    """

    difference: NDArray[np.float64]
    error: NDArray[np.float64]
    p: NDArray[np.float64]
    least: float


def permutation_shift(
    values: NDArray[np.float64],
    chosen: NDArray[np.bool_],
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> Shift:
    """Compare the mean of chosen units with that of the others.

    All ways to choose as many units are gone through where they are at most ``n_permutations``, and
    the p-value is then exact; otherwise that many are drawn.

    Parameters
    ----------
    values
        One row per unit, shape (n, k).
    chosen
        Which units are compared with the others, shape (n,); at least one of each.
    n_permutations
        Most permutations.
    rng
        Source of randomness.

    References
    ----------
    Phipson and Smyth (2010), Permutation p-values should never be zero, SAGMB 9, 39
    :cite:p:`phipson2010`.
    """
    n, m = len(values), int(chosen.sum())
    one, two = values[chosen], values[~chosen]
    difference = one.mean(0) - two.mean(0)
    exact = comb(n, m) <= n_permutations
    total = values.sum(0)
    count = np.zeros(values.shape[1])
    drawn = 0
    for masks in _masks(n, m, n_permutations, rng, exact=exact):
        sums = masks @ values
        shifts = sums / m - (total - sums) / (n - m)
        count += (np.abs(shifts) >= np.abs(difference) - _ROUNDING).sum(0)
        drawn += len(masks)
    p = count / drawn if exact else (count + 1) / (drawn + 1)
    # with halves of the same size each choice has a mirror image that is as extreme
    extreme = 2 if 2 * m == n else 1
    least = extreme / drawn if exact else 1 / (drawn + 1)
    return Shift(difference, _error(one, two), p, least)


def relabellings(
    chosen: NDArray[np.bool_],
    strata: NDArray[np.integer],
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> tuple[list[NDArray[np.bool_]], bool]:
    """Return other ways to choose as many units of each stratum, for a statistic that is costly.

    Parameters
    ----------
    chosen
        Which units are compared with the others, shape (n,).
    strata
        Stratum of each unit, shape (n,): units of one may be exchanged.
    n_permutations
        Most ways. Where there are no more, all are returned, the first being the given one; one
        of each pair of mirror images is enough for a difference without sign.
    rng
        Source of randomness, where ways are drawn.

    Returns
    -------
    Masks of the chosen units, and whether they are all that there are.
    """
    members = [np.flatnonzero(strata == s) for s in np.unique(strata)]
    counts = [int(chosen[m].sum()) for m in members]
    mirrored = all(2 * k == len(m) for m, k in zip(members, counts, strict=True))
    ways = prod(comb(len(m), k) for m, k in zip(members, counts, strict=True))
    if ways // (2 if mirrored else 1) > n_permutations:
        drawn = []
        for _ in range(n_permutations):
            mask = np.zeros(len(chosen), dtype=bool)
            for m, k in zip(members, counts, strict=True):
                mask[rng.permutation(m)[:k]] = True
            drawn.append(mask)
        return drawn, False
    found = []
    for choice in product(*(combinations(m, k) for m, k in zip(members, counts, strict=True))):
        mask = np.zeros(len(chosen), dtype=bool)
        for units in choice:
            mask[list(units)] = True
        if not (mirrored and mask[0] != chosen[0]):
            found.append(mask)
    first = next(i for i, mask in enumerate(found) if (mask == chosen).all())
    return [found.pop(first), *found], True


def judged(
    difference: NDArray[np.float64], others: NDArray[np.float64], *, exact: bool
) -> tuple[NDArray[np.float64], float]:
    """Return two-sided p-values of differences, and the least that there can be.

    Parameters
    ----------
    difference
        What was found, shape (k,).
    others
        The same for every way of :func:`relabellings`, shape (n, k).
    exact
        Whether these are all ways.
    """
    count = (np.abs(others) >= np.abs(difference) - _ROUNDING).sum(0)
    n = len(others)
    return (count / n, 1 / n) if exact else ((count + 1) / (n + 1), 1 / (n + 1))


def _masks(
    n: int, m: int, n_permutations: int, rng: np.random.Generator, *, exact: bool
) -> list[NDArray[np.float64]]:
    rows = max(1, _NUMBERS // n)
    if exact:
        masks = np.zeros((comb(n, m), n))
        for k, units in enumerate(combinations(range(n), m)):
            masks[k, list(units)] = 1.0
        return [masks]
    blocks = []
    for start in range(0, n_permutations, rows):
        size = min(rows, n_permutations - start)
        blocks.append((rng.random((size, n)).argsort(1) < m).astype(float))
    return blocks


def _error(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of a difference of means; NaN where a side has one unit."""
    if min(len(one), len(two)) < 2:
        return np.full(one.shape[1], np.nan)
    parts = [side.var(0, ddof=1) / len(side) for side in (one, two)]
    return np.asarray(np.sqrt(parts[0] + parts[1]))
