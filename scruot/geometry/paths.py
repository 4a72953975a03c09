"""Laws of a weighted particle between two cells: where it is, how heavy, how it moves and grows.

Every law is a Gaussian of a mean, with a variance that may be zero, and a mass; flow matching
regresses on any of them in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from scruot.geometry.wfr import travelling_dirac

# a cell that dies or is born without a partner shrinks to, or grows from, this share of itself
# where masses change exponentially
_LEAST = 1e-5


class PathPoint(NamedTuple):
    """A law at chosen times of a unit interval; rates are per unit of the interval.

    ``mean`` (n, d), ``mass`` (n,), ``velocity`` (n, d) of the mean, ``growth`` (n,), and the
    ``variance`` (n,) per coordinate about the mean with its rate ``spreading`` (n,).
    """

    mean: Tensor
    mass: Tensor
    velocity: Tensor
    growth: Tensor
    variance: Tensor
    spreading: Tensor


class Path(Protocol):
    """A law between two cells."""

    def at(
        self, s: Tensor, x0: Tensor, x1: Tensor, m0: Tensor, m1: Tensor, duration: Tensor
    ) -> PathPoint:
        """Return the law at times ``s`` (n,) in [0, 1] of intervals of the given duration."""

    def mean_mass(self, distance: Tensor, m0: Tensor, m1: Tensor) -> Tensor:
        """Return the mass averaged over the interval, shape (n,)."""


@dataclass(frozen=True)
class Geodesic:
    """Travelling Diracs, the geodesics of the Wasserstein-Fisher-Rao geometry.

    Parameters
    ----------
    delta
        Length that weighs growth against displacement.
    """

    delta: float

    def at(
        self, s: Tensor, x0: Tensor, x1: Tensor, m0: Tensor, m1: Tensor, duration: Tensor
    ) -> PathPoint:
        """Return the state of the travelling Diracs."""
        state = travelling_dirac(s, x0, x1, m0, m1, self.delta)
        none = torch.zeros_like(state.mass)
        return PathPoint(state.x, state.mass, state.velocity, state.growth, none, none)

    def mean_mass(self, distance: Tensor, m0: Tensor, m1: Tensor) -> Tensor:
        """Return ``int |z|^2 ds``."""
        cos = torch.cos(distance / (2 * self.delta))
        return (m0 + m1 + (m0 * m1).sqrt() * cos) / 3


@dataclass(frozen=True)
class Bridge:
    """Straight lines, or Brownian bridges about them, with masses that change exponentially.

    The bridge of noise ``sigma`` over a duration ``D`` has the variance ``sigma^2 D s (1 - s)``;
    mass is ``m0 (m1 / m0)^s``, so that growth is constant. A death or a birth is taken for a
    fall to, or a rise from, 1e-5 of the mass at the other end.

    Parameters
    ----------
    sigma
        Noise, a length per root of time; 0 for straight lines.
    """

    sigma: float = 0.0

    def at(
        self, s: Tensor, x0: Tensor, x1: Tensor, m0: Tensor, m1: Tensor, duration: Tensor
    ) -> PathPoint:
        """Return mean and variance of the bridge, and its mass."""
        log0, log1 = _logs(m0, m1)
        step = x1 - x0
        spread = self.sigma**2 * duration
        return PathPoint(
            mean=x0 + s[:, None] * step,
            mass=((1 - s) * log0 + s * log1).exp(),
            velocity=step,
            growth=log1 - log0,
            variance=spread * s * (1 - s),
            spreading=spread * (1 - 2 * s),
        )

    def mean_mass(self, distance: Tensor, m0: Tensor, m1: Tensor) -> Tensor:
        """Return the logarithmic mean of the masses."""
        log0, log1 = _logs(m0, m1)
        ratio = log1 - log0
        # (e^r - 1) / r without cancellation
        small = ratio.abs() < 1e-6
        factor = torch.where(small, torch.ones_like(ratio), ratio.expm1() / ratio)
        return log0.exp() * factor


def _logs(m0: Tensor, m1: Tensor) -> tuple[Tensor, Tensor]:
    least = _LEAST * torch.maximum(m0, m1)
    return torch.maximum(m0, least).log(), torch.maximum(m1, least).log()
