"""Moments of the law of weighted bridges, and the Gaussian law that has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from scruot.geometry.blob_bridge import BlobBridge
from scruot.geometry.wfr import travelling_dirac
from scruot.solvers.affine_law import AffineLaw
from scruot.solvers.weighted_bridges import WeightedBridges, stratified

# most pairs of an interval that moments are taken over
_MOST_PAIRS = 65_536
# coordinates up to which they act on one another
_MOST_FULL = 50
# births and deaths have no mass at one end
_MARGIN = 1e-3
# most that taking back the blur may take from a variance of the blurred law
_MOST_TAKEN = 0.25


def affine_law(
    bridges: WeightedBridges,
    generator: torch.Generator,
    blobs: Sequence[BlobBridge] | None = None,
) -> AffineLaw:
    """Return the Gaussian law with the moments of the bridges, and the best affine velocity.

    Covariances of the centres of the blobs are shrunk towards their mean variance, as if ``d``
    cells more had been seen that say so: those of small clouds in many coordinates are singular.
    ``blobs`` replace those of the bridges, one for every interval.
    """
    blobs = bridges.bridges if blobs is None else blobs
    clouds = bridges.clouds
    full = clouds.dim <= _MOST_FULL
    law = AffineLaw(clouds.times, clouds.dim, full=full, device=bridges.device)
    shrinkage = [clouds.dim / (clouds.dim + len(x)) for x in clouds.x]
    for k in range(len(clouds.durations)):
        some = _SomePairs.of(bridges, k, blobs[k], generator)
        for i, s in enumerate(AffineLaw.nodes()):
            held = (1 - s) * shrinkage[k] + s * shrinkage[k + 1]
            found = _coefficients(some.at(min(max(s, _MARGIN), 1 - _MARGIN)), held, full=full)
            for name, value in found.items():
                law.get_buffer(name)[k, i] = value.to(law.get_buffer(name))
    return law


def sharpened_law(
    law: AffineLaw, bridges: WeightedBridges, generator: torch.Generator
) -> AffineLaw:
    """Return the affine law of the bridges without the blur of the clouds, whose law is ``law``.

    Blur is there for networks, which would learn single cells, and it widens what they learn. The
    affine law has no need of it. Where a cloud is hardly wider than the blur in some direction, a
    part of the blur is left.
    """
    most = _MOST_TAKEN * law.least_variance()
    blur = [math.sqrt(max(b.blur**2 - most, 0.0)) for b in bridges.bridges]
    sharp = [replace(b, blur=left) for b, left in zip(bridges.bridges, blur, strict=True)]
    return affine_law(bridges, generator, sharp)


class _State(NamedTuple):
    """Blobs ``N(x, variance)`` of a mass, moving, and spreading at a rate."""

    x: Tensor
    velocity: Tensor
    mass: Tensor
    variance: float
    spreading: float


@dataclass(frozen=True, eq=False)
class _SomePairs:
    """Pairs of one interval, on the CPU in double precision, which not every device has."""

    x0: Tensor
    x1: Tensor
    m0: Tensor
    m1: Tensor
    delta: float
    duration: float
    bridge: BlobBridge

    @classmethod
    def of(
        cls, bridges: WeightedBridges, k: int, blob: BlobBridge, generator: torch.Generator
    ) -> _SomePairs:
        """Take all pairs, or many, drawn in proportion to their masses."""
        pairs = bridges.pairs[k]
        chance = pairs.bounds.diff(prepend=pairs.bounds.new_zeros(1))
        rows = torch.arange(len(chance), device=chance.device)
        if len(chance) > _MOST_PAIRS:
            rows = stratified(pairs.bounds, (_MOST_PAIRS,), generator)
            chance = torch.full_like(pairs.bounds[:1], 1 / _MOST_PAIRS).expand(_MOST_PAIRS)
        ends = (v[rows].cpu().double() for v in (pairs.x0, pairs.x1, pairs.m0, pairs.m1))
        x0, x1, m0, m1 = ends
        weight = pairs.total * chance.cpu().double()
        duration = bridges.clouds.durations[k]
        return cls(x0, x1, weight * m0, weight * m1, bridges.delta, duration, blob)

    def at(self, s: float) -> _State:
        """Return the blobs at a share ``s`` of the interval."""
        moment = torch.tensor(s, dtype=torch.float64)
        path = travelling_dirac(moment, self.x0, self.x1, self.m0, self.m1, self.delta)
        since = self.duration * moment
        variance = float(self.bridge.variance(since).clamp_min(1e-12))
        noise = self.bridge.noise + self.bridge.slope * float(since)
        spreading = float(self.bridge.drift_slope(since)) + noise / (2 * variance)
        return _State(path.x, path.velocity / self.duration, path.mass, variance, spreading)


def _coefficients(blobs: _State, shrinkage: float, *, full: bool) -> dict[str, Tensor]:
    """Return the coefficients of the law at one time.

    The velocity at ``x`` is ``E[v] + Cov(v, x) Cov(x)^-1 (x - E[x])``: no affine function is
    closer to that of the law. Nor is one closer to its score than ``-Cov(x)^-1 (x - E[x])``.
    """
    population = blobs.mass.sum()
    share = blobs.mass / population
    mean, speed = share @ blobs.x, share @ blobs.velocity
    away = blobs.x - mean
    weighted = share[:, None] * away
    if full:
        one = torch.eye(len(mean), dtype=mean.dtype)
        inside, moving = weighted.T @ away, blobs.velocity.T @ weighted
        inside = (1 - shrinkage) * inside + shrinkage * inside.diagonal().mean() * one
    else:
        one = torch.ones_like(mean)
        inside, moving = (weighted * away).sum(0), (blobs.velocity * weighted).sum(0)
    covariance = inside + blobs.variance * one
    moving = moving + blobs.spreading * blobs.variance * one
    if full:
        precision = torch.linalg.inv(covariance)
        gain, log_volume = moving @ precision, torch.linalg.slogdet(covariance)[1]
        pull, moved = precision @ mean, gain @ mean
    else:
        precision = 1 / covariance
        gain, log_volume = moving * precision, covariance.log().sum()
        pull, moved = precision * mean, gain * mean
    volume = log_volume + len(mean) * math.log(2 * math.pi)
    return {
        "precision": precision,
        "pull": pull,
        "level": population.log() - (volume + pull @ mean) / 2,
        "gain": gain,
        "speed": speed - moved,
    }
