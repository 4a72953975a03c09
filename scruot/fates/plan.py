"""The automatic plan: a chain of entropic couplings with metric, noise and growth from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from scruot.fates.growth import GrowthProblem, Wrapper
from scruot.fates.metric import fate_settings
from scruot.transport import AutoSettings, Chain, EntropicPlan, Penalty, entropic_plan

__all__ = ["ITERATIONS", "FatePlan", "automatic_plan"]

Array = NDArray[np.float64]

ITERATIONS = 10


@dataclass(frozen=True, eq=False)
class FatePlan:
    """Couplings of consecutive snapshots, and the settings they were found with.

    Attributes
    ----------
    plans
        One per interval, held by its potentials; masses are those at its end.
    settings
        Metric, noise and softness.
    rates
        Growth of every cell before the last time, per unit of time, as the last couplings expect
        it: smooth over states.
    """

    plans: list[EntropicPlan]
    settings: AutoSettings
    rates: list[Array]

    @property
    def chain(self) -> Chain:
        """The plans as one Markov chain."""
        return Chain(self.plans)


def automatic_plan(
    xs: Sequence[Tensor],
    weights: Sequence[Tensor],
    times: Sequence[float],
    *,
    states: Sequence[NDArray[np.integer]] | None = None,
    settings: AutoSettings | None = None,
    rates: Sequence[Array] | None = None,
    moved: Sequence[Tensor] | None = None,
    iterations: int = ITERATIONS,
    random_state: int = 0,
    each: Wrapper | None = None,
) -> FatePlan:
    r"""Couple every snapshot with the next in the metric and with the noise of fates.

    Growth is a function of the state, followed along the way: a cell grows over an interval at the
    mean of what its state and those of its descendants say. The logarithm of a row's mass over the
    mass of its cell, per unit of time, tells that function, averaged over cells of like states at
    *all* times (a Gaussian of twice the spread within states), and it is what the next iteration
    expects. So an interval in which states lie apart tells of growth in earlier ones, in which
    displacement would explain the masses as well. Populations are met at every time.

    Before the source is coupled it is shifted onto the mean of the target: a displacement that all
    cells share says nothing of growth.

    Parameters
    ----------
    xs
        Snapshots in time order, each of shape ``(n_k, d)``.
    weights
        Mass of each cell, each of shape ``(n_k,)``; totals are populations.
    times
        Time of each snapshot.
    states
        Terminal state of each cell, -1 for none, for :func:`scruot.fates.fate_settings`.
    settings
        Settings to use instead of those.
    rates
        Growth that is expected at first, per unit of time, an array for each time but the last; up
        to a constant. None by default.
    moved
        Cells of every time but the last, moved on by one interval by a model, in the metric: these
        are coupled, without a shift.
    iterations
        How often all intervals are solved.
    random_state
        Seed of the sample of large data that tells growth.
    each
        Wrapper of the loop over iterations, e.g. a progress bar.

    Returns
    -------
    The plans, settings and growth.

    Examples
    --------
    >>> import torch
    >>> rng = torch.Generator().manual_seed(0)
    >>> xs = [torch.randn(60, 3, generator=rng) * (1 + k) for k in range(3)]
    >>> plan = automatic_plan(xs, [torch.ones(60)] * 3, [0.0, 1.0, 2.0])
    >>> [step.shape for step in plan.plans]
    [(60, 60), (60, 60)]
    """
    found = fate_settings(xs, weights, times, states) if settings is None else settings
    problem = GrowthProblem.of(xs, weights, times, found, moved=moved)
    expected = [np.zeros(len(x)) for x in xs[:-1]] if rates is None else list(rates)
    expected = problem.learned(expected, iterations - 1, random_state, each)
    plans = [
        entropic_plan(
            start,
            there,
            source,
            target,
            source=Penalty("kl", found.tau[k]),
            target=Penalty("exact"),
            reg=found.reg[k],
        )
        for k, (start, there, source, target) in enumerate(problem.intervals(expected))
    ]
    return FatePlan(plans, found, problem.met(expected))
