"""The losses of DeepRUOT's first two stages, and the terms that the last one shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scruot.solvers.cloud_density import CloudDensity
from scruot.solvers.ruot_energy import residual
from scruot.solvers.ruot_field import RUOTField
from scruot.solvers.weighted_bridges import BridgeBatch, WeightedBridges

# the divergence is exact up to this many coordinates, and estimated by two probes beyond
_MOST_EXACT = 3


def matching_loss(field: RUOTField, batch: BridgeBatch) -> dict[str, Tensor]:
    """Return the errors of velocity and growth on bridges, in units of the targets' spread."""
    motion = dict(zip(("velocity", "growth"), field.motion(batch.t, batch.x), strict=True))
    targets = {"velocity": batch.velocity, "growth": batch.growth}
    terms = {}
    for name in field.flow.names:
        error = (motion[name] - targets[name]) / field.flow.get_buffer(f"{name}_spread")
        terms[name] = mean_square(error, batch.weight)
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def score_error(score: Tensor, batch: BridgeBatch) -> Tensor:
    """Return ``E w |lambda (s - score)|^2`` per coordinate, ``lambda`` the width of each blob."""
    return mean_square(batch.std[:, None] * (score - batch.score), batch.weight)


def mean_square(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean square of values (n,) or (n, d), per coordinate."""
    squares = values.square()
    return (weight * (squares.mean(1) if values.ndim == 2 else squares)).mean()


@dataclass(frozen=True)
class Densities:
    """What is known of the density at the observed times: a Gaussian mixture for each."""

    times: tuple[float, ...]
    clouds: list[CloudDensity]

    def draw(self, n: int, generator: torch.Generator) -> KnownDensity:
        """Draw about ``n`` points at the observed times."""
        each = -(-n // len(self.clouds))
        x = torch.cat([cloud.sample(each, generator) for cloud in self.clouds])
        parts = list(zip(self.clouds, x.split(each), strict=True))
        scores = [cloud.score(part) for cloud, part in parts]
        return KnownDensity(
            t=torch.tensor(self.times, device=x.device).repeat_interleave(each),
            x=x,
            value=torch.cat([cloud.log(part) for cloud, part in parts]),
            score=torch.cat(scores),
            scale=torch.stack([s.square().mean() for s in scores]).repeat_interleave(each),
            each=each,
        )


class KnownDensity(NamedTuple):
    """Points of the observed clouds, ``each`` of them per cloud, one cloud after the other.

    Log density ``value`` (n,), ``score`` (n, d), and the mean square ``scale`` (n,) of the score
    of each point's cloud.
    """

    t: Tensor
    x: Tensor
    value: Tensor
    score: Tensor
    scale: Tensor
    each: int


def observed_errors(field: RUOTField, known: KnownDensity) -> tuple[Tensor, Tensor]:
    """Return the relative error of the score at the observed times, and that of the level.

    Scores leave open a constant at every time. At the observed times it is that with which the
    density has the observed mass: the mean of the log density is that of the mixture.
    """
    jet = field.log_density(known.t, known.x)
    score = ((jet.gradient - known.score).square().mean(1) / known.scale).mean()
    level = (jet.value - known.value).view(-1, known.each).mean(1)
    return score, level.square().mean()


def density_loss(
    field: RUOTField,
    bridges: WeightedBridges,
    densities: Densities,
    n: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the errors of the log density, with velocity and growth as they are.

    Its gradient is matched to the score of the bridges and of the observed clouds, its change
    along the flow to the Fokker-Planck equation, and its level to the observed masses.
    """
    inside = bridges.draw(n, generator)
    jet = field.log_density(inside.t, inside.x)
    score = score_error(jet.gradient, inside)
    at_ends, level = observed_errors(field, densities.draw(max(1, n // 2), generator))
    with torch.no_grad():
        velocity, growth = field.motion(inside.t, inside.x)
        spread = divergences(field, inside.t, inside.x, generator).mean(0)
    left = residual(velocity, growth, spread, jet)
    scale = residual_scale(velocity, growth, spread, jet.gradient, inside.weight)
    fokker_planck = (inside.weight * left.square()).mean() / scale
    loss = score + at_ends + level + fokker_planck
    return {
        "loss": loss,
        "score": score,
        "observed_score": at_ends,
        "level": level,
        "fokker_planck": fokker_planck,
    }


def residual_scale(
    velocity: Tensor, growth: Tensor, spread: Tensor, score: Tensor, weight: Tensor
) -> Tensor:
    """Return the mean square of the terms of the Fokker-Planck equation, without gradient."""
    carried = (velocity * score).sum(1)
    size = carried.square() + spread.square() + growth.square()
    return (weight * size).mean().detach().clamp_min(1e-6)


def divergences(field: RUOTField, t: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
    """Return two unbiased estimates of the divergence of the velocity, shape (2, n)."""
    if x.shape[1] <= _MOST_EXACT:
        return field.divergence(t, x).expand(2, -1)
    u = torch.randint(0, 2, (2, *x.shape), generator=generator, device=x.device)
    return field.divergence(t, x, 2.0 * u.to(x.dtype) - 1)
