"""The law of coupled cells on their way, with its drift and growth at any of its points."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scruot.dynamics.noise import Noise
from scruot.dynamics.snapshots import Snapshots
from scruot.geometry.wfr import travelling_dirac
from scruot.transport import PairTable

__all__ = ["PathMixture", "PathPoints"]

# times per interval, and pairs that are on their way at each, in one draw
_TIMES = 4
_PAIRS = 256
# share of an interval from which on no drift is learned: the pull to the end is unbounded
_LATEST = 0.97
# pairs whose lengths are held in memory at the same time
_AT_ONCE = 65_536


class PathPoints(NamedTuple):
    """Points of the law: times (n,), states and drifts (n, d), growth (n,).

    ``weight`` is the mass of the point's pair at that time, over the mean; ``pull`` the variance of
    a single bridge's drift there, per coordinate and squared level of noise (infinite where the
    drift says nothing).
    """

    t: Tensor
    x: Tensor
    drift: Tensor
    growth: Tensor
    weight: Tensor
    pull: Tensor


class PathMixture:
    r"""Travelling Diracs of all pairs, each with a Brownian bridge around it.

    At share ``s`` of an interval a pair is a Gaussian of mass :math:`m_j(s)` around the
    geodesic's :math:`x_j(s)`, of variance
    :math:`h^2 + \sigma_i^2 B(s)`, :math:`B = A(s)(A(1) - A(s))/A(1)`, :math:`A(s) = \int_0^s f^2`:
    blur, and a bridge of the noise. A point of it moves by

    .. math:: u_j - \frac{f^2}{A(1) - A(s)}\,\frac{\sigma_i^2 B}{h^2 + \sigma_i^2 B}\,(x - x_j)

    and what a point of the whole law moves by and grows is the mean of this over the pairs that
    it may belong to. Regression on single pairs has the same mean; here it comes without the
    noise of drawing one.

    Parameters
    ----------
    clouds
        The snapshots.
    tables
        One table of pairs per interval.
    delta
        Length of the WFR geometry, in the clouds' units.
    blur
        ``h``: standard deviation, per coordinate, of noise added to positions.
    noise
        Noise of the process, with knots at the snapshots.
    """

    def __init__(
        self,
        clouds: Snapshots,
        tables: list[PairTable],
        delta: float,
        blur: float,
        noise: Noise,
    ) -> None:
        self.clouds, self.tables = clouds, tables
        self.delta, self.blur, self.noise = delta, blur, noise

    def population(self) -> Tensor:
        """Return the first, last and mixed mass (a, b, c) of every interval, (K, 3).

        At share ``s`` of it the pairs weigh ``a (1-s)^2 + b s^2 + 2 c s (1-s)``.
        """
        rows = []
        for k, table in enumerate(self.tables):
            both = ((table.source >= 0) & (table.target >= 0)).nonzero()[:, 0]
            mixed = table.m0.new_zeros(())
            for some in both.split(_AT_ONCE):
                here, there = table.source[some], table.target[some]
                ways = self.clouds.x[k + 1][there] - self.clouds.x[k][here]
                angle = torch.linalg.vector_norm(ways, dim=1).to(mixed) / (2 * self.delta)
                mean = (table.m0[some] * table.m1[some]).sqrt()
                mixed = mixed + (mean * angle.clamp_max(math.pi / 2).cos()).sum()
            rows.append(torch.stack([table.m0.sum(), table.m1.sum(), mixed]))
        return torch.stack(rows).to(self.clouds.x[0].dtype)

    def draw(self, n: int, generator: torch.Generator) -> PathPoints:
        """Draw about ``n`` points, spread over the intervals by their durations."""
        span = self.clouds.times[-1] - self.clouds.times[0]
        parts = [
            self._interval(k, max(1, round(n * duration / span / _TIMES)), generator)
            for k, duration in enumerate(self.clouds.durations)
        ]
        return PathPoints(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _interval(self, k: int, n: int, generator: torch.Generator) -> PathPoints:
        """Draw ``n`` points at each of a few stratified times of an interval."""
        device = self.clouds.x[0].device
        u = torch.rand(_TIMES, generator=generator, device=device)
        s = (torch.arange(_TIMES, device=device) + u) / _TIMES
        start, duration = self.clouds.times[k], self.clouds.durations[k]
        pairs, share, chosen = self._choose(k, n, generator)
        position, velocity, growth, mass = self._paths(k, s, pairs)
        origin = torch.take_along_dim(position, chosen[..., None], 1)
        t = start + s * duration
        spread, shrink, pull = self._bridge(k, s, t, position)
        normal = torch.randn(origin.shape, generator=generator, device=device)
        x = origin + spread[:, None] * normal
        apart = torch.cdist(x / spread[:, None], position / spread[:, None]).square()
        # nothing has no logarithm
        prior = (mass * share).clamp_min(torch.finfo(mass.dtype).tiny).log()
        posterior = torch.softmax(prior[:, None] - apart / 2, 2)
        drift = posterior @ velocity / duration - shrink[:, None] * (x - posterior @ position)
        rate = (posterior @ growth[..., None])[..., 0] / duration
        weight = torch.take_along_dim(mass, chosen, 1)
        weight = weight / weight.mean()
        return PathPoints(
            t.repeat_interleave(n),
            x.flatten(0, 1),
            drift.flatten(0, 1),
            rate.flatten(),
            weight.flatten(),
            pull.repeat_interleave(n),
        )

    def _choose(self, k: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the pairs that are on their way, and ``n`` of them at each time for points.

        Returns their places in the table (m,), their shares of the mass at both ends (m,), and
        the places among them (T, n) of those that points come from, drawn by these shares.
        """
        table = self.tables[k]
        device = table.m0.device
        if len(table) <= _PAIRS:
            total = table.m0 + table.m1
            chosen = table.sample(_TIMES * n, generator).reshape(_TIMES, n)
            return torch.arange(len(table), device=device), (total / total.sum()).float(), chosen
        # a sample stands for all; that points come from it makes their mean drift the right one
        m = max(n, _PAIRS)
        chosen = torch.arange(n, device=device).expand(_TIMES, n)
        return table.sample(m, generator), torch.full((m,), 1 / m, device=device), chosen

    def _paths(self, k: int, s: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return positions and velocities (T, m, d), growth and mass (T, m) of pairs.

        All are per interval, and masses in units of those at both ends together.
        """
        table = self.tables[k]
        m = len(pairs)
        source, target, m0 = table.source[pairs], table.target[pairs], table.m0[pairs]
        ratio = (m0 / (m0 + table.m1[pairs])).float()
        here, there = self.clouds.x[k], self.clouds.x[k + 1]
        birth, death = (source < 0)[:, None], (target < 0)[:, None]
        x0 = torch.where(birth, there[target.clamp_min(0)], here[source.clamp_min(0)])
        x1 = torch.where(death, here[source.clamp_min(0)], there[target.clamp_min(0)])
        d = x0.shape[1]
        path = travelling_dirac(
            s.repeat_interleave(m),
            x0.repeat(len(s), 1),
            x1.repeat(len(s), 1),
            ratio.repeat(len(s)),
            (1 - ratio).repeat(len(s)),
            self.delta,
        )
        shape = (len(s), m)
        return (
            path.x.reshape(*shape, d),
            path.velocity.reshape(*shape, d),
            path.growth.reshape(shape),
            path.mass.reshape(shape),
        )

    def _bridge(self, k: int, s: Tensor, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return spread (T, d), rate of the way back (T, d), variance of the pull (T,)."""
        least = torch.finfo(s.dtype).tiny
        level = self.noise.levels(like[0]).square()
        if not self.noise:
            spread = torch.full((len(s), like.shape[2]), max(self.blur, 1e-6), device=s.device)
            return spread, torch.zeros_like(spread), torch.zeros_like(s)
        k_all = torch.full_like(s, k, dtype=torch.long)
        passed, total = (self.noise.accumulated(k_all, v) for v in (s, torch.ones_like(s)))
        total = total.clamp_min(least)
        left = (total - passed).clamp_min(1e-6 * total)
        bridge = passed * left / total
        variance = (self.blur**2 + bridge[:, None] * level).clamp_min(1e-12)
        pull = self.noise.factor(t).square() / left
        shrink = pull[:, None] * bridge[:, None] * level / variance
        late = torch.full_like(s, torch.inf)
        return variance.sqrt(), shrink, torch.where(s <= _LATEST, pull.square() * bridge, late)
