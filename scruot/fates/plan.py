"""The automatic plan: a chain of entropic couplings with metric, noise and growth from the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from scruot.transport import AutoSettings, Chain, Coupling, Penalty, auto_settings, couple

__all__ = ["FatePlan", "automatic_plan", "couple_in_metric"]

NEIGHBORS = 40  # cells over which growth is averaged between iterations
ITERATIONS = 3


@dataclass(frozen=True, eq=False)
class FatePlan:
    """Couplings of consecutive snapshots, and the settings they were found with.

    Attributes
    ----------
    couplings
        One per interval; masses are those at its end.
    settings
        Metric, noise and softness.
    """

    couplings: list[Coupling]
    settings: AutoSettings

    @property
    def chain(self) -> Chain:
        """The plans as one Markov chain."""
        return Chain([coupling.to_scipy() for coupling in self.couplings])


def automatic_plan(
    xs: Sequence[Tensor],
    weights: Sequence[Tensor],
    times: Sequence[float],
    *,
    settings: AutoSettings | None = None,
    expected: Sequence[Tensor] | None = None,
    iterations: int = ITERATIONS,
    kept_mass: float = 0.999,
    random_state: int = 0,
    each: Callable[[Sequence[int]], Sequence[int]] | None = None,
) -> FatePlan:
    """Couple every snapshot with the next by the rule of :func:`scruot.transport.auto_settings`.

    Parameters
    ----------
    xs
        Snapshots in time order, each of shape ``(n_k, d)``.
    weights
        Mass of each cell, each of shape ``(n_k,)``; totals are populations.
    times
        Time of each snapshot.
    settings
        Settings to use instead of those that the rule gives.
    expected
        Mass that each cell is expected to leave at the next time, up to a factor, one tensor per
        interval; by default the cells' own masses.
    iterations
        How often an interval is solved, each time with the last growth, averaged over
        neighbouring cells, as the expectation.
    kept_mass
        Share of the mass of a row or column that stored entries hold.
    random_state
        Seed of the clusters of large problems.
    each
        Wrapper of the loop over intervals, e.g. a progress bar.

    Returns
    -------
    The plans and settings.

    Examples
    --------
    >>> import torch
    >>> rng = torch.Generator().manual_seed(0)
    >>> xs = [torch.randn(60, 3, generator=rng) * (1 + k) for k in range(3)]
    >>> plan = automatic_plan(xs, [torch.ones(60)] * 3, [0.0, 1.0, 2.0])
    >>> [coupling.shape for coupling in plan.couplings]
    [(60, 60), (60, 60)]
    """
    found = auto_settings(xs, weights, times) if settings is None else settings
    flat = [in_metric(x, found) for x in xs]
    intervals: Sequence[int] = range(len(xs) - 1)
    couplings = [
        couple_in_metric(
            (flat[k], flat[k + 1]),
            (weights[k], weights[k + 1]),
            reg=found.reg[k],
            tau=found.tau[k],
            expected=None if expected is None else expected[k],
            iterations=iterations,
            kept_mass=kept_mass,
            random_state=random_state,
        )
        for k in (intervals if each is None else each(intervals))
    ]
    return FatePlan(couplings, found)


def couple_in_metric(
    ends: tuple[Tensor, Tensor],
    masses: tuple[Tensor, Tensor],
    *,
    reg: float,
    tau: float,
    expected: Tensor | None = None,
    iterations: int = ITERATIONS,
    kept_mass: float = 0.999,
    random_state: int = 0,
) -> Coupling:
    """Couple one interval: soft source, exact target, growth iterated with smoothing.

    Parameters
    ----------
    ends
        Cells of both ends in the metric; the source may have been moved on by a model.
    masses
        Their masses; the totals are populations.
    reg, tau
        Regularisation and price of source mass, in squared units of the metric.
    expected, iterations, kept_mass, random_state
        As in :func:`automatic_plan`.

    Returns
    -------
    The plan, with masses at the later end.
    """
    own = masses[0].to(torch.float64)
    target = masses[1].to(torch.float64)
    prior = own if expected is None else expected.to(torch.float64)
    source = prior * (target.sum() / prior.sum())
    neighbours = _neighbours(ends[0]) if iterations > 1 else None
    for step in range(iterations):
        plan = couple(
            *ends,
            source,
            target,
            source=Penalty("kl", tau),
            target=Penalty("exact"),
            reg=reg,
            kept_mass=kept_mass,
            random_state=random_state,
        )
        if neighbours is not None and step + 1 < iterations:
            factor = torch.where(own > 0, plan.row_mass / own.clamp_min(1e-300), 0.0)
            source = own * factor[neighbours].mean(1)
            source = source * (target.sum() / source.sum())
    return plan


def in_metric(x: Tensor, settings: AutoSettings) -> Tensor:
    """Return coordinates in which squared distances are those of the rule."""
    device = torch.device("cpu") if x.device.type == "mps" else x.device
    return x.to(device).to(torch.float64) @ settings.metric.to(device).to(torch.float64)


def _neighbours(x: Tensor) -> Tensor:
    """Return indices of the nearest cells of every cell, itself among them."""
    points = x.double().cpu().numpy()
    k = min(NEIGHBORS, len(points))
    found = cKDTree(points).query(points, k=k)[1].reshape(len(points), k)
    return torch.from_numpy(found).to(x.device)
