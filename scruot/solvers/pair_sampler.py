"""Batches of points on the paths between paired cells."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scruot.dynamics.snapshots import Snapshots
from scruot.geometry import Bridge, Path
from scruot.solvers.pair_table import JoinedPairs
from scruot.transport import PairTable


class Batch(NamedTuple):
    """Regression targets: at times ``t`` and states ``x``, in scaled units.

    ``weight`` (n,) is the mass of the path; ``targets`` has a quantity's value, (n, d) or (n,);
    ``precision`` has, for some, a factor (n,) on its squared error that depends on time alone and
    so changes the noise of the regression, not its minimiser.
    """

    t: Tensor
    x: Tensor
    weight: Tensor
    targets: dict[str, Tensor]
    precision: dict[str, Tensor]


class PairSampler:
    """Draws points on the paths between paired cells.

    An interval is drawn in proportion to its duration, a pair of it in proportion to
    ``m0 + m1`` (births have ``m0 = 0`` and deaths ``m1 = 0``, so neither end alone would
    do), and a point counts ``m_s / (m0 + m1)``, divided by the mean of that in its interval.

    Parameters
    ----------
    snapshots
        The clouds.
    tables
        One table of pairs per interval.
    path
        Law between two cells.
    noise
        Standard deviation, per coordinate, of Gaussian noise added to the position: it
        smooths the law of the cells.
    quantities
        What to draw targets of: ``"velocity"``, ``"growth"``, ``"score"``. With a score there is
        also one of the ``"drift"``, velocity plus half the squared noise times the score.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        tables: list[PairTable],
        path: Path,
        noise: float,
        *,
        quantities: tuple[str, ...] = ("velocity", "growth"),
    ) -> None:
        self.path, self.noise, self.quantities = path, noise, quantities
        self.half_noise = path.sigma**2 / 2 if isinstance(path, Bridge) else 0.0
        self.pairs = JoinedPairs(snapshots, tables)
        device = self.pairs.cells.device
        self.start = torch.tensor(snapshots.times[:-1], device=device)
        self.duration = torch.tensor(snapshots.durations, device=device)
        # in double precision where the device has it: with millions of pairs each has a
        # probability below what single precision resolves next to one
        p = torch.cat(
            [
                d * total / total.sum()
                for d, total in zip(
                    snapshots.durations, self.pairs.total.split(self.pairs.sizes), strict=True
                )
            ]
        )
        cumulative = p.cumsum(0)
        self.cumulative = cumulative / cumulative[-1]
        pairs = self.pairs
        distance = torch.linalg.vector_norm(pairs.cells[pairs.j] - pairs.cells[pairs.i], dim=1)
        self.mean_weight = self._means(p, path.mean_mass(distance, pairs.m0, pairs.m1))
        # root mean square, per coordinate, of displacements per time; where nothing moves, of
        # what the noise alone moves
        self.variance = self.mean_variance()
        speeds = distance / self.duration[pairs.interval]
        mean_square = float((p * speeds**2).sum() / p.sum()) / snapshots.dim
        spread = self.variance / float(self.duration.mean()) ** 2
        self.speed = math.sqrt(mean_square + 0.01 * spread)

    def _means(self, p: Tensor, values: Tensor) -> Tensor:
        """Return the mean of every interval."""
        parts = zip(p.split(self.pairs.sizes), values.split(self.pairs.sizes), strict=True)
        return torch.stack([(q * v).sum() / q.sum() for q, v in parts]).float()

    def mean_variance(self) -> float:
        """Return what paths and noise add to the variance of the cells, averaged over time."""
        s = torch.linspace(0, 1, 33, device=self.duration.device)
        x, m = s[:, None], torch.ones_like(s)
        duration = self.duration.mean().expand(len(s))
        return float(self.path.at(s, x, x, m, m, duration).variance.mean()) + self.noise**2

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """Draw ``n`` points: pairs and times each by stratified sampling."""
        pairs, device = self.pairs, self.pairs.cells.device
        u = torch.rand(n, generator=generator, device=device).to(self.cumulative.dtype)
        strata = (torch.arange(n, device=device) + u) / n
        pair = torch.searchsorted(self.cumulative, strata).clamp_max(len(pairs.i) - 1)
        # times are stratified as well, in an order that has nothing to do with the pairs'
        order = torch.randperm(n, generator=generator, device=device)
        s = (order + torch.rand(n, generator=generator, device=device)) / n
        interval = pairs.interval[pair]
        duration = self.duration[interval]
        point = self.path.at(
            s,
            pairs.cells[pairs.i[pair]],
            pairs.cells[pairs.j[pair]],
            pairs.m0[pair],
            pairs.m1[pair],
            duration,
        )
        deviation = (point.variance + self.noise**2).sqrt()
        x, drawn = point.mean, None
        if self.noise > 0 or "score" in self.quantities:
            drawn = torch.randn(x.shape, generator=generator, device=device)
            x = x + deviation[:, None] * drawn
        targets = {
            "velocity": point.velocity / duration[:, None],
            "growth": point.growth / duration,
        }
        names, precision = self.quantities, dict[str, Tensor]()
        if drawn is not None and "score" in self.quantities:
            # x = mean + deviation e: where the deviation widens, e moves the point
            widening = point.spreading / (2 * deviation * duration)
            targets["velocity"] = targets["velocity"] + widening[:, None] * drawn
            targets["score"] = -drawn / deviation[:, None]
            precision["velocity"] = 1 / (1 + (widening / self.speed) ** 2)
            precision["score"] = deviation**2 / self.variance
            # at the start of an interval both are large, and their sum is not: it counts as far
            # as it is better known than the velocity
            names = (*names, "drift")
            targets["drift"] = targets["velocity"] + self.half_noise * targets["score"]
            pull = widening - self.half_noise / deviation
            known = 1 / (1 + (pull / self.speed) ** 2)
            precision["drift"] = (known - precision["velocity"]).clamp_min(0.0)
        return Batch(
            t=self.start[interval] + s * duration,
            x=x,
            weight=point.mass / self.mean_weight[interval],
            targets={name: targets[name] for name in names},
            precision=precision,
        )
