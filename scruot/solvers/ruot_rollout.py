"""Particles carried through all observed times, with gradients through the whole way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Motion = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Rate = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Rollout:
    """States and log weights at the observed times, and at the middle of every step between.

    Parameters
    ----------
    x, log_weights
        One (n, d) and one (n,) tensor per observed time, the first included.
    nodes
        Times (m,), states (m, d), log weights (m,), velocity (m, d), growth (m,) at the middle
        of every step, and the durations (m,) of the steps.
    along
        Integral (n,) of one more rate along every path, zero where none was given.
    """

    x: list[Tensor]
    log_weights: list[Tensor]
    nodes: Nodes
    along: Tensor


@dataclass(frozen=True)
class Nodes:
    """See :class:`Rollout`."""

    t: Tensor
    x: Tensor
    log_weights: Tensor
    velocity: Tensor
    growth: Tensor
    duration: Tensor


def roll_out(
    motion: Motion,
    x: Tensor,
    log_weights: Tensor,
    times: tuple[float, ...],
    step: float,
    *,
    along: Rate | None = None,
) -> Rollout:
    """Integrate by the midpoint rule; integrals over time are sums over the nodes.

    Parameters
    ----------
    motion
        Velocity and growth at times (n,) and states (n, d).
    x, log_weights
        Particles at ``times[0]``.
    times
        Increasing times, or decreasing ones: durations are negative then.
    step
        Largest time step.
    along
        A rate (n,) at times (n,) and states (n, d) to be integrated along the paths.
    """
    states, logs = [x], [log_weights]
    collected = torch.zeros_like(log_weights)
    parts: list[tuple[Tensor, ...]] = []
    for start, stop in pairwise(times):
        n_steps = max(1, math.ceil(abs(stop - start) / step - 1e-9))
        h = (stop - start) / n_steps
        for i in range(n_steps):
            v, g = motion(x.new_full((len(x),), start + i * h), x)
            t = x.new_full((len(x),), start + (i + 0.5) * h)
            middle, log_middle = x + h / 2 * v, log_weights + h / 2 * g
            v, g = motion(t, middle)
            parts.append((t, middle, log_middle, v, g, torch.full_like(t, h)))
            if along is not None:
                collected = collected + h * along(t, middle)
            x, log_weights = x + h * v, log_weights + h * g
        states.append(x)
        logs.append(log_weights)
    nodes = Nodes(*(torch.cat(p) for p in zip(*parts, strict=True)))
    return Rollout(states, logs, nodes, collected)
