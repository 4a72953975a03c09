"""Growth as a function of the state, learned from the masses of rows of all intervals together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from scruot.fates.metric import in_metric
from scruot.fates.state_growth import StateGrowth
from scruot.transport import AutoSettings, Penalty
from scruot.transport.cost import squared_distances
from scruot.transport.penalties import Sides
from scruot.transport.sinkhorn import DenseCost, annealed, typical_cost

__all__ = ["GrowthProblem", "Wrapper"]

Array = NDArray[np.float64]
Wrapper = Callable[[Iterable[int]], Iterable[int]]

_SAMPLE, _IN_ALL = 1500, 7500  # cells of a time, and of all times, that tell growth
_NEAREST = 15  # cells of the sample that speak for one outside
_SOFTNESS = 10.0  # price over eps while growth is learned: cheap, lest displacement stand for it
_ORDER = 0.5  # of the error of growth in one over the number of rounds
_MOST_STRETCH = 2.0
_SWEEPS = 200  # at most, from the potentials of the iteration before
_TOLERANCE = 1e-3  # of the potentials, over eps


@dataclass(frozen=True, eq=False)
class GrowthProblem:
    """Snapshots in the metric of fates.

    Attributes
    ----------
    flat
        Cells of each time.
    start
        Cells of each time but the last where their coupling begins: shifted onto the mean of the
        next snapshot, or moved on by a model.
    masses
        Masses of the cells.
    durations
        Lengths of the intervals.
    settings
        Noise and softness.
    """

    flat: list[Tensor]
    start: list[Tensor]
    masses: list[Tensor]
    durations: Array
    settings: AutoSettings

    @classmethod
    def of(
        cls,
        xs: Sequence[Tensor],
        weights: Sequence[Tensor],
        times: Sequence[float],
        settings: AutoSettings,
        *,
        moved: Sequence[Tensor] | None = None,
    ) -> GrowthProblem:
        """Map snapshots into the metric, on the CPU."""
        flat = [in_metric(x, settings) for x in xs]
        masses = [w.cpu().double() for w in weights]
        means = [(m[:, None] * x).sum(0) / m.sum() for x, m in zip(flat, masses, strict=True)]
        if moved is None:
            start = [x + (means[k + 1] - means[k]) for k, x in enumerate(flat[:-1])]
        else:
            start = list(moved)
        return cls(flat, start, masses, np.diff(np.asarray(times, dtype=np.float64)), settings)

    def intervals(self, rates: Sequence[Array]) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield source, target and their masses; source masses as the rates expect them."""
        for k, rate in enumerate(rates):
            exponent = rate * self.durations[k]
            factor = torch.from_numpy(np.exp(exponent - exponent.max()))
            source, target = self.masses[k] * factor, self.masses[k + 1]
            yield self.start[k], self.flat[k + 1], source * (target.sum() / source.sum()), target

    def learned(
        self, rates: Sequence[Array], iterations: int, random_state: int, each: Wrapper | None
    ) -> list[Array]:
        """Return growth after some iterations, per unit of time, up to a constant per interval."""
        if iterations < 1:
            return list(rates)
        small, rows = self._sample(np.random.default_rng(random_state))
        found = [rate[r] for rate, r in zip(rates, rows, strict=False)]
        growth = StateGrowth(small.flat, found)
        solvers = [_Interval(small, k) for k in range(len(self.durations))]
        own = [mass.numpy() for mass in small.masses]
        halfway, loop = found, range(iterations)
        for step in loop if each is None else each(loop):
            sides = list(small.intervals(found))
            raw = [
                np.log(solver.factor(source, target).clip(1e-12)) / duration
                for solver, (_, _, source, target), duration in zip(
                    solvers, sides, self.durations, strict=True
                )
            ]
            descendants = [
                solver.descendants(target)
                for solver, (_, _, _, target) in zip(solvers, sides, strict=True)
            ]
            beyond = zip(small.met(raw), small.met(found), strict=True)
            growth.tell([seen - known for seen, known in beyond], descendants, own)
            found = growth.along(descendants)
            halfway = found if step == iterations // 2 else halfway
        found = extrapolated(halfway, found, own)
        return found if small is self else self._from(small, found)

    def _from(self, small: GrowthProblem, rates: Sequence[Array]) -> list[Array]:
        """Return growth of all cells as that of the nearest cells of a sample."""
        found = []
        for x, known, rate in zip(self.flat, small.flat, rates, strict=False):
            k = min(_NEAREST, len(known))
            index = cKDTree(known.numpy()).query(x.numpy(), k=k)[1].reshape(len(x), k)
            found.append(np.asarray(rate[index].mean(1), dtype=np.float64))
        return found

    def met(self, rates: Sequence[Array]) -> list[Array]:
        """Return rates under which each population grows as it was observed to."""
        found = []
        for k, rate in enumerate(rates):
            grown = float((self.masses[k].numpy() * np.exp(rate * self.durations[k])).sum())
            shift = np.log(float(self.masses[k + 1].sum()) / grown) / self.durations[k]
            found.append(np.asarray(rate + shift, dtype=np.float64))
        return found

    def _sample(self, rng: np.random.Generator) -> tuple[GrowthProblem, list[NDArray[np.int64]]]:
        """Return a problem of a sample of the cells, and which these are."""
        sizes = [len(x) for x in self.flat]
        most = min(_SAMPLE, max(_IN_ALL // len(sizes), 1))
        if max(sizes) <= most:
            return self, [np.arange(n) for n in sizes]
        rows = [np.sort(rng.choice(n, min(n, most), replace=False)) for n in sizes]
        masses = []
        for mass, r in zip(self.masses, rows, strict=True):
            masses.append(mass[r] * (mass.sum() / mass[r].sum()))
        flat = [x[r] for x, r in zip(self.flat, rows, strict=True)]
        start = [x[r] for x, r in zip(self.start, rows[:-1], strict=True)]
        return GrowthProblem(flat, start, masses, self.durations, self.settings), rows


def extrapolated(
    halfway: Sequence[Array], found: Sequence[Array], masses: Sequence[Array]
) -> list[Array]:
    r"""Stretch growth to where it was going when the rounds ended.

    Rounds approach the growth that the masses ask for from below, fast where states lie apart and
    slowly where displacement explains the masses nearly as well. With an error that falls as
    :math:`n^{-1/2}` (Richardson), differences from the mean of an interval end
    :math:`(\sqrt 2 - h) / (\sqrt 2 - 1)` times as large as after :math:`n` rounds, where :math:`h`
    is the share of them that was there after half as many; twice at most. One factor for all cells,
    so that what is still moving, which is noise as well, is not favoured.

    Parameters
    ----------
    halfway, found
        Growth after half of the rounds and after all, an array per interval.
    masses
        Masses of the cells.
    """
    moments = np.zeros(2)
    means = []
    for early, late, mass in zip(halfway, found, masses, strict=False):
        share = mass / mass.sum()
        means.append(float(share @ late))
        beyond = share * (late - means[-1])
        moments += len(late) * np.array([beyond @ early, beyond @ late])
    reached = min(moments[0] / moments[1], 1.0) if moments[1] > 0 else 1.0
    doubled = 2.0**_ORDER
    stretch = min((doubled - reached) / (doubled - 1.0), _MOST_STRETCH)
    return [mean + stretch * (late - mean) for mean, late in zip(means, found, strict=True)]


class _Interval:
    """One interval, whose potentials serve the next iteration."""

    def __init__(self, problem: GrowthProblem, k: int) -> None:
        there, start = problem.flat[k + 1], problem.start[k]
        centre = there.mean(0)
        self.own = problem.masses[k]
        self.alive = (problem.masses[k] > 0), (problem.masses[k + 1] > 0)
        cost = squared_distances(start - centre, there - centre)
        self.cost = DenseCost(cost[self.alive[0]][:, self.alive[1]])
        self.eps = problem.settings.reg[k]
        self.sides = Sides(Penalty("kl", _SOFTNESS * self.eps), Penalty("exact"))
        self.potentials: tuple[Tensor, Tensor] | None = None

    def factor(self, source: Tensor, target: Tensor) -> Array:
        """Return the mass of each row over that of its cell, up to a constant."""
        a, b = source[self.alive[0]], target[self.alive[1]]
        a, b = a / a.sum(), b / b.sum()
        found = annealed(
            self.cost,
            a,
            b,
            first=self.eps if self.potentials else typical_cost(self.cost.cost),
            last=self.eps,
            most_last=_SWEEPS,
            start=self.potentials,
            tol=_TOLERANCE,
            sides=self.sides,
        )
        self.potentials = found.phi, found.psi
        factor = np.ones(len(source))
        rows = self.sides.source.marginal(found.phi, a)
        own = self.own[self.alive[0]]
        factor[self.alive[0].numpy()] = (rows / (own / own.sum())).numpy()
        return factor

    def descendants(self, target: Tensor) -> Array:
        """Return the shares of each row over the target cells; none for rows without mass."""
        assert self.potentials is not None
        psi, share = self.potentials[1], target[self.alive[1]]
        kernel = (psi - self.cost.cost).div_(self.eps).add_(torch.log(share / share.sum()))
        found = torch.zeros(len(self.own), len(target), dtype=torch.float64)
        rows, columns = (torch.nonzero(alive).ravel() for alive in self.alive)
        found[rows[:, None], columns] = torch.softmax(kernel, dim=1).double()
        return np.asarray(found.numpy(), dtype=np.float64)
