"""The score of a simulated law, by denoising score matching.

For methods that learn a drift: with noise, its flow ``v = b - sigma^2 score / 2`` needs the score.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scruot.dynamics.checkpoint import State
from scruot.dynamics.fields import Field
from scruot.dynamics.train import Schedule, train

__all__ = ["Particles", "denoising_loss", "learn_score"]

# times and points per time of one step
_TIMES = 16
# particles of a time that a point is compared with
_PARTICLES = 512


class Particles(NamedTuple):
    """A simulated law: a mixture of Gaussians at each of some increasing times (T,).

    Centres ``x`` (T, n, d), log weights (T, n), and the standard deviation ``std`` (T, d) of all
    at a time. Where centres are states just before a step's noise, and ``std`` is that of this
    noise, the mixture is the law itself and not a blurred copy of it.
    """

    times: Tensor
    x: Tensor
    log_weights: Tensor
    std: Tensor


def learn_score(
    score: Field,
    particles: Particles,
    schedule: Schedule,
    *,
    batch_size: int,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    progress: bool = False,
    label: str = "score",
) -> State:
    """Train the score of a simulated law, in place.

    Parameters
    ----------
    score
        Network with an output ``"score"``; its output scale is set here.
    particles
        The law, in the units of the network.
    schedule
        How long and how fast to train.
    batch_size
        Points per step, over all times.
    generator
        Source of randomness.
    checkpoint, fingerprint, progress, label
        As in :func:`~scruot.dynamics.train.train`.

    Returns
    -------
    The final state, with the loss of every step.
    """
    _, _, target, weight = _targets(particles, 256, generator)
    mean = (weight[:, None] * target).mean(0)
    spread = (weight * (target - mean).square().mean(1)).mean().sqrt()
    # a law of one point has a score of zero there
    score.set_output_scale("score", mean, spread.clamp_min(1e-6))

    def loss(rng: torch.Generator) -> dict[str, Tensor]:
        return {"loss": denoising_loss(score, particles, batch_size, rng)}

    return train(
        score,
        loss,
        schedule,
        generator=generator,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        progress=progress,
        label=label,
    )


def denoising_loss(
    score: Field,
    particles: Particles,
    batch_size: int,
    generator: torch.Generator,
) -> Tensor:
    r"""Return the error of a score on the law of weighted particles.

    The target at a point of the mixture is the mean of the denoising direction
    :math:`(x_j - x) / h^2` over the particles that it may have come from. Its mean is
    what denoising score matching learns, and it lacks the noise of drawing one particle.

    Parameters
    ----------
    score
        Network with an output ``"score"``.
    particles
        The law.
    batch_size
        Points per step, over all times.
    generator
        Source of randomness.

    Returns
    -------
    Mean squared error over coordinates and points, in units of the squared output scale.

    References
    ----------
    Vincent (2011), Neural Computation 23, 1661-1674 :cite:p:`vincent2011`.
    """
    n_points = max(1, batch_size // _TIMES)
    t, points, target, weight = _targets(particles, n_points, generator)
    found: Tensor = score(t, points)["score"]
    error = (found - target) / score.get_buffer("score_spread")
    return (weight * error.square().mean(1)).mean()


def _targets(
    particles: Particles, n_points: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw times, points around particles, the score there, and what a point counts.

    Particles are drawn evenly and count by their weights, of mean one: to draw by weight would
    let a rounding error choose another particle.
    """
    times, x, log_weights, std = particles
    device = x.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    # stratified times, those on the grid
    place = ((torch.arange(_TIMES, device=device) + uniform(_TIMES)) / _TIMES * len(times)).long()
    place = place.clamp_max(len(times) - 1)
    x, log_w, width = x[place], log_weights[place], std[place][:, None]
    if x.shape[1] > _PARTICLES:
        kept = torch.randperm(x.shape[1], generator=generator, device=device)[:_PARTICLES]
        x, log_w = x[:, kept], log_w[:, kept]
    log_w = torch.log_softmax(log_w, 1)
    chosen = (uniform(_TIMES, n_points) * x.shape[1]).long().clamp_max(x.shape[1] - 1)
    origin = torch.take_along_dim(x, chosen[..., None], 1)
    normal = torch.randn(origin.shape, generator=generator, device=device)
    points = origin + width * normal
    squared = torch.cdist(points / width, x / width).square()
    share = torch.softmax(log_w[:, None] - squared / 2, 2)
    target = (share @ x - points) / width**2
    return (
        times[place].repeat_interleave(n_points),
        points.flatten(0, 1),
        target.flatten(0, 1),
        (torch.take_along_dim(log_w, chosen, 1).exp() * x.shape[1]).flatten(),
    )
