"""Weighted particles carried from snapshot to snapshot, with what a variational method asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from scruot.dynamics.hjb import temporal_difference
from scruot.dynamics.noise import Noise

__all__ = ["Local", "Rollout", "roll_out"]


class Local(NamedTuple):
    """A potential and what follows from it at (n,) points: drift is (n, d), all else (n,)."""

    value: Tensor
    drift: Tensor
    growth: Tensor
    hamiltonian: Tensor
    cost: Tensor


@dataclass
class Rollout:
    """Particles at every snapshot, and integrals along their paths.

    Parameters
    ----------
    x, log_weights
        One entry per snapshot, shapes (n, d) and (n,).
    action
        ``int sum_i w_i (|u_i|^2 / 2 + alpha psi(g_i)) dt``.
    squared_residual
        The same integral of the squared temporal difference of the HJB equation.
    effective
        Share of particles of equal weight worth as much, at every snapshot.
    nodes
        Times (n,), states and weights at the start of every step, detached.
    durations
        Length of every step.
    centres
        States at the end of every step without the noise of that step, detached.
    """

    x: list[Tensor] = field(default_factory=list)
    log_weights: list[Tensor] = field(default_factory=list)
    action: Tensor = field(default_factory=lambda: torch.zeros(()))
    squared_residual: Tensor = field(default_factory=lambda: torch.zeros(()))
    effective: list[float] = field(default_factory=list)
    nodes: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    centres: list[Tensor] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)


Rates = Callable[[Tensor, Tensor, int], Local]
"""What holds at times (n,) and states (n, d) in an interval."""


def roll_out(
    rates: Rates,
    x: Tensor,
    log_weights: Tensor,
    times: tuple[float, ...],
    noise: Noise,
    *,
    step: float,
    generator: torch.Generator,
    least_effective: float = 0.0,
    grading: float = 1.0,
) -> Rollout:
    """Carry particles through all snapshots by Heun's method, differentiably.

    Noise is the same at both stages of a step, so that the scheme is that of Euler and Maruyama
    in its noise and of order two without.

    Parameters
    ----------
    rates
        The model.
    x, log_weights
        Particles at the first time, (n, d) and (n,).
    times
        Snapshots.
    noise
        Its strength.
    step
        Time step: the mean one of an interval is no larger.
    generator
        Source of the noise.
    least_effective
        Share of effective particles below which they are drawn anew at a snapshot, in
        proportion to their weights. The total weight stays, and so does its gradient.
    grading
        Steps end at shares ``(i / n)^grading`` of an interval: above 1 the first are the
        shortest. A cloud that splits does so at once, by a drift that differs between
        neighbours, and long first steps carry its cells past where the drift has turned.
    """
    result = Rollout()
    _record(result, x, log_weights)
    for k, (start, stop) in enumerate(pairwise(times)):
        n_steps = max(1, math.ceil((stop - start) / step - 1e-6))
        ends = [start + (stop - start) * (i / n_steps) ** grading for i in range(n_steps + 1)]
        for left, right in pairwise(ends):
            x, log_weights = _step(
                rates, x, log_weights, (left, k, right - left), noise, generator, result
            )
        if result.x and _effective(log_weights) < least_effective:
            x, log_weights = _resampled(x, log_weights, generator)
        _record(result, x, log_weights)
    return result


def _step(
    rates: Rates,
    x: Tensor,
    log_weights: Tensor,
    place: tuple[float, int, float],
    noise: Noise,
    generator: torch.Generator,
    result: Rollout,
) -> tuple[Tensor, Tensor]:
    start, k, h = place
    t = torch.full_like(log_weights, start)
    shock = torch.zeros_like(x)
    if noise:
        normal = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        shock = math.sqrt(h) * noise.at(t, x) * normal
    before = rates(t, x, k)
    ahead = x + h * before.drift + shock
    after = rates(t + h, ahead, k)
    moved = x + h / 2 * (before.drift + after.drift) + shock
    grown = log_weights + h / 2 * (before.growth + after.growth)
    weight, weight_after = log_weights.exp(), grown.exp()
    spent = [e.drift.square().sum(1) / 2 + e.cost for e in (before, after)]
    result.action = result.action + h / 2 * ((weight * spent[0] + weight_after * spent[1]).sum())
    ends = [(e.value, e.drift, e.hamiltonian) for e in (before, after)]
    difference = temporal_difference(ends[0], ends[1], h, shock)
    result.squared_residual = result.squared_residual + h * (weight * difference.square()).sum()
    result.nodes.append((t, x.detach(), weight.detach()))
    result.centres.append((moved - shock).detach())
    result.durations.append(h)
    return moved, grown


def _record(result: Rollout, x: Tensor, log_weights: Tensor) -> None:
    result.x.append(x)
    result.log_weights.append(log_weights)
    result.effective.append(_effective(log_weights))


def _effective(log_weights: Tensor) -> float:
    weight = torch.softmax(log_weights.detach(), 0)
    return float(1 / (weight.square().sum() * len(weight)))


def _resampled(x: Tensor, log_weights: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw particles by systematic resampling; all then weigh the same."""
    n = len(x)
    bounds = torch.softmax(log_weights.detach(), 0).cumsum(0)
    shift = torch.rand(1, generator=generator, device=x.device, dtype=x.dtype)
    places = (torch.arange(n, device=x.device, dtype=x.dtype) + shift) / n
    chosen = torch.searchsorted(bounds, places).clamp_max(n - 1)
    kept = log_weights[chosen]
    # one in value; its gradient is that of the weights that the draw made equal
    carried = kept - kept.detach()
    return x[chosen], log_weights.logsumexp(0) - math.log(n) + carried - carried.mean()
