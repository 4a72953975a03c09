"""How strong the noise is, in every coordinate and at every time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Noise"]


@dataclass(frozen=True)
class Noise:
    """Noise ``sigma_i f(t)`` of coordinate ``i``: a level, and a profile in time.

    Parameters
    ----------
    sigma
        One level, or one per coordinate.
    profile
        The factor ``f`` at every one of ``knots``, linear in between and constant outside;
        empty for 1 at all times.
    knots
        Increasing times.
    """

    sigma: float | tuple[float, ...]
    profile: tuple[float, ...] = ()
    knots: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any noise at all."""
        levels = self.sigma if isinstance(self.sigma, tuple) else (self.sigma,)
        return max(levels) > 0 and max(self.profile, default=1.0) > 0

    def levels(self, like: Tensor) -> Tensor:
        """Return the level of every coordinate, shape (d,), for states ``like`` (n, d)."""
        level = torch.tensor(self.sigma, dtype=like.dtype, device=like.device)
        return level.expand(like.shape[1])

    def factor(self, t: Tensor) -> Tensor:
        """Return the profile at times ``t`` (n,)."""
        if not self.profile:
            return torch.ones_like(t)
        knots, profile = (
            torch.tensor(v, dtype=t.dtype, device=t.device) for v in (self.knots, self.profile)
        )
        k = torch.bucketize(t.contiguous(), knots[1:-1].contiguous(), right=True)
        s = ((t - knots[k]) / (knots[k + 1] - knots[k])).clamp(0, 1)
        return profile[k] + s * (profile[k + 1] - profile[k])

    def slope(self, t: Tensor) -> Tensor:
        """Return the derivative in time of the profile at times ``t`` (n,)."""
        if not self.profile:
            return torch.zeros_like(t)
        knots, profile = (
            torch.tensor(v, dtype=t.dtype, device=t.device) for v in (self.knots, self.profile)
        )
        k = torch.bucketize(t.contiguous(), knots[1:-1].contiguous(), right=True)
        return (profile.diff() / knots.diff())[k]

    def at(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the noise at times ``t`` (n,) for states ``x`` (n, d), shape (n, d)."""
        return self.factor(t)[:, None] * self.levels(x)

    def accumulated(self, k: Tensor, s: Tensor) -> Tensor:
        """Return ``int f^2 dt`` from the start of interval ``k`` to the share ``s`` of it."""
        knots = torch.tensor(self.knots, dtype=s.dtype, device=s.device)
        duration = knots.diff()[k]
        if not self.profile:
            return duration * s
        profile = torch.tensor(self.profile, dtype=s.dtype, device=s.device)
        start, change = profile[k], (profile[k + 1] - profile[k])
        return duration * s * (start**2 + start * change * s + change**2 * s**2 / 3)
