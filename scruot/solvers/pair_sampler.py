"""Pairs of cells of all intervals in one table, and batches of path points from it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scruot.dynamics.snapshots import Snapshots
from scruot.geometry.wfr import travelling_dirac
from scruot.transport import PairTable


class Batch(NamedTuple):
    """Regression targets: at time ``t`` and state ``x`` with a weight, in scaled units."""

    t: Tensor
    x: Tensor
    velocity: Tensor
    growth: Tensor
    weight: Tensor


class PairSampler:
    """Draws points on travelling Diracs.

    An interval is drawn in proportion to its duration, a pair of it in proportion to
    ``m0 + m1`` (births have ``m0 = 0`` and deaths ``m1 = 0``, so neither end alone would
    do), and a point counts ``m_s / (m0 + m1) <= 1``, divided by the mean of that in its
    interval.

    Parameters
    ----------
    snapshots
        The clouds.
    tables
        One table of pairs per interval.
    delta
        Length of the WFR geometry, in the clouds' units.
    noise
        Standard deviation, per coordinate, of Gaussian noise added to the position.
    """

    def __init__(
        self, snapshots: Snapshots, tables: list[PairTable], delta: float, noise: float
    ) -> None:
        self.delta, self.noise = delta, noise
        self.cells = torch.cat(snapshots.x)
        device = self.cells.device
        offset = 0
        parts: dict[str, list[Tensor]] = {k: [] for k in ("i", "j", "m0", "m1", "p", "t", "dt")}
        for k, table in enumerate(tables):
            n_source, start = len(snapshots.x[k]), offset
            duration = snapshots.durations[k]
            source, target = table.source + start, table.target + start + n_source
            total = table.m0 + table.m1
            birth, death = table.source < 0, table.target < 0
            parts["i"].append(torch.where(birth, target, source))
            parts["j"].append(torch.where(death, source, target))
            # only the ratio of the masses matters to the path
            parts["m0"].append((table.m0 / total).float())
            parts["m1"].append((table.m1 / total).float())
            parts["p"].append(duration * total / total.sum())
            parts["t"].append(torch.full((len(total),), snapshots.times[k], device=device))
            parts["dt"].append(torch.full((len(total),), duration, device=device))
            offset += n_source
        self.i, self.j, self.m0, self.m1, p, self.start, self.duration = (
            torch.cat(parts[k]) for k in ("i", "j", "m0", "m1", "p", "t", "dt")
        )
        # in double precision where the device has it: with millions of pairs each has a
        # probability below what single precision resolves next to one
        cumulative = p.cumsum(0)
        self.cumulative = cumulative / cumulative[-1]
        self.mean_weight = self._mean_weight(p, [len(t.m0) for t in tables])

    def _mean_weight(self, p: Tensor, sizes: list[int]) -> Tensor:
        """Return the mean weight of every pair's interval: ``int |z|^2 ds`` in closed form."""
        distance = torch.linalg.vector_norm(self.cells[self.j] - self.cells[self.i], dim=1)
        cos = torch.cos(distance / (2 * self.delta))
        mean = (self.m0 + self.m1 + (self.m0 * self.m1).sqrt() * cos) / 3
        per_interval = [
            ((q * m).sum() / q.sum()).expand(n)
            for q, m, n in zip(p.split(sizes), mean.split(sizes), sizes, strict=True)
        ]
        return torch.cat(per_interval).float()

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """Draw ``n`` points: pairs and times each by stratified sampling."""
        device = self.cells.device
        u = torch.rand(n, generator=generator, device=device).to(self.cumulative.dtype)
        strata = (torch.arange(n, device=device) + u) / n
        pair = torch.searchsorted(self.cumulative, strata).clamp_max(len(self.i) - 1)
        # times are stratified as well, in an order that has nothing to do with the pairs'
        order = torch.randperm(n, generator=generator, device=device)
        s = (order + torch.rand(n, generator=generator, device=device)) / n
        path = travelling_dirac(
            s,
            self.cells[self.i[pair]],
            self.cells[self.j[pair]],
            self.m0[pair],
            self.m1[pair],
            self.delta,
        )
        duration = self.duration[pair]
        x = path.x
        if self.noise > 0:
            x = x + self.noise * torch.randn(x.shape, generator=generator, device=device)
        return Batch(
            t=self.start[pair] + s * duration,
            x=x,
            velocity=path.velocity / duration[:, None],
            growth=path.growth / duration,
            weight=path.mass / self.mean_weight[pair],
        )
