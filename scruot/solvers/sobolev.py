"""A potential from its slope and its value on paths: regression without simulation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scruot.solvers.path_mixture import PathMixture, PathPoints
from scruot.solvers.potential_field import PotentialField

__all__ = ["SobolevRegression"]

# points from which the output scale is taken
_POINTS = 16_384


class SobolevRegression:
    r"""Regression of ``(grad lambda, growth)`` on velocity and growth of coupled cells.

    .. math:: E\,m\,\big(|\nabla\lambda - u|^2 + \alpha\,|g_\lambda - g|^2\big)

    is the distance to the paths in the metric that the action itself is measured in. With noise a
    drift counts less where that of a single bridge is more random, towards the end of an interval:
    there it gathers cells to their very places, which no potential of use can follow.

    Parameters
    ----------
    field
        What is trained; its output scale is set here.
    paths
        Points on the paths.
    generator
        Source of randomness for the output scale.
    """

    def __init__(
        self, field: PotentialField, paths: PathMixture, generator: torch.Generator
    ) -> None:
        self.field, self.paths = field, paths
        batch = paths.draw(_POINTS, generator)
        net = field.potential
        # one smooth potential for all times has no place for a level that jumps
        if field.penalty.kind == "quadratic" and not net.shared:
            net.population.copy_(paths.population())
            net.price.fill_(field.alpha)
        self.level = float(paths.noise.levels(batch.x).square().mean())
        # the half of all points whose drift is least random
        weight = batch.weight * (batch.pull <= batch.pull.median())
        weight = weight / weight.sum()
        rest = self._centre(batch, weight)
        # what the planes leave open, and what standing still would leave: scales of the errors
        self.spread = max(float((weight * rest.square().mean(1)).sum()), 1e-12)
        growth = field.alpha * batch.growth.square()
        self.total = max(float((weight * (batch.drift.square().sum(1) + growth)).sum()), 1e-12)
        # a translation of all cells leaves nothing to learn but the growth that is not all cells'
        own = field.alpha * (batch.growth - net.level(batch.t) / field.alpha).square()
        net.spread.fill_(math.sqrt(self.spread + 0.01 * float((weight * own).sum())))

    def loss(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the error on ``n`` new points, in units of the paths' own action."""
        batch = self.paths.draw(n, generator)
        here = self.field.local(batch.t, batch.x)
        trust = self._trust(batch)
        error = (here.drift - batch.drift).square().sum(1)
        velocity = (trust * error).mean() / self.total
        growth = (batch.weight * self._growth_error(here.value, batch.growth)).mean() / self.total
        return {"loss": velocity + growth, "velocity": velocity, "growth": growth}

    def _trust(self, batch: PathPoints) -> Tensor:
        return batch.weight / (1 + self.level * batch.pull / self.spread)

    def _growth_error(self, value: Tensor, growth: Tensor) -> Tensor:
        penalty, alpha = self.field.penalty, self.field.alpha
        p = value / alpha
        # of a penalty that is not convex the growth says little of the potential where it is flat
        error = penalty.growth(p) - growth if penalty.convex else p - penalty.slope(growth)
        return alpha * error.square()

    def _centre(self, batch: PathPoints, weight: Tensor) -> Tensor:
        """Give the potential every interval's mean drift and growth; return what drift is left."""
        net, alpha = self.field.potential, self.field.alpha
        k = torch.zeros_like(batch.t).long() if net.shared else net.interval(batch.t)
        known = net.level(batch.t)
        planes = []
        for i in range(1 if net.shared else len(net.offset)):
            share = (k == i) * weight
            share = share / share.sum().clamp_min(1e-12)
            drift = (share[:, None] * batch.drift).sum(0)
            level = alpha * self.field.penalty.slope(batch.growth) - known
            value = level - (batch.x * drift).sum(1)
            planes.append((drift, (share * value).sum()))
        net.slope.copy_(torch.stack([drift for drift, _ in planes]))
        net.offset.copy_(torch.stack([value for _, value in planes]))
        return batch.drift - net.slope[k]
