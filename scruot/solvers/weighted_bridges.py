"""The law of weighted bridges between coupled cells: points of it, and what holds there.

At a time ``t`` the law is a mixture of blobs ``N(x_j, S)`` of mass ``m_j`` on the travelling
Diracs of all pairs. Its velocity, growth and score at a point are means over the blobs that the
point may belong to. They are estimated with a random part of the blobs, of which the point is
drawn as well: the estimate has the right mean, and less noise than the values of the one blob
that the point came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scruot.dynamics.snapshots import Snapshots
from scruot.geometry.blob_bridge import BlobBridge
from scruot.geometry.wfr import travelling_dirac
from scruot.transport import PairTable

# points per time, and blobs that they are compared with
_POINTS = 8
_BLOBS = 32


class BridgeBatch(NamedTuple):
    """Points ``x`` (n, d) at times ``t`` (n,), and estimates of what the law has there.

    ``velocity`` (n, d), ``growth`` (n,), ``score`` (n, d), the width ``std`` (n,) of the blobs,
    and a ``weight`` (n,) of mean one.
    """

    t: Tensor
    x: Tensor
    velocity: Tensor
    growth: Tensor
    score: Tensor
    std: Tensor
    weight: Tensor


@dataclass(frozen=True, eq=False)
class IntervalPairs:
    """The pairs of one interval: ends, shares of the mass of both ends, chances to be drawn.

    ``total`` is the sum of the masses at both ends.
    """

    x0: Tensor
    x1: Tensor
    m0: Tensor
    m1: Tensor
    bounds: Tensor
    mean_weight: float
    total: float

    @classmethod
    def of(cls, table: PairTable, first: Tensor, last: Tensor, delta: float) -> IntervalPairs:
        """Collect the pairs of ``table`` between the clouds ``first`` and ``last``."""
        birth, death = (table.source < 0)[:, None], (table.target < 0)[:, None]
        # an index of -1 reads the last row, which the other end then replaces
        x0, x1 = first[table.source], last[table.target]
        x0, x1 = torch.where(birth, x1, x0), torch.where(death, x0, x1)
        total = table.m0 + table.m1
        chance = total / total.sum()
        m0, m1 = table.m0 / total, table.m1 / total
        angle = torch.linalg.vector_norm(x1 - x0, dim=1).to(total.dtype) / (2 * delta)
        # the mass of a travelling Dirac averaged over the interval, in closed form
        mean = (m0 + m1 + (m0 * m1).sqrt() * angle.cos()) / 3
        bounds = chance.cumsum(0)
        return cls(
            x0,
            x1,
            m0.float(),
            m1.float(),
            bounds / bounds[-1],
            float((chance * mean).sum()),
            float(total.sum()),
        )


class WeightedBridges:
    """Blobs on the travelling Diracs between coupled cells.

    Parameters
    ----------
    clouds
        The observed clouds.
    tables
        Pairs of each interval.
    delta
        Length of the geometry.
    bridges
        Spread of the blobs in each interval.
    """

    def __init__(
        self,
        clouds: Snapshots,
        tables: list[PairTable],
        delta: float,
        bridges: list[BlobBridge],
    ) -> None:
        self.clouds, self.delta, self.bridges = clouds, delta, bridges
        self.blur = bridges[0].blur
        self.device = clouds.x[0].device
        ends = zip(tables, clouds.x, clouds.x[1:], strict=False)
        self.pairs = [IntervalPairs.of(table, a, b, delta) for table, a, b in ends]

    def draw(self, n: int, generator: torch.Generator) -> BridgeBatch:
        """Draw about ``n`` points, at stratified times over all intervals."""
        n_times = -(-n // _POINTS)
        u = torch.rand(n_times, generator=generator, device=self.device)
        span = self.clouds.times[-1]
        moments = span * (torch.arange(n_times, device=self.device) + u) / n_times
        knots = torch.tensor(self.clouds.times[1:-1], device=self.device)
        interval = torch.bucketize(moments, knots, right=True)
        parts = []
        for k in range(len(self.pairs)):
            inside = moments[interval == k]
            if len(inside):
                parts.append(self._in_interval(k, inside, generator))
        return BridgeBatch(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _in_interval(
        self, k: int, moments: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        pairs, bridge = self.pairs[k], self.bridges[k]
        since = moments - self.clouds.times[k]
        duration = self.clouds.durations[k]
        index = stratified(pairs.bounds, (len(moments), _BLOBS), generator).flatten()
        s = (since / duration).repeat_interleave(_BLOBS)
        path = travelling_dirac(
            s, pairs.x0[index], pairs.x1[index], pairs.m0[index], pairs.m1[index], self.delta
        )
        shape = (len(moments), _BLOBS)
        centre = path.x.view(*shape, -1)
        velocity = path.velocity.view(*shape, -1) / duration
        growth = path.growth.view(shape) / duration
        mass = path.mass.view(shape)
        variance = bridge.variance(since.double()).clamp_min(1e-12).to(since.dtype)
        points, share = _points(centre, mass.clamp_min(1e-30).log(), variance, _POINTS, generator)
        away = points - share @ centre
        noise = bridge.noise + bridge.slope * since
        spreading = bridge.drift_slope(since) + noise / (2 * variance)
        flat = (1, _POINTS)
        return (
            moments[:, None].expand(-1, _POINTS).flatten(),
            points.flatten(0, 1),
            (share @ velocity + spreading[:, None, None] * away).flatten(0, 1),
            (share @ growth[..., None]).flatten(),
            (-away / variance[:, None, None]).flatten(0, 1),
            variance.sqrt()[:, None].expand(-1, _POINTS).flatten(),
            (mass.mean(1) / pairs.mean_weight)[:, None].repeat(flat).flatten(),
        )


def stratified(bounds: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw indices by their cumulative chances, each row stratified."""
    device = bounds.device
    u = torch.rand(shape, generator=generator, device=device).to(bounds.dtype)
    strata = (torch.arange(shape[-1], device=device) + u) / shape[-1]
    return torch.searchsorted(bounds, strata).clamp_max(len(bounds) - 1)


def _points(
    centre: Tensor, log_mass: Tensor, variance: Tensor, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw ``n`` points of each mixture, and the share that every blob has in each.

    Parameters
    ----------
    centre, log_mass, variance
        Blobs (T, m, d), (T, m) and (T,) of T mixtures.
    n
        Points of each.

    Returns
    -------
    Points (T, n, d) and shares (T, n, m).
    """
    chance = torch.softmax(log_mass, 1).cumsum(1)
    u = torch.rand(len(centre), n, generator=generator, device=centre.device)
    strata = ((torch.arange(n, device=centre.device) + u) / n).contiguous()
    which = torch.searchsorted(chance.contiguous(), strata).clamp_max(centre.shape[1] - 1)
    origin = torch.take_along_dim(centre, which[..., None], 1)
    normal = torch.randn(origin.shape, generator=generator, device=centre.device)
    points = origin + variance.sqrt()[:, None, None] * normal
    # without the squares of the points, which all blobs share
    squared = centre.square().sum(2)[:, None] - 2 * points @ centre.mT
    return points, torch.softmax(log_mass[:, None] - squared / (2 * variance)[:, None, None], 2)
