"""What DeepRUOT starts from: units, couplings, bridges and untrained networks."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from scruot.dynamics.noise import Noise
from scruot.dynamics.snapshots import Snapshots
from scruot.geometry.blob_bridge import BlobBridge
from scruot.geometry.neighbours import nearest_distance
from scruot.solvers.bridge_moments import affine_law
from scruot.solvers.cloud_density import cloud_blur
from scruot.solvers.problem import Problem
from scruot.solvers.ruot_field import RUOTField
from scruot.solvers.ruot_losses import Densities
from scruot.solvers.weighted_bridges import WeightedBridges
from scruot.transport import PairTable, auto_delta, pairs, wfr_coupling

logger = logging.getLogger(__name__)

# noise in units of the cells' spread and of the root of the mean interval
_SIGMA = 0.1
# smallest blur in units of the noise of a mean interval: at the observed times the drift pulls
# noise back at the rate (sigma / blur)^2, which the step of a simulation has to resolve
_LEAST_BLUR = 0.1
# length that leaves growth no part, in units of the cells' spread
_BALANCED = 300.0
# blur of the couplings, in units of a typical best cost, below which they are exact
_EXACT = 0.3
# cells of both clouds up to which a blurred coupling is one, and cells of its parts beyond
_MOST_WHOLE = 4000
_PART = 2000


@dataclass(frozen=True)
class Units:
    """Lengths and noise in scaled units.

    Parameters
    ----------
    noise
        Noise at all times.
    alpha
        Price of growth, a squared length.
    delta
        Length of the couplings: the root of ``2 alpha``.
    blur
        Standard deviation by which the observed clouds are blurred.
    """

    noise: Noise
    alpha: float
    delta: float
    blur: float

    def variance(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``sigma^2`` and its derivative in time at times ``t`` (n,)."""
        level, factor = float(self.noise.sigma), self.noise.factor(t)  # type: ignore[arg-type]
        return level**2 * factor**2, 2 * level**2 * factor * self.noise.slope(t)

    def noise_at_ends(self) -> tuple[float, float]:
        """Return the noise at the first and at the last time."""
        level, profile = float(self.noise.sigma), self.noise.profile or (1.0,)  # type: ignore[arg-type]
        return level * profile[0], level * profile[-1]


def scaled_units(params: Any, problem: Problem, clouds: Snapshots) -> Units:
    """Return what the parameters are in scaled units, with their automatic values."""
    length, unit = problem.scale.length, problem.scale.length / math.sqrt(problem.scale.time)
    sigma = _SIGMA if isinstance(params.sigma, str) else params.sigma / unit
    last = sigma if isinstance(params.sigma_end, str) else params.sigma_end / unit
    level = max(sigma, last)
    profile: tuple[float, ...] = ()
    if last != sigma:
        span = clouds.times[-1]
        profile = tuple((sigma + (last - sigma) * t / span) / level for t in clouds.times)
    delta = (
        auto_delta(clouds.x)
        if isinstance(params.alpha, str)
        else math.sqrt(2 * params.alpha) / length
    )
    blur = (
        max(cloud_blur(clouds.x), _LEAST_BLUR * level)
        if isinstance(params.blur, str)
        else params.blur / length
    )
    noise = Noise(level, profile, clouds.times)
    return Units(noise, delta**2 / 2, delta if params.growth else _BALANCED, blur)


def couple(clouds: Snapshots, units: Units, method: str, random_state: int) -> list[PairTable]:
    """Return the pairs of the couplings, blurred as the noise of each interval blurs them.

    Noise of variance ``sigma^2`` over a duration ``T`` adds ``sigma^2 KL`` to half the squared
    distance over ``T``, which in the cost of the coupling, ``|x - y|^2 / (4 delta^2)`` for short
    ways, is ``sigma^2 T / (2 delta^2) KL``.

    Blurred couplings of large clouds are those of random parts of the cells: no few pairs of a
    cell stand for the many that it has, and parts of thousands say as much of the blurred law.
    """
    tables = []
    generator = torch.Generator().manual_seed(random_state)
    for k in range(len(clouds.durations)):
        variance = mean_variance(units, clouds, k) * clouds.durations[k]
        blur = _blur(clouds.x[k], clouds.x[k + 1], units.delta, variance)
        sizes = len(clouds.x[k]), len(clouds.x[k + 1])
        n_parts = 1
        if blur > 0 and method == "auto" and min(sizes) > _MOST_WHOLE:
            n_parts = -(-max(sizes) // _PART)
        parts = [
            [
                rows.to(clouds.x[0].device)
                for rows in torch.randperm(n, generator=generator).tensor_split(n_parts)
            ]
            for n in sizes
        ]
        found = []
        for first, last in zip(*parts, strict=True):
            x0, x1 = clouds.x[k][first], clouds.x[k + 1][last]
            plan = wfr_coupling(
                x0,
                x1,
                clouds.weights[k][first],
                clouds.weights[k + 1][last],
                units.delta,
                # in units of what is near in the part
                blur=_blur(x0, x1, units.delta, variance),
                method=method,
                random_state=random_state,
            )
            found.append(_renamed(pairs(plan), first, last))
        tables.append(
            PairTable(*(torch.cat([getattr(t, f.name) for t in found]) for f in fields(PairTable)))
        )
    return tables


def _renamed(table: PairTable, first: Tensor, last: Tensor) -> PairTable:
    """Return a table of some cells with their numbers among all, -1 left as it is."""
    source = torch.where(table.source < 0, table.source, first[table.source])
    target = torch.where(table.target < 0, table.target, last[table.target])
    return replace(table, source=source, target=target)


def _blur(x0: Tensor, x1: Tensor, delta: float, variance: float) -> float:
    """Return the blur of a coupling in units of its typical best cost, 0 where it is little."""
    near = torch.cat([nearest_distance(x0, x1), nearest_distance(x1, x0)]).cpu().double()
    near = near[near < math.pi * delta]
    typical = float((-2 * torch.cos(near / (2 * delta)).log()).median()) if len(near) else 0.0
    blur = variance / (2 * delta**2) / typical if typical > 0 else 0.0
    return blur if blur > _EXACT else 0.0


def mean_variance(units: Units, clouds: Snapshots, interval: int) -> float:
    """Return the mean of ``sigma^2`` at both ends of an interval."""
    ends = torch.tensor(clouds.times[interval : interval + 2], dtype=torch.float64)
    return float(units.variance(ends)[0].mean())


def blob_bridges(clouds: Snapshots, units: Units) -> list[BlobBridge]:
    """Return the bridge of every interval, its noise linear between both ends."""
    times = torch.tensor(clouds.times, dtype=torch.float64)
    variance = units.variance(times)[0].tolist()
    return [
        BlobBridge(units.blur, variance[k], (variance[k + 1] - variance[k]) / duration, duration)
        for k, duration in enumerate(clouds.durations)
    ]


def make_field(
    params: Any,
    bridges: WeightedBridges,
    generator: torch.Generator,
) -> RUOTField:
    """Return untrained networks beside the affine law of the bridges."""
    clouds = bridges.clouds
    heads = {"velocity": clouds.dim, "growth": 1} if params.growth else {"velocity": clouds.dim}
    law = affine_law(bridges, generator)
    field = RUOTField(
        {**_shape(params, clouds), "heads": heads, "knots": clouds.times},
        {**_shape(params, clouds), "heads": {"potential": 1}},
        law.config,
        generator=generator,
        device=bridges.device,
    )
    field.law.load_state_dict(law.state_dict())
    return field


def _shape(params: Any, clouds: Snapshots) -> dict[str, Any]:
    return {
        "dim": clouds.dim,
        "width": params.width,
        "depth": params.depth,
        "span": clouds.times[-1],
        # enough to bend at every snapshot
        "n_frequencies": max(4, len(clouds.durations)),
    }


def scale_outputs(
    field: RUOTField, bridges: WeightedBridges, densities: Densities, generator: torch.Generator
) -> None:
    """Give the networks the mean and spread of what they are to learn."""
    batch = bridges.draw(16_384, generator)
    weight = (batch.weight / batch.weight.sum())[:, None]
    for name, target in (("velocity", batch.velocity), ("growth", batch.growth[:, None])):
        if name in field.flow.names:
            mean = (weight * target).sum(0)
            spread = (weight * (target - mean) ** 2).mean(1).sum().sqrt()
            if name == "velocity":  # its mean is the affine law's
                mean = torch.zeros_like(mean)
            # identical snapshots have targets that are all zero
            field.flow.set_output_scale(name, mean, spread.clamp_min(1e-6))
    known = densities.draw(4096, generator)
    level = known.value - field.law.log_density(known.t, known.x).value
    field.density.set_output_scale("potential", level.mean()[None], level.std().clamp_min(1.0))
